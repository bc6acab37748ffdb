"""Is a system better than the baseline? t-tests over seeds and, over examples, a paired bootstrap and McNemar's test.

The tests answer different questions. Over seeds: would the system be better again, trained anew, on these examples? Over
examples: would these trained models differ on other examples of this kind? A few seeds say little about the first.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from salt_fairseq.report.results import Pair, Results

LEVEL = 0.05  # of significance, as in the paper
POWER = 0.8
MOST_SEEDS = 100_000
RESAMPLES = 10_000
SEED = 1
ROUNDING = 1e-9  # what differs by less is equal


@dataclass
class Comparison:
    """A system against the baseline in one measure, in percentage points; NaN marks a test that cannot be made."""

    system: str
    measure: str
    seeds: tuple[int, int]  # of the system and of the baseline
    difference: float
    standard_error: float  # of the difference, over seeds
    welch: float
    deviations: tuple[float, float]  # over seeds; NaN for one seed
    paired: float = math.nan
    low: float = math.nan  # 95 % confidence interval of the bootstrap
    high: float = math.nan
    bootstrap: float = math.nan
    mcnemar: float = math.nan
    welch_holm: float = math.nan
    bootstrap_holm: float = math.nan

    @property
    def improves(self) -> bool:
        """What the paper underlines: a higher mean, p <= 0.05 in Welch's test, not corrected for the number of tests."""
        return self.difference > 0 and self.welch <= LEVEL


Comparisons = dict[tuple[str, str], Comparison]  # by system and measure


def welch(values: Sequence[float], others: Sequence[float]) -> float:
    """Two-sided p of the t-test for unequal variances; NaN for fewer than two seeds, or if no seed differs from another."""
    if not standard_error(values, others) > ROUNDING:
        return math.nan
    from scipy.stats import ttest_ind_from_stats  # ttest_ind warns where all seeds of one system are equal

    described = [number for sample in (values, others) for number in (fmean(sample), stdev(sample), len(sample))]
    return float(ttest_ind_from_stats(*described, equal_var=False).pvalue)


def paired(values: Sequence[float], others: Sequence[float]) -> float:
    """Two-sided p of the t-test over the differences of the same seeds; NaN for fewer than two, or if all differ alike.

    Runs of one seed begin with the same classifier and mostly read the examples in the same order, so that they tend to be
    good or bad together. Where they are, this test sees more than Welch's; where they are not, it sees less with few seeds.
    """
    differences = [value - other for value, other in zip(values, others)]
    if not deviation(differences) > ROUNDING:
        return math.nan
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0).pvalue)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation over seeds, NaN for fewer than two."""
    return stdev(values) if len(values) > 1 else math.nan


def standard_error(values: Sequence[float], others: Sequence[float]) -> float:
    """Standard error of the difference of two means over seeds, the denominator of Welch's t."""
    if min(len(values), len(others)) < 2:
        return math.nan
    return math.sqrt(stdev(values) ** 2 / len(values) + stdev(others) ** 2 / len(others))


def power(difference: float, deviations: tuple[float, float], seeds: int) -> float:
    """Probability that Welch's two-sided test has p <= 0.05 with so many seeds of both systems, if their means differ by
    ``difference`` and seeds have these standard deviations: t is then noncentral (Cohen, 1988, chapter 2)."""
    from scipy.stats import nct, t

    a, b = (deviation**2 / seeds for deviation in deviations)
    freedom = (a + b) ** 2 / ((a**2 + b**2) / (seeds - 1))
    critical, shift = t.isf(LEVEL / 2, freedom), abs(difference) / math.sqrt(a + b)
    return float(nct.sf(critical, freedom, shift) + nct.cdf(-critical, freedom, shift))


def seeds_needed(difference: float, deviations: tuple[float, float]) -> float:
    """Seeds of both systems that give :func:`power` 0.8; NaN where there is no spread or no difference, and inf for more than
    100,000."""
    if math.isnan(difference) or not sum(deviations) > ROUNDING or abs(difference) < ROUNDING:
        return math.nan
    # Far more than enough, where the normal distribution is exact: n = (z_{alpha/2} + z_power)^2 variance / difference^2, + 10.
    high = 10 + math.ceil(8 * (deviations[0] ** 2 + deviations[1] ** 2) / difference**2)
    if high > MOST_SEEDS:
        return math.inf
    low = 2
    while low < high:
        middle = (low + high) // 2
        if power(difference, deviations, middle) < POWER:
            low = middle + 1
        else:  # or NaN, where the power is so near 1 that scipy has no number for it
            high = middle
    return low


def mcnemar(correct: np.ndarray, others: np.ndarray) -> float:
    """Exact two-sided p of McNemar's test on two bool arrays (N,): a binomial test of the examples only one gets right."""
    from scipy.stats import binomtest

    wins, losses = int((correct & ~others).sum()), int((others & ~correct).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def paired_bootstrap(
    differences: list[np.ndarray], resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(low, high, p)``, float64 (M,) each, of M statistics, each a sum of means over examples.

    ``differences`` is a list of float arrays (N, M), one per group of examples: row i is what example i contributes. The
    examples of a group are drawn with replacement, the same for all statistics. The interval holds the middle 95 % of the
    resampled statistics; p is the fraction of those that lie at least as far from the observed statistic as that lies from
    0, counting the observed one (Koehn, 2004; the form that sacreBLEU uses).
    """
    generator = np.random.default_rng(seed)
    drawn = np.zeros((resamples, differences[0].shape[1]))
    for group in differences:
        n = len(group)
        rows = max(1, 1_000_000 // n)  # at a time, for memory
        for start in range(0, resamples, rows):
            rows = min(rows, resamples - start)
            chosen = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
            counts = np.bincount(chosen.ravel(), minlength=rows * n).reshape(rows, n)
            drawn[start : start + rows] += counts @ group / n
    observed = np.sum([group.mean(axis=0) for group in differences], axis=0)
    extreme = np.abs(drawn - observed) >= np.abs(observed) - ROUNDING  # ties are common: accuracies are counts
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return low, high, (1 + extreme.sum(axis=0)) / (1 + resamples)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of a family of tests (valid however they depend on each other); NaNs are no tests."""
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[i] = largest
    return adjusted


def compare(results: Results, baseline: str) -> Comparisons:
    """A :class:`Comparison` of every other system with ``baseline`` in every measure that both have."""
    comparisons: Comparisons = {}
    for name in results.systems:
        for measure in results.measures:
            values, others = results.per_seed(name, measure), results.per_seed(baseline, measure)
            if name != baseline and values and others:
                comparisons[name, measure] = Comparison(
                    name,
                    measure,
                    (len(values), len(others)),
                    results.mean(name, measure) - results.mean(baseline, measure),
                    standard_error(values, others),
                    welch(values, others),
                    (deviation(values), deviation(others)),
                    paired(*results.of_same_seeds(name, baseline, measure)),
                )
    _test_over_examples(results, baseline, comparisons.values())
    for test in ("welch", "bootstrap"):
        for comparison, p in zip(comparisons.values(), holm([getattr(c, test) for c in comparisons.values()])):
            setattr(comparison, f"{test}_holm", p)
    return comparisons


def has_predictions(results: Results, name: str, measure: str) -> bool:
    return all(pair in run.correct for run in results.systems[name] for pair in results.measures[measure])


def example_groups(results: Results) -> dict[Pair, int]:
    """Pair of languages to the number of its group: example i of all subsets of a group is the same example.

    Translations of the same examples in the same order have the same targets, and only those get the same number.
    """
    groups: dict[bytes, int] = {}
    return {pair: groups.setdefault(targets.tobytes(), len(groups)) for pair, targets in results.targets.items()}


def _test_over_examples(results: Results, baseline: str, comparisons: Iterable[Comparison]) -> None:
    groups = example_groups(results)
    tested = [c for c in comparisons if all(has_predictions(results, name, c.measure) for name in (c.system, baseline))]
    if not tested:
        return
    lengths = {group: len(results.targets[pair]) for pair, group in groups.items()}
    differences = {group: np.zeros((length, len(tested))) for group, length in lengths.items()}
    for column, comparison in enumerate(tested):
        pairs = results.measures[comparison.measure]
        runs, others = results.systems[comparison.system], results.systems[baseline]
        for pair in pairs:
            difference = np.mean([r.correct[pair] for r in runs], axis=0) - np.mean([r.correct[pair] for r in others], axis=0)
            differences[groups[pair]][:, column] += 100 * difference / len(pairs)
        if len(pairs) == len(runs) == len(others) == 1:
            comparison.mcnemar = mcnemar(runs[0].correct[pairs[0]], others[0].correct[pairs[0]])
    for comparison, low, high, p in zip(tested, *paired_bootstrap(list(differences.values()))):
        comparison.low, comparison.high, comparison.bootstrap = float(low), float(high), float(p)
