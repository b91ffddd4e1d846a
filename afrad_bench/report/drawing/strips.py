"""Score strips: a panel for each method and category, a dot for each test image, normal ones below defective ones."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from afrad_bench.report.drawing.panels import above
from afrad_bench.report.drawing.shapes import Dots, Strip, Strips
from afrad_bench.report.drawing.style import COLOURS, INK, POINT, SMALL, SOFT, in_lines

WIDTH, HEIGHT = 1.9, 0.95
"""Size of a panel with its labels, in inches."""
GOLDEN = 0.618034
"""Fractions of its multiples are spread evenly: the jitter, the same in every drawing."""
KINDS = (("normal", COLOURS[0], "o"), ("anomalous", COLOURS[1], "D"))


def size(drawing: Strips) -> tuple[float, float]:
    """Width and height in inches."""
    return max(WIDTH * len(drawing.columns), 4.0) + 1.2, HEIGHT * len(drawing.rows) + 0.85


def fill(figure: Figure, drawing: Strips, below: float) -> None:
    """A row for each method, a column for each category, and the legend above them."""
    above(figure, below)
    grid = figure.subplots(len(drawing.rows), len(drawing.columns), squeeze=False)
    for row, (label, of_row) in enumerate(zip(drawing.rows, drawing.strips, strict=True)):
        for column, strip in enumerate(of_row):
            axes = grid[row][column]
            if row == 0:
                axes.set_title(drawing.columns[column], fontweight="bold")
            if column == 0:
                axes.set_ylabel(in_lines(label, 16), rotation=0, ha="right", va="center")
            _strip(axes, strip, f"dots-{row}-{column}")
    grid[-1][0].set_xlabel("image score, each panel on its own scale", fontsize=SMALL, loc="left")
    handles = [Line2D([], [], linestyle="", marker=m, markersize=4, color=c, label=name) for name, c, m in KINDS]
    handles.append(Line2D([], [], color=INK, linestyle="--", linewidth=1.0, label="threshold of the best F1"))
    if any(strip is not None and strip.operating is not None for of_row in drawing.strips for strip in of_row):
        handles.append(Line2D([], [], color=POINT, linewidth=1.6, label="operating point"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles) if len(drawing.columns) > 2 else 2)


def _strip(axes: Axes, strip: Strip | None, key: str) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if strip is None:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", fontsize=SMALL, color=SOFT)
        return
    for lane, (dots, (kind, shade, marker)) in enumerate(zip((strip.normal, strip.anomalous), KINDS, strict=True)):
        if dots.scores:
            heights = [lane + 0.7 * (GOLDEN * i % 1.0 - 0.5) for i in range(len(dots.scores))]
            drawn = axes.scatter(dots.scores, heights, s=9, color=shade, marker=marker, alpha=0.65, linewidths=0)
            drawn.set_gid(f"{key}-{kind}")
    if strip.threshold is not None:
        axes.axvline(strip.threshold, color=INK, linestyle="--", linewidth=1.0, zorder=3)
    if strip.operating is not None:
        _operating(axes, strip.operating)
    axes.set_ylim(-0.55, 1.55 if strip.operating is None else 2.0)  # its value stands above the dots
    axes.xaxis.set_major_locator(MaxNLocator(3))


def _operating(axes: Axes, threshold: float) -> None:
    """A line, and its value on the side that has more room; at the edge an arrow, if it is far from all dots."""
    low, high = axes.get_xlim()
    at, text = threshold, f"{threshold:.4g}"
    if threshold > 2 * high - low:
        at, text = high, f"{text} →"
    elif threshold < 2 * low - high:
        at, text = low, f"← {text}"
    else:
        axes.axvline(threshold, color=POINT, linewidth=1.6, zorder=3)
    left = at > (low + high) / 2
    place, moved = (at, 1.0), (-2.5 if left else 2.5, 0.0)
    words = axes.annotate(text, place, moved, xycoords=("data", "axes fraction"), textcoords="offset points")
    words.set(ha="right" if left else "left", va="top", fontsize=SMALL - 1, color=POINT)
    words.set_in_layout(False)


def named(svg: str, drawing: Strips) -> str:
    """Each dot of an SVG file with the name and the score of its image, which viewers show under the pointer."""
    found = {
        f"dots-{row}-{column}-{kind}": dots
        for row, of_row in enumerate(drawing.strips)
        for column, strip in enumerate(of_row)
        if strip is not None
        for (kind, _, _), dots in zip(KINDS, (strip.normal, strip.anomalous), strict=True)
    }
    first, *pieces = re.split(r'(?=<g id="dots-)', svg)
    return "".join((first, *(_titled(piece, found) for piece in pieces)))


def _titled(piece: str, found: Mapping[str, Dots]) -> str:
    """The part of a file that begins with the dots of one kind in one panel; other shapes may follow them."""
    key = piece.removeprefix('<g id="').partition('"')[0]
    dots, kind = found[key], key.rpartition("-")[2]
    images = iter(zip(dots.names, dots.scores, strict=True))

    def dot(use: re.Match[str]) -> str:
        image = next(images, None)
        if image is None:
            return use.group()
        name, text = html.escape(image[0]), html.escape(f"{image[0]}, {kind}: {image[1]:.4g}")
        return f'<g class="point" role="img" data-image="{name}"><title>{text}</title>{use.group()}</g>'

    return re.sub("<use [^>]*/>", dot, piece)
