"""A report as one HTML page: no script, nothing from elsewhere, readable in print and without colours."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby

from afrad_bench.report.model import Heading, Report, Table


def to_html(report: Report) -> str:
    """A complete page with its style inside. Every text of the report is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = files("afrad_bench.report")
    pages = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    pages.filters |= {"groupwise": _groups, "spreads": _spreads, "figures": _figures}
    page = pages.from_string((here / "report.html.j2").read_text(encoding="utf-8"))
    style = Markup((here / "report.css").read_text(encoding="utf-8"))  # our own file, not data
    return page.render(report=report, style=style) + "\n"


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
