"""Streams (paper §2.3): the variants of each instance that are trained on, unchanged or with substitutes.

A stream's substitutes come from a source, :class:`salt_fairseq.data.code_switching.CodeSwitching` or
:class:`salt_fairseq.data.lexicon.LexicalSubstitution`. To be mixed, substitutes are aligned with the tokens; otherwise the text
itself is substituted, and may become longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch


class Source(Protocol):
    """Substitutes for sentence ``i`` of input number ``side``, whose ``tokens`` are a LongTensor (T,)."""

    epoch: int

    def text(self, side: int, i: int, tokens: torch.Tensor) -> torch.Tensor:
        """The sentence with its substitutes in place, LongTensor (T',)."""

    def labels(self, side: int, i: int, labels: torch.Tensor) -> torch.Tensor:
        """Labels of what :meth:`text` returns, LongTensor (T',), from those of the sentence's tokens, LongTensor (T,)."""

    def aligned(self, side: int, i: int, tokens: torch.Tensor) -> torch.Tensor:
        """LongTensor (T, M): at each token the tokens of its substitute, padded, or the token itself."""


@dataclass
class Streams:
    """``sources``: of each stream, ``None`` for the unchanged instances. ``mixed``: whether substitutes come aligned.

    With ``one_per_instance``, each instance is in one stream, drawn anew in each epoch from (``seed``, epoch).
    """

    sources: Sequence[Source | None] = (None,)
    mixed: bool = True
    one_per_instance: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        self.mixed = self.mixed and any(source is not None for source in self.sources)

    def per_instance(self) -> int:
        """How often an epoch holds each instance."""
        return 1 if self.one_per_instance else len(self.sources)

    def set_epoch(self, epoch: int, instances: int) -> None:
        for source in self.sources:
            if source is not None:
                source.epoch = epoch
        if self.one_per_instance:
            self._drawn = np.random.default_rng([self.seed, epoch]).integers(len(self.sources), size=instances)

    def source(self, i: int, instances: int) -> Source | None:
        """Of item ``i`` of a data set that holds ``instances``, stream after stream."""
        return self.sources[self._drawn[i] if self.one_per_instance else i // instances]
