"""Costs of rows as intervals: a line for each row with its median, from the lower to the upper percentile."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from afrad_bench.report.drawing.panels import above
from afrad_bench.report.drawing.shapes import Spans
from afrad_bench.report.drawing.style import ALARM, COLOURS, SMALL, in_lines

WIDTH, LINE, NAME = 9.2, 0.2, 54
"""Inches; inches from one row to the next; characters of a row's name on a line."""
DECADE = 10.0
"""The axis is logarithmic if its largest value divided by its smallest is above this."""


def size(drawing: Spans) -> tuple[float, float]:
    """Width and height in inches."""
    lines = sum(len(in_lines(span.label, NAME).splitlines()) for span in drawing.spans)
    return WIDTH, 1.05 + LINE * max(lines, 2)


def fill(figure: Figure, drawing: Spans, below: float) -> None:
    """The rows from top to bottom as they come, each with its median in figures at the right."""
    above(figure, below)
    axes = figure.subplots()
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    for at, span in enumerate(drawing.spans):
        shade = ALARM if span.doubted else COLOURS[0]
        if span.low is not None and span.high is not None:
            axes.plot((span.low, span.high), (at, at), color=shade, linewidth=1.6, solid_capstyle="butt")
            axes.plot((span.low, span.high), (at, at), color=shade, linestyle="", marker="|", markersize=6)
        face = "white" if span.doubted else shade
        axes.plot([span.value], [at], marker="o", markersize=5.5, markerfacecolor=face, markeredgecolor=shade, zorder=3)
        axes.text(1.01, at, span.text, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL)
    _across(figure, drawing)
    axes.set_yticks(range(len(drawing.spans)), [in_lines(span.label, NAME) for span in drawing.spans])
    for label, span in zip(axes.get_yticklabels(), drawing.spans, strict=True):
        label.set_color(ALARM if span.doubted else label.get_color())
    axes.set_ylim(len(drawing.spans) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=SMALL + 1)
    axes.spines["left"].set_visible(False)
    figure.legend(handles=_legend(drawing), loc="outside upper left", ncols=2, fontsize=SMALL)


def _across(figure: Figure, drawing: Spans) -> None:
    """The horizontal axis, from a little below the smallest end to a little above the largest."""
    (axes,) = figure.axes
    ends = [end for span in drawing.spans for end in (span.low, span.value, span.high) if end is not None]
    low, high = min(ends), max(ends)
    if low > 0 and high / low > DECADE:
        axes.set_xscale("log")
        room = (high / low) ** 0.04
        axes.set_xlim(low / room, high * room)
        subs = (1.0, 2.0, 5.0) if math.log10(high / low) < 3 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"{drawing.x_label} (log scale)")
    else:
        axes.set_xlim(0, high * 1.04 or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(drawing.x_label)


def _legend(drawing: Spans) -> list[Line2D]:
    found = [Line2D([], [], color=COLOURS[0], marker="o", markersize=5.5, linewidth=1.6, label=drawing.meaning)]
    if any(span.doubted for span in drawing.spans):
        hollow = Line2D([], [], color=ALARM, marker="o", markersize=5.5, linewidth=1.6, label="unreliable")
        hollow.set_markerfacecolor("white")
        found.append(hollow)
    return found
