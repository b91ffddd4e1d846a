"""Critical-difference diagram: mean ranks on a line, names below it, bars over groups that do not differ."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from afrad_bench.report.drawing.panels import above
from afrad_bench.report.drawing.shapes import CriticalDifference
from afrad_bench.report.drawing.style import INK, SMALL, SOFT


def size(drawing: CriticalDifference) -> tuple[float, float]:
    """Width and height in inches."""
    return 6.5, 0.7 + 0.14 * len(drawing.groups) + 0.2 * len(drawing.labels)


def fill(figure: Figure, drawing: CriticalDifference, below: float) -> None:
    """The better half of the names is on the left, the other half on the right."""
    above(figure, below)
    axes = figure.subplots()
    axes.set_axis_off()
    count, bars = len(drawing.labels), len(drawing.groups)
    left = math.ceil(count / 2)
    axes.set_xlim(1 - 0.9 * (count - 1) / 2 - 0.6, count + 0.9 * (count - 1) / 2 + 0.6)
    axes.set_ylim(-0.6 * (left + 1) - 0.35 * bars, 1.1)
    axes.plot((1, count), (0, 0), color=INK, linewidth=1.2)
    for tick in range(1, count + 1):
        axes.plot((tick, tick), (0, 0.15), color=INK, linewidth=1.0)
        axes.text(tick, 0.25, str(tick), ha="center", fontsize=SMALL, color=SOFT)
    for i, (label, rank) in enumerate(zip(drawing.labels, drawing.ranks, strict=True)):
        on_left = i < left
        depth = -0.35 * bars - 0.6 * (i + 1 if on_left else count - i)
        end = 0.8 if on_left else count + 0.2
        axes.plot((rank, rank, end), (0, depth, depth), color=SOFT, linewidth=0.8)
        side = "right" if on_left else "left"
        text = f"{label} ({rank:.2f})" if on_left else f"({rank:.2f}) {label}"
        axes.text(end - 0.05 if on_left else end + 0.05, depth, text, ha=side, va="center")
    for i, group in enumerate(drawing.groups):
        ends = drawing.ranks[group[0]] - 0.04, drawing.ranks[group[-1]] + 0.04
        axes.plot(ends, (-0.3 - 0.35 * i,) * 2, color=INK, linewidth=3.0, solid_capstyle="butt")
