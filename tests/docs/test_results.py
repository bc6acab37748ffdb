"""Every row of the tables of docs/results.md follows from the accuracies in docs/results.json: means, deviations, t-tests."""

import json
import re

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from support.running import ROOT

RUNS = json.loads((ROOT / "docs" / "results.json").read_text(encoding="utf-8"))
ROWS = [
    [cell.strip() for cell in line.strip("|").replace("**", "").split("|")]
    for line in (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|")
]
SELECTIONS = {"best on English dev": "best", "last": "last", "average": "average"}
TASKS = {"PAWS-X, 7 languages": "PAWS-X", "SIB-200, 17 languages": "SIB-200", "xSID, 19 languages and dialects": "xSID", "parts of speech, 9 languages": "UD"}


def averages(task, system, selection="best", without=("en",)):
    """A run's mean over all languages but these, float64 (seeds,)."""
    runs = [run[selection]["accuracy"] for run in RUNS[task][system]]
    return np.array([np.mean([value for language, value in run.items() if language not in without]) for run in runs])


def spread(values, digits=2):
    """As a cell has it; one seed has no deviation."""
    return f"{np.mean(values):.{digits}f}" + (f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "")


def compared(values, baseline):
    """The cells of a difference, of Welch's p and of the p of the t-test paired by seed."""
    tests = ttest_ind(values, baseline, equal_var=False), ttest_rel(values, baseline)
    return [f"{np.mean(values) - np.mean(baseline):+.2f}", *("<0.001" if test.pvalue < 0.001 else f"{test.pvalue:.3f}" for test in tests)]


def cells(task, system):
    """Seeds, average without en, en, and the comparison with vanilla."""
    values, en = averages(task, system), [run["best"]["accuracy"]["en"] for run in RUNS[task][system]]
    more = ["–", "–", "–"] if system == "vanilla" else compared(values, averages(task, "vanilla"))
    return [str(len(values)), spread(values), spread(en), *more]


@pytest.mark.parametrize("task", ["XNLI", "XNLI five epochs"])
def test_averages(task):
    several = [system for system, runs in RUNS[task].items() if len(runs) > 1]
    assert several and [[system, *cells(task, system)] for system in several if [system, *cells(task, system)] not in ROWS] == []


def test_systems_with_one_seed():
    text = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    said = dict(re.findall(r"(RS-RP|SCOPA|CoSDA-ML|RS-DA) (?:has )?(\d\d\.\d)", text[text.index("With one seed each") :]))
    assert said == {system: spread(averages("XNLI", system), 1) for system, runs in RUNS["XNLI"].items() if len(runs) == 1}


def test_languages():
    header = next(row for row in ROWS if row[:3] == ["", "en", "ar"])
    for system in ("vanilla", "SALT", "SALT-en-only", "SALT-without-mixup", "SALT-consistency", "R-Drop"):
        runs = [run["best"]["accuracy"] for run in RUNS["XNLI"][system]]
        assert sorted(header[1:]) == sorted(runs[0]) and [system, *(f"{np.mean([run[x] for run in runs]):.1f}" for x in header[1:])] in ROWS


def test_selections():
    header = next(row for row in ROWS if row[-1] == "SALT, five epochs")
    columns = [("XNLI five epochs" if "," in name else "XNLI", name.split(",")[0]) for name in header[1:]]
    for said, selection in SELECTIONS.items():
        assert [said, *(spread(averages(*column, selection)) for column in columns)] in ROWS


@pytest.mark.parametrize("said", TASKS)
def test_other_tasks(said):
    task = TASKS[said]
    for first, system in enumerate(sorted(RUNS[task], key=["vanilla", "SALT", "SALT-consistency", "R-Drop"].index)):
        assert ["" if first else said, system, *cells(task, system)] in ROWS
    assert len(next(iter(RUNS[task].values()))[0]["best"]["accuracy"]) == int(re.findall(r"\d+", said)[-1])


@pytest.mark.parametrize(
    "said, task, sources", [("fr", "XNLI from French", ["fr"]), ("en, de, zh", "XNLI from English, German and Chinese", ["en", "de", "zh"])]
)
def test_other_sources(said, task, sources):
    for first, system in enumerate(("vanilla", "SALT")):
        trained = [np.mean([run["last"]["accuracy"][language] for language in sources]) for run in RUNS[task][system]]
        others = averages(task, system, "last", ("en", "de", "fr", "zh"))
        assert ["" if first else said, system, str(len(others)), f"{np.mean(trained):.1f}", spread(others, 1)] in ROWS


def test_ablations():
    """One row for each system: updates, seeds, English dev, the other languages, and all pairs."""
    task, rows = "XNLI, 5,010 pairs", [[cell.replace("`", "") for cell in row] for row in ROWS]
    for system, runs in RUNS[task].items():
        dev, others = [run["last"]["valid"]["en"] for run in runs], averages(task, system, "last")
        last = [run["last"] for run in runs if "generalized" in run["last"]]
        pairs = [np.mean([*run["accuracy"].values(), *run["generalized"].values()]) for run in last]
        shown = [spread(dev, 1), spread(others, 1), spread(pairs, 1) if pairs else "–"]
        assert [system, str(runs[0]["last"]["updates"]), str(len(runs)), *shown] in rows, system
