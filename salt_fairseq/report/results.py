"""Systems and their seeds, and what each is measured by: the average over languages, with and without the source languages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from salt_fairseq.data.subset import source_languages
from salt_fairseq.errors import InputError
from salt_fairseq.evaluation import scores
from salt_fairseq.report.result_files import Pair, Run, read_file

GENERALIZED = "avg. of all pairs"


@dataclass
class Results:
    """Systems by name, each a list of runs, all measured on ``languages`` (in the order of the tables)."""

    systems: dict[str, list[Run]]
    sources: tuple[str, ...]  # the source languages, mostly one
    languages: list[str]
    targets: dict[Pair, np.ndarray]  # int64 (N,), the labels of its examples
    notes: list[str] = field(default_factory=list)  # about runs, for the reader of the tables
    score: str = "accuracy"  # what is measured, a key of scores.MEASURES

    @property
    def score_title(self) -> str:
        """``Accuracy`` or ``Entity F1``."""
        name = scores.MEASURES[self.score]
        return name[0].upper() + name[1:]

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
        others = [pair for language, (pair,) in same.items() if language not in self.sources]
        averages = {self.without_source: others, self.with_source: [pair for (pair,) in same.values()]}
        generalized = self.generalized_languages
        pairs = {GENERALIZED: [(a, b) for a in generalized for b in generalized]} if generalized else {}
        return {**same, **averages, **pairs}

    @property
    def without_source(self) -> str:
        return f"avg. without {', '.join(self.sources)}"

    @property
    def with_source(self) -> str:
        return f"avg. with {', '.join(self.sources)}"

    def per_seed(self, name: str, measure: str) -> list[float]:
        """Accuracy of each seed, or an empty list where the system was not evaluated on all pairs of ``measure``."""
        pairs = self.measures[measure]
        if any(pair not in self.systems[name][0].accuracy for pair in pairs):
            return []
        return [fmean(run.accuracy[pair] for pair in pairs) for run in self.systems[name]]

    def of_same_seeds(self, name: str, other: str, measure: str) -> tuple[list[float], list[float]]:
        """Accuracies of two systems, one for each seed that both have; runs whose seed is not known are left out."""
        values, others = (
            {run.seed: value for run, value in zip(self.systems[each], self.per_seed(each, measure))} for each in (name, other)
        )
        both = [seed for seed in values if seed in others and seed is not None]
        return [values[seed] for seed in both], [others[seed] for seed in both]

    def macro_f1(self, name: str, measure: str) -> float:
        """Mean of the macro-F1 over the pairs of ``measure`` and over seeds, NaN where a file does not have all."""
        pairs, runs = self.measures[measure], self.systems[name]
        return fmean(run.macro_f1.get(pair, math.nan) for run in runs for pair in pairs)

    def mean(self, name: str, measure: str) -> float:
        """Mean over seeds, NaN where not evaluated."""
        values = self.per_seed(name, measure)
        return fmean(values) if values else math.nan

    def matrix(self, name: str) -> np.ndarray:
        """float64 (premises, hypotheses): mean over seeds in the generalized setting, NaN where not evaluated."""
        names, runs = self.generalized_languages, self.systems[name]
        return np.array([[fmean(run.accuracy.get((a, b), math.nan) for run in runs) for b in names] for a in names])


@dataclass
class Checkpoints:
    """All checkpoints of each system, as their files have them, before one of each run is selected."""

    systems: dict[str, list[Run]]
    sources: tuple[str, ...]
    targets: dict[Pair, np.ndarray]


def read_checkpoints(systems: dict[str, list[str]], source: str | None = None, split: str = "test") -> Checkpoints:
    """The checkpoints of ``systems``, a dict of system name to the paths of its files; ``source`` is the source language, or
    several, ``en,de`` (None: what the files say, or else ``en``). Raises :class:`InputError` for files that are no results, or
    of other data."""
    targets: dict[Pair, np.ndarray] = {}
    origin: dict[str, tuple[str, Any]] = {}
    read = {
        name: [run for path in paths for run in read_file(path, split, targets, origin, source is not None)]
        for name, paths in systems.items()
    }
    return Checkpoints(read, source_languages(source or origin.get("source language", ("", "en"))[1]), targets)


def as_results(
    checkpoints: Checkpoints,
    systems: dict[str, list[Run]],
    languages: list[str] | None = None,
    split: str = "test",
    leave_out_unlearned: bool = False,
) -> Results:
    """The results of one run of each seed of ``systems``; ``languages`` selects and orders. Runs that never learned are noted,
    and with ``leave_out_unlearned`` left out. Raises :class:`InputError` for runs that cannot be compared."""
    sources = checkpoints.sources
    unlearned = {name: [run for run in runs if run.unlearned] for name, runs in systems.items()}
    if leave_out_unlearned:
        systems = {name: [run for run in runs if not run.unlearned] for name, runs in systems.items()}
        if empty := [name for name, runs in systems.items() if not runs]:
            raise InputError(f"no run of {empty[0]} has learned anything: nothing is left of it with --leave-out-unlearned")
    everyone = [run for runs in systems.values() for run in runs]
    if languages is None:
        evaluated = {premise for run in everyone for premise, hypothesis in run.accuracy if premise == hypothesis}
        languages = sorted(evaluated, key=lambda language: (language not in sources, language))
    known = set(languages)
    for run in everyone:
        _check_languages(run, everyone, languages, sources, split)
        run.accuracy = {pair: value for pair, value in run.accuracy.items() if known.issuperset(pair)}
    if known <= set(sources):
        raise InputError(
            f"no language but {', '.join(sources)} to average over in {', '.join(run.file for run in everyone)}: evaluate "
            f"{split} subsets of others"
        )
    for name, runs in systems.items():
        for run in runs[1:]:
            odd = sorted("-".join(pair) for pair in set(run.accuracy) ^ set(runs[0].accuracy))
            if odd:
                raise InputError(
                    f"{run.file} and {runs[0].file} are seeds of {name} but were evaluated on different "
                    f"subsets (only one has {odd[0]}): evaluate every seed on the same"
                )
    targets = {pair: labels for pair, labels in checkpoints.targets.items() if known.issuperset(pair)}
    fate = "It is left out of all numbers." if leave_out_unlearned else "It is part of all numbers (see --leave-out-unlearned)."
    notes = [f"{name}, {run} never learned: it {run.unlearned}. {fate}" for name, runs in unlearned.items() for run in runs]
    return Results(systems, sources, languages, targets, notes, everyone[0].score)


def check_runs(systems: dict[str, list[Run]]) -> None:
    """Raise where two checkpoints of a system are not two runs: deviations and tests over seeds would be too small."""
    for name, runs in systems.items():
        _check_distinct(name, runs)


def _check_distinct(name, runs):
    """Neither a checkpoint that is evaluated twice is two seeds, nor are two checkpoints of one training."""
    seen: dict[str | None, Run] = {}
    by_seed: dict[int | str, Run] = {}
    for run in runs:
        identity = run.sha256 or run.path
        if identity is not None and identity in seen:
            raise InputError(
                f"{run.file} and {seen[identity].file} hold the same checkpoint ({run.path}): {name} would count "
                "it as two seeds; evaluate all its subsets in one call"
            )
        seen[identity] = run
        if run.seed is not None and run.updates is not None:
            other = by_seed.setdefault(run.seed, run)
            if other.updates not in (None, run.updates):
                raise InputError(
                    f"{name} has {run} after {run.updates:,} updates and {other} after {other.updates:,}, two checkpoints of "
                    "one run: say with --selection which of them counts"
                )


def _check_languages(run, everyone, languages, sources, split):
    for source in sources:
        if source not in languages or (source, source) not in run.accuracy:
            raise InputError(
                f"{run.file} has no {scores.MEASURES[run.score]} of the source language ({split}.{source}): evaluate it too, "
                "or name another language with --source-language"
            )
    for language in languages:
        if (language, language) not in run.accuracy:
            other = next((other.file for other in everyone if (language, language) in other.accuracy), "--languages")
            raise InputError(
                f"{run.file} has no {scores.MEASURES[run.score]} of {split}.{language}, which {other} names: evaluate it, or "
                "name the languages that all files have with --languages"
            )
