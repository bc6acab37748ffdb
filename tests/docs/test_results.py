"""What docs/results.md says of each system follows from docs/results.json: means, deviations, t-tests, and no system more.

The table of poolings alone is of runs that are not in the JSON.
"""

import json
import math
import re

import numpy as np
import pytest
from scipy.stats import nct, t, ttest_1samp, ttest_ind, ttest_rel

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


def by_seed(task, system, selection="best", without=("en",)):
    """Seed to the mean of its run over all languages but these."""
    runs = {run["seed"]: run[selection]["accuracy"] for run in RUNS[task][system] if selection in run}
    return {seed: np.mean([value for language, value in run.items() if language not in without]) for seed, run in runs.items()}


def spread(values, digits=2):
    """As a cell has it; one seed has no deviation."""
    return f"{np.mean(values):.{digits}f}" + (f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "")


def p_value(test):
    return "<0.001" if test.pvalue < 0.001 else f"{test.pvalue:.3f}"


def compared(values, baseline):
    """The cells of a difference to the runs of the same seeds, of Welch's p and of the p of the t-test paired by seed."""
    pairs = [*values.values()], [baseline[seed] for seed in values]
    tests = ["–", "–"] if len(values) == 1 else [p_value(ttest_ind(*pairs, equal_var=False)), p_value(ttest_rel(*pairs))]
    return [f"{np.mean(pairs[0]) - np.mean(pairs[1]):+.2f}", *tests]


def over_pairs(run):
    """A run's mean over every premise language with every hypothesis language."""
    return np.mean([*run["accuracy"].values(), *run["generalized"].values()])


def cells(task, system, baseline):
    """Seeds, average without en, en, and the comparison with the values of ``baseline``, seed to average."""
    values, en = by_seed(task, system), [run["best"]["accuracy"]["en"] for run in RUNS[task][system]]
    return [str(len(values)), spread([*values.values()]), spread(en), *(["–"] * 3 if values == baseline else compared(values, baseline))]


def of_xnli():
    for task in ("XNLI", "XNLI five epochs"):
        yield from ([system, *cells(task, system, by_seed(task, "vanilla"))] for system in RUNS[task])


def of_languages():
    order = next(row for row in ROWS if row[:3] == ["", "en", "ar"])[1:]
    for system, runs in RUNS["XNLI"].items():
        if len(runs) >= 10:
            yield [system, *(f"{np.mean([run['best']['accuracy'][language] for run in runs]):.1f}" for language in order)]


def of_generalized():
    runs = RUNS["XNLI, generalized setting"]
    values = {system: {run["seed"]: over_pairs(run["best"]) for run in found} for system, found in runs.items()}
    for system, found in runs.items():
        parts = [spread([np.mean([*run["best"][part].values()]) for run in found]) for part in ("accuracy", "generalized")]
        more = ["–"] * 3 if system == "vanilla" else compared(values[system], values["vanilla"])
        yield [system, str(len(found)), spread([*values[system].values()]), *parts, *more]


def of_changes():
    for system in RUNS["XNLI, one thing changed"]:
        yield [system, *cells("XNLI, one thing changed", system, by_seed("XNLI", system.split(",")[0]))]


def of_selections():
    header = next(row for row in ROWS if row[-1] == "SALT, five epochs")
    columns = [("XNLI five epochs" if "," in name else "XNLI", name.split(",")[0]) for name in header[1:]]
    for said, selection in SELECTIONS.items():
        averaged = [by_seed(*column, "average") for column in columns]
        yield [said, *(spread([by_seed(*column, selection)[seed] for seed in of]) for column, of in zip(columns, averaged))]


def of_other_tasks():
    for said, task in TASKS.items():
        for system in RUNS[task]:
            yield [said if system == "vanilla" else "", system, *cells(task, system, by_seed(task, "vanilla"))]


def of_other_sources():
    for said, (task, sources) in SOURCES.items():
        for system, runs in RUNS[task].items():
            trained = [np.mean([run["last"]["accuracy"][language] for language in sources]) for run in runs]
            others = [*by_seed(task, system, "last", ("en", "de", "fr", "zh")).values()]
            yield [said if system == "vanilla" else "", system, str(len(runs)), f"{np.mean(trained):.1f}", spread(others, 1)]


def ablations(task):
    """The runs of each system, and its cells: updates, seeds, English dev, the other languages."""
    for system, runs in RUNS[task].items():
        dev, others = [run["last"]["valid"]["en"] for run in runs], [*by_seed(task, system, "last").values()]
        yield runs, [system, str(runs[0]["last"]["updates"]), str(len(runs)), spread(dev, 1), spread(others, 1)]


def of_ablations():
    for runs, shown in ablations("XNLI, 5,010 pairs"):
        pairs = [over_pairs(run["last"]) for run in runs if "generalized" in run["last"]]
        yield [*shown, spread(pairs, 1) if pairs else "–"]


def of_consistency():
    yield from (shown for _, shown in ablations("XNLI, 5,010 pairs, consistency"))


TABLES = (of_xnli, of_languages, of_generalized, of_changes, of_selections, of_other_tasks, of_other_sources, of_ablations, of_consistency)


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
    """The paragraph or item of a list of the results that begins so, on one line."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    (found,) = (part for part in re.split(r"\n\n|\n(?=- )", text) if part.startswith(beginning))
    return " ".join(found.split())


@pytest.mark.parametrize("said", TASKS)
def test_number_of_languages(said):
    runs = RUNS[TASKS[said]]["vanilla"]
    assert {len(run["best"]["accuracy"]) for run in runs} == {int(re.findall(r"\d+", said)[-1])}


def difference(values, baseline):
    """As a sentence has it: the difference, and in brackets the p-values of Welch's test and of the one paired by seed."""
    shown, welch, paired = compared(values, baseline)
    return f"{shown} (p = {welch}; paired, {paired})"


def test_repeated():
    """SALT − vanilla with the five seeds that were planned, and with the ten that were trained to repeat it."""
    systems = [by_seed("XNLI", system) for system in ("SALT", "vanilla")]
    five, ten = ([{seed: run[seed] for seed in [*run][part]} for run in systems] for part in (slice(5), slice(5, None)))
    assert [len(runs[0]) for runs in (five, ten)] == [5, 10]
    text = paragraph("- **SALT's gain over vanilla")
    assert difference(*five) in text and difference(*ten) in text
    ahead = sum(systems[0][seed] > systems[1][seed] for seed in systems[0])
    assert f"ahead with {ahead} of {len(systems[0])} seeds" in text


def test_direction_of_the_consistency_loss():
    """Differences seed by seed in the four languages."""
    system, text = "SALT-consistency", paragraph("Its direction makes no difference")
    ours, turned, r_drop = (
        np.array([*by_seed("XNLI, 5,010 pairs, consistency", name, "last").values()])
        for name in (system, f"{system}, --consistency-direction from_original", "R-Drop")
    )
    assert re.findall(r"[+-]?\d\.\d(?!\d)", text) == [re.sub(r"[+-]0\.0", "0.0", f"{value:+.1f}") for value in (*turned - ours, *ours - r_drop)]
    assert f"p {ttest_rel(ours, r_drop).pvalue:.2f}" in text


def power(difference, deviations, seeds):
    """Of a two-sided t-test at 0.05 with so many seeds of each of two systems."""
    shift, freedom = difference / math.sqrt(sum(d**2 for d in deviations) / seeds), 2 * seeds - 2
    edge = t.ppf(0.975, freedom)
    return nct.sf(edge, freedom, shift) + nct.cdf(-edge, freedom, shift)


def test_seeds_that_would_show_it():
    deviations = [np.std([*by_seed("XNLI", system).values()], ddof=1) for system in ("SALT", "vanilla")]
    said = int(re.findall(r"If it is 0.2 here, (\d+) seeds", paragraph("- **SALT's gain over vanilla"))[0])
    assert power(0.2, deviations, said - 1) < 0.8 <= power(0.2, deviations, said)


def test_generalized_setting():
    """Seeds and pairs of two languages in which SALT is behind vanilla fine-tuning."""
    salt, vanilla = (RUNS["XNLI, generalized setting"][system] for system in ("SALT", "vanilla"))
    assert all(over_pairs(run["best"]) < over_pairs(other["best"]) for run, other in zip(salt, vanilla))
    mean = [{pair: np.mean([run["best"]["generalized"][pair] for run in runs]) for pair in runs[0]["best"]["generalized"]} for runs in (salt, vanilla)]
    gains = {pair: mean[0][pair] - mean[1][pair] for pair in mean[0]}
    near = np.mean([gain for pair, gain in gains.items() if set(pair.split("-")) <= {"en", "fr", "es", "de"}])
    assert near > np.mean([*gains.values()]) + 0.3  # "least between en, fr, es and de"
    behind = sum(gain < 0 for gain in gains.values())
    assert f"in {behind} of {len(gains)} pairs" in paragraph("- **In the generalized setting")


def test_consistency_beside_r_drop():
    assert difference(by_seed("XNLI", "SALT-consistency"), by_seed("XNLI", "R-Drop")) in paragraph("- **The consistency loss")


def test_trainer():
    there, here = ([*by_seed(task, "vanilla", "last").values()] for task in ("XNLI, transformers' Trainer", "XNLI"))
    said = f"{spread(there)} there (three seeds) and {spread(here)} here (15 seeds; p = {ttest_ind(there, here, equal_var=False).pvalue:.2f})"
    assert (len(there), len(here)) == (3, 15) and said in paragraph("- **transformers' `Trainer`")


def english(task, system):
    return {run["seed"]: run["best"]["accuracy"]["en"] for run in RUNS[task][system]}


def changes(values, before):
    """Seed by seed, in order."""
    return sorted(value - before[seed] for seed, value in values.items())


def test_five_epochs():
    """From the least to the most that training longer, and then averaging, changes of a seed."""
    text, en, others, averaged = paragraph("- **Training longer"), [], {}, {}
    for system in ("vanilla", "SALT"):
        best, average = (by_seed("XNLI five epochs", system, selection) for selection in ("best", "average"))
        en += changes(english("XNLI five epochs", system), english("XNLI", system))
        others[system], averaged[system] = changes(best, by_seed("XNLI", system)), changes(average, best)
    assert f"by {min(en):.1f} to {max(en):.1f} points" in text
    assert f"loses {-others['vanilla'][-1]:.1f} to {-others['vanilla'][0]:.1f} with each seed" in text
    p = [ttest_1samp(averaged[system], 0).pvalue for system in ("vanilla", "SALT")]
    assert f"(+{averaged['vanilla'][0]:.1f} to +{averaged['vanilla'][-1]:.1f}; paired p {p[0]:.2f})" in text
    assert f"SALT {averaged['SALT'][0]:.1f} to {averaged['SALT'][-1]:.1f} ({p[1]:.2f})" in text


def test_cosda_ml_in_english():
    en, baseline = english("XNLI", "CoSDA-ML"), english("XNLI", "vanilla")
    ours, vanilla = [*en.values()], [baseline[seed] for seed in en]
    p = ttest_ind(ours, vanilla, equal_var=False).pvalue, ttest_rel(ours, vanilla).pvalue
    assert f"({np.mean(ours) - np.mean(vanilla):.1f}; p {p[0]:.3f}; paired, {p[1]:.2f})" in paragraph("- **Of the baselines**")


def test_readme():
    """The averages that the README gives, and the p-values of their differences to vanilla."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    said = re.search(r"14 other languages have (\S+) \(vanilla\), (\S+) \(SALT; 15 seeds, .*?\), (\S+) \(R-Drop\) and (\S+) \(SALT with", text)
    systems = ("vanilla", "SALT", "R-Drop", "SALT-consistency")
    assert [*said.groups()] == [f"{np.mean([*by_seed('XNLI', system).values()]):.1f}" for system in systems]
    _, *p = compared(by_seed("XNLI", "SALT"), by_seed("XNLI", "vanilla"))
    assert "p {:.2f} to {:.2f})".format(*sorted(map(float, p))) in said[0]
    assert {p for name in systems[2:] for p in compared(by_seed("XNLI", name), by_seed("XNLI", "vanilla"))[1:]} == {"<0.001"} and "both p below 0.001" in text
