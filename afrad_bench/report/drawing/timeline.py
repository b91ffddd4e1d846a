"""Metrics over revisions of the code: a panel for each metric, a line for each row, signs for a gate's verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from afrad_bench.report.drawing.panels import above
from afrad_bench.report.drawing.shapes import Timeline, TimePanel
from afrad_bench.report.drawing.style import SMALL, colour, dash

WIDTH, HEIGHT = 4.6, 2.5
"""Size of a panel, in inches."""
ACROSS = 2
TICKS = 8
"""Most revisions that are named below a panel; of more, evenly spaced ones."""
SIGNS: Mapping[str, Mapping[str, Any]] = {
    "pass": {"marker": "o", "markersize": 9, "markeredgecolor": "#00664b"},
    "cannot tell": {"marker": "D", "markersize": 10, "markeredgecolor": "#8a6100"},
    "regression": {"marker": "X", "markersize": 13, "markeredgecolor": "#a3161a"},
}
"""Hollow signs around a point, told apart by their form."""


def size(drawing: Timeline) -> tuple[float, float]:
    """Width and height in inches."""
    columns, rows = _grid(drawing)
    return columns * WIDTH, rows * HEIGHT + 0.3 + 0.2 * _legend_rows(drawing)


def fill(figure: Figure, drawing: Timeline, below: float) -> None:
    """The panels in rows, with the legend above them."""
    above(figure, below)
    columns, rows = _grid(drawing)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    numbers = count()
    for axes, panel in zip(grid, drawing.panels, strict=False):
        _panel(axes, panel, numbers)
    for axes in grid[len(drawing.panels) :]:
        axes.set_axis_off()
    step = math.ceil(len(drawing.times) / TICKS)
    shown = range(len(drawing.times) - 1, -1, -step)  # the newest is always named
    for axes in grid[max(len(drawing.panels) - columns, 0) : len(drawing.panels)]:
        axes.set_xticks(list(shown), [drawing.times[at] for at in shown])
        axes.tick_params(labelbottom=True)  # also above an empty place
    grid[0].set_xlim(-0.35, len(drawing.times) - 0.65)
    figure.legend(handles=_legend(drawing), loc="outside upper left", ncols=_across(drawing), handlelength=3.4)


def _grid(drawing: Timeline) -> tuple[int, int]:
    columns = min(ACROSS, len(drawing.panels))
    return columns, math.ceil(len(drawing.panels) / columns)


def _across(drawing: Timeline) -> int:
    """How many names stand side by side in the legend."""
    longest = max(len(name) for _, name in drawing.labels)
    room = _grid(drawing)[0] * WIDTH * 72
    return max(1, min(4, int(room / (55 + 5.2 * longest))))


def _legend_rows(drawing: Timeline) -> int:
    return math.ceil(len(_legend(drawing)) / _across(drawing))


def _legend(drawing: Timeline) -> list[Line2D]:
    found = [
        Line2D([], [], color=colour(s), linestyle=dash(s), marker="o", markersize=4, linewidth=1.4, label=name)
        for s, name in drawing.labels
    ]
    said = {moment.verdict for moment in drawing.moments}
    return found + [
        Line2D([], [], linestyle="", markerfacecolor="none", label=f"gate: {verdict}", **sign)
        for verdict, sign in SIGNS.items()
        if verdict in said
    ]


def _panel(axes: Axes, panel: TimePanel, numbers: count[int]) -> None:
    axes.set_title(panel.title, fontweight="bold")
    axes.grid(True)
    axes.set_axisbelow(True)
    for trace in panel.traces:
        shade = colour(trace.style)
        for before, after in zip(trace.moments, trace.moments[1:], strict=False):
            if after.joined:
                ends = (before.at, after.at), (before.y, after.y)
                axes.plot(*ends, color=shade, linestyle=dash(trace.style), linewidth=1.4, zorder=2)
        for moment in trace.moments:
            place = [moment.at], [moment.y]
            if moment.spread:
                axes.errorbar(*place, moment.spread, color=shade, capsize=2.5, linewidth=1.0, zorder=3)
            if moment.verdict:
                axes.plot(*place, linestyle="", markerfacecolor="none", zorder=4, **SIGNS[moment.verdict])
            axes.scatter(*place, s=16, color=shade, zorder=5).set_gid(f"point-{next(numbers)}")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(y=0.12)
    axes.tick_params(labelsize=SMALL)
