"""Code-switching (paper §2.1): substitute every token whose candidate is probable enough, when the data is used."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from salt_fairseq.candidates import open_candidates
from salt_fairseq.errors import InputError

SOURCE = "source"  # in the text of --thresholds: the language of the sentences themselves, which get synonyms
DEFAULT_THRESHOLDS = "source=1e-3,1e-7"  # of the paper, whose source language is English

Threshold = tuple[str, float]  # ("probability", 1e-3), or ("fraction", 0.4) of the candidate tokens


def parse_thresholds(text: str) -> dict[str | None, Threshold]:
    """``"en=1e-3,1e-7"`` to ``{"en": ("probability", 1e-3), None: ("probability", 1e-7)}``; ``None`` is every other
    language. ``source`` (:data:`SOURCE`) is the sentences' own language, whichever it is. A value with a percent sign is the
    fraction of candidate tokens to substitute: ``"40%"``."""
    thresholds: dict[str | None, Threshold] = {}
    for part in text.split(","):
        language, _, value = part.strip().rpartition("=")
        kind = "fraction" if value.endswith("%") else "probability"
        try:
            number = float(value.rstrip("%")) / (100 if kind == "fraction" else 1)
        except ValueError:
            number = math.nan
        if not 0 <= number <= 1:
            raise InputError(
                f"threshold {part!r}: give a probability in [0, 1] or a fraction from 0% to 100%, as in en=1e-3,40%"
            )
        if (language or None) in thresholds:
            raise InputError(f"--thresholds {text} names two values for {language or 'all others'}: leave one of them out")
        thresholds[language or None] = (kind, number)
    return thresholds


def thresholds_of(
    languages: Sequence[str], text: str, source_language: str, sources: Collection[str] = ()
) -> dict[str, Threshold]:
    """The threshold of each target language for sentences in ``source_language``, from the text of ``--thresholds``.

    For the source language itself, the value of ``source`` wins over that of its name. The text may name the source language,
    or one of several ``sources``, besides ``languages``, but no other."""
    thresholds = parse_thresholds(text)
    others = thresholds.keys() - {*languages, source_language, *sources, SOURCE, None}
    if others:
        raise InputError(f"--thresholds {text} names {others.pop()}, none of {', '.join(languages)}: correct or remove it")
    if SOURCE in thresholds:
        thresholds[source_language] = thresholds[SOURCE]
    missing = [language for language in languages if language not in thresholds]
    if missing and None not in thresholds:
        raise InputError(f"--thresholds {text} says nothing of language {missing[0]}: add a value for all others")
    return {language: thresholds.get(language) or thresholds[None] for language in languages}


def log_threshold(log_probs: Iterable[np.ndarray], threshold: Threshold) -> float:
    """The lowest log-probability that is substituted, given those of all tokens (-inf: no candidate), float32 arrays.

    For a fraction this is the log-probability of the k-th most probable of n candidates, k = round(fraction * n). All
    candidates are held in memory for it, 4 bytes each.
    """
    kind, value = threshold
    if kind == "probability":
        return math.log(value) if value > 0 else float(np.finfo(np.float32).min)
    candidates = np.concatenate([part[np.isfinite(part)] for part in log_probs])
    rank = len(candidates) - round(value * len(candidates))
    if rank == len(candidates):
        return math.inf
    candidates.partition(rank)
    return float(candidates[rank])


class CodeSwitching:
    """Substituted sentences of one subset in one language, at one threshold."""

    epoch = 0  # the same substitutes in every epoch

    def __init__(self, data: str | Path, subset: str, language: str, sides: Sequence[str], threshold: Threshold):
        self._candidates = [open_candidates(data, subset, language, side) for side in sides]
        self.log_threshold = log_threshold(self._log_probs(), threshold)
        candidates = chosen = 0
        for part in self._log_probs():
            candidates += int(np.isfinite(part).sum())
            chosen += int((part >= self.log_threshold).sum())
        self.fraction = chosen / max(1, candidates)  # of candidate tokens that are substituted

    def _log_probs(self) -> Iterator[np.ndarray]:
        for candidates in self._candidates:
            yield from candidates.log_probs()

    def text(self, side: int, i: int, tokens: torch.Tensor) -> torch.Tensor:
        """Sentence ``i`` of input number ``side``, LongTensor (T,), with its substitutes in place, LongTensor (T,)."""
        ids, log_probs = self._candidates[side][i]
        return torch.where(log_probs >= self.log_threshold, ids, tokens)

    def labels(self, side: int, i: int, labels: torch.Tensor) -> torch.Tensor:
        """Labels of :meth:`text`, LongTensor (T,): one token stands for one."""
        return labels

    def aligned(self, side: int, i: int, tokens: torch.Tensor) -> torch.Tensor:
        """The same, token by token, LongTensor (T, 1): here one token stands for one."""
        return self.text(side, i, tokens)[:, None]
