"""A report as one HTML page: no external resources, complete without its script, readable in print and without colours.

Figures are inline SVG, with a title and a description for readers who cannot see them. The script (`page/*.js`) sorts,
filters and compares what is there; the page's policy names its hash, so that a browser runs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING

from afrad_bench.report.basis.effect import CERTAIN, LIKELY
from afrad_bench.report.drawing.pictures import vectors
from afrad_bench.report.drawing.shapes import Figure, Gallery
from afrad_bench.report.drawing.style import LINE
from afrad_bench.report.model import Heading, Line, Report, Table

if TYPE_CHECKING:
    from markupsafe import Markup

SCRIPTS = (
    "elements.js",
    "noise.js",
    "table.js",
    "tools.js",
    "take.js",
    "notes.js",
    "gallery.js",
    "points.js",
    "search.js",
    "scope.js",
    "tabs.js",
    "start.js",
)
"""The parts of the page's script, in order; they share one scope."""
NAME = re.compile(r"\b[A-Z]-[A-Z]\w+")
"""A name that may be broken at its hyphen: I-AUROC, M-FPN."""
MARK = re.compile(f" ([{CERTAIN}{LIKELY}])$")
"""What tells of a difference whether it is more than noise."""
SHADES = 5
"""Steps of colour in a table of categories."""
ALARMS = re.compile(r' *<g id="alarm-\d+">.*?</g>\n', re.DOTALL)
"""The last lines of a figure's stamp, if there are alarms."""
LONG = 500
"""Letters of footnotes that a page shows below a table without being asked, about four lines."""


def to_html(report: Report, drawings: Mapping[str, str] | None = None) -> str:
    """A complete page with an embedded style sheet. Every text of the report is escaped.

    `drawings`: key -> SVG text of the report's figures; they are drawn if not given."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = files("afrad_bench.report.formats")
    pages = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    pages.filters |= {"groupwise": _groups, "spreads": _spreads, "figures": _figures, "columns": _columns}
    pages.filters |= {"flags": _flags, "unbroken": _unbroken}
    pages.filters |= {"folds": _folds, "heat": _heat, "contents": _contents, "json": _json}
    pages.globals["first"] = _First()
    found = vectors(report.figures) if drawings is None else drawings
    inline = {figure.key: Markup(_inline(found[figure.key], figure)) for figure in report.figures}  # our own drawing
    page = pages.from_string((here / "report.html.j2").read_text(encoding="utf-8"))
    style = Markup((here / "report.css").read_text(encoding="utf-8"))  # our own file, not data
    run = script()
    known = "sha256-" + base64.b64encode(hashlib.sha256(run.encode()).digest()).decode()
    return page.render(report=report, style=style, pictures=inline, script=Markup(run), script_hash=known) + "\n"


def script() -> str:
    """The page's script, of our own files; no data are ever part of it."""
    here = files("afrad_bench.report.formats") / "page"
    parts = "\n".join((here / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _inline(svg: str, figure: Figure) -> str:
    """The drawing of an SVG file as an element of a page.

    Ids get the figure's key as prefix, since a page holds several drawings. What only a file needs (declarations,
    metadata, namespace URLs) is left out, and so are the alarms below it: the page has them at its top."""
    from markupsafe import escape

    opening = re.search(r"<svg[^>]*>", svg)
    assert opening is not None
    svg, alarms = ALARMS.subn("", svg)
    width, height = (float(each) for each in re.findall(r'\b(?:width|height)="([\d.]+)pt"', opening.group()))
    height -= 72 * LINE * alarms
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[opening.end() :], flags=re.DOTALL)
    body = re.sub(r"<title>.*?</title>\s*", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\1{figure.key}-", body).replace("xlink:href", "href")
    if isinstance(figure.drawing, Gallery):
        body = _placed(body, figure.drawing)
    name = f"{figure.key}-drawing"
    role = "group" if 'class="point"' in body else "img"  # an image has no parts that can be reached
    title, text = escape(figure.title), escape(figure.description)
    return (
        f'<svg role="{role}" aria-labelledby="{name}-title {name}-text" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}pt" height="{height:g}pt">\n'
        f'<title id="{name}-title">{title}</title>\n<desc id="{name}-text">{text}</desc>\n{body.strip()}'
    )


def _placed(body: str, gallery: Gallery) -> str:
    """The images of a gallery, each with its row and column; they stand row by row in the drawing."""
    rows = range(len(gallery.rows))
    places = iter(
        f' data-tile="{row},{at}"'
        for row in rows
        for at, column in enumerate(gallery.columns)
        if column.tiles[row].kind != "none"
    )
    return re.sub("<image(?= )", lambda found: found.group() + next(places, ""), body)


def _contents(gallery: Gallery) -> str:
    """The names of a gallery's rows and columns, and the ids of its images, as JSON."""
    columns = [f"{column.group} \N{MIDDLE DOT} {column.head}" for column in gallery.columns]
    images = [column.image for column in gallery.columns]
    return json.dumps({"rows": gallery.rows, "columns": columns, "images": images}, ensure_ascii=False)


def _json(values: Sequence[str]) -> str:
    return json.dumps(values, ensure_ascii=False)


def _heat(line: Line, table: Table) -> list[str]:
    """A class for each entry: how far it is from the worst to the best of its line in a table of categories, of all
    lines in a shaded one; in `SHADES` steps."""
    lines = table.lines if table.shaded else (line,)
    found = [entry.number for each in lines for entry in each.entries if entry.number is not None]
    low, high = min(found, default=0.0), max(found, default=0.0)
    if not (table.shaded or table.compared == "columns") or len(found) < 3 or low == high:
        return [""] * len(line.entries)
    worst, best = (low, high) if table.higher_is_better else (high, low)
    places = (None if e.number is None else (e.number - worst) / (best - worst) for e in line.entries)
    return ["" if place is None else f" heat{min(int(place * SHADES), SHADES - 1)}" for place in places]


def _groups(headings: Sequence[Heading]) -> list[tuple[str, int]]:
    """Adjacent headings of one group, as (group, number of headings)."""
    return [(group, len(list(found))) for group, found in groupby(headings, key=lambda heading: heading.group)]


class _First:
    """Whether a template asks for the first time: the first mark of a footnote is where its link leads back to."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int]] = set()

    def __call__(self, table: str, number: int) -> bool:
        known = (table, number) in self._seen
        self._seen.add((table, number))
        return not known


def _columns(table: Table) -> str:
    """A class for tables of many columns, which are printed smaller so that no column is lost; empty for others."""
    most = next((most for most in (28, 20, 14, 9) if len(table.headings) > most), None)
    return "" if most is None else f" over{most}"


def _folds(notes: Sequence[str]) -> bool:
    """Whether the footnotes of a table are so many or so long that a page hides them until they are asked for."""
    return len(notes) > 1 and sum(map(len, notes)) > LONG


def _spreads(table: Table) -> list[str]:
    """The widest standard deviation of each column, used to align numbers with and without one."""
    columns = zip(*(line.entries for line in table.lines), strict=True)
    return [max((entry.spread for entry in column), key=len) for column in columns]


def _flags(table: Table) -> list[str]:
    """The flag of each column's numbers, used to align those with and without one."""
    columns = zip(table.headings, zip(*(line.entries for line in table.lines), strict=True), strict=False)
    return [max((entry.flag for entry in column), key=len) if head.numeric else "" for head, column in columns]


def _unbroken(text: str) -> Markup:
    """The text, escaped, in which names such as I-AUROC stay on one line, and a mark stays behind its interval."""
    from markupsafe import Markup, escape

    kept = MARK.sub(r"&nbsp;\1", str(escape(text)))
    return Markup(NAME.sub(r'<span class="short">\g<0></span>', kept))


def _figures(text: str, width: int) -> str:
    """The text, padded on the left with spaces that are as wide as a digit."""
    return text.rjust(width, "\u2007")
