"""Substitutes of words from dictionaries or synonym lists, drawn when the data is used (RS-DA, CoSDA-ML, SCOPA)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from salt_fairseq.data.directory import IGNORED
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import PAD
from salt_fairseq.storage.indexed_data import load_indexed, write_indexed
from salt_fairseq.storage.manifest import Manifest, check_made_from

MADE_BY = "preprocess/look_up.py"
CONTINUES = -1  # in the stored words: this token belongs to the word before


class Lexicon:
    """``DATA/lexicons/NAME``: the words of one subset that a dictionary lists, and their substitutes.

    ``words`` of a side are int sequences as long as its sentences: k + 1 where the word of entry k begins, ``CONTINUES`` on its
    other tokens, else 0. ``substitutes`` holds the ids of all substitutes; entry k has those numbered ``ends[c - 1]`` to
    ``ends[c]`` in language number l, with c = k * languages + l.
    """

    def __init__(self, data: str | Path, name: str, subset: str, sides: Sequence[str]):
        directory = Path(data) / "lexicons" / name
        if not directory.is_dir():
            known = sorted(p.name for p in directory.parent.iterdir()) if directory.parent.is_dir() else []
            raise InputError(f"{data} has no lexicon {name!r} (it has: {', '.join(known) or 'none'}): run {MADE_BY}")
        manifest = Manifest(directory, MADE_BY, {"sentences_sha256": {str: str}, "languages": [str]})
        self.languages = manifest.values["languages"]
        for side in sides:
            check_made_from(manifest, data, subset, side)
        self._words = [load_indexed(manifest, f"{side}/{subset}") for side in sides]
        self._substitutes = load_indexed(manifest, "substitutes")
        self._ends = np.cumsum(load_indexed(manifest, "counts")[0].numpy())

    def listed(self, side: int, i: int) -> list[tuple[int, int, int]]:
        """The listed words of sentence ``i`` of input number ``side``, in order: ``(entry, start, end)``."""
        words = self._words[side][i].numpy()
        starts = np.flatnonzero(words > 0)
        inside = np.append(words == CONTINUES, False)
        return [(int(words[s]) - 1, int(s), int(s + 1 + np.argmin(inside[s + 1 :]))) for s in starts]

    def choices(self, entry: int, language: int) -> range:
        """Numbers of an entry's substitutes in language number ``language``, for :meth:`substitute`."""
        cell = entry * len(self.languages) + language
        return range(self._ends[cell - 1] if cell else 0, self._ends[cell])

    def substitute(self, number: int) -> torch.Tensor:
        """Token ids LongTensor (n,) of one substitute; n = 0 stands for the word itself."""
        return self._substitutes[number].long()


def write_lexicon(
    directory: Path,
    sides: dict[str, str],
    words: dict[str, Iterable[Sequence[int]]],
    substitutes: Iterable[Sequence[int]],
    counts: Sequence[int],
    dtype: type[np.integer],
) -> None:
    """Write what :class:`Lexicon` reads; ``words`` maps each side to its sequences, ``sides`` to the name of its subset."""
    for side, name in sides.items():
        (directory / side).mkdir(parents=True)
        write_indexed(directory / side / name, words[side], np.int32)
    write_indexed(directory / "substitutes", substitutes, dtype)
    write_indexed(directory / "counts", [counts], np.int32)


@dataclass
class LexicalSubstitution:
    """One stream of sentences in which words are substituted at random (CoSDA-ML, Qin et al., 2020).

    A sentence is chosen with probability ``sentence_ratio``, each of its words with ``word_ratio``; for a chosen word, a
    language uniformly from *all* languages (a word that this language lacks stays), and one of its substitutes there uniformly.
    Draws follow from (seed, variant, side, sentence) and, with ``redraw``, the epoch.
    """

    lexicon: Lexicon
    variant: int
    seed: int
    sentence_ratio: float = 1.0
    word_ratio: float = 1.0
    redraw: bool = False
    epoch: int = 0

    def _drawn(self, side: int, i: int) -> list[tuple[int, int, torch.Tensor]]:
        """``(start, end, ids)`` of each substituted word."""
        rng = np.random.default_rng([self.seed, self.variant, side, i, self.epoch if self.redraw else 0])
        if rng.random() >= self.sentence_ratio:
            return []
        drawn = []
        for entry, start, end in self.lexicon.listed(side, i):
            chosen, language, which = rng.random(3)
            choices = self.lexicon.choices(entry, int(language * len(self.lexicon.languages)))
            if chosen < self.word_ratio and len(choices):
                ids = self.lexicon.substitute(choices[int(which * len(choices))])
                drawn += [(start, end, ids)] if len(ids) else []
        return drawn

    def text(self, side: int, i: int, tokens: torch.Tensor) -> torch.Tensor:
        """Sentence ``i`` of input number ``side``, LongTensor (T,), with its substitutes in place, LongTensor (T',)."""
        parts, at = [], 0
        for start, end, ids in self._drawn(side, i):
            parts += [tokens[at:start], ids]
            at = end
        return torch.cat([*parts, tokens[at:]])

    def labels(self, side: int, i: int, labels: torch.Tensor) -> torch.Tensor:
        """Labels of :meth:`text`, LongTensor (T',), from those of the tokens, LongTensor (T,): a substitute's first token has
        the label of the word's first token, and its other tokens have none."""
        parts, at = [], 0
        for start, end, ids in self._drawn(side, i):
            if labels[start + 1 : end].ne(IGNORED).any():
                raise RuntimeError(f"a word of the lexicon covers two labels of sentence {i}")
            parts += [labels[at : start + 1], labels.new_full((len(ids) - 1,), IGNORED)]
            at = end
        return torch.cat([*parts, labels[at:]])

    def aligned(self, side: int, i: int, tokens: torch.Tensor) -> torch.Tensor:
        """LongTensor (T, M): at each token of a substituted word all ids of its substitute, padded; else the token."""
        drawn = self._drawn(side, i)
        width = max([len(ids) for _, _, ids in drawn], default=1)
        aligned = torch.full((len(tokens), width), PAD)
        aligned[:, 0] = tokens
        for start, end, ids in drawn:
            aligned[start:end, : len(ids)] = ids
        return aligned
