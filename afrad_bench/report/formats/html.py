"""A report as one HTML page: no scripts, no external resources, readable in print and without colours.

Figures are inline SVG, with a title and a description for readers who cannot see them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby

from afrad_bench.report.drawing.pictures import Picture, drawn
from afrad_bench.report.drawing.shapes import Figure
from afrad_bench.report.model import Heading, Report, Table


def to_html(report: Report, pictures: Mapping[str, Picture] | None = None) -> str:
    """A complete page with an embedded style sheet. Every text of the report is escaped.

    `pictures`: key -> picture of the report's figures; they are drawn if not given."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = files("afrad_bench.report.formats")
    pages = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    pages.filters |= {"groupwise": _groups, "spreads": _spreads, "figures": _figures, "columns": _columns}
    pages.globals["first"] = _First()
    found = drawn(report.figures) if pictures is None else pictures
    inline = {
        figure.key: Markup(_inline(found[figure.key].svg, figure)) for figure in report.figures
    }  # our own drawing
    page = pages.from_string((here / "report.html.j2").read_text(encoding="utf-8"))
    style = Markup((here / "report.css").read_text(encoding="utf-8"))  # our own file, not data
    return page.render(report=report, style=style, pictures=inline) + "\n"


def _inline(svg: str, figure: Figure) -> str:
    """The drawing of an SVG file as an element of a page.

    Ids get the figure's key as prefix, since a page holds several drawings. What only a file needs (declarations,
    metadata, namespace URLs) is left out."""
    from markupsafe import escape

    opening = re.search(r"<svg[^>]*>", svg)
    assert opening is not None
    size = dict(re.findall(r'\b(width|height|viewBox)="([^"]*)"', opening.group()))
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[opening.end() :], flags=re.DOTALL)
    body = re.sub(r"<title>.*?</title>\s*", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\1{figure.key}-", body).replace("xlink:href", "href")
    name = f"{figure.key}-drawing"
    title, text = escape(figure.title), escape(figure.description)
    return (
        f'<svg role="img" aria-labelledby="{name}-title {name}-text" viewBox="{size["viewBox"]}" '
        f'width="{size["width"]}" height="{size["height"]}">\n'
        f'<title id="{name}-title">{title}</title>\n<desc id="{name}-text">{text}</desc>\n{body.strip()}'
    )


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


def _spreads(table: Table) -> list[str]:
    """The widest standard deviation of each column, used to align numbers with and without one."""
    columns = zip(*(line.entries for line in table.lines), strict=True)
    return [max((entry.spread for entry in column), key=len) for column in columns]


def _figures(text: str, width: int) -> str:
    """The text, padded on the left with spaces that are as wide as a digit."""
    return text.rjust(width, "\u2007")
