"""Draw a figure of a report as SVG, PNG and PDF with matplotlib. Equal figures give equal bytes: no dates, no random
ids."""

from __future__ import annotations

import html
import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.image import AxesImage

from afrad_bench.report.drawing import (
    attempts,
    bubbles,
    critical_difference,
    forest,
    losses,
    panels,
    spans,
    strips,
    tiles,
    timeline,
)
from afrad_bench.report.drawing.shapes import (
    Attempts,
    Bubbles,
    CriticalDifference,
    Curves,
    Forest,
    Gallery,
    Histograms,
    Losses,
    Spans,
    Strips,
    Timeline,
)
from afrad_bench.report.drawing.style import ALARM, LINE, RC, SMALL, SOFT

if TYPE_CHECKING:
    from afrad_bench.report.drawing.shapes import Figure

HOW: Mapping[type[Any], tuple[Callable[[Any], tuple[float, float]], Callable[[Canvas, Any, float], None]]] = {
    Gallery: (tiles.size, tiles.fill),
    Bubbles: (bubbles.size, bubbles.fill),
    Curves: (panels.curves_size, panels.fill_curves),
    CriticalDifference: (critical_difference.size, critical_difference.fill),
    Forest: (forest.size, forest.fill),
    Histograms: (panels.histograms_size, panels.fill_histograms),
    Losses: (losses.size, losses.fill),
    Spans: (spans.size, spans.fill),
    Strips: (strips.size, strips.fill),
    Timeline: (timeline.size, timeline.fill),
}
"""Drawing -> two functions: one gives its size in inches, one draws it above a strip that stays free. `Attempts` are
drawn by Optuna."""


def draw(figure: Figure, identity: str) -> tuple[str, bytes]:
    """The SVG text and the PNG bytes of a figure. Both contain `identity` as metadata.

    A sign that the font lacks is a box in the PNG; the SVG holds its text, for the fonts of the viewer. "$" is a sign
    like others, except in the ticks of Optuna's figures."""
    with _styled(figure):
        canvas = _canvas(figure)
        return _svg(canvas, figure, identity), _png(canvas, figure, identity)


def draw_svg(figure: Figure, identity: str) -> str:
    """The SVG text of `draw` alone, in half its time."""
    with _styled(figure):
        return _svg(_canvas(figure), figure, identity)


def draw_pdf(figure: Figure, identity: str) -> bytes:
    """A figure as a PDF file, for print: its texts are text, and `identity` is a keyword of the file."""
    about = {"Title": figure.title, "Subject": figure.description, "Keywords": identity, "Creator": "afrad-bench"}
    out = io.BytesIO()
    with _styled(figure):
        canvas = _canvas(figure)
        _exact(canvas)
        canvas.savefig(out, format="pdf", metadata={**about, "CreationDate": None})
    return out.getvalue()


@contextmanager
def _styled(figure: Figure) -> Iterator[None]:
    text = {"svg.hashsalt": figure.key, "text.parse_math": isinstance(figure.drawing, Attempts), "pdf.fonttype": 42}
    with matplotlib.rc_context({**RC, **text}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def _canvas(figure: Figure) -> Canvas:
    """The drawing, and below it the lines of the figure's stamp."""
    drawing = figure.drawing
    if isinstance(drawing, Attempts):  # Optuna creates its own figure
        canvas = attempts.canvas(drawing)
        width, height = canvas.get_size_inches()
    else:
        size, fill = HOW[type(drawing)]
        canvas = Canvas()
        width, height = size(drawing)
    room = int(width * 72 / (SMALL * 0.6))
    texts = [(part, line.startswith("⚠")) for line in figure.stamp for part in textwrap.wrap(line, room)]
    below = LINE * (len(texts) + 1)
    canvas.set_size_inches(width, height + below)
    for number, (text, alarm) in enumerate(texts, 1):
        y = (below - LINE * (number + 0.25)) / (height + below)
        style: dict[str, Any] = {"fontsize": SMALL, "color": ALARM if alarm else SOFT, "parse_math": False}
        line = canvas.text(0.08 / width, y, text, va="bottom", in_layout=False, **style)
        if alarm:
            line.set_gid(f"alarm-{number}")
    if isinstance(drawing, Attempts):
        panels.above(canvas, below)
    else:
        fill(canvas, drawing, below)
    _lay_out(canvas)
    return canvas


def _lay_out(canvas: Canvas) -> None:
    """Find all places once, and round them: the solver's last bits differ from one drawing to the next."""
    if (engine := canvas.get_layout_engine()) is not None:
        engine.execute(canvas)
        canvas.set_layout_engine("none")
        for axes in canvas.axes:
            axes.set_position(np.round(axes.get_position(original=True).bounds, 6), which="original")


def _exact(canvas: Canvas) -> None:
    """Images are kept with their own pixels, for a viewer to scale."""
    for image in canvas.findobj(AxesImage):
        image.set_interpolation("none")


def _svg(canvas: Canvas, figure: Figure, identity: str) -> str:
    _exact(canvas)
    about: dict[str, Any] = {
        "Title": figure.title,
        "Description": figure.description,
        "Identifier": identity,
        "Creator": "afrad-bench",
        "Date": None,
    }
    out = io.StringIO()
    canvas.savefig(out, format="svg", metadata=about)
    # Equal images in one file get equal ids, but ids must be unique; and pixels must not be rendered as squares.
    text = re.sub(r' id="image[0-9a-f]+"| style="image-rendering:[^"]*"', "", out.getvalue())
    if isinstance(figure.drawing, Bubbles):
        text = _named(text, [bubble.text for bubble in figure.drawing.bubbles])
    if isinstance(figure.drawing, Strips):
        text = strips.named(text, figure.drawing)
    if isinstance(figure.drawing, Timeline):
        text = _named(text, [moment.text for moment in figure.drawing.moments])
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _named(svg: str, texts: Sequence[str]) -> str:
    """Each point with its words, which viewers show under the pointer."""
    for number, text in enumerate(texts):
        title = f'<g class="point" role="img"><title>{html.escape(text)}</title>'
        svg = svg.replace(f'<g id="point-{number}">', title)
    return svg


def _png(canvas: Canvas, figure: Figure, identity: str) -> bytes:
    for image in canvas.findobj(AxesImage):
        image.set_interpolation("antialiased")
    about = {"Title": figure.title, "Description": figure.description, "Comment": identity, "Software": None}
    out = io.BytesIO()
    canvas.savefig(out, format="png", metadata=about)
    return out.getvalue()
