"""The figures of the report. Each function returns a matplotlib figure; :func:`save` writes it.

They are as wide as a column of a page of two, the heat maps as a whole page, so that their letters have the size they are
given here. Accuracies are dots: bars would have to begin at 0.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from salt_fairseq.cli.printable import counted
from salt_fairseq.evaluation.scores import MEASURES
from salt_fairseq.report.markup import one_line
from salt_fairseq.report.results import GENERALIZED, Results
from salt_fairseq.report.significance import Comparisons, deviation
from salt_fairseq.report.tables import as_shown, difference, number, signed

if TYPE_CHECKING:  # takes a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
COLUMN, PAGE = 3.35, 6.9  # inches, of the two-column styles of ACL, IEEE and ACM
STYLE = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "report",  # equal results make equal files
}
# Of Okabe and Ito (2008), which colour-blind readers tell apart, too; the shapes serve those who print without colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SHAPES = "oDs^vPX<>*"
ROW, LANE = 0.06, 0.055  # inches: a row, and each system in it


def save(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure as one of :data:`FORMATS`, without the time at which it was made."""
    import matplotlib.pyplot as plt

    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with plt.rc_context(STYLE):
        figure.savefig(path, format=kind, dpi=300, metadata=dates.get(kind))


def close(figure: Figure) -> None:
    import matplotlib.pyplot as plt

    plt.close(figure)


def _subplots(**options) -> tuple:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        return plt.subplots(layout="constrained", **options)


def _measures(results: Results) -> list[str]:
    return [measure for measure in results.measures if measure != GENERALIZED]


def accuracies(results: Results) -> Figure:
    """A row for each language and average, with a dot for each system and its standard deviation over seeds."""
    measures, names = _measures(results), list(results.systems)
    values = [[results.per_seed(name, measure) for measure in measures] for name in names]
    means = np.array([[fmean(seeds) for seeds in line] for line in values])
    deviations = np.array([[deviation(seeds) for seeds in line] for line in values])
    figure, axes = _rows(measures, len(names))
    for name, line, spread in zip(names, means, deviations):
        _dots(axes, results, name, line, spread, names)
    bars = "" if np.isnan(deviations).all() else "\nbars: standard deviation over seeds"
    axes.set_xlabel(f"{MEASURES[results.score]} (%){bars}")
    _legend(figure, results, names)
    return figure


def gains(results: Results, baseline: str, comparisons: Comparisons) -> Figure:
    """The same with the differences of each system to the baseline, as shown, and their standard errors over seeds. Where only
    one system is compared, the numbers stand beside the dots."""
    measures, names = _measures(results), [name for name in results.systems if name != baseline]
    figure, axes = _rows(measures, len(names))
    low, high = -1.0, 1.0
    for name in names:
        differences = np.array([difference(results, name, baseline, measure) for measure in measures])
        errors = np.array([comparisons[name, measure].standard_error for measure in measures])
        _dots(axes, results, name, differences, errors, names)
        low = min(low, float(np.min(differences - np.nan_to_num(errors))))
        high = max(high, float(np.max(differences + np.nan_to_num(errors))))
        if len(names) == 1:
            for row, value in enumerate(differences):
                axes.annotate(
                    signed(value), (1, row), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=6.5
                )
    margin = 0.05 * (high - low)
    axes.set_xlim(low - margin, high + (5 if len(names) == 1 else 1) * margin)  # room for the numbers
    axes.axvline(0, color="black", linewidth=0.7, zorder=1)
    has_errors = any(not math.isnan(c.standard_error) for c in comparisons.values())
    bars = "\nbars: standard error over seeds" if has_errors else ""
    axes.set_xlabel(f"gain over {_counted(results, baseline)}, percentage points{bars}")
    _legend(figure, results, names)
    return figure


def _rows(measures: list[str], systems: int) -> tuple[Figure, Axes]:
    """A figure of a column's width with a row for each measure, from above, every other one shaded."""
    figure, axes = _subplots(
        figsize=(COLUMN, 0.7 + 0.13 * math.ceil(systems / 2) + len(measures) * max(0.14, ROW + LANE * systems))
    )
    axes.set_yticks(range(len(measures)), measures)
    axes.set_ylim(len(measures) - 0.5, -0.5)
    for row in range(0, len(measures), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="0.95", linewidth=0, zorder=0)
    axes.axhline(len(measures) - 2.5, color="0.4", linewidth=0.6, linestyle=":")  # languages | averages
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.85", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    return figure, axes


def _dots(axes: Axes, results: Results, name: str, values: np.ndarray, errors: np.ndarray, names: list[str]) -> None:
    """A dot in each row, in this system's lane; error bars that are NaN are left out."""
    lane = (names.index(name) - (len(names) - 1) / 2) * LANE / (ROW + LANE * len(names))
    number = list(results.systems).index(name)
    colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]
    rows = np.arange(len(values)) + lane
    container = axes.errorbar(
        values,
        rows,
        xerr=None if np.isnan(errors).all() else errors,
        fmt=shape,
        color=colour,
        markersize=3,
        elinewidth=0.7,
        zorder=3,
    )
    container.set_label(_counted(results, name))


def _legend(figure: Figure, results: Results, names: list[str]) -> None:
    longest = max(len(_counted(results, name)) for name in names)
    columns = min(len(names), max(1, 64 // (6 + longest)))
    place = {"loc": "outside lower center", "ncols": columns, "borderaxespad": 0.2}
    figure.legend(**place, fontsize=7, frameon=False, handletextpad=0.2, columnspacing=1)


def _counted(results: Results, name: str) -> str:
    shown = one_line(name).replace("$", r"\$")  # between dollars, matplotlib reads formulas
    return f"{shown} ({counted(len(results.systems[name]), 'seed')})"


def heatmap(results: Results, name: str, scale: tuple[float, float]) -> Figure:
    """Accuracy of a system in the generalized setting; ``scale`` is (lowest, highest), the same for all systems."""
    title = f"{_counted(results, name)}: accuracy (%)"
    return _heatmap(results, _with_averages(results.matrix(name)), title, "YlGnBu", *scale, number)


def heatmap_difference(results: Results, name: str, baseline: str, limit: float) -> Figure:
    """Difference of a system to the baseline in the generalized setting, of the numbers that :func:`heatmap` shows, coloured
    from -``limit`` to ``limit``."""
    title = f"{_counted(results, name)} − {_counted(results, baseline)}: percentage points"
    shown = [np.vectorize(as_shown)(_with_averages(results.matrix(system))) for system in (name, baseline)]
    return _heatmap(results, shown[0] - shown[1], title, "RdBu", -limit, limit, signed)


def _with_averages(matrix: np.ndarray) -> np.ndarray:
    """float64 (N + 1, N + 1): with the averages of rows and columns."""
    return np.block([[matrix, matrix.mean(axis=1)[:, None]], [matrix.mean(axis=0), matrix.mean()]])


def _heatmap(
    results: Results, matrix: np.ndarray, title: str, colours: str, low: float, high: float, write: Callable[[float], str]
) -> Figure:
    """Cells with their values as ``write`` puts them, premises down; the averages, the last row and column, are set apart."""
    import matplotlib.pyplot as plt

    names, n = results.generalized_languages, len(matrix) - 1
    figure, axes = _subplots(figsize=(min(PAGE, max(COLUMN, 0.4 * n + 1.4)), max(2.4, 0.25 * n + 1.2)))
    edges = np.append(np.arange(n + 1), [n + 0.25, n + 1.25])  # a gap before the averages
    cells = np.insert(np.insert(matrix, n, math.nan, axis=0), n, math.nan, axis=1)
    mesh = axes.pcolormesh(
        edges, edges, np.ma.masked_invalid(cells), cmap=colours, vmin=low, vmax=high, edgecolors="white", linewidth=0.5
    )
    centres = (edges[:-1] + edges[1:]) / 2
    for (row, column), value in np.ndenumerate(cells):
        if not math.isnan(value):
            red, green, blue, _ = plt.get_cmap(colours)(mesh.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            bold = "bold" if row == column == n + 1 else None
            axes.text(
                centres[column],
                centres[row],
                write(value),
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if dark else "black",
                fontweight=bold,
            )
    ticks = [*centres[:n], centres[n + 1]]
    axes.set_xticks(ticks, [*names, "avg."])
    axes.set_yticks(ticks, [*names, "avg."])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.set_xlabel("hypothesis")
    axes.set_ylabel("premise")
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.suptitle(textwrap.fill(title, int(14 * figure.get_figwidth())), fontsize=8)
    bar = figure.colorbar(mesh, ax=axes, shrink=0.8, pad=0.02, aspect=40)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, width=0.6)
    return figure


def accuracy_scale(results: Results, names: list[str]) -> tuple[float, float]:
    """Lowest and highest accuracy of these systems in the generalized setting."""
    matrices = [results.matrix(name) for name in names]
    return float(np.nanmin(matrices)), float(np.nanmax(matrices))


def difference_limit(results: Results, names: list[str], baseline: str) -> float:
    """Largest difference of one of these systems to the baseline, at least one point, for a scale centred at 0."""
    differences = [np.abs(results.matrix(name) - results.matrix(baseline)) for name in names]
    return max(1.0, float(np.nanmax(differences)))
