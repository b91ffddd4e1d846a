"""What the pages of a site share: their frame, their links, and the sections by data set and setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from afrad_bench.report import Report
from afrad_bench.report.basis import results
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.model import Caution, Entry, Section, Table, Term
from afrad_bench.site.stored import Group, Opened

INDEX, BOARDS, HISTORY, ROWS = "index.html", "leaderboard.html", "history.html", "rows.html"
TABLE = f"{ROWS}#rows-1"
"""The table of all rows."""


class Links(TypedDict):
    """Fields of a report that lead to the other pages."""

    beside: tuple[Entry, ...]
    search: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A group with its report, and where the page of it is."""

    group: Group
    report: Report
    link: str
    """From the folder of the site."""


def framed(
    page: str,
    title: str,
    sections: tuple[Section, ...],
    stores: Sequence[Opened],
    answer: tuple[str, ...] = (),
    *,
    tabbed: bool = False,
) -> Report:
    """A page of the site (one of the names above) with these sections, and what could not be read of the stores."""
    return Report(
        suite="",
        title=title,
        profile="",
        reproduces="",
        command="",
        terms=tuple(Term("Store", one.name) for one in stores),
        warnings=tuple(Caution(f"{one.name}: {text}", "alarm") for one in stores for text in one.faults),
        sections=sections,
        facts=(),
        name=page.removesuffix(".html"),
        answer=answer,
        tabbed=tabbed and len(sections) > 1,
        **links(),
    )


def links(up: str = "") -> Links:
    """The links to the pages of the site, from a page in a folder from which `up` leads to it."""
    named = (("Index", INDEX), ("Leaderboards", BOARDS), ("History", HISTORY), ("All rows", TABLE))
    return {"beside": tuple(Entry(text, link=up + name) for text, name in named), "search": up + TABLE}


def by_place(shown: Sequence[Shown]) -> Mapping[str, tuple[str, str, tuple[Shown, ...]]]:
    """Anchor -> data set, setting, and the groups that have results there; in the order of names."""
    found: dict[tuple[str, str], list[Shown]] = {}
    for one in shown:
        for dataset in one.group.datasets:
            found.setdefault((dataset, one.group.setting), []).append(one)
    return {
        f"data-{number}": (dataset, setting, tuple(here))
        for number, ((dataset, setting), here) in enumerate(sorted(found.items(), key=lambda item: item[0]), 1)
    }


def grid_on(group: Group, dataset: str) -> Grid:
    """The rows of a group with cells on this data set, with only those cells."""
    rows = (replace(row, cells=tuple(cell for cell in row.cells if cell.dataset == dataset)) for row in group.spec.rows)
    spec = replace(group.spec, rows=tuple(row for row in rows if row.cells))
    return Grid(spec, results.read(group.frames["cells"], group.frames["measurements"]))


def caption_of(one: Shown, shown: Sequence[Shown]) -> str:
    """The terms of a group, with its store if there are several."""
    several = len({other.group.store for other in shown}) > 1
    return f"{one.group.terms} · store {one.group.store}" if several else one.group.terms


def noted(table: Table, texts: Sequence[str]) -> Table:
    """The table with these footnotes, which its first heading refers to."""
    first, footnotes = table.headings[0], (*table.footnotes, *texts)
    refs = (*first.refs, *range(len(table.footnotes) + 1, len(footnotes) + 1))
    return replace(table, headings=(replace(first, refs=refs), *table.headings[1:]), footnotes=footnotes)


def counted(number: int, what: str) -> str:
    """ "1 cell", "2 cells"."""
    return f"{number} {what}{'' if number == 1 else 's'}"
