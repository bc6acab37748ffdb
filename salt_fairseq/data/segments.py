"""Sentences with labels for their tokens, in segments that a model can read: every word of a long one gets a label, too."""

from __future__ import annotations

import numpy as np
import torch

from salt_fairseq.data.directory import IGNORED, Examples, TokenLabels
from salt_fairseq.modules.encoder import EOS


def bounds(starts: np.ndarray, length: int, longest: int) -> list[tuple[int, int]]:
    """``(start, end)`` of the segments of a sentence of ``length`` tokens, each of at most ``longest``.

    A segment ends before one of ``starts``, int64 (W,), the first tokens of words, unless a word alone is longer.
    """
    segments, start = [], 0
    while length - start > longest:
        inside = starts[(starts > start) & (starts <= start + longest)]
        end = int(inside[-1]) if len(inside) else start + longest
        segments.append((start, end))
        start = end
    return [*segments, (start, length)]


class Segments:
    """The segments of a subset's sentences, at most ``budget`` tokens each, eos included: ``len()`` LongTensors (T,).

    Label k of the subset, its sentences one after another, is ``targets[k]``, of example ``examples[k]``, and stands at token
    ``places[k]`` of segment ``numbers[k]``; all int64 (labels,).
    """

    def __init__(self, subset: Examples, budget: int):
        labels, (stored,), (rows,) = subset.targets, subset.inputs, subset.rows
        assert isinstance(labels, TokenLabels)
        self._stored = stored
        self._bounds: list[tuple[int, int, int]] = []
        found: list[np.ndarray] = []  # int64 (4, W) of each sentence
        for example, row in enumerate(rows.tolist()):
            label = labels[row].numpy()
            starts = np.flatnonzero(label != IGNORED)
            segments = np.array(bounds(labels.words(row), len(label) - 1, budget - 1))
            which = np.searchsorted(segments[:, 0], starts, side="right") - 1
            numbers, places = len(self._bounds) + which, starts - segments[which, 0]
            found.append(np.stack([label[starts], np.full_like(starts, example), numbers, places]))
            self._bounds += [(row, start, end) for start, end in segments.tolist()]
        self.targets, self.examples, self.numbers, self.places = np.concatenate(found, axis=1)
        self.sizes = np.array([end - start + 1 for _, start, end in self._bounds], np.int32)

    def as_examples(self) -> Examples:
        """The segments as examples of their own, whose labels are not used."""
        return Examples([self], [np.arange(len(self))], self.targets)

    def __len__(self) -> int:
        return len(self._bounds)

    def __getitem__(self, i: int) -> torch.Tensor:
        row, start, end = self._bounds[i]
        return torch.cat([self._stored[row][start:end], torch.tensor([EOS])])
