"""What the figures draw: heights, errors, cells, colours, labels."""

import math
from statistics import mean, stdev

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from salt_fairseq.report import figures
from salt_fairseq.report.results import read_results
from salt_fairseq.report.significance import compare
from support.result_files import published, subset

SEEDS = {
    "vanilla": [{"test.en": 80.0, "test.de": 60.0, "test.fr": 61.0}, {"test.en": 81.0, "test.de": 62.0, "test.fr": 60.0}],
    "SALT": [{"test.en": 82.0, "test.de": 63.0, "test.fr": 60.0}, {"test.en": 83.0, "test.de": 66.0, "test.fr": 60.5}],
    "RS-RP": [{"test.en": 70.0, "test.de": 65.0, "test.fr": 64.0}],
}
TICKS = ["en", "de", "fr", "avg.\nwithout\nen", "avg.\nwith\nen"]


@pytest.fixture
def results(tmp_path):
    return read_results({name: [published(tmp_path / f"{name}.json", *seeds)] for name, seeds in SEEDS.items()}, "en")


def expected(name):
    """Accuracies of each seed: three languages, the average without and with English."""
    seeds = [list(seed.values()) for seed in SEEDS[name]]
    return np.array([[*seed, mean(seed[1:]), mean(seed)] for seed in seeds])


def bars(axes):
    """Label to heights, and the centres of all bars."""
    drawn = [container for container in axes.containers if hasattr(container, "patches")]
    return {container.get_label(): [bar.get_height() for bar in container] for container in drawn}


def error_bars(axes):
    """Ends of the error bars, one array (bars, 2) for each system that has any."""
    lines = [container.lines[2][0] for container in axes.containers if not hasattr(container, "patches")]
    return [np.array([segment[:, 1] for segment in line.get_segments()]) for line in lines]


def test_grouped_bars(results):
    (axes,) = figures.accuracies(results).axes
    heights = bars(axes)
    assert list(heights) == ["vanilla (2 seeds)", "SALT (2 seeds)", "RS-RP (1 seed)"]
    for name, drawn in zip(SEEDS, heights.values()):
        assert drawn == pytest.approx(expected(name).mean(axis=0))
    assert [label.get_text() for label in axes.get_xticklabels()] == TICKS
    for name, ends in zip(("vanilla", "SALT"), error_bars(axes)):
        spread = [stdev(column) for column in expected(name).T]
        np.testing.assert_allclose(ends[:, 1] - ends[:, 0], np.multiply(2, spread))
    assert len(error_bars(axes)) == 2 and "standard deviation" in axes.get_title(loc="right")
    bottom = axes.get_ylim()[0]
    assert all(end > bottom for ends in error_bars(axes) for end in ends.ravel()) and "accuracy" in axes.get_ylabel()


def test_gains(results):
    """A panel for each system, with the same scale; RS-RP has one seed, so it has no error bars."""
    figure = figures.gains(results, "vanilla", compare(results, "vanilla"))
    for name, axes in zip(("SALT", "RS-RP"), figure.axes, strict=True):
        differences = expected(name).mean(axis=0) - expected("vanilla").mean(axis=0)
        ((label, heights),) = bars(axes).items()
        assert axes.get_title(loc="left") == f"{label} − vanilla (2 seeds)" and label.startswith(name)
        assert heights == pytest.approx(differences)
        assert [text.get_text() for text in axes.texts] == [f"{difference:+.1f}" for difference in differences]
        assert axes.get_ylim() == figure.axes[0].get_ylim() and axes.get_ylim()[0] < -10.5 < 4 < axes.get_ylim()[1]
    ((ends,), none) = map(error_bars, figure.axes)
    errors = [math.sqrt((stdev(a) ** 2 + stdev(b) ** 2) / 2) for a, b in zip(expected("SALT").T, expected("vanilla").T)]
    np.testing.assert_allclose((ends[:, 1] - ends[:, 0]) / 2, errors)
    assert none == [] and figure.get_supxlabel() == "error bars: standard error over seeds"
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == TICKS


def test_bars_do_not_overlap_and_keep_their_colours(results):
    (axes,) = figures.accuracies(results).axes
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches)
    assert len(edges) == 15 and all(end <= start + 1e-9 for (_, end), (start, _) in zip(edges, edges[1:]))
    colours = {bar.get_facecolor() for bar in axes.patches}
    gained = {bar.get_facecolor() for panel in figures.gains(results, "vanilla", compare(results, "vanilla")).axes for bar in panel.patches}
    assert len(colours) == 3 and gained == colours - {axes.patches[0].get_facecolor()}  # all but vanilla's


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
    assert cell_texts(axes)[0].tolist() == ["-1.0", "+6.0", "+0.0", "+1.7"] and cell_texts(axes)[3, 3] == f"{difference.mean():+.1f}"
    assert bar.get_ylim() == (-6, 6)  # centred at 0
    (mesh,) = axes.collections
    colours = mesh.to_rgba(mesh.get_array())
    assert colours[0, 2][:3] == pytest.approx(to_rgba("#f7f7f7")[:3], abs=0.01)  # no difference: white
    assert colours[0, 0][0] > colours[0, 0][2] and colours[0, 1][2] > colours[0, 1][0]  # a loss is red, a gain blue
    for text in axes.texts:  # dark on light, light on dark
        cell = mesh.to_rgba([float(text.get_text())])[0][:3]
        assert abs(np.dot(cell, [0.299, 0.587, 0.114]) - to_rgba(text.get_color())[0]) > 0.3
