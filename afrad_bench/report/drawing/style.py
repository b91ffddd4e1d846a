"""Style of all drawings, for print, for screens, and for readers with a colour vision deficiency.

Lines differ by colour and dash, bars by colour and hatch, published and measured values by shape and filling. The
colours are those of Okabe and Ito without the yellow, which is hard to see on white paper. Heat maps use matplotlib's
perceptually uniform "inferno"; its lightness increases evenly, so it reads the same in grey."""

from __future__ import annotations

import re
import textwrap

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES: tuple[object, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
HEAT = "inferno"
INK, SOFT, FAINT, ALARM = "#1b1d21", "#5c636e", "#c9ced6", "#a3161a"
POINT = "#00664b"
"""Of an operating point."""
NORMAL, ANOMALOUS = ("#a9d5f5", "#0072B2", ""), ("none", "#a33c00", "////")
"""Fill colour, edge colour, hatch."""
TEXT, SMALL = 9.0, 7.5
"""Font sizes in points."""
LINE = 0.145
"""Inches from one line of a figure's stamp to the next."""

RC: dict[str, object] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.unicode_minus": True,
    "grid.color": "#e6e9ee",
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": TEXT,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.fonttype": "none",
    "image.composite_image": False,
    "path.simplify": False,
}


def in_lines(name: str, letters: int) -> str:
    """A name of a row on lines of at most so many letters: divided at spaces; long words at their signs.

    >>> in_lines("PatchCore, backbone=wide_resnet50_2", 16).splitlines()
    ['PatchCore,', 'backbone=wide_', 'resnet50_2']
    """
    wrapper = textwrap.TextWrapper(letters)
    wrapper.wordsep_re = re.compile(r"(?<=[-_=/,])(?=\S)")
    lines = textwrap.wrap(name, letters, break_long_words=False, break_on_hyphens=False)
    return "\n".join(part for line in lines for part in wrapper.wrap(line)) or name


def colour(style: int) -> str:
    return COLOURS[style % len(COLOURS)]


def dash(style: int) -> object:
    """Dash pattern of a row. A pair of colour and dash does not repeat before the 29th row."""
    return DASHES[style % len(DASHES)]
