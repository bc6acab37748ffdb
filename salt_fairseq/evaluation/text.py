"""What an evaluation prints about a checkpoint: averages, scores of each subset, and doubts that it has learned anything."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.selection import generalized_subsets, subset_by_language
from salt_fairseq.data.subset import Subset
from salt_fairseq.evaluation import scores

MOST_LABELS = 12  # whose confusion matrix is printed


def summary(result: dict[str, Any], measure: str, data: DataDirectory, generalized: str | None) -> str:
    """The averages of the ``measure`` ("accuracy", "f1") over all languages of a split, in words; else that of each subset."""
    sources, values, parts = data.source_languages, result[measure], list[str]()
    source = ", ".join(sources)
    for split in ("valid", "test"):
        names = subset_by_language(data, split)
        scored = {language: values[name] for language, name in names.items() if name in values}
        others = [value for language, value in scored.items() if language not in sources]
        if others and len(scored) == len(names):  # an average over only a part of the languages would mislead
            with_source = f", with {source} {statistics.fmean(scored.values()):.2f}" if scored.keys() >= set(sources) else ""
            parts.append(f"{split} avg. without {source} {statistics.fmean(others):.2f}{with_source}")
    if generalized:
        cells = [values[name] for name in generalized_subsets(data, generalized)]
        parts.append(f"{len(cells)} pairs of languages {statistics.fmean(cells):.2f}")
    text = "; ".join(parts or [f"{name} {value:.2f}" for name, value in values.items()])
    return text if measure == "accuracy" else f"{scores.MEASURES[measure]}: {text}"


def details(result: dict[str, Any], labels: list[str]) -> list[str]:
    """Lines with the measures on each subset in one language, and the confusion matrix of all of these together."""
    names = [name for name in result["accuracy"] if len(Subset.parse(name).languages) < 2]
    width = max(map(len, ["subset", *names]), default=0)
    measures = [measure for measure in scores.MEASURES if measure in result]
    titles = [scores.MEASURES[measure] for measure in measures]
    lines = ["  ".join([f"{'subset':{width}}", *titles])]
    for name in names:
        cells = (f"{result[measure][name]:{len(title)}.2f}" for measure, title in zip(measures, titles))
        lines.append("  ".join([f"{name:{width}}", *cells]))
    if names and len(labels) <= MOST_LABELS:
        total = np.sum([result["confusion"][name] for name in names], axis=0)
        header = [f"label \\ predicted ({'all of these' if len(names) > 1 else names[0]})", *labels]
        rows = [header, *([label, *map(str, row)] for label, row in zip(labels, total.tolist()))]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines += ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return lines


def doubts(result: dict[str, Any]) -> list[str]:
    """What makes one doubt that the checkpoint has learned anything, a sentence each."""
    reasons = {name: scores.unlearned(result["confusion"][name], result["loss"][name]) for name in result["accuracy"]}
    doubtful = {name: reason for name, reason in reasons.items() if reason}
    if doubtful and len(doubtful) == len(reasons):
        return [f"never learned: on every subset, it {next(iter(doubtful.values()))}"]
    return [f"on {name}, it {reason}" for name, reason in doubtful.items() if len(Subset.parse(name).languages) < 2]
