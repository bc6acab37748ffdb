"""The figures of the report. Each function returns a matplotlib figure; :func:`save` writes it as PNG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np

from salt_fairseq.report.results import GENERALIZED, Results
from salt_fairseq.report.significance import Comparisons
from salt_fairseq.report.tables import number, signed

if TYPE_CHECKING:  # takes a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}


def save(figure: Figure, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, format="png", dpi=200)
    plt.close(figure)


def _subplots(**options) -> tuple:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(FONT):
        return plt.subplots(layout="constrained", **options)


def _measures(results: Results) -> dict[str, str]:
    """Name to the title below its bars, of all measures but the average of the generalized setting."""
    return {measure: measure.replace(" ", "\n") for measure in results.measures if measure != GENERALIZED}


def accuracies(results: Results) -> Figure:
    """Grouped bars, one group per language and average, with standard deviations over seeds."""
    measures, names = _measures(results), list(results.systems)
    values = [[results.per_seed(name, measure) for measure in measures] for name in names]
    heights = np.array([[fmean(seeds) for seeds in line] for line in values])
    errors = np.array([[stdev(seeds) if len(seeds) > 1 else math.nan for seeds in line] for line in values])
    inches = min(16, max(6, len(measures) * max(0.55, 0.17 * len(names))))
    figure, axes = _subplots(figsize=(inches, max(4, 0.3 * inches)))
    width = 0.8 / len(names)
    for k, (name, line, spread) in enumerate(zip(names, heights, errors)):
        places = np.arange(len(measures)) + (k - (len(names) - 1) / 2) * width
        _bars(axes, places, line, spread, width, _counted(results, name), k)
    _measure_axis(axes, list(measures.values()))
    lowest = np.min(heights - np.nan_to_num(errors))
    axes.set_ylim(max(0, 5 * (lowest // 5) - 5), None)
    axes.set_ylabel("accuracy (%)")
    columns = int(11 * inches / (6 + max(len(_counted(results, name)) for name in names)))
    figure.legend(loc="outside lower center", ncols=max(1, min(len(names), columns)), frameon=False, fontsize=9)
    if not np.isnan(errors).all():
        axes.set_title("error bars: standard deviation over seeds", loc="right", fontsize=8, color="0.35")
    return figure


def gains(results: Results, baseline: str, comparisons: Comparisons) -> Figure:
    """The difference of each system to the baseline, one below the other, with standard errors over seeds."""
    measures, names = _measures(results), [name for name in results.systems if name != baseline]
    inches = max(6, 0.55 * len(measures))
    figure, panels = _subplots(nrows=len(names), figsize=(inches, 1 + 1.9 * len(names)), sharey=True, squeeze=False)
    for name, axes in zip(names, panels[:, 0]):
        heights, errors = (
            np.array([getattr(comparisons[name, measure], what) for measure in measures])
            for what in ("difference", "standard_error")
        )
        places = np.arange(len(measures))
        _bars(axes, places, heights, errors, 0.7, _counted(results, name), list(results.systems).index(name))
        for place, height, error in zip(places, heights, np.nan_to_num(errors)):
            side, anchor = (-1, "top") if signed(height).startswith("-") else (1, "bottom")
            axes.annotate(
                signed(height),
                (place, height + side * error),
                xytext=(0, 2 * side),
                textcoords="offset points",
                ha="center",
                va=anchor,
                fontsize=7,
            )
        _measure_axis(axes, list(measures.values()))
        axes.axhline(0, color="black", linewidth=0.8, zorder=4)
        axes.spines["bottom"].set_visible(False)
        axes.margins(y=0.15)
        axes.set_title(f"{_counted(results, name)} − {_counted(results, baseline)}", loc="left")
        axes.label_outer()
    figure.supylabel("gain (percentage points)", fontsize=9)
    if any(not math.isnan(c.standard_error) for c in comparisons.values()):
        figure.supxlabel("error bars: standard error over seeds", fontsize=8, color="0.35")
    return figure


def _bars(
    axes: Axes, places: np.ndarray, heights: np.ndarray, errors: np.ndarray, width: float, label: str, colour: int
) -> None:
    """Bars with error bars, which are left out if NaN; ``colour`` is the number of the system."""
    import matplotlib.pyplot as plt

    axes.bar(places, heights, width, label=label, color=plt.get_cmap("tab10")(colour % 10), zorder=2)
    if not np.isnan(errors).all():
        axes.errorbar(places, heights, errors, fmt="none", ecolor="0.25", elinewidth=0.8, capsize=min(3, 12 * width), zorder=3)


def _measure_axis(axes: Axes, titles: list[str]) -> None:
    axes.set_xticks(range(len(titles)), titles)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(titles) - 0.4)
    axes.grid(axis="y", color="0.9", zorder=0)
    axes.axvline(len(titles) - 2.5, color="0.6", linewidth=0.8, linestyle=":")  # languages | averages


def _counted(results: Results, name: str) -> str:
    count = len(results.systems[name])
    return f"{name} ({count} seed{'s' * (count > 1)})"


def heatmap(results: Results, name: str, scale: tuple[float, float]) -> Figure:
    """Accuracy of a system in the generalized setting; ``scale`` is (lowest, highest), the same for all systems."""
    title = f"{_counted(results, name)}: accuracy (%)"
    return _heatmap(results, results.matrix(name), title, "YlGnBu", *scale, number)


def heatmap_difference(results: Results, name: str, baseline: str, limit: float) -> Figure:
    """Difference of a system to the baseline in the generalized setting, coloured from -``limit`` to ``limit``."""
    title = f"{_counted(results, name)} − {_counted(results, baseline)}: percentage points"
    difference = results.matrix(name) - results.matrix(baseline)
    return _heatmap(results, difference, title, "RdBu", -limit, limit, signed)


def _heatmap(
    results: Results, matrix: np.ndarray, title: str, colours: str, low: float, high: float, write: Callable[[float], str]
) -> Figure:
    """Cells with their values as ``write`` puts them, premises down, averages set apart."""
    import matplotlib.pyplot as plt

    names, n = results.generalized_languages, len(matrix)
    with_averages = np.block([[matrix, matrix.mean(axis=1)[:, None]], [matrix.mean(axis=0), matrix.mean()]])
    figure, axes = _subplots(figsize=(max(4, 0.46 * n + 2), max(3.4, 0.36 * n + 1.6)))
    edges = np.append(np.arange(n + 1), [n + 0.25, n + 1.25])  # a gap before the averages
    cells = np.insert(np.insert(with_averages, n, math.nan, axis=0), n, math.nan, axis=1)
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
                fontsize=7,
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
    figure.suptitle(textwrap.fill(title, int(10 * figure.get_figwidth())), fontsize=10)
    figure.colorbar(mesh, ax=axes, shrink=0.8, pad=0.02).outline.set_visible(False)
    return figure


def accuracy_scale(results: Results, names: list[str]) -> tuple[float, float]:
    """Lowest and highest accuracy of these systems in the generalized setting."""
    matrices = [results.matrix(name) for name in names]
    return float(np.nanmin(matrices)), float(np.nanmax(matrices))


def difference_limit(results: Results, names: list[str], baseline: str) -> float:
    """Largest difference of one of these systems to the baseline, at least one point, for a scale centred at 0."""
    differences = [np.abs(results.matrix(name) - results.matrix(baseline)) for name in names]
    return max(1.0, float(np.nanmax(differences)))
