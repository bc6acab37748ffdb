"""What the figures draw: dots, errors, cells, colours, labels."""

import math
from statistics import mean, stdev

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from salt_fairseq.report import figures
from salt_fairseq.report.significance import compare
from support.result_files import published, subset
from support.results_read import read_results

SEEDS = {
    "vanilla": [{"test.en": 80.0, "test.de": 60.0, "test.fr": 61.0}, {"test.en": 81.0, "test.de": 62.0, "test.fr": 60.0}],
    "SALT": [{"test.en": 82.0, "test.de": 63.0, "test.fr": 60.0}, {"test.en": 83.0, "test.de": 66.0, "test.fr": 60.5}],
    "RS-RP": [{"test.en": 70.0, "test.de": 65.0, "test.fr": 64.0}],
}
ROWS = ["en", "de", "fr", "avg. without en", "avg. with en"]


@pytest.fixture
def results(tmp_path):
    return read_results({name: [published(tmp_path / f"{name}.json", *seeds)] for name, seeds in SEEDS.items()}, "en")


def expected(name):
    """Accuracies of each seed: three languages, the average without and with English."""
    seeds = [list(seed.values()) for seed in SEEDS[name]]
    return np.array([[*seed, mean(seed[1:]), mean(seed)] for seed in seeds])


def dots(axes):
    """Label to positions of the dots, an array (rows, 2), and to the ends of the error bars, an array (rows, 2) or None."""
    drawn = {}
    for container in axes.containers:
        ends = [np.array([segment[:, 0] for segment in line.get_segments()]) for line in container.lines[2]]
        drawn[container.get_label()] = container.lines[0].get_xydata(), ends[0] if ends else None
    return drawn


def differences(name):
    """Of the means as tables print them."""
    return [round(float(f"{a:.1f}") - float(f"{b:.1f}"), 1) for a, b in zip(expected(name).mean(axis=0), expected("vanilla").mean(axis=0))]


def colours(axes):
    return {container.get_label(): container.lines[0].get_color() for container in axes.containers}


def test_accuracies(results):
    (axes,) = figures.accuracies(results).axes
    drawn = dots(axes)
    assert list(drawn) == ["vanilla (2 seeds)", "SALT (2 seeds)", "RS-RP (1 seed)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ROWS and axes.yaxis_inverted()
    for name, (places, ends) in zip(SEEDS, drawn.values()):
        assert places[:, 0] == pytest.approx(expected(name).mean(axis=0))
        assert np.round(places[:, 1]).tolist() == [0, 1, 2, 3, 4]
        if name == "RS-RP":
            assert ends is None
        else:
            np.testing.assert_allclose(ends[:, 1] - ends[:, 0], [2 * stdev(column) for column in expected(name).T])
    assert axes.get_xlabel() == "accuracy (%)\nbars: standard deviation over seeds"
    lanes = [places[0, 1] for places, _ in drawn.values()]
    assert lanes == sorted(lanes) and len(set(lanes)) == 3


def test_gains(results):
    """All systems but the baseline, in the colours that they have in the other figure."""
    (axes,), (others,) = figures.gains(results, "vanilla", compare(results, "vanilla")).axes, figures.accuracies(results).axes
    drawn = dots(axes)
    assert list(drawn) == ["SALT (2 seeds)", "RS-RP (1 seed)"]
    for name, (places, _) in zip(("SALT", "RS-RP"), drawn.values()):
        assert places[:, 0] == pytest.approx(differences(name))
    errors = [math.sqrt((stdev(a) ** 2 + stdev(b) ** 2) / 2) for a, b in zip(expected("SALT").T, expected("vanilla").T)]
    _, ends = drawn["SALT (2 seeds)"]
    np.testing.assert_allclose((ends[:, 1] - ends[:, 0]) / 2, errors)
    assert drawn["RS-RP (1 seed)"][1] is None and axes.get_xlim()[0] < -10.5 < 4 < axes.get_xlim()[1]
    assert axes.get_xlabel() == "gain over vanilla (2 seeds), percentage points\nbars: standard error over seeds" and not axes.texts
    assert len(set(colours(others).values())) == 3 and colours(axes).items() <= colours(others).items()


def test_numbers_beside_one_system(results):
    del results.systems["RS-RP"]
    (axes,) = figures.gains(results, "vanilla", compare(results, "vanilla")).axes
    assert [text.get_text() for text in axes.texts] == [f"{value:+.1f}" for value in differences("SALT")]


def test_no_gain_at_all(tmp_path):
    """The axis shows a point to each side, not the digits of zero."""
    seed = {"test.en": 80.0, "test.de": 60.0}
    same = read_results({name: [published(tmp_path / f"{name}.json", seed)] for name in ("a", "b")}, "en")
    (axes,) = figures.gains(same, "a", compare(same, "a")).axes
    assert axes.get_xlim()[0] == pytest.approx(-1.1) and 1 < axes.get_xlim()[1] < 2
    assert [text.get_text() for text in axes.texts] == ["+0.0"] * 4


def test_seven_systems_in_fifteen_languages_fit_a_column(tmp_path):
    """At the width of a column: letters of 6.5 points at least, no dot on another, all labels inside."""
    languages = ["en", *"abcdefghijklmn"]
    systems = {f"system {k}": [{f"test.{language}": 60.0 + i + k for i, language in enumerate(languages)}] * 2 for k in range(7)}
    results = read_results({name: [published(tmp_path / f"{name}.json", *seeds)] for name, seeds in systems.items()}, "en")
    figure = figures.accuracies(results)
    assert figure.get_figwidth() == 3.35 and figure.get_figheight() < 9.5
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    texts = [*axes.get_yticklabels(), *legend.get_texts()]
    assert min(text.get_fontsize() for text in texts) >= 6.5
    for text in texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 and box.x1 <= figure.bbox.x1 and 0 <= box.y0 and box.y1 <= figure.bbox.y1
    rows = sorted(axes.transData.transform(place)[1] for places, _ in dots(axes).values() for place in places)
    assert min(np.diff(rows)) > 0.9 * axes.containers[0].lines[0].get_markersize() * figure.dpi / 72


@pytest.fixture
def pairs(tmp_path):
    languages = ["en", "de", "fr"]
    systems = {"vanilla": [[80, 50, 52], [60, 62, 54], [58, 53, 64]], "SALT": [[79, 56, 52], [62, 63, 55], [60, 55.5, 64]]}
    files = {
        name: [published(tmp_path / f"{name}.json", {subset(a, b): value for a, line in zip(languages, matrix) for b, value in zip(languages, line)})]
        for name, matrix in systems.items()
    }
    return read_results(files, "en"), {name: np.array(matrix, float) for name, matrix in systems.items()}


def cell_texts(axes):
    """The texts of the cells, row by row from above."""
    texts = sorted(axes.texts, key=lambda text: (text.get_position()[1], text.get_position()[0]))
    return np.array([text.get_text() for text in texts]).reshape(4, 4)


def with_averages(matrix):
    return np.block([[matrix, matrix.mean(axis=1)[:, None]], [matrix.mean(axis=0), matrix.mean()]])


def test_heatmap(pairs):
    results, matrices = pairs
    scale = figures.accuracy_scale(results, list(matrices))
    assert scale == (50, 80)
    figure = figures.heatmap(results, "SALT", scale)
    axes, bar = figure.axes
    np.testing.assert_array_equal(cell_texts(axes), [[f"{value:.1f}" for value in line] for line in with_averages(matrices["SALT"])])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["en", "de", "fr", "avg."]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["en", "de", "fr", "avg."]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("hypothesis", "premise") and axes.yaxis_inverted()
    assert bar.get_ylim() == scale and figure.get_suptitle() == "SALT (1 seed): accuracy (%)"


def test_heatmap_of_the_difference(pairs):
    results, matrices = pairs
    difference = matrices["SALT"] - matrices["vanilla"]
    limit = figures.difference_limit(results, ["SALT"], "vanilla")
    assert limit == 6
    axes, bar = figures.heatmap_difference(results, "SALT", "vanilla", limit).axes
    assert cell_texts(axes)[0].tolist() == ["-1.0", "+6.0", "+0.0", "+1.6"]  # of 62.3 and 60.7, as printed
    assert cell_texts(axes)[3, 3] == f"{difference.mean():+.1f}"
    assert bar.get_ylim() == (-6, 6)  # centred at 0
    (mesh,) = axes.collections
    colours = mesh.to_rgba(mesh.get_array())
    assert colours[0, 2][:3] == pytest.approx(to_rgba("#f7f7f7")[:3], abs=0.01)  # no difference: white
    assert colours[0, 0][0] > colours[0, 0][2] and colours[0, 1][2] > colours[0, 1][0]  # a loss is red, a gain blue
    for text in axes.texts:  # dark on light, light on dark
        cell = mesh.to_rgba([float(text.get_text())])[0][:3]
        assert abs(np.dot(cell, [0.299, 0.587, 0.114]) - to_rgba(text.get_color())[0]) > 0.3
