"""The report's numbers as plain rows, unrounded, for CSV: a dict each, NaN or None where there is no number."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from statistics import fmean

from salt_fairseq.report.results import GENERALIZED, Results
from salt_fairseq.report.significance import Comparisons, deviation, seeds_needed
from salt_fairseq.report.tables import best


def write_csv(rows: list[dict], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _plain(value) for key, value in row.items()})


def _plain(value: float | str | int | None) -> str | int:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value


def languages(results: Results, comparisons: Comparisons) -> list[dict]:
    """A row for each system and measure; ``significant`` is ``*`` where the Markdown underlines."""
    rows = []
    for name, runs in results.systems.items():
        for measure in results.measures:
            comparison = comparisons.get((name, measure))
            rows.append(
                {
                    "system": name,
                    "measure": measure,
                    "seeds": len(runs),
                    results.score: results.mean(name, measure),
                    "standard_deviation": deviation(results.per_seed(name, measure)),
                    "macro_f1": results.macro_f1(name, measure),
                    "best": "*" if name in best(results, measure) else "",
                    "difference": comparison.difference if comparison else math.nan,
                    "significant": "*" if comparison and comparison.improves else "",
                }
            )
    return rows


def averages(results: Results, comparisons: Comparisons) -> list[dict]:
    """A row for each system."""
    rows = []
    for name, runs in results.systems.items():
        row = {"system": name, "seeds": len(runs)}
        for measure in (results.without_source, results.with_source, GENERALIZED):
            if measure in results.measures:
                title = re.sub("[.,]", "", measure).replace(" ", "_")
                c = comparisons.get((name, measure))
                row |= {
                    title: results.mean(name, measure),
                    f"{title}_deviation": deviation(results.per_seed(name, measure)),
                    f"{title}_difference": c and c.difference,
                    f"{title}_welch_p": c and c.welch,
                    f"{title}_bootstrap_p": c and c.bootstrap,
                }
        rows.append(row)
    return rows


def seeds(results: Results) -> list[dict]:
    """A row for each checkpoint: its accuracy in each language, and its averages."""
    return [
        {
            "system": name,
            "seed": run.seed,
            "updates": run.updates,
            "selection": run.selection,
            "never_learned": run.unlearned,
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


def generalized(results: Results, names: list[str]) -> list[dict]:
    """A row for each of these systems and each pair of languages."""
    languages = results.generalized_languages
    return [
        {
            "system": name,
            "premise": a,
            "hypothesis": b,
            "seeds": len(results.systems[name]),
            "accuracy": fmean(values),
            "standard_deviation": deviation(values),
        }
        for name in names
        for a in languages
        for b in languages
        for values in [[run.accuracy.get((a, b), math.nan) for run in results.systems[name]]]
    ]


def significance(baseline: str, comparisons: Comparisons) -> list[dict]:
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
            "paired_p": c.paired,
            "bootstrap_low": c.low,
            "bootstrap_high": c.high,
            "bootstrap_p": c.bootstrap,
            "bootstrap_p_holm": c.bootstrap_holm,
            "mcnemar_p": c.mcnemar,
            "seeds_for_80_percent_power": seeds_needed(c.difference, c.deviations),
        }
        for c in comparisons.values()
    ]


def selections(results: dict[tuple[str, str], Results]) -> list[dict]:
    """A row for each system and selection of its checkpoints."""
    return [
        {
            "system": name,
            "selection": selection,
            "measure": measure,
            "seeds": len(each.systems[name]),
            each.score: each.mean(name, measure),
            "standard_deviation": deviation(each.per_seed(name, measure)),
        }
        for (name, selection), each in results.items()
        for measure in each.measures
    ]
