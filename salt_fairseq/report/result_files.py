"""A file that ``python -m salt_fairseq.evaluate`` wrote, read and checked: its checkpoints, and what they predict.

A subset ``test.fr`` is the pair of languages ``("fr", "fr")``, and ``test.fr-de`` of the generalized setting is
``("fr", "de")``: premise in French, hypothesis in German. Accuracies are percentages; where a file says that entity F1 is
what measures its models, that stands in the place of accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from salt_fairseq.data.directory import TOKENS
from salt_fairseq.data.subset import Subset
from salt_fairseq.errors import InputError
from salt_fairseq.evaluation import scores
from salt_fairseq.storage.files import read_json

EVALUATE = "python -m salt_fairseq.evaluate"
TOLERANCE = 1e-6  # of an accuracy that is computed again
DEV = "valid"  # the split on which checkpoints are selected

Pair = tuple[str, str]  # languages of premise and hypothesis


@dataclass
class Run:
    """One trained checkpoint, a seed of a system; ``macro_f1`` and ``correct`` lack the pairs that came without predictions."""

    file: str
    path: str | None
    sha256: str | None
    seed: int | str | None
    updates: int | None = None
    selection: str | None = None  # how it was chosen among the checkpoints of its run, as the file says
    accuracy: dict[Pair, float] = field(default_factory=dict)
    dev_accuracy: dict[Pair, float] = field(default_factory=dict)
    macro_f1: dict[Pair, float] = field(default_factory=dict)
    correct: dict[Pair, np.ndarray] = field(default_factory=dict)  # bool (N,)
    score: str = "accuracy"  # what its accuracies are, a key of scores.MEASURES
    unlearned: str | None = None  # why it seems to have learned nothing

    def __str__(self) -> str:
        return f"seed {self.seed} ({self.path or self.file})" if self.seed is not None else self.path or self.file


def read_file(
    path: str, split: str, targets: dict[Pair, np.ndarray], origin: dict[str, tuple[str, Any]], any_source: bool = False
) -> list[Run]:
    """The runs of one file; ``targets`` grows, and ``origin`` remembers which file said what about the data, which must be the
    same, but for the source language with ``any_source``."""
    content = read_json(path, EVALUATE)
    checkpoints = content.get("checkpoints") if isinstance(content, dict) else None
    if not isinstance(checkpoints, list) or not checkpoints:
        raise InputError(f"{path} holds no checkpoints: it must be a file that {EVALUATE} wrote")
    data = _object(content, "data", path)
    subsets = _object(data, "subsets", path)
    _check_same(origin, path, "labels", content.get("labels"))
    if not any_source:
        _check_same(origin, path, "source language", data.get("source_language"))
    score = content.get("measure", "accuracy")
    if score not in scores.MEASURES:
        raise InputError(
            f"{path}: the measure {score!r:.40} is none of {', '.join(scores.MEASURES)}: make it again with {EVALUATE}"
        )
    _check_same(origin, path, "measure", score)
    for subset in subsets:
        for key in ("examples", "sha256"):
            _check_same(origin, path, f"{key} of {subset}", _object(subsets, subset, path).get(key))
    own = {}
    for subset, labels in _object(content, "targets", path).items():
        pair = _pair(subset, split, data.get("source_language"))
        if content.get("labelled") == TOKENS:  # sentences are no units of one label, which the tests over examples need
            _check_same(origin, path, f"targets of {subset}", labels)
        elif pair:
            own[pair] = _labels(labels, f"{path}: the targets of {subset}")
            _check_same(origin, path, f"targets of {subset}", own[pair].tolist())
            examples = _object(subsets, subset, path).get("examples", len(own[pair]))
            if examples != len(own[pair]):
                raise InputError(
                    f"{path}: {subset} has {examples} examples but {len(own[pair])} targets: "
                    f"make the file again with {EVALUATE}"
                )
    targets.update(own)
    labels = content.get("labels")
    count = len(labels) if isinstance(labels, list) else 0
    return [_run(entry, path, split, data.get("source_language"), own, count, score) for entry in checkpoints]


def _object(parent, key, path):
    """``parent[key]``, an object of the file, empty where it is absent."""
    value = parent.get(key) if isinstance(parent, dict) else parent
    if not isinstance(parent, dict) or not isinstance(value, (dict, type(None))):
        raise InputError(f"{path}: {key} is not as {EVALUATE} writes it: make the file again")
    return value or {}


def _pair(subset, split, source):
    """``test.fr-de`` to ``("fr", "de")``, ``test.fr`` to ``("fr", "fr")``, None for a subset of another split."""
    name = Subset.parse(subset)
    pair = name.pair(source or "")
    return pair if name.split == split and pair[0] else None


def _labels(values, what):
    try:
        labels = np.array(values)
    except ValueError:
        labels = np.array(None)
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind != "i" or labels.min() < 0:
        raise InputError(f"{what} are no list of label numbers: make the file again with {EVALUATE}")
    return labels


def _check_same(origin, path, what, value):
    """Remember what the first file says of ``what``, and raise where a later one says something else."""
    if value is None:  # published numbers, typed in by hand, say nothing
        return
    first, expected = origin.setdefault(what, (path, value))
    if value != expected:
        raise InputError(
            f"{path} and {first} were evaluated on different data (the {what} differ): evaluate both on the same data directory"
        )


def _run(entry, path, split, source, targets, labels, score):
    """The :class:`Run` of one entry of a file; ``labels`` is their number."""
    predictions = _object(entry, "predictions", path)
    run = Run(
        str(path), entry.get("path"), entry.get("sha256"), entry.get("seed"), entry.get("updates"), entry.get("selection")
    )
    run.score, run.accuracy = score, _percentages(entry, score, path, split, source)
    if not run.accuracy:
        raise InputError(
            f"{path} has no {scores.MEASURES[score]} of a subset {split}.LANGUAGE: evaluate such subsets, or name another "
            "split with --split"
        )
    run.dev_accuracy = _percentages(entry, score, path, DEV, source)
    run.macro_f1 = _percentages(entry, "macro_f1", path, split, source)
    losses, doubts = _object(entry, "loss", path), []
    for subset, accuracy in _object(entry, "accuracy", path).items():
        pair = _pair(subset, split, source)
        if pair is None or predictions.get(subset) is None or pair not in targets:
            continue
        predicted = _labels(predictions[subset], f"{path}: the predictions of {subset}")
        if len(predicted) != len(targets[pair]):
            raise InputError(
                f"{path}: {subset} has {len(targets[pair])} targets but {len(predicted)} predictions: "
                f"make the file again with {EVALUATE}"
            )
        run.correct[pair] = predicted == targets[pair]
        counted = 100 * run.correct[pair].mean()
        if abs(counted - accuracy) > TOLERANCE:
            raise InputError(
                f"{path}: the accuracy of {subset} is {accuracy}, but its predictions and targets give "
                f"{counted:.6f}: make the file again with {EVALUATE}"
            )
        size = max(labels, 1 + int(targets[pair].max()), 1 + int(predicted.max()))
        loss = losses.get(subset) if isinstance(losses.get(subset), float) else None
        doubts.append(scores.unlearned(scores.confusion_matrix(targets[pair], predicted, size), loss))
    run.unlearned = doubts[0] if doubts and all(doubts) else None
    return run


def _percentages(entry, key, path, split, source):
    """Pair of languages to the percentage that the entry has for it under ``key``."""
    percentages: dict[Pair, float] = {}
    for subset, value in _object(entry, key, path).items():
        pair = _pair(subset, split, source)
        if pair is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
            what = key.replace("_", "-")
            raise InputError(f"{path}: the {what} of {subset} is {value!r}; it must be a percentage, 0 to 100")
        if pair in percentages:
            raise InputError(f"{path} has {subset} twice, also as {split}.{pair[0]}: leave one of them out")
        percentages[pair] = float(value)
    return percentages
