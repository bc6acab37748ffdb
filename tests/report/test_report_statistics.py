"""Tests of significance against formulas worked by hand and exact distributions."""

import json
import math
from statistics import mean, variance

import numpy as np
import pytest
from scipy import stats

from salt_fairseq.report import rows as plain_rows
from salt_fairseq.report import significance, tables
from support.result_files import evaluated, published
from support.results_read import read_results


def test_welch_by_its_formula():
    a, b = [65.7, 66.1, 65.2, 66.0, 65.5], [64.7, 65.3, 64.1]
    va, vb = variance(a) / len(a), variance(b) / len(b)
    t = (mean(a) - mean(b)) / math.sqrt(va + vb)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    assert significance.welch(a, b) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-9)
    assert significance.welch(a, b) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, rel=1e-9)
    constant = [64.3] * 3
    assert significance.welch(a, constant) == pytest.approx(stats.ttest_1samp(a, 64.3).pvalue)  # no variance, no freedom
    assert significance.standard_error(a, b) == pytest.approx(math.sqrt(va + vb))


def test_welch_that_cannot_be_made():
    assert math.isnan(significance.welch([65.0], [64.0, 63.0])) and math.isnan(significance.standard_error([65.0], [1, 2]))
    assert math.isnan(significance.welch([65.0, 65.0], [64.0, 64.0]))


def test_paired_by_its_formula():
    """Differences 1, 2 and 3: t = 2 / (1 / sqrt 3) with two degrees of freedom, whose p is 1 - t / sqrt(t^2 + 2)."""
    a, b = [61.0, 67.0, 65.0], [60.0, 65.0, 62.0]
    t = 2 * math.sqrt(3)
    assert significance.paired(a, b) == pytest.approx(1 - t / math.sqrt(t**2 + 2)) == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert significance.paired(a, b) < 0.1 < significance.welch(a, b)
    for some in ([], a[:1], b):  # no difference from which to tell the spread of differences
        assert math.isnan(significance.paired(some, b[: len(some)]))


def test_seeds_that_both_have_are_compared(tmp_path):
    """Wherever they stand in the files; without seeds, as in published numbers, nothing is paired."""
    vanilla = published(tmp_path / "v.json", *({"test.en": 80 + d, "test.fr": 60 + d} for d in (0, 4, 9, 2)))
    salt = published(tmp_path / "s.json", *({"test.en": 80 + d, "test.fr": 60 + d} for d in (10, 3, 5.5)))
    content = json.loads(salt.read_text())
    for entry, seed in zip(content["checkpoints"], (2, 3, 1)):  # of vanilla 9, 2 and 4
        entry["seed"] = seed
    salt.write_text(json.dumps(content))
    french = significance.compare(read_results({"vanilla": [vanilla], "SALT": [salt]}, "en"), "vanilla")["SALT", "fr"]
    assert french.paired == pytest.approx(stats.ttest_rel([10, 3, 5.5], [9, 2, 4]).pvalue) and french.paired < 0.05 < french.welch
    for entry in content["checkpoints"]:
        del entry["seed"]
    salt.write_text(json.dumps(content))
    assert math.isnan(significance.compare(read_results({"vanilla": [vanilla], "SALT": [salt]}, "en"), "vanilla")["SALT", "fr"].paired)


def test_mcnemar_by_hand():
    """8 examples only one gets right, 2 only the other: p = 2 (1 + 10 + 45) / 2^10. What both get right does not matter."""
    right, wrong = np.ones(8, bool), np.zeros(8, bool)
    a = np.concatenate([right, wrong[:2], right, wrong])
    b = np.concatenate([wrong, right[:2], right, wrong])
    assert significance.mcnemar(a, b) == significance.mcnemar(b, a) == pytest.approx(112 / 1024)
    assert significance.mcnemar(a, a) == 1


@pytest.mark.parametrize("wins, n", [(2, 50), (4, 50), (6, 200)])
def test_bootstrap_against_the_exact_binomial(wins, n):
    """``wins`` examples only the system gets right and ties: the resampled sum is Binomial(n, wins / n)."""
    low, high, p = (float(value[0]) for value in significance.paired_bootstrap([np.repeat([1.0, 0.0], [wins, n - wins])[:, None]]))
    drawn = stats.binom(n, wins / n)
    exact = drawn.pmf(0) + drawn.sf(2 * wins - 1)
    assert p == pytest.approx(exact, abs=4 * math.sqrt(exact / significance.RESAMPLES))
    assert round(low * n) == drawn.ppf(0.025) and round(high * n) == drawn.ppf(0.975)


def test_bootstrap_against_the_normal_approximation():
    generator = np.random.default_rng(5)
    groups = [generator.normal(0.04, 1, size=(3000, 1)), generator.normal(0.01, 1, size=(2000, 1))]
    low, high, p = (float(value[0]) for value in significance.paired_bootstrap(groups))
    observed = sum(group.mean() for group in groups)
    error = math.sqrt(sum(group.var() / len(group) for group in groups))  # groups are resampled independently
    assert p == pytest.approx(2 * stats.norm.sf(observed / error), abs=0.012)
    assert low == pytest.approx(observed - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(observed + 1.96 * error, abs=0.1 * error)


def test_bootstrap_is_fixed_and_its_p_values_are_uniform_without_a_difference():
    generator = np.random.default_rng(0)
    same = generator.choice([-1.0, 0.0, 1.0], p=[0.2, 0.6, 0.2], size=(400, 300))
    p = significance.paired_bootstrap([same], resamples=1000)[2]
    np.testing.assert_array_equal(p, significance.paired_bootstrap([same], resamples=1000)[2])
    assert 0.02 <= np.mean(p <= 0.05) <= 0.085 and 0.4 <= np.mean(p <= 0.5) <= 0.6
    assert significance.paired_bootstrap([np.zeros((10, 1))])[2] == [1.0]


def test_holm_by_hand():
    """Sorted, 0.01, 0.03 and 0.04 times 3, 2 and 1, none below the one before; the missing test counts for nothing."""
    adjusted = significance.holm([0.01, 0.04, math.nan, 0.03])
    assert adjusted[:2] + adjusted[3:] == pytest.approx([0.03, 0.06, 0.06]) and math.isnan(adjusted[2])
    assert significance.holm([0.6, 0.9]) == [1.0, 1.0]


def languages_alike(tmp_path, targets):
    """Vanilla wrong on the first 40 of 200, SALT on the next 20, both in three languages alike; English all right."""
    n = len(targets["test.en"])
    wrong = {"vanilla": range(40), "SALT": range(40, 60)}
    files = {
        name: [
            evaluated(
                tmp_path / f"{name}.json",
                targets,
                {
                    subset: [1 - label if i in wrong[name] and subset != "test.en" else label for i, label in enumerate(labels)]
                    for subset, labels in targets.items()
                },
            )
        ]
        for name in wrong
    }
    results = read_results(files, "en")
    assert n == 200
    return results, {c.measure: c for c in significance.compare(results, "vanilla").values()}


def test_examples_are_drawn_jointly_across_languages(tmp_path):
    labels = np.random.default_rng(1).integers(2, size=200).tolist()
    _, same = languages_alike(tmp_path, {f"test.{language}": labels for language in ("en", "de", "es", "fr")})
    assert same["fr"].difference == pytest.approx(10) and same["avg. without en"].difference == pytest.approx(10)
    # What happens alike in all languages is one piece of evidence: the average is as uncertain as each language.
    assert (same["avg. without en"].low, same["avg. without en"].high) == pytest.approx((same["fr"].low, same["fr"].high))
    spread = 1.96 * 100 * math.sqrt((0.3 - 0.1**2) / 200)  # 40 wins and 20 losses of 200
    assert same["fr"].high - same["fr"].low == pytest.approx(2 * spread, rel=0.05)
    assert same["fr"].mcnemar == pytest.approx(stats.binomtest(40, 60).pvalue)
    assert math.isnan(same["avg. without en"].mcnemar) and math.isnan(same["fr"].welch)


def test_other_examples_are_drawn_independently(tmp_path):
    generator = np.random.default_rng(1)
    targets = {f"test.{language}": generator.integers(2, size=200).tolist() for language in ("en", "de", "es", "fr")}
    results, other = languages_alike(tmp_path, targets)
    spreads = [other[measure].high - other[measure].low for measure in ("avg. without en", "fr")]
    assert spreads[0] / spreads[1] == pytest.approx(1 / math.sqrt(3), rel=0.05)
    assert (
        "each subset by itself" in tables.significance(results, "vanilla", {("SALT", measure): comparison for measure, comparison in other.items()}).markdown()
    )


def test_seeds_are_averaged_before_examples_are_drawn(tmp_path):
    """Half of the seeds right on an example is half a point: 20 examples of 100, all gained by one seed of two."""
    labels = [0, 1] * 50
    targets = {"test.en": labels, "test.fr": labels}
    wrong = [1 - label if i < 20 else label for i, label in enumerate(labels)]
    vanilla = evaluated(tmp_path / "v.json", targets, *[{"test.en": labels, "test.fr": wrong}] * 2)
    salt = evaluated(tmp_path / "s.json", targets, *[{"test.en": labels, "test.fr": each} for each in (labels, wrong)])
    results = read_results({"vanilla": [vanilla], "SALT": [salt]}, "en")
    french = {c.measure: c for c in significance.compare(results, "vanilla").values()}["fr"]
    assert french.seeds == (2, 2) and french.difference == pytest.approx(10)
    steps = stats.binom(100, 0.2).ppf([0.025, 0.975])
    assert [french.low, french.high] == pytest.approx(steps / 2, abs=0.5)  # half a point each
    assert math.isnan(french.mcnemar)  # two seeds each


def test_underlined_is_what_the_paper_underlines(tmp_path):
    """A higher mean with p <= 0.05; a lower one is not underlined, nor a higher one with p > 0.05."""
    vanilla = published(tmp_path / "v.json", *({"test.en": 80 + d, "test.fr": 60 + d, "test.de": 60 + d} for d in (0, 0.2, 0.4)))
    salt = published(tmp_path / "s.json", *({"test.en": 80.1 + d, "test.fr": 63 + d, "test.de": 57 + d} for d in (0, 0.3, 0.5)))
    results = read_results({"vanilla": [vanilla], "SALT": [salt]}, "en")
    comparisons = significance.compare(results, "vanilla")
    assert [c.measure for c in comparisons.values() if c.improves] == ["fr"]
    assert [c.measure for c in comparisons.values() if c.welch <= 0.05] == ["de", "fr"]
    rows = {(row["system"], row["measure"]): row["significant"] for row in plain_rows.languages(results, comparisons)}
    assert [key for key, star in rows.items() if star == "*"] == [("SALT", "fr")]
    text = tables.significance(results, "vanilla", comparisons).markdown()
    assert "Tests made: 5 Welch, 5 paired, 0 bootstrap, 0 McNemar" in text
    assert "No test over examples is possible for results without predictions: vanilla, SALT." in text


@pytest.mark.parametrize("difference, seeds", [(0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17)])
def test_needed_seeds_by_published_tables(difference, seeds):
    """Cohen (1988), table 2.4.1: two-sided t-test at 0.05 with power 0.80, per sample (0.2: 393; 394 by the noncentral t)."""
    assert significance.seeds_needed(difference, (1.0, 1.0)) == seeds
    assert significance.seeds_needed(-2 * difference, (2.0, 2.0)) == seeds


def test_power_by_simulation():
    """Unequal spreads: how often 5 seeds of each give p <= 0.05, in 20,000 experiments; without a difference, about 0.05."""
    generator = np.random.default_rng(3)
    for shift in (1.5, 0.0):
        a, b = generator.normal(shift, 0.4, (20_000, 5)), generator.normal(0, 1.1, (20_000, 5))
        observed = np.mean(stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue <= 0.05)
        assert significance.power(shift, (0.4, 1.1), 5) == pytest.approx(observed, abs=0.02)


def test_needed_seeds_without_an_answer():
    assert math.isnan(significance.seeds_needed(0.0, (1.0, 1.0))) and math.isnan(significance.seeds_needed(1.0, (0.0, 0.0)))
    assert math.isnan(significance.seeds_needed(1.0, (math.nan, 1.0))) and significance.seeds_needed(1e-4, (1.0, 1.0)) == math.inf
    assert significance.seeds_needed(50.0, (1.0, 0.0)) == 2
