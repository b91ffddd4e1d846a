"""Losses by epoch: a panel for each method, a line for each seed."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from afrad_bench.report.drawing.panels import above, legend, legend_size
from afrad_bench.report.drawing.shapes import Losses, Panel
from afrad_bench.report.drawing.style import SMALL, colour, dash, in_lines

WIDTH, HEIGHT, ACROSS = 2.4, 1.75, 4
"""Size of a panel with its labels, in inches; maximum number of panels in a row."""
LOGARITHMIC = 10.0
"""The scale of a panel is logarithmic if its largest loss divided by its smallest is above this."""
NAME, FEW = 20, 12
"""Characters of a name on a line; a line of so many epochs or fewer has dots."""


def size(drawing: Losses) -> tuple[float, float]:
    """Width and height in inches."""
    columns, rows = _grid(drawing)
    lines = max(len(in_lines(panel.title, NAME).splitlines()) for panel in drawing.panels)
    width = max(columns * WIDTH, 5.0)
    return width, rows * (HEIGHT + 0.15 * lines) + 0.3 + legend_size(drawing.labels, width)[1]


def fill(figure: Figure, drawing: Losses, below: float) -> None:
    """The panels in rows, with the legend above them."""
    above(figure, below)
    columns, rows = _grid(drawing)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, drawing.panels, strict=False):
        _panel(axes, panel)
    for axes in grid[len(drawing.panels) :]:
        axes.set_axis_off()
    legend(figure, drawing.labels, size(drawing)[0])


def _grid(drawing: Losses) -> tuple[int, int]:
    count = len(drawing.panels)
    columns = min(ACROSS, count) if count not in (5, 6, 9) else 3
    return columns, math.ceil(count / columns)


def _panel(axes: Axes, panel: Panel) -> None:
    axes.set_title(in_lines(panel.title, NAME), fontweight="bold")
    axes.grid(True)
    for stroke in panel.strokes:
        shade, marker = colour(stroke.style), "o" if len(stroke.x) <= FEW else ""
        if stroke.low:
            axes.fill_between(stroke.x, stroke.low, stroke.high, color=shade, alpha=0.15, linewidth=0)
        (line,) = axes.plot(stroke.x, stroke.y, color=shade, linestyle=dash(stroke.style), linewidth=1.3)
        line.set(marker=marker, markersize=2.5)
    values = [y for stroke in panel.strokes for y in (*stroke.y, *stroke.low)]
    logarithmic = min(values) > 0 and max(values) / min(values) > LOGARITHMIC
    if logarithmic:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("epoch", fontsize=SMALL)
    axes.set_ylabel("mean loss (log scale)" if logarithmic else "mean loss", fontsize=SMALL)
