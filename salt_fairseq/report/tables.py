"""The tables of the report, in the layouts of the paper's tables."""

import math
from statistics import fmean, stdev

from salt_fairseq.cli.printable import counted
from salt_fairseq.report.markup import Cell, Table
from salt_fairseq.report.results import Results
from salt_fairseq.report.selections import SELECTIONS
from salt_fairseq.report.significance import (
    LEVEL,
    POWER,
    RESAMPLES,
    Comparison,
    Comparisons,
    example_groups,
    has_predictions,
    seeds_needed,
)

EFFECTS = (0.5, 1.0, 2.0)  # differences in percentage points, for which the needed seeds are shown


def number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{round(value, 1) + 0.0:+.1f}"  # + 0.0: no minus before zero


def p_value(p: float) -> str:
    return "n/a" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _welch(comparison: Comparison) -> str:
    if min(comparison.seeds) < 2:
        return "n/a (1 seed)"
    return "n/a (no variance)" if math.isnan(comparison.welch) else p_value(comparison.welch)


def _accuracy(values: list[float], **style) -> Cell:
    """Mean over seeds with the standard deviation; a dash where there is no accuracy."""
    if not values:
        return Cell("–")
    return Cell(number(fmean(values)), f"{stdev(values):.1f}" if len(values) > 1 else "", **style)


def as_shown(value: float) -> float:
    """The value that a reader sees. What looks equal is equally best, as in the paper, and differences are those of the numbers
    that stand beside them: 31.2 and 32.5 differ by 1.3, whatever the digits that are not shown."""
    return float(f"{value:.1f}")


def difference(results: Results, name: str, baseline: str, measure: str) -> float:
    """Of the means as they are shown."""
    return as_shown(results.mean(name, measure)) - as_shown(results.mean(baseline, measure))


def best(results: Results, measure: str) -> set[str]:
    """Names of the systems with the highest accuracy as printed; none if there is only one system."""
    means = {name: as_shown(results.mean(name, measure)) for name in results.systems}
    known = [mean for mean in means.values() if not math.isnan(mean)]
    return {name for name, mean in means.items() if len(known) > 1 and mean == max(known)}


def _seeds(results: Results) -> str:
    return "Seeds: " + ", ".join(f"{name} {len(runs)}" for name, runs in results.systems.items()) + "."


def _averages_note(results: Results) -> str:
    others = len(results.measures[results.without_source])
    return (
        f"{results.without_source}: mean of the {others} other languages; {results.with_source}: of all "
        f"{len(results.languages)}."
    )


def _styled(results: Results, comparisons: Comparisons, name: str, measure: str) -> Cell:
    improved = (name, measure) in comparisons and comparisons[name, measure].improves
    return _accuracy(results.per_seed(name, measure), bold=name in best(results, measure), underlined=improved)


def _style_note(results: Results, baseline: str, comparisons: Comparisons, measures: list[str]) -> list[str]:
    if len(results.systems) == 1:
        return []
    tests = sum(not math.isnan(c.welch) and c.measure in measures for c in comparisons.values())
    made = f"{tests} tests, not corrected for their number" if tests else "no test was possible: it takes two seeds each"
    return [f"Bold: best. Underlined: better than {baseline} with p ≤ {LEVEL} in Welch's t-test over seeds ({made})."]


def languages(results: Results, baseline: str, comparisons: Comparisons) -> Table:
    """Tables 1 and 2 of the paper: systems x languages."""
    measures = [*results.languages, results.without_source, results.with_source]
    rows = [
        [name, str(len(runs)), *(_styled(results, comparisons, name, measure) for measure in measures)]
        for name, runs in results.systems.items()
    ]
    notes = [
        f"{results.score_title} in percent, mean ± standard deviation over seeds.",
        _averages_note(results),
        *_style_note(results, baseline, comparisons, measures),
        *results.notes,
    ]
    return Table(f"{results.score_title} by language", ["Model", "seeds", *measures], rows, notes, label="languages", extra={1})


def by_language(results: Results, baseline: str) -> Table:
    """Languages x systems, and the difference of each system to the baseline."""
    names = list(results.systems)
    others = [name for name in names if name != baseline]
    header = ["language", *names, *(["difference"] if len(names) == 2 else [f"{name} − {baseline}" for name in others])]
    rows = []
    for measure in results.measures:
        differences = [difference(results, name, baseline, measure) for name in others]
        rows.append([measure, *(_accuracy(results.per_seed(name, measure)) for name in names), *map(signed, differences)])
    return Table(
        f"{results.score_title} by language",
        header,
        rows,
        [f"{results.score_title} in percent. {_seeds(results)}", *results.notes],
    )


def averages(results: Results, baseline: str, comparisons: Comparisons) -> Table:
    """Table 3 of the paper: systems x averages, and how sure their differences to the baseline are."""
    columns = [measure for measure in results.measures if measure not in results.languages]
    rows = []
    for name, runs in results.systems.items():
        row = [name, str(len(runs)), *(_styled(results, comparisons, name, measure) for measure in columns)]
        for measure in columns if len(results.systems) > 1 else ():
            c = comparisons.get((name, measure))
            shown = difference(results, name, baseline, measure)
            row += [signed(shown), _welch(c), p_value(c.bootstrap)] if c else ["–"] * 3
        rows.append(row)
    tests = [[f"Δ {title}", "Welch p", "bootstrap p"] for title in columns if len(results.systems) > 1]
    notes = [
        f"{results.score_title} in percent, mean ± standard deviation over seeds. {_averages_note(results)}",
        *_style_note(results, baseline, comparisons, columns),
        *results.notes,
    ]
    header = ["Model", "seeds", *columns, *sum(tests, [])]
    on_tests = f"Δ: difference to {baseline}. Welch p: over seeds. bootstrap p: over examples, the trained models fixed."
    extra = {1, *range(2 + len(columns), len(header))}
    return Table("Averages", header, rows, notes, label="averages", extra=extra, extra_notes=[on_tests] if tests else [])


def selections(results: dict[tuple[str, str], Results]) -> Table:
    """Systems x selections of a run's checkpoint; ``results`` by system and selection."""
    first = next(iter(results.values()))
    columns = [*first.sources, first.without_source, first.with_source]
    rows = [
        [name, SELECTIONS[selection], str(len(each.systems[name])), *(_accuracy(each.per_seed(name, c)) for c in columns)]
        for (name, selection), each in results.items()
    ]
    notes = [
        f"{first.score_title} in percent, mean ± standard deviation over seeds. {_averages_note(first)}",
        "The oracle looks at labels in the target languages, which zero-shot transfer has none of: a bound, not a result.",
    ]
    return Table(
        "Selection of checkpoints", ["Model", "selection", "seeds", *columns], rows, notes, names=2, label="selections"
    )


def needed(results: Results, baseline: str, comparisons: Comparisons) -> Table:
    """How many seeds it would take to see a difference in an average, with the spread that the seeds at hand have."""

    def shown(seeds: float) -> str:
        return "n/a" if math.isnan(seeds) else ">100,000" if math.isinf(seeds) else f"{seeds:,.0f}"

    rows = [
        [
            c.system,
            c.measure,
            *(number(deviation) for deviation in c.deviations),
            signed(difference(results, c.system, baseline, c.measure)),
            shown(seeds_needed(c.difference, c.deviations)),
            *(shown(seeds_needed(effect, c.deviations)) for effect in EFFECTS),
        ]
        for c in comparisons.values()
        if c.measure not in results.languages
    ]
    header = ["system", "measure", "s.d.", f"s.d. of {baseline}", f"− {baseline}", "seeds for this"]
    notes = [
        f"Seeds of each of the two systems with which Welch's test has p ≤ {LEVEL} in {POWER:.0%} of all experiments, if the "
        "true difference is the observed one, or so many points, and the true deviations are the observed ones. With few "
        "seeds, the observed ones are rough."
    ]
    title = f"Seeds needed to see a difference to {baseline}"
    return Table(title, [*header, *(f"for {effect} points" for effect in EFFECTS)], rows, notes, names=2, label="seeds-needed")


def generalized(results: Results, name: str) -> Table:
    """Tables 4 to 6 of the paper: premise languages x hypothesis languages; averages include the diagonal."""
    matrix, names = results.matrix(name), results.generalized_languages
    rows = [[language, *map(number, line), number(line.mean())] for language, line in zip(names, matrix)]
    rows.append(["avg.", *map(number, matrix.mean(axis=0)), number(matrix.mean())])
    seeds = len(results.systems[name])
    notes = [
        "Rows: language of the premise; columns: of the hypothesis. Accuracy in percent, mean of "
        f"{counted(seeds, 'seed')}; averages include pairs of one language."
    ]
    title = f"Results for {name} in the generalized setting"
    return Table(title, ["", *names, "avg."], rows, notes, label=f"generalized:{name}")


def significance(results: Results, baseline: str, comparisons: Comparisons) -> Table:
    """Every test of every system, language and average."""
    header = [
        "system",
        "measure",
        "seeds",
        f"− {baseline}",
        "s.e.",
        "Welch p",
        "Holm",
        "paired p",
        "bootstrap 95 %",
        "p",
        "Holm",
        "McNemar p",
    ]
    rows = [
        [
            c.system,
            c.measure,
            f"{c.seeds[0]} / {c.seeds[1]}",
            signed(difference(results, c.system, baseline, c.measure)),
            "–" if math.isnan(c.standard_error) else f"{c.standard_error:.2f}",
            _welch(c),
            p_value(c.welch_holm),
            p_value(c.paired),
            "n/a" if math.isnan(c.low) else f"[{signed(c.low)}, {signed(c.high)}]",
            p_value(c.bootstrap),
            p_value(c.bootstrap_holm),
            p_value(c.mcnemar),
        ]
        for c in comparisons.values()
    ]
    return Table(
        f"Significance of differences to {baseline}",
        header,
        rows,
        significance_notes(results, comparisons),
        names=2,
        label="significance",
    )


def significance_notes(results: Results, comparisons: Comparisons) -> list[str]:
    made = ", ".join(
        f"{sum(not math.isnan(getattr(c, test)) for c in comparisons.values())} {name}"
        for name, test in (("Welch", "welch"), ("paired", "paired"), ("bootstrap", "bootstrap"), ("McNemar", "mcnemar"))
    )
    groups = len(set(example_groups(results).values()))
    untested = [name for name in results.systems if not has_predictions(results, name, results.with_source)]
    together = "each subset by itself"
    if groups == 1:
        together = "the same examples in all languages"
    elif groups < len(results.targets):
        together = "the same examples in all subsets with equal targets"
    notes = [
        "Differences in percentage points; s.e.: their standard error over seeds; seeds: of the system / of the baseline.",
        "Welch p: two-sided t-test for unequal variances over seeds; it takes two seeds of both, and with few it is weak.",
        "paired p: two-sided t-test over the differences of the seeds that both have, whose runs began with the same "
        "classifier. It sees more than Welch's where the same seeds are good in both. Decide beforehand which of them counts.",
        f"bootstrap: paired, {RESAMPLES:,} resamples of the examples, {together}; accuracies are averaged over seeds first. "
        "It treats the trained models as fixed: it says whether these models would differ on other examples, not whether "
        "another training would.",
        "McNemar p: exact test over examples, where both have one seed.",
        f"Tests made: {made}. Were there no differences at all, one test in 20 would still have p ≤ {LEVEL}; the Holm "
        "columns are corrected for all tests of that kind in this table.",
    ]
    if untested:
        notes.append(f"No test over examples is possible for results without predictions: {', '.join(untested)}.")
    return notes
