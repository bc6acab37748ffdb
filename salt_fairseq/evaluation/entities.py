"""Named entities of tagged words, counted by seqeval, whose F1 is that of CoNLL's script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from salt_fairseq.errors import InputError

OUTSIDE = "O"
INSIDE = re.compile(r"[BIES]-.+")  # begin, inside, end of an entity, or all of it (single), as in BIO, IOB2 and BIOES


def are_entity_tags(labels: Sequence[str]) -> bool:
    """Whether the labels are tags of entities in one of those schemes, so that entity F1 measures a model, not accuracy."""
    return OUTSIDE in labels and len(labels) > 1 and all(label == OUTSIDE or INSIDE.fullmatch(label) for label in labels)


def seqeval() -> Any:
    """The module that finds entities."""
    try:
        from seqeval.metrics import sequence_labeling
    except ImportError:
        raise InputError(
            "the labels are tags of entities, and seqeval counts these: pip install 'salt_fairseq[tagging]'"
        ) from None
    return sequence_labeling


def entity_counts(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> tuple[int, int, int]:
    """``(correct, predicted, actual)`` entities of sentences, given the tags of their words. An entity is correct if its type,
    first and last word are."""
    correct = predicted = actual = 0
    for target, prediction in zip(targets, predictions):
        its, other = (set(seqeval().get_entities(list(tags))) for tags in (target, prediction))
        correct, predicted, actual = correct + len(its & other), predicted + len(other), actual + len(its)
    return correct, predicted, actual


def f1(correct: float, predicted: float, actual: float) -> float:
    """Percentage; 0 where there are no entities at all."""
    return 200 * correct / (predicted + actual) if predicted + actual else 0.0
