"""What ``python -m salt_fairseq.evaluate`` wrote, read and checked: systems, their seeds, and what each is measured by.

A subset ``test.fr`` is the pair of languages ``("fr", "fr")``, and ``test.fr-de`` of the generalized setting is
``("fr", "de")``: premise in French, hypothesis in German. Accuracies are percentages.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import TypeAlias

import numpy as np

from salt_fairseq.data.subset import Subset
from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import read_json

EVALUATE = "python -m salt_fairseq.evaluate"
TOLERANCE = 1e-6  # of an accuracy that is computed again
GENERALIZED = "avg. of all pairs"

Pair: TypeAlias = tuple[str, str]  # languages of premise and hypothesis


@dataclass
class Run:
    """One trained checkpoint, a seed of a system; ``correct`` lacks the pairs that came without predictions."""

    file: str
    path: str | None
    sha256: str | None
    seed: int | str | None
    accuracy: dict[Pair, float] = field(default_factory=dict)
    correct: dict[Pair, np.ndarray] = field(default_factory=dict)  # bool (N,)


@dataclass
class Results:
    """Systems by name, each a list of runs, all measured on ``languages`` (in the order of the tables)."""

    systems: dict[str, list[Run]]
    source: str
    languages: list[str]
    targets: dict[Pair, np.ndarray]  # int64 (N,), the labels of its examples

    @cached_property
    def generalized_languages(self) -> list[str]:
        """Languages of any pair of two, in the order of the tables; empty without the generalized setting."""
        pairs = [pair for runs in self.systems.values() for pair in runs[0].accuracy if pair[0] != pair[1]]
        named = {language for pair in pairs for language in pair}
        return [language for language in self.languages if language in named]

    @cached_property
    def measures(self) -> dict[str, list[Pair]]:
        """Name to the pairs whose mean it is: each language, both averages, and that of the generalized setting."""
        same = {language: [(language, language)] for language in self.languages}
        others = [pair for language, (pair,) in same.items() if language != self.source]
        averages = {self.without_source: others, self.with_source: [pair for (pair,) in same.values()]}
        generalized = self.generalized_languages
        pairs = {GENERALIZED: [(a, b) for a in generalized for b in generalized]} if generalized else {}
        return {**same, **averages, **pairs}

    @property
    def without_source(self) -> str:
        return f"avg. without {self.source}"

    @property
    def with_source(self) -> str:
        return f"avg. with {self.source}"

    def per_seed(self, name: str, measure: str) -> list[float]:
        """Accuracy of each seed, or an empty list where the system was not evaluated on all pairs of ``measure``."""
        pairs = self.measures[measure]
        if any(pair not in self.systems[name][0].accuracy for pair in pairs):
            return []
        return [fmean(run.accuracy[pair] for pair in pairs) for run in self.systems[name]]

    def mean(self, name: str, measure: str) -> float:
        """Mean over seeds, NaN where not evaluated."""
        values = self.per_seed(name, measure)
        return fmean(values) if values else math.nan

    def matrix(self, name: str) -> np.ndarray:
        """float64 (premises, hypotheses): mean over seeds in the generalized setting, NaN where not evaluated."""
        names, runs = self.generalized_languages, self.systems[name]
        return np.array([[fmean(run.accuracy.get((a, b), math.nan) for run in runs) for b in names] for a in names])


def read_results(
    systems: dict[str, list[str]], source: str | None = None, languages: list[str] | None = None, split: str = "test"
) -> Results:
    """Results of ``systems``, a dict of system name to the paths of its files. ``languages`` selects and orders; ``source`` is
    the source language (None: what the files say, or else ``en``).

    Raises :class:`InputError` for files that cannot be compared or are no results.
    """
    read: dict[str, list[Run]] = {}
    targets: dict[Pair, np.ndarray] = {}
    origin: dict = {}
    for name, paths in systems.items():
        read[name] = [run for path in paths for run in _read_file(path, split, targets, origin)]
        _check_distinct(name, read[name])
    source = source or origin.get("source language", ("", "en"))[1]
    everyone = [run for runs in read.values() for run in runs]
    if languages is None:
        evaluated = {premise for run in everyone for premise, hypothesis in run.accuracy if premise == hypothesis}
        languages = sorted(evaluated, key=lambda language: (language != source, language))
    known = set(languages)
    for run in everyone:
        _check_languages(run, everyone, languages, source, split)
        run.accuracy = {pair: value for pair, value in run.accuracy.items() if known.issuperset(pair)}
    if len(languages) == 1:
        raise InputError(
            f"no language but {source} to average over in {', '.join(run.file for run in everyone)}: evaluate "
            f"{split} subsets of others"
        )
    for name, runs in read.items():
        for run in runs[1:]:
            odd = sorted("-".join(pair) for pair in set(run.accuracy) ^ set(runs[0].accuracy))
            if odd:
                raise InputError(
                    f"{run.file} and {runs[0].file} are seeds of {name} but were evaluated on different "
                    f"subsets (only one has {odd[0]}): evaluate every seed on the same"
                )
    targets = {pair: labels for pair, labels in targets.items() if known.issuperset(pair)}
    return Results(read, source, languages, targets)


def _read_file(path, split, targets, origin):
    """The runs of one file; ``targets`` grows, and ``origin`` remembers which file said what about the data."""
    content = read_json(path, EVALUATE)
    checkpoints = content.get("checkpoints") if isinstance(content, dict) else None
    if not isinstance(checkpoints, list) or not checkpoints:
        raise InputError(f"{path} holds no checkpoints: it must be a file that {EVALUATE} wrote")
    data = _object(content, "data", path)
    subsets = _object(data, "subsets", path)
    _check_same(origin, path, "labels", content.get("labels"))
    _check_same(origin, path, "source language", data.get("source_language"))
    for subset in subsets:
        for key in ("examples", "sha256"):
            _check_same(origin, path, f"{key} of {subset}", _object(subsets, subset, path).get(key))
    own = {}
    for subset, labels in _object(content, "targets", path).items():
        pair = _pair(subset, split, data.get("source_language"))
        if pair:
            own[pair] = _labels(labels, f"{path}: the targets of {subset}")
            _check_same(origin, path, f"targets of {subset}", own[pair].tolist())
            examples = _object(subsets, subset, path).get("examples", len(own[pair]))
            if examples != len(own[pair]):
                raise InputError(
                    f"{path}: {subset} has {examples} examples but {len(own[pair])} targets: "
                    f"make the file again with {EVALUATE}"
                )
    targets.update(own)
    return [_run(entry, path, split, data.get("source_language"), own) for entry in checkpoints]


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
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind != "i":
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


def _run(entry, path, split, source, targets):
    accuracies, predictions = _object(entry, "accuracy", path), _object(entry, "predictions", path)
    run = Run(str(path), entry.get("path"), entry.get("sha256"), entry.get("seed"))
    for subset, accuracy in accuracies.items():
        pair = _pair(subset, split, source)
        if pair is None:
            continue
        if isinstance(accuracy, bool) or not isinstance(accuracy, (int, float)) or not 0 <= accuracy <= 100:
            raise InputError(f"{path}: the accuracy of {subset} is {accuracy!r}; it must be a percentage, 0 to 100")
        if pair in run.accuracy:
            raise InputError(f"{path} has {subset} twice, also as {split}.{pair[0]}: leave one of them out")
        run.accuracy[pair] = float(accuracy)
        if predictions.get(subset) is None or pair not in targets:
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
    if not run.accuracy:
        raise InputError(
            f"{path} has no accuracy of a subset {split}.LANGUAGE: evaluate such subsets, or name another split with --split"
        )
    return run


def _check_distinct(name, runs):
    """A checkpoint that is evaluated twice is not two seeds: deviations and tests over seeds would be too small."""
    seen: dict[str | None, Run] = {}
    for run in runs:
        identity = run.sha256 or run.path
        if identity is not None and identity in seen:
            raise InputError(
                f"{run.file} and {seen[identity].file} hold the same checkpoint ({run.path}): {name} would count "
                "it as two seeds; evaluate all its subsets in one call"
            )
        seen[identity] = run


def _check_languages(run, everyone, languages, source, split):
    if source not in languages or (source, source) not in run.accuracy:
        raise InputError(
            f"{run.file} has no accuracy of the source language ({split}.{source}): evaluate it too, or name "
            "another language with --source-language"
        )
    for language in languages:
        if (language, language) not in run.accuracy:
            other = next((other.file for other in everyone if (language, language) in other.accuracy), "--languages")
            raise InputError(
                f"{run.file} has no accuracy of {split}.{language}, which {other} names: evaluate it, or name "
                "the languages that all files have with --languages"
            )
