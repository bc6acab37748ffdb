"""Several subsets one after another, as if they were one: training data in several source languages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from salt_fairseq.data.streams import Source


class Sentences(Protocol):
    """``len()`` sentences; ``sizes`` int32 (N,); item i is a LongTensor (T,)."""

    sizes: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> torch.Tensor: ...


class _Places:
    """Where the items of parts with these lengths are."""

    def __init__(self, lengths: Sequence[int]):
        self._ends = np.cumsum(lengths)

    def __call__(self, i: int) -> tuple[int, int]:
        """The number of the part that holds item ``i``, and which of its items that is."""
        part = int(np.searchsorted(self._ends, i, side="right"))
        return part, i - (int(self._ends[part - 1]) if part else 0)


class JoinedSequences:
    """The :class:`Sentences` of several ``parts``."""

    def __init__(self, parts: Sequence[Sentences]):
        self.parts = parts
        self.sizes = np.concatenate([part.sizes for part in parts])
        self._places = _Places(list(map(len, parts)))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, i: int) -> torch.Tensor:
        part, within = self._places(i)
        return self.parts[part][within]


class JoinedSource:
    """The substitutes of several parts, each with a source of its own, which have so many sentences on each side."""

    def __init__(self, sources: Sequence[Source], lengths: Sequence[int]):
        self._sources, self._places = sources, _Places(lengths)

    @property
    def epoch(self) -> int:
        return self._sources[0].epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        for source in self._sources:
            source.epoch = epoch

    def text(self, side: int, i: int, tokens: torch.Tensor) -> torch.Tensor:
        part, within = self._places(i)
        return self._sources[part].text(side, within, tokens)

    def labels(self, side: int, i: int, labels: torch.Tensor) -> torch.Tensor:
        part, within = self._places(i)
        return self._sources[part].labels(side, within, labels)

    def aligned(self, side: int, i: int, tokens: torch.Tensor) -> torch.Tensor:
        part, within = self._places(i)
        return self._sources[part].aligned(side, within, tokens)
