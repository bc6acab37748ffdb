"""What docs/results.md says of each system follows from docs/results.json: means, deviations, t-tests, and no system more.

The table of poolings alone is of runs that are not in the JSON.
"""

import json
import re

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from support.running import ROOT

RUNS = json.loads((ROOT / "docs" / "results.json").read_text(encoding="utf-8"))
ROWS = [
    [cell.strip() for cell in line.strip("|").replace("**", "").replace("`", "").split("|")]
    for line in (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|")
]
SELECTIONS = {"best on English dev": "best", "last": "last", "average": "average"}
TASKS = {"PAWS-X, 7 languages": "PAWS-X", "SIB-200, 17 languages": "SIB-200", "xSID, 19 languages and dialects": "xSID", "parts of speech, 9 languages": "UD"}
SOURCES = {"fr": ("XNLI from French", ["fr"]), "en, de, zh": ("XNLI from English, German and Chinese", ["en", "de", "zh"])}


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


def over_pairs(run):
    """A run's mean over every premise language with every hypothesis language."""
    return np.mean([*run["accuracy"].values(), *run["generalized"].values()])


def cells(task, system):
    """Seeds, average without en, en, and the comparison with vanilla."""
    values, en = averages(task, system), [run["best"]["accuracy"]["en"] for run in RUNS[task][system]]
    more = ["–", "–", "–"] if system == "vanilla" else compared(values, averages(task, "vanilla"))
    return [str(len(values)), spread(values), spread(en), *more]


def of_xnli():
    for task in ("XNLI", "XNLI five epochs"):
        yield from ([system, *cells(task, system)] for system, runs in RUNS[task].items() if len(runs) > 1)


def of_languages():
    order = next(row for row in ROWS if row[:3] == ["", "en", "ar"])[1:]
    for system, runs in RUNS["XNLI"].items():
        if len(runs) > 1:
            yield [system, *(f"{np.mean([run['best']['accuracy'][language] for run in runs]):.1f}" for language in order)]


def of_selections():
    header = next(row for row in ROWS if row[-1] == "SALT, five epochs")
    columns = [("XNLI five epochs" if "," in name else "XNLI", name.split(",")[0]) for name in header[1:]]
    for said, selection in SELECTIONS.items():
        yield [said, *(spread(averages(*column, selection)) for column in columns)]


def of_other_tasks():
    for said, task in TASKS.items():
        for system in RUNS[task]:
            yield [said if system == "vanilla" else "", system, *cells(task, system)]


def of_other_sources():
    for said, (task, sources) in SOURCES.items():
        for system, runs in RUNS[task].items():
            trained = [np.mean([run["last"]["accuracy"][language] for language in sources]) for run in runs]
            others = averages(task, system, "last", ("en", "de", "fr", "zh"))
            yield [said if system == "vanilla" else "", system, str(len(runs)), f"{np.mean(trained):.1f}", spread(others, 1)]


def ablations(task):
    """The runs of each system, and its cells: updates, seeds, English dev, the other languages."""
    for system, runs in RUNS[task].items():
        dev, others = [run["last"]["valid"]["en"] for run in runs], averages(task, system, "last")
        yield runs, [system, str(runs[0]["last"]["updates"]), str(len(runs)), spread(dev, 1), spread(others, 1)]


def of_ablations():
    for runs, shown in ablations("XNLI, 5,010 pairs"):
        pairs = [over_pairs(run["last"]) for run in runs if "generalized" in run["last"]]
        yield [*shown, spread(pairs, 1) if pairs else "–"]


def of_ablations_in_bf16():
    yield from (shown for _, shown in ablations("XNLI, 5,010 pairs, bf16"))


TABLES = (of_xnli, of_languages, of_selections, of_other_tasks, of_other_sources, of_ablations, of_ablations_in_bf16)


@pytest.mark.parametrize("table", TABLES)
def test_rows(table):
    rows = list(table())
    assert rows and [row for row in rows if row not in ROWS] == []


def test_no_other_rows():
    """Nothing else with a number stands in a table, but the two poolings, whose runs are not in the JSON."""
    known = [row for table in TABLES for row in table()]
    others = [row for row in ROWS if row not in known and any(re.match(r"\d\d\.\d", cell) for cell in row)]
    assert [row[0] for row in others] == ["mean, the default of this PLM", "first token (--pooling first)"]


def paragraph(beginning):
    """The paragraph of the results that begins so, on one line."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    (found,) = (part for part in text.split("\n\n") if part.startswith(beginning))
    return " ".join(found.split())


def test_systems_with_one_seed():
    said = dict(re.findall(r"(RS-RP|SCOPA|CoSDA-ML|RS-DA) (?:has )?(\d\d\.\d)", paragraph("With one seed each")))
    assert said == {system: spread(averages("XNLI", system), 1) for system, runs in RUNS["XNLI"].items() if len(runs) == 1}


@pytest.mark.parametrize("said", TASKS)
def test_number_of_languages(said):
    runs = RUNS[TASKS[said]]["vanilla"]
    assert {len(run["best"]["accuracy"]) for run in runs} == {int(re.findall(r"\d+", said)[-1])}


def test_batches_of_16():
    said, runs = re.findall(r"\d\d\.\d", paragraph("In batches of 16")), RUNS["XNLI, batches of 16"]
    trained = [averages("XNLI, batches of 16", system)[0] for system in runs]
    larger = [averages("XNLI", system)[0] for system in runs]
    pairs = [over_pairs(runs[system][0]["first 1,000 pairs"]) for system in runs]
    assert list(runs) == ["vanilla", "SALT"] and {run[0]["seed"] for run in runs.values()} == {1000003}
    assert said == [f"{value:.1f}" for value in (*trained, *larger, *pairs)]


def test_differences_in_bf16():
    """By seed: over the first 200 rows with the p-value of the paired test, and over all 1,000."""
    task, tokens = "XNLI, 5,010 pairs, bf16", "SALT, --positions tokens"
    first = [[run["last"]["first 200"] for run in RUNS[task][system]] for system in (tokens, "SALT")]
    said = [f"{by_seed(*first)}; p {ttest_rel(*first).pvalue:.2f}"]
    for pair in ((tokens, "SALT"), ("SALT", "vanilla")):
        said.append(by_seed(*(averages(task, system, "last") for system in pair)))
    text = paragraph("- **No difference is to be seen**")
    assert [one for one in said if one not in text] == []


def by_seed(values, baseline):
    return ", ".join(re.sub("[+-]0[.]0", "0.0", f"{value:+.1f}") for value in np.subtract(values, baseline))
