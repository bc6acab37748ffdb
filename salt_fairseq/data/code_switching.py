"""Code-switching (paper §2.1): substitute every token whose candidate is probable enough, when the data is used."""

import itertools
import math

import numpy as np
import torch

from salt_fairseq.candidates import open_candidates
from salt_fairseq.errors import InputError

DEFAULT_THRESHOLDS = "en=1e-3,1e-7"  # of the paper


def parse_thresholds(text):
    """``"en=1e-3,1e-7"`` to ``{"en": ("probability", 1e-3), None: ("probability", 1e-7)}``; ``None`` is every other
    language. A value with a percent sign is the share of candidate tokens to substitute: ``"40%"``."""
    thresholds = {}
    for part in text.split(","):
        language, _, value = part.strip().rpartition("=")
        kind = "share" if value.endswith("%") else "probability"
        try:
            number = float(value.rstrip("%")) / (100 if kind == "share" else 1)
        except ValueError:
            number = math.nan
        if not 0 <= number <= 1:
            raise InputError(
                f"threshold {part!r}: a probability in [0, 1] or a share from 0% to 100% is needed, "
                "for one language (en=1e-3) or for all others (1e-7)"
            )
        if (language or None) in thresholds:
            raise InputError(f"--thresholds {text} names two values for {language or 'all others'}: leave one of them out")
        thresholds[language or None] = (kind, number)
    return thresholds


def thresholds_of(languages, text, source_language):
    """Language to its ``(kind, value)``, from the text of ``--thresholds``, which may name the source language beside
    ``languages`` (its default does), but no other."""
    thresholds = parse_thresholds(text)
    for language in thresholds.keys() - {*languages, source_language, None}:
        if text != DEFAULT_THRESHOLDS:
            raise InputError(
                f"--thresholds {text} names {language}, which is none of the languages {', '.join(languages)}: "
                "correct or remove it"
            )
    for language in languages:
        if language not in thresholds and None not in thresholds:
            raise InputError(f"--thresholds {text} says nothing of language {language}: add a value for all others")
    return {language: thresholds.get(language, thresholds.get(None)) for language in languages}


def log_threshold(log_probs, kind, value):
    """The least log-probability that is substituted, given all of a language (-inf: no candidate): ``log_probs()`` iterates
    over them in float32 arrays, several times, so that together they may be larger than the memory.

    For a ``share`` this is the log-probability of the k-th most probable of n candidates, k = round(value * n).
    """
    if kind == "probability":
        return math.log(value) if value > 0 else float(np.finfo(np.float32).min)
    k = round(value * sum(len(piece) for piece in _candidates(log_probs)))
    return math.inf if k == 0 else _highest(log_probs, k)


def _candidates(log_probs):
    """The finite values, piece by piece."""
    return (piece[np.isfinite(piece)] for piece in log_probs())


def _highest(log_probs, k):
    """The k-th highest candidate, by counting: first among the upper halves of the numbers' bits, then the lower ones."""

    def ordered(piece):  # an unsigned number for each float32, in the same order
        bits = piece.view(np.uint32)
        return np.where(bits >> 31, ~bits, bits | 1 << 31)

    def bin_of(counts, k):
        """The bin that holds the k-th highest, and how many are in those above."""
        above = np.cumsum(counts[::-1])
        at = int(np.searchsorted(above, k))
        return len(counts) - 1 - at, int(above[at - 1]) if at else 0

    counts = sum(np.bincount(ordered(piece) >> 16, minlength=1 << 16) for piece in _candidates(log_probs))
    high, before = bin_of(counts, k)
    inside = (numbers[numbers >> 16 == high] for numbers in map(ordered, _candidates(log_probs)))
    low, _ = bin_of(sum(np.bincount(numbers & 0xFFFF, minlength=1 << 16) for numbers in inside), k - before)
    number = np.uint32(high << 16 | low)
    return float((number & 0x7FFFFFFF if number >> 31 else ~number).astype(np.uint32).view(np.float32))


class CodeSwitching:
    """Substituted sentences of one subset in one language, at one threshold."""

    def __init__(self, data, subset, language, sides, threshold):
        self._candidates = [open_candidates(data, subset, language, side) for side in sides]

        def log_probs():
            return itertools.chain.from_iterable(candidates.log_probs() for candidates in self._candidates)

        self.log_threshold = log_threshold(log_probs, *threshold)
        possible = chosen = 0
        for piece in _candidates(log_probs):
            possible, chosen = possible + len(piece), chosen + int((piece >= self.log_threshold).sum())
        self.share = chosen / max(1, possible)  # of candidate tokens

    def text(self, side, i, tokens):
        """Sentence ``i`` of input number ``side``, LongTensor (T,), with its substitutes in place, LongTensor (T,)."""
        ids, log_probs = self._candidates[side][i]
        chosen = (log_probs >= self.log_threshold) & torch.isfinite(log_probs)
        return torch.where(chosen, ids, tokens)

    def aligned(self, side, i, tokens):
        """The same, token by token, LongTensor (T, 1): here one token stands for one."""
        return self.text(side, i, tokens)[:, None]
