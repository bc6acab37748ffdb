"""The training sentences of each source language, and what is searched for in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from preprocess.distillation.distinct_sentences import DistinctSentences
from preprocess.distillation.search import FEW_POSITIONS, count_positions, few_positions
from salt_fairseq.tokenizer import Tokenizer


@dataclass
class SourceSentences:
    """The sentences of a training ``subset`` in a source ``language``, with the ``vocabularies`` (target language to piece ids)
    from which their candidates come, and at which ``positions``: there are ``candidate_positions`` of them."""

    subset: str
    language: str
    sentences: DistinctSentences
    vocabularies: dict[str, np.ndarray]
    positions: str
    candidate_positions: int


def choose_positions(
    sentences: DistinctSentences, tokenizer: Tokenizer, longest: int, asked: str | None, language: str
) -> tuple[str, int, str | None]:
    """``(positions, their number, warning)``: the positions that are ``asked`` for, or else whole words, unless hardly any
    token is one, as in Chinese, which separates no words: then all tokens with a letter."""
    words, lettered = (count_positions(sentences, tokenizer, longest, which) for which in ("words", "tokens"))
    if asked == "tokens":
        return asked, lettered, None
    if asked == "words" or words >= FEW_POSITIONS * lettered:
        return "words", words, few_positions(words, lettered, language)
    warning = (
        f"only {100 * words / lettered:.1f}% of the tokens with a letter are whole words (source language {language}), so all "
        "of these tokens are candidate positions, as with --positions tokens"
    )
    return "tokens", lettered, warning


def one_or_each(values: Mapping[str, Any]) -> Any:
    """The value of the only source language, or the values by source language."""
    return dict(values) if len(values) > 1 else next(iter(values.values()))
