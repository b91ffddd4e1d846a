"""Galleries: images in rows and columns, all in one `Axes` whose unit is an inch."""

from __future__ import annotations

import io
import textwrap
from itertools import groupby

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

from afrad_bench.report.drawing.shapes import Gallery, Tile
from afrad_bench.report.drawing.style import FAINT, HEAT, SMALL, SOFT, TEXT, in_lines

LABELS, TILE, GAP, GROUP, UNDER, HEAD, SCALE = 1.35, 1.22, 0.07, 0.1, 0.2, 0.44, 0.5
"""Sizes in inches: column of labels, image, gap between images, additional gap between categories, text below a map,
column headings, colour scale."""
LINE, CHARACTER = 0.14, 0.059
"""Height of a line of small text and width of one of its characters, in inches."""
PIXELS = 128
"""Largest side of an image inside a file, in pixels; the size of a page depends on it."""


def size(drawing: Gallery) -> tuple[float, float]:
    """Width and height in inches."""
    width = max(_lefts(drawing)[-1] + TILE + GAP, LABELS + 2.1)  # of one column: as wide as the colour scale
    more = LINE * (len(_wrapped(drawing.scale, width)) - 1)
    return width, HEAD + sum(map(_row_height, range(len(drawing.rows)))) + SCALE + more


def fill(figure: Figure, drawing: Gallery, below: float) -> None:
    """Rows × columns of images with their headings, and the colour scale below them."""
    width, height = size(drawing)
    lefts = _lefts(drawing)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    _heads(axes, drawing, lefts, height)
    top = height - HEAD
    for number, label in enumerate(drawing.rows):
        name = in_lines(label, 15)
        axes.text(LABELS - 0.12, top - TILE / 2, name, ha="right", va="center", fontsize=TEXT)
        for left, column in zip(lefts, drawing.columns, strict=True):
            _tile(axes, column.tiles[number], left, top)
        top -= _row_height(number)
    _scale(axes, _wrapped(drawing.scale, width))
    axes.set_xlim(0, width)
    axes.set_ylim(-below, height)


def _lefts(drawing: Gallery) -> list[float]:
    at, before = LABELS, ""
    lefts: list[float] = []
    for column in drawing.columns:
        if lefts:
            at += TILE + GAP + (GROUP if column.group != before else 0.0)
        lefts.append(at)
        before = column.group
    return lefts


def _row_height(number: int) -> float:
    return TILE + GAP + (UNDER if number >= 2 else 0.0)


def _heads(axes: Axes, drawing: Gallery, lefts: list[float], height: float) -> None:
    numbered = list(zip(lefts, drawing.columns, strict=True))
    for group, found in groupby(numbered, key=lambda each: each[1].group):
        columns = list(found)
        first, last = columns[0][0], columns[-1][0] + TILE
        axes.text((first + last) / 2, height - 0.17, group, ha="center", va="center", fontsize=TEXT, fontweight="bold")
        if len(columns) > 1:
            axes.plot((first, last), (height - 0.265,) * 2, color=FAINT, linewidth=0.8)
        for left, column in columns:
            axes.text(left + TILE / 2, height - 0.35, column.head, ha="center", va="center", fontsize=SMALL, color=SOFT)


def _tile(axes: Axes, tile: Tile, left: float, top: float) -> None:
    extent = (left, left + TILE, top - TILE, top)
    if tile.kind == "none":
        box = Rectangle((left, top - TILE), TILE, TILE, fill=False, edgecolor=FAINT, linewidth=0.8)
        axes.add_patch(box)
        axes.text(left + TILE / 2, top - TILE / 2, tile.text, ha="center", va="center", fontsize=SMALL, color=SOFT)
        return
    axes.imshow(_pixels(tile), extent=extent, aspect="auto", zorder=1)
    if tile.outline:
        _outline(axes, tile.outline, extent)
    if tile.text:
        axes.text(left + TILE / 2, top - TILE - UNDER / 2 + 0.01, tile.text, ha="center", va="center", fontsize=SMALL)


def _pixels(tile: Tile) -> np.ndarray:
    """(h, w, 3) uint8."""
    image: Image.Image = Image.open(io.BytesIO(tile.data))
    if max(image.size) > PIXELS:
        image = image.convert("RGB" if tile.kind == "image" else "L").resize((PIXELS, PIXELS), Image.Resampling.BOX)
    if tile.kind != "map":
        return np.asarray(image.convert("RGB"))
    low, high = tile.span
    shown = low + np.asarray(image, np.float64) / 255.0 * (high - low)
    return np.asarray(matplotlib.colormaps[HEAT](shown.clip(0.0, 1.0), bytes=True))[:, :, :3]


def _outline(axes: Axes, data: bytes, extent: tuple[float, float, float, float]) -> None:
    """Draw the border of the masked region, white with a dark outline, so that it is visible on every colour."""
    marked = np.pad(np.asarray(Image.open(io.BytesIO(data)).convert("L")) > 0, 1).astype(np.float64)
    if not marked.any():
        return
    rows, columns = marked.shape[0] - 2, marked.shape[1] - 2
    left, right, bottom, top = extent
    x = left + (np.arange(columns + 2) - 0.5) / columns * (right - left)
    y = top - (np.arange(rows + 2) - 0.5) / rows * (top - bottom)
    x, y = x.clip(left, right), y.clip(bottom, top)
    drawn = axes.contour(x, y, marked, levels=[0.5], colors="white", linewidths=0.7, zorder=2)
    drawn.set_path_effects([withStroke(linewidth=1.6, foreground="black", alpha=0.6)])


def _wrapped(text: str, width: float) -> list[str]:
    """The lines of the text below the colour scale of a figure so many inches wide."""
    return textwrap.wrap(text, int((width - LABELS) / CHARACTER))


def _scale(axes: Axes, lines: list[str]) -> None:
    shades = np.asarray(matplotlib.colormaps[HEAT](np.linspace(0.0, 1.0, 128)[None, :], bytes=True))[:, :, :3]
    left, base = LABELS, LINE * (len(lines) - 1)
    extent = (left, left + 1.4, base + 0.22, base + 0.36)
    axes.imshow(shades, extent=extent, aspect="auto", zorder=1)  # in a file after the tiles
    axes.text(left - 0.07, base + 0.29, "lowest", ha="right", va="center", fontsize=SMALL)
    axes.text(left + 1.47, base + 0.29, "highest", ha="left", va="center", fontsize=SMALL)
    for i, line in enumerate(lines):
        axes.text(left, base + 0.1 - LINE * i, line, ha="left", va="center", fontsize=SMALL, color=SOFT)
