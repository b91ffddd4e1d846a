"""A report as one HTML page: no script, nothing from elsewhere, readable in print and without colours.

Pictures stand in the page as SVG, with a title and a description for those who cannot see them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby

from afrad_bench.report.drawing.pictures import Picture, drawn
from afrad_bench.report.drawing.shapes import Figure
from afrad_bench.report.model import Heading, Report, Table


def to_html(report: Report, pictures: Mapping[str, Picture] | None = None) -> str:
    """A complete page with its style inside. Every text of the report is escaped.

    `pictures` are those of the report's figures, by key; they are drawn if they are not given."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = files("afrad_bench.report.formats")
    pages = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    pages.filters |= {"groupwise": _groups, "spreads": _spreads, "figures": _figures}
    found = drawn(report.figures) if pictures is None else pictures
    inline = {
        figure.key: Markup(_inline(found[figure.key].svg, figure)) for figure in report.figures
    }  # our own drawing
    page = pages.from_string((here / "report.html.j2").read_text(encoding="utf-8"))
    style = Markup((here / "report.css").read_text(encoding="utf-8"))  # our own file, not data
    return page.render(report=report, style=style, pictures=inline) + "\n"


def _inline(svg: str, figure: Figure) -> str:
    """The drawing of an SVG file as an element of a page that holds several: its ids begin with the figure's key, and
    what only a file needs (declarations, metadata, addresses of vocabularies) is left out."""
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
    """Neighbouring headings of one group, as (group, how many)."""
    return [(group, len(list(found))) for group, found in groupby(headings, key=lambda heading: heading.group)]


def _spreads(table: Table) -> list[str]:
    """The widest standard deviation of each column, so that numbers with and without one stand below each other."""
    columns = zip(*(line.entries for line in table.lines), strict=True)
    return [max((entry.spread for entry in column), key=len) for column in columns]


def _figures(text: str, width: int) -> str:
    """Filled up with spaces as wide as a figure."""
    return text.rjust(width, "\u2007")
