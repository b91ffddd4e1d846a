"""A panel for each category: curves of all methods, or histograms of one method's scores."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from afrad_bench.report.drawing.shapes import Bars, Curves, Histograms, Panel
from afrad_bench.report.drawing.style import ANOMALOUS, FAINT, NORMAL, SMALL, SOFT, colour, dash, in_lines

SIDE, ACROSS = 2.3, 4
"""Side of a panel of curves with its labels, in inches; maximum number of panels in a row."""
HANDLE, LETTER, NAME = 0.65, 0.078, 40
"""Width of the line of a legend's entry and of a letter, in inches; letters of a name on a line."""
BAR_WIDTH, BAR_HEIGHT = 1.45, 1.05
"""Size of a histogram with its labels, in inches."""

Labels = Sequence[tuple[int, str]]
"""Style of a line -> its name."""


def above(figure: Figure, below: float) -> None:
    """Lay out everything in the part of the figure above `below` inches."""
    share = below / figure.get_size_inches()[1]
    figure.set_layout_engine("constrained", rect=(0.0, share, 1.0, 1.0 - share), w_pad=0.06, h_pad=0.06)


def legend_size(labels: Labels, width: float) -> tuple[int, float]:
    """How many entries of a legend stand beside each other in so many inches, and the height of the whole legend."""
    names = [in_lines(name, NAME).splitlines() for _, name in labels]
    columns = max(1, int(width / (HANDLE + LETTER * max(len(line) for lines in names for line in lines))))
    rows = math.ceil(len(labels) / columns)
    return columns, 0.2 * rows * max(map(len, names))


def legend(figure: Figure, labels: Labels, width: float) -> None:
    """A line for each style and its name, above the panels."""
    handles = [
        Line2D([], [], color=colour(s), linestyle=dash(s), linewidth=1.6, label=in_lines(n, NAME)) for s, n in labels
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=legend_size(labels, width)[0], handlelength=3.4)


# -------------------------------------------------------------------------------------------------------------- curves


def curves_size(drawing: Curves) -> tuple[float, float]:
    """Width and height in inches."""
    columns, rows = _grid(drawing)
    width = max(columns * SIDE, 5.0) + 0.3
    return width, rows * SIDE + 0.35 + legend_size(drawing.labels, width)[1]


def fill_curves(figure: Figure, drawing: Curves, below: float) -> None:
    """The panels in rows, with the legend above them."""
    above(figure, below)
    columns, rows = _grid(drawing)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, panel in zip(grid, drawing.panels, strict=False):
        _curves(axes, panel, drawing)
    for axes in grid[len(drawing.panels) :]:
        axes.set_axis_off()
    for axes in grid[max(len(drawing.panels) - columns, 0) : len(drawing.panels)]:
        axes.tick_params(labelbottom=True)  # also above an empty place
        axes.set_xlabel(drawing.x_label, fontsize=SMALL)
    for axes in grid[::columns]:
        axes.set_ylabel("\n".join(textwrap.wrap(drawing.y_label, 28)), fontsize=SMALL)
    legend(figure, drawing.labels, curves_size(drawing)[0])


def _grid(drawing: Curves) -> tuple[int, int]:
    columns = min(ACROSS, len(drawing.panels)) if len(drawing.panels) != 5 else 3
    return columns, math.ceil(len(drawing.panels) / columns)


def _curves(axes: Axes, panel: Panel, drawing: Curves) -> None:
    axes.set_title(panel.title, fontweight="bold")
    axes.grid(True)
    if drawing.diagonal:
        axes.plot((0, 1), (0, 1), color=FAINT, linewidth=1.0, zorder=1)
    for stroke in panel.strokes:
        if stroke.low:
            axes.fill_between(stroke.x, stroke.low, stroke.high, color=colour(stroke.style), alpha=0.15, linewidth=0)
        axes.plot(stroke.x, stroke.y, color=colour(stroke.style), linestyle=dash(stroke.style), linewidth=1.4)
    axes.set_xlim(0, drawing.x_limit)
    axes.set_ylim(0, 1.01)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_box_aspect(1)


# ---------------------------------------------------------------------------------------------------------- histograms


def histograms_size(drawing: Histograms) -> tuple[float, float]:
    """Width and height in inches."""
    return max(BAR_WIDTH * len(drawing.columns), 4.0) + 0.5, BAR_HEIGHT * len(drawing.rows) + 0.75


def fill_histograms(figure: Figure, drawing: Histograms, below: float) -> None:
    """A row for each method, a column for each category, and the legend above them."""
    above(figure, below)
    grid = figure.subplots(len(drawing.rows), len(drawing.columns), squeeze=False)
    for row, (label, of_row) in enumerate(zip(drawing.rows, drawing.bars, strict=True)):
        for column, bars in enumerate(of_row):
            axes = grid[row][column]
            if row == 0:
                axes.set_title(drawing.columns[column], fontweight="bold")
            if column == 0:
                axes.set_ylabel(in_lines(label, 16))
            _bars(axes, bars)
    grid[-1][0].set_xlabel("image score, each panel on its own scale", fontsize=SMALL, loc="left")
    kinds = (("normal", NORMAL), ("anomalous", ANOMALOUS))
    handles = [Patch(facecolor=f, edgecolor=e, hatch=h, label=name) for name, (f, e, h) in kinds]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)


def _bars(axes: Axes, bars: Bars | None) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if bars is None:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", fontsize=SMALL, color=SOFT)
        return
    for shares, (filling, edge, hatch) in ((bars.normal, NORMAL), (bars.anomalous, ANOMALOUS)):
        axes.stairs(shares, bars.edges, fill=True, facecolor=filling, edgecolor=edge, hatch=hatch, linewidth=0)
        axes.stairs(shares, bars.edges, color=edge, linewidth=1.1)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.set_ylim(bottom=0)
