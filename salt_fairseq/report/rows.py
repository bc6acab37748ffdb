"""The report's numbers as plain rows, unrounded, for CSV: a dict each, NaN or None where there is no number."""

import csv
import math
from statistics import fmean, stdev

from salt_fairseq.report.results import AVERAGE, GENERALIZED
from salt_fairseq.report.tables import best


def write_csv(rows, path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _plain(value) for key, value in row.items()})


def _plain(value):
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value


def _deviation(values):
    return stdev(values) if len(values) > 1 else math.nan


def languages(results, comparisons):
    """A row for each system and measure; ``significant`` is ``*`` where the Markdown underlines."""
    found = {(c.system, c.measure): c for c in comparisons}
    rows = []
    for name, runs in results.systems.items():
        for measure in results.measures:
            comparison = found.get((name, measure))
            rows.append(
                {
                    "system": name,
                    "measure": measure,
                    "seeds": len(runs),
                    "accuracy": results.mean(name, measure),
                    "standard_deviation": _deviation(results.per_seed(name, measure)),
                    "best": "*" if name in best(results, measure) else "",
                    "difference": comparison.difference if comparison else math.nan,
                    "significant": "*" if comparison and comparison.improves else "",
                }
            )
    return rows


def averages(results, comparisons):
    """A row for each system."""
    found = {(c.system, c.measure): c for c in comparisons}
    names = {AVERAGE: "avg", results.with_source: f"avg_with_{results.source}", GENERALIZED: "avg_generalized"}
    rows = []
    for name, runs in results.systems.items():
        row = {"system": name, "seeds": len(runs)}
        for measure, title in names.items():
            if measure in results.measures:
                c = found.get((name, measure))
                row |= {
                    title: results.mean(name, measure),
                    f"{title}_deviation": _deviation(results.per_seed(name, measure)),
                    f"{title}_difference": c and c.difference,
                    f"{title}_welch_p": c and c.welch,
                    f"{title}_bootstrap_p": c and c.bootstrap,
                }
        rows.append(row)
    return rows


def seeds(results):
    """A row for each checkpoint: its accuracy in each language, and its averages."""
    return [
        {
            "system": name,
            "seed": run.seed,
            "checkpoint": run.path,
            "file": run.file,
            **{
                measure: fmean(run.accuracy.get(pair, math.nan) for pair in pairs)
                for measure, pairs in results.measures.items()
            },
        }
        for name, runs in results.systems.items()
        for run in runs
    ]


def generalized(results, names):
    """A row for each of these systems and each pair of languages."""
    languages = results.generalized_languages
    return [
        {
            "system": name,
            "premise": a,
            "hypothesis": b,
            "seeds": len(results.systems[name]),
            "accuracy": fmean(values),
            "standard_deviation": _deviation(values),
        }
        for name in names
        for a in languages
        for b in languages
        for values in [[run.accuracy.get((a, b), math.nan) for run in results.systems[name]]]
    ]


def significance(baseline, comparisons):
    """A row for each comparison with the baseline."""
    return [
        {
            "system": c.system,
            "baseline": baseline,
            "measure": c.measure,
            "seeds": c.seeds[0],
            "baseline_seeds": c.seeds[1],
            "difference": c.difference,
            "standard_error": c.standard_error,
            "welch_p": c.welch,
            "welch_p_holm": c.welch_holm,
            "bootstrap_low": c.low,
            "bootstrap_high": c.high,
            "bootstrap_p": c.bootstrap,
            "bootstrap_p_holm": c.bootstrap_holm,
            "mcnemar_p": c.mcnemar,
        }
        for c in comparisons
    ]
