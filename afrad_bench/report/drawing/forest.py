"""Forest plot: a line for each row with its difference to the reference and the interval of it, a panel per metric."""

from __future__ import annotations

from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from afrad_bench.report.drawing.panels import above
from afrad_bench.report.drawing.shapes import Forest, ForestPanel, Interval
from afrad_bench.report.drawing.style import COLOURS, INK, SMALL, SOFT, in_lines

BETTER, WORSE = COLOURS[0], COLOURS[1]
WIDTH, LINE, NAME = 10.8, 0.2, 34
"""Inches; inches from one row to the next; characters of a row's name on a line."""


def size(drawing: Forest) -> tuple[float, float]:
    """Width and height in inches."""
    lines = sum(len(in_lines(row, NAME).splitlines()) for row in drawing.rows)
    return WIDTH, 0.8 + LINE * max(lines, 2)


def fill(figure: Figure, drawing: Forest, below: float) -> None:
    """Panels side by side on common lines; the figures of the first metric stand beside its panel."""
    above(figure, below)
    ratios = [1.25, *[1.0] * (len(drawing.panels) - 1)]
    grid = figure.subplots(1, len(drawing.panels), sharey=True, squeeze=False, width_ratios=ratios).ravel()
    for axes, panel in zip(grid, drawing.panels, strict=True):
        _panel(axes, panel)
    for interval, at in zip(drawing.panels[0].intervals, range(len(drawing.rows)), strict=True):
        text = "not measured" if interval is None else interval.text
        grid[0].text(1.02, at, text, transform=grid[0].get_yaxis_transform(), va="center", fontsize=SMALL, color=INK)
    grid[0].set_yticks(range(len(drawing.rows)), [in_lines(row, NAME) for row in drawing.rows])
    grid[0].set_ylim(len(drawing.rows) - 0.4, -0.6)


def _panel(axes: Axes, panel: ForestPanel) -> None:
    axes.set_title(panel.title, fontweight="bold", loc="left")
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=SMALL + 1)
    low, high = _limits([each for each in panel.intervals if each is not None])
    for at, interval in enumerate(panel.intervals):
        if interval is not None:
            _interval(axes, at, interval, low, high)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}".replace("-", "\N{MINUS SIGN}") if x else "0"))
    sides = ("worse", "better") if panel.higher_is_better else ("better", "worse")
    gap = 3 * "\N{NO-BREAK SPACE}"
    label = f"\N{LEFTWARDS ARROW} {sides[0]}{gap}{sides[1]} \N{RIGHTWARDS ARROW}"
    axes.set_xlabel(label, fontsize=SMALL, color=SOFT)


def _limits(known: list[Interval]) -> tuple[float, float]:
    """The ends of the axis: those of the intervals and 0, but not so far out that differences cannot be read."""
    ends = [end for each in known for end in _ends(each)]
    reach = [max(map(abs, _ends(each))) for each in known]
    if not any(reach):
        return -1.0, 1.0
    bound = max(4 * max(abs(each.mean) for each in known), 2 * median(reach))
    low, high = max(-bound, min(0.0, *ends)), min(bound, max(0.0, *ends))
    margin = 0.1 * (high - low)
    return low - margin, high + margin


def _ends(interval: Interval) -> tuple[float, float]:
    low, high = interval.low, interval.high
    return (interval.mean, interval.mean) if low is None or high is None else (low, high)


def _interval(axes: Axes, at: int, interval: Interval, left: float, right: float) -> None:
    shade = SOFT if interval.certainty == "unclear" else BETTER if interval.gain > 0 else WORSE
    low, high = _ends(interval)
    if low < high:
        axes.plot((max(low, left), min(high, right)), (at, at), color=shade, linewidth=1.6, solid_capstyle="butt")
        for end, inside, sign in ((max(low, left), low >= left, "<"), (min(high, right), high <= right, ">")):
            mark = "|" if inside else sign  # an arrow: the interval goes on
            axes.plot([end], [at], marker=mark, color=shade, markersize=6, clip_on=False)
    face = shade if interval.certainty == "certain" else "white"
    axes.plot([interval.mean], [at], marker="o", markersize=6, markerfacecolor=face, markeredgecolor=shade, zorder=3)
