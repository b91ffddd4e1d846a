"""Accuracy against cost: a bubble for each measured method, a diamond next to the plot for each published accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from afrad_bench.report.drawing.panels import above
from afrad_bench.report.drawing.shapes import Bubble, Bubbles, Mark
from afrad_bench.report.drawing.style import INK, SMALL, SOFT, TEXT, colour, in_lines

LARGEST = 900.0
"""Area of the largest bubble in square points."""
LOGARITHMIC = 12.0
"""The cost axis is logarithmic if the largest cost divided by the smallest is above this."""
FRONT: dict[str, Any] = {"color": SOFT, "linewidth": 1.0, "linestyle": (0, (4, 2)), "zorder": 1}
"""The Pareto front."""
LETTERS, MANY, CROWD = 24, 8, 16
"""Longest line of a label. Above `MANY` bubbles, labels are smaller; above `CROWD`, the figure is larger."""
LEADER = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.7}
"""A thin line from a label to its point."""
Place = tuple[float, float, float, Literal["left", "center", "right"]]


def size(drawing: Bubbles) -> tuple[float, float]:
    """Width and height in inches: of more bubbles, more room for their labels."""
    many = len(drawing.bubbles) > CROWD
    high = max(4.4, 0.22 * len(drawing.marks) + 1.2, 0.28 * len(drawing.bubbles) if many else 0.0)
    return (9.2 if drawing.marks or many else 7.2), high


def fill(figure: Figure, drawing: Bubbles, below: float) -> None:
    """The plot, the legend of bubble sizes above it, and published accuracies to the right of it."""
    above(figure, below)
    if drawing.marks:
        axes, right = figure.subplots(1, 2, width_ratios=(3.4, 1.0), sharey=drawing.shared)
    else:
        axes, right = figure.subplots(), None
    _axes(axes, drawing)
    if len(drawing.bubbles) > 2:
        front = drawing.front
        end = axes.get_xlim()[1]
        axes.step([*(each.x for each in front), end], [*(each.y for each in front), front[-1].y], where="post", **FRONT)
    for number, bubble in enumerate(drawing.bubbles):
        _bubble(axes, bubble, _unit(drawing), f"point-{number}")
    sizes = _sizes(drawing)
    widest = max(float(each.get_markersize()) for each in sizes) / TEXT
    figure.legend(handles=sizes, loc="outside upper left", ncols=5, handlelength=widest, handleheight=widest)
    if right is not None:
        _published(right, drawing)
    figure.draw_without_rendering()
    _label_bubbles(axes, drawing)
    if right is not None:
        _label_marks(right, drawing.marks)


def _axes(axes: Axes, drawing: Bubbles) -> None:
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.set_xlabel(drawing.x_label)
    axes.set_ylabel(drawing.y_label)
    costs = [cost for bubble in drawing.bubbles for cost in (bubble.x, *(bubble.range or ()))]
    heights = [bubble.y + sign * (bubble.spread or 0.0) for bubble in drawing.bubbles for sign in (-1, 1)]
    heights += [mark.y for mark in drawing.marks if drawing.shared]
    if min(costs) > 0 and max(costs) / min(costs) > LOGARITHMIC:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        room = (max(costs) / min(costs)) ** 0.15
        axes.set_xlim(min(costs) / room, max(costs) * room)
    elif min(costs) > max(costs) / 2:
        room = max(0.35 * (max(costs) - min(costs)), 0.02 * max(costs))
        axes.set_xlim(min(costs) - room, max(costs) + room)
    else:
        axes.set_xlim(0, max(costs) * 1.2 or 1.0)
    room = max((max(heights) - min(heights)) * 0.18, 0.5)
    axes.set_ylim(min(heights) - room, min(max(heights) + room, 101.0))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _unit(drawing: Bubbles) -> float:
    """Area of one unit of size, in square points."""
    return LARGEST / max((bubble.size or 0.0 for bubble in drawing.bubbles), default=0.0) if _known(drawing) else 0.0


def _known(drawing: Bubbles) -> list[float]:
    return [bubble.size for bubble in drawing.bubbles if bubble.size]


def _bubble(axes: Axes, bubble: Bubble, unit: float, key: str) -> None:
    shade = colour(bubble.style)
    if bubble.size:
        axes.scatter([bubble.x], [bubble.y], s=bubble.size * unit, color=shade, alpha=0.35, linewidths=0, zorder=2)
        axes.scatter([bubble.x], [bubble.y], s=bubble.size * unit, facecolor="none", edgecolor=shade, zorder=3)
    if bubble.spread:
        axes.errorbar(bubble.x, bubble.y, bubble.spread, color=shade, capsize=3, linewidth=1.2, zorder=4)
    if bubble.range:
        axes.plot(bubble.range, (bubble.y, bubble.y), color=shade, linewidth=1.2, marker="|", markersize=7, zorder=4)
    axes.scatter([bubble.x], [bubble.y], s=14, color=shade, zorder=5).set_gid(key)


def _sizes(drawing: Bubbles) -> list[Line2D]:
    """Legend entries for a dot, a diamond and two sizes of bubbles."""
    found = [Line2D([], [], linestyle="", marker="o", color=INK, markersize=4, label="measured")]
    if len(drawing.bubbles) > 2:
        found.append(Line2D([], [], label="Pareto front", markersize=9, **FRONT))
    if drawing.marks:
        found.append(_diamond(INK, label="published"))
    if known := _known(drawing):
        largest = _round(max(known))
        for value in (largest / 4, largest):
            points = math.sqrt(value * _unit(drawing))
            ring = Line2D([], [], linestyle="", marker="o", markersize=points, label=f"{value:g} {drawing.size_label}")
            ring.set(markerfacecolor="#0000001a", markeredgecolor=SOFT)
            found.append(ring)
    return found


def _round(value: float) -> float:
    """The largest of ..., 0.1, 0.2, 0.4, 1, 2, 4, 10, 20, 40, ... that is not above `value`.

    >>> [_round(value) for value in (1.19, 7.0, 68.9)]
    [1.0, 4.0, 40.0]
    """
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 4) if step * power <= value)


def _diamond(shade: str, label: str = "") -> Line2D:
    diamond = Line2D([0.12], [0.0], linestyle="", marker="D", markersize=7, label=label)
    diamond.set(markerfacecolor="white", markeredgecolor=shade, markeredgewidth=1.6)
    return diamond


def _published(axes: Axes, drawing: Bubbles) -> None:
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.set_xlabel(drawing.marks_label.replace(": ", ":\n"))
    axes.grid(True, axis="y")
    if not drawing.shared:
        heights = [mark.y for mark in drawing.marks]
        room = max((max(heights) - min(heights)) * 0.18, 0.5)
        axes.set_ylim(min(heights) - room, min(max(heights) + room, 101.0))
        axes.yaxis.set_major_locator(MaxNLocator(6))
    for mark in drawing.marks:
        diamond = _diamond(colour(mark.style))
        diamond.set_ydata([mark.y])
        axes.add_line(diamond)


# -------------------------------------------------------------------------------------------------------------- labels


def _label_bubbles(axes: Axes, drawing: Bubbles) -> None:
    """Place each label next to its bubble where it covers nothing, with a line to the bubble if it is further away."""
    taken = [_around(axes, bubble, _unit(drawing)) for bubble in drawing.bubbles]
    taken += [_along(axes, bubble.range, bubble.y) for bubble in drawing.bubbles if bubble.range]
    if len(drawing.bubbles) > 2:
        ends = [*(each.x for each in drawing.front), axes.get_xlim()[1]]
        taken += [_along(axes, span, each.y) for span, each in zip(pairwise(ends), drawing.front, strict=True)]
    for bubble in drawing.bubbles:
        text = in_lines(bubble.label, LETTERS)
        label = axes.annotate(text, (bubble.x, bubble.y), xytext=(0, 0), textcoords="offset points", va="center")
        label.set_fontsize(TEXT if len(drawing.bubbles) <= MANY else SMALL)
        label.set_in_layout(False)  # else the axes would shrink after it was placed
        taken.append(_placed(axes, label, _radius(bubble, _unit(drawing)), taken))


def _placed(axes: Axes, label: Annotation, radius: float, taken: Sequence[Bbox]) -> Bbox:
    """Move a label to the first free place around its point within the axes, or else to the one that covers least.
    Returns its bounding box."""
    frame = axes.get_window_extent()
    found: list[tuple[float, Place]] = []
    for place in _places(radius):
        box = _moved(label, place)
        if frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1:
            found.append((sum(_common(box, other) for other in taken), place))
            if not found[-1][0]:
                break
    best = min(found, default=(0.0, next(_places(radius))), key=lambda each: each[0])[1]
    box, (distance, x, y, side) = _moved(label, best), best
    if distance > radius + 8:
        edge = math.copysign(box.height * 36 / _dpi(axes), y) if side == "center" else 0.0
        line = axes.annotate("", label.xy, xytext=(x, y - edge), textcoords="offset points", arrowprops=LEADER)
        line.set_in_layout(False)
    return box


def _moved(label: Annotation, place: Place) -> Bbox:
    """The bounding box of a label at this place."""
    _, x, y, side = place
    label.set_position((x, y))
    label.set(ha=side, ma=side)
    return label.get_window_extent().padded(1.5)


def _common(one: Bbox, other: Bbox) -> float:
    """The area that two boxes share."""
    shared = Bbox.intersection(one, other)
    return 0.0 if shared is None else float(shared.width * shared.height)


def _places(radius: float) -> Iterator[Place]:
    """Places for a label, nearest first: distance, x and y offset in points, horizontal alignment."""
    for step in range(16):
        distance = radius + 5 + 9 * step
        for angle in (0, 180, 35, -35, 145, -145, 90, -90, 65, -65, 115, -115):
            x, y = distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle))
            yield distance, x, y, "center" if abs(x) < 2 else "left" if x > 0 else "right"


def _radius(bubble: Bubble, unit: float) -> float:
    return max(math.sqrt((bubble.size or 0.0) * unit / math.pi), 3.0)


def _around(axes: Axes, bubble: Bubble, unit: float) -> Bbox:
    """Bounding box of a bubble and its error bar."""
    scale = _dpi(axes) / 72
    x, y = axes.transData.transform((bubble.x, bubble.y))
    _, top = axes.transData.transform((bubble.x, bubble.y + (bubble.spread or 0.0)))
    radius = _radius(bubble, unit) * scale * 0.9
    height = max(radius, float(top - y))
    return Bbox.from_extents(x - radius, y - height, x + radius, y + height)


def _along(axes: Axes, ends: tuple[float, float], height: float) -> Bbox:
    """Bounding box of the bar of a bubble's costs."""
    (left, y), (right, _) = (axes.transData.transform((end, height)) for end in ends)
    return Bbox.from_extents(left, y - 4, right, y + 4)


def _dpi(axes: Axes) -> float:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure.dpi


def _label_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    """Labels to the right of the diamonds, moved apart where they are too close."""
    scale = _dpi(axes) / 72
    apart = (SMALL + 3.5) * scale
    order = sorted(marks, key=lambda mark: mark.y)
    wanted = [float(axes.transData.transform((0.0, mark.y))[1]) for mark in order]
    for mark, height, place in zip(order, wanted, _apart(wanted, apart), strict=True):
        offset = (place - height) / scale
        label = axes.annotate(
            f"{mark.label} {mark.y:.1f}", (0.12, mark.y), xytext=(16, offset), textcoords="offset points", va="center"
        )
        label.set_fontsize(SMALL)
        if abs(offset) > 2:
            axes.annotate("", (0.17, mark.y), xytext=(14, offset), textcoords="offset points", arrowprops=LEADER)


def _apart(places: Sequence[float], distance: float) -> list[float]:
    """Move ascending places as little as possible, until neighbours are `distance` apart. Clusters keep their centre.

    >>> _apart([0.0, 1.0, 10.0], 4.0)
    [-1.5, 2.5, 10.0]
    """
    clusters: list[list[float]] = []
    for place in places:
        clusters.append([place])
        while len(clusters) > 1 and _lowest(clusters[-1], distance) - _highest(clusters[-2], distance) < distance:
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    return [_lowest(cluster, distance) + distance * i for cluster in clusters for i in range(len(cluster))]


def _lowest(cluster: Sequence[float], distance: float) -> float:
    return sum(cluster) / len(cluster) - distance * (len(cluster) - 1) / 2


def _highest(cluster: Sequence[float], distance: float) -> float:
    return _lowest(cluster, distance) + distance * (len(cluster) - 1)
