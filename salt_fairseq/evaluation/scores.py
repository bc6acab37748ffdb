"""How good predictions are: accuracy, macro-F1 and the confusion matrix, and whether there is reason to doubt that a model has
learned anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

MEASURES = {"f1": "entity F1", "accuracy": "accuracy", "macro_f1": "macro-F1"}  # as they are stored and named
NEAR_CHANCE = 0.99  # of ln C, the loss of a model that gives all C labels the same probability
STANDARD_ERRORS = 2  # by which an accuracy must exceed that of the most frequent label


def confusion_matrix(targets: np.ndarray, predictions: np.ndarray, labels: int) -> np.ndarray:
    """int64 (labels, labels): how often an example of the label of the row was given the label of the column.

    ``targets`` and ``predictions`` are int64 (N,).
    """
    return np.bincount(targets * labels + predictions, minlength=labels * labels).reshape(labels, labels)


def accuracy(confusion: np.ndarray) -> float:
    """Percentage of the examples that were given their own label."""
    return 100 * float(np.trace(confusion)) / float(confusion.sum())


def macro_f1(confusion: np.ndarray) -> float:
    """Mean over labels of F1 = 2 TP / (2 TP + FP + FN), in percent, of all labels that are a target or a prediction at least
    once (as ``sklearn.metrics.f1_score(average="macro")`` does it)."""
    both = confusion.sum(0) + confusion.sum(1)  # 2 TP + FP + FN
    return 100 * float(np.mean(2 * np.diag(confusion)[both > 0] / both[both > 0]))


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean of -ln p(target), in nats, of float (N, labels) logits and int64 (N,) targets."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]))


def unlearned(confusion: Sequence[Sequence[int]] | np.ndarray, loss: float | None = None) -> str | None:
    """Why such predictions are those of a model that has learned nothing, or None.

    Either one label is predicted throughout, though the examples have several, or the loss is not below 0.99 ln C and the
    accuracy is within two standard errors of that of always answering the most frequent label. Where models transfer badly,
    the loss alone proves nothing: an overconfident one has a loss above ln C and an accuracy far above chance.
    """
    counts = np.asarray(confusion)
    if np.count_nonzero(counts.sum(1)) < 2:
        return None
    if np.count_nonzero(counts.sum(0)) == 1:
        return "predicts one label throughout"
    n, frequent = counts.sum(), counts.sum(1).max() / counts.sum()
    limit = frequent + STANDARD_ERRORS * math.sqrt(frequent * (1 - frequent) / n)
    if loss is not None and loss >= NEAR_CHANCE * math.log(len(counts)) and np.trace(counts) / n <= limit:
        return f"has a loss of {loss:.3f}, which is not below that of guessing (ln {len(counts)} = {math.log(len(counts)):.3f})"
    return None
