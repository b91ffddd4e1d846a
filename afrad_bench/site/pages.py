"""The pages of a site as reports: the index, leaderboards by data set and setting, and the history of each number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from afrad_bench.report import Report, build
from afrad_bench.report.basis import results
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.tables import defined, items, summary_table
from afrad_bench.report.model import Caution, Entry, Heading, Line, Section, Table, Term
from afrad_bench.site.stored import Group, Opened, by_revision

ALONE = (
    "Made from the store alone: published figures, the row that others are compared to, and cells that were never run "
    "stand only in the report of the suite (`afrad-bench report SUITE`)."
)
RANKED = (
    "A table holds what one suite, profile and image size measured in one store; rows are ranked only within a table, "
    "and not where data, versions of a measure or, for times, devices differ. Each row leads to its report.",
    "Bold: best; underlined: second best.",
)
IN_TIME = (
    "A line is a row of a suite as one revision of the code measured it, with the newest run of each cell; "
    "“+” after a revision: the code had uncommitted changes.",
    "Nothing is ranked here: whether a difference is more than noise, `afrad-bench compare` and `gate` tell.",
)
INDEX, BOARDS, HISTORY = "index.html", "leaderboard.html", "history.html"


@dataclass(frozen=True, slots=True)
class Shown:
    """A group with its report, and where the page of it is."""

    group: Group
    report: Report
    link: str
    """From the folder of the site."""


def report_of(group: Group) -> Report:
    """The report of a group, without what only its suite file knows."""
    made = build(group.spec, **group.frames)
    return replace(made, warnings=(*made.warnings, Caution(ALONE)))


def index(stores: Sequence[Opened], shown: Sequence[Shown]) -> Report:
    """What there is: suites with their reports, and data sets with their leaderboards."""
    suites = tuple(_suite_line(one) for one in shown)
    headings = (
        *(Heading(text, numeric=False) for text in ("Suite", "Data sets", "Profile, setting, image size")),
        *(Heading(text) for text in ("Cells", "Failed")),
        *(Heading(text, numeric=False) for text in ("Newest run (UTC)", "Store")),
    )
    places = _places(shown)
    lines = tuple(
        Line(
            (
                Entry(dataset, link=f"{BOARDS}#{key}"),
                Entry(setting),
                Entry(", ".join(dict.fromkeys(one.group.suite for one in here))),
                Entry("history", link=f"{HISTORY}#{key}"),
            )
        )
        for key, (dataset, setting, here) in places.items()
    )
    data = tuple(Heading(text, numeric=False) for text in ("Data set", "Setting", "Suites", "Over time"))
    cells = sum(len(row.cells) for one in shown for row in one.group.spec.rows)
    counted = (
        f"{_count(len({one.group.suite for one in shown}), 'suite')}, {_count(len(places), 'data set')} (by setting), "
        f"{_count(cells, 'cell')} in {_count(len(stores), 'store')}."
    )
    return _page(
        "Benchmark results",
        (
            Section("suites", "Reports", (Table("Reports", headings, suites),)),
            Section("data", "Leaderboards", (Table("Leaderboards", data, lines),)),
        ),
        stores,
        (counted,),
    )


def leaderboard(stores: Sequence[Opened], shown: Sequence[Shown]) -> Report:
    """A section for each data set and setting, with a table for each suite, profile, image size and store."""

    def tables(one: Shown, dataset: str) -> tuple[Table, ...]:
        grid = _grid(one.group, dataset)
        made = []
        for cost, name in ((False, ""), (True, " · efficiency")):
            columns, left_out = defined(grid, items(grid, cost=cost, headline=True))
            if columns:
                table = summary_table(grid, columns, _caption(one, shown) + name)
                alarms = (f"the report warns: {each.text}" for each in one.report.warnings if each.level == "alarm")
                made.append(_noted(_linked(table, one.link), (*left_out, *alarms)))
        return tuple(made)

    return _page("Leaderboards", _sections(shown, tables, RANKED), stores)


def history(stores: Sequence[Opened], shown: Sequence[Shown]) -> Report:
    """A section for each data set and setting: every metric of each row, by revision of the code and date."""
    parted = {id(one): by_revision(one.group) for one in shown}

    def tables(one: Shown, dataset: str) -> tuple[Table, ...]:
        group = parted[id(one)]
        grid = _grid(group, dataset)
        ended = group.frames["cells"].groupby("cell_id")["started_at"].max()
        when = {
            row.label: max(ended[cell.id] for cell in row.cells).strftime("%Y-%m-%d %H:%M") for row in grid.spec.rows
        }
        made = []
        for headline in (True, False):
            columns = (*items(grid, cost=False, headline=headline), *items(grid, cost=True, headline=headline))
            measured = {metric for use in grid.uses for metric in use.taken.values}
            columns, left_out = defined(grid, [item for item in columns if item.name in measured])
            if columns:
                name = _caption(one, shown) + ("" if headline else " · further metrics")
                table = replace(summary_table(grid, columns, name, folded=True), folded=not headline)
                made.append(_noted(_dated(table, when), left_out))
        return tuple(made)

    return _page("History", _sections(shown, tables, IN_TIME), stores)


def _page(
    title: str,
    sections: tuple[Section, ...],
    stores: Sequence[Opened],
    answer: tuple[str, ...] = (),
) -> Report:
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
        answer=answer,
        beside=beside(),
    )


def beside(up: str = "") -> tuple[Entry, ...]:
    """The links to the pages of the site, from a page in a folder from which `up` leads to it."""
    named = (("Index", INDEX), ("Leaderboards", BOARDS), ("History", HISTORY))
    return tuple(Entry(text, link=up + name) for text, name in named)


def _sections(
    shown: Sequence[Shown], tables: Callable[[Shown, str], tuple[Table, ...]], intro: tuple[str, ...]
) -> tuple[Section, ...]:
    return tuple(
        Section(key, f"{dataset} · {setting}", tuple(t for one in here for t in tables(one, dataset)), intro)
        for key, (dataset, setting, here) in _places(shown).items()
    )


def _places(shown: Sequence[Shown]) -> Mapping[str, tuple[str, str, tuple[Shown, ...]]]:
    """Anchor -> data set, setting, and the groups that have results there; in the order of names."""
    found: dict[tuple[str, str], list[Shown]] = {}
    for one in shown:
        for dataset in one.group.datasets:
            found.setdefault((dataset, one.group.setting), []).append(one)
    return {
        f"data-{number}": (dataset, setting, tuple(here))
        for number, ((dataset, setting), here) in enumerate(sorted(found.items(), key=lambda item: item[0]), 1)
    }


def _grid(group: Group, dataset: str) -> Grid:
    """The rows of a group with cells on this data set, with only those cells."""
    rows = (replace(row, cells=tuple(cell for cell in row.cells if cell.dataset == dataset)) for row in group.spec.rows)
    spec = replace(group.spec, rows=tuple(row for row in rows if row.cells))
    return Grid(spec, results.read(group.frames["cells"], group.frames["measurements"]))


def _caption(one: Shown, shown: Sequence[Shown]) -> str:
    """The terms of a group, with its store if there are several."""
    several = len({other.group.store for other in shown}) > 1
    return f"{one.group.terms} · store {one.group.store}" if several else one.group.terms


def _linked(table: Table, link: str) -> Table:
    """The table, each of its rows with a link to the report that it is from."""
    lines = (replace(line, entries=(replace(line.entries[0], link=link), *line.entries[1:])) for line in table.lines)
    return replace(table, lines=tuple(lines))


def _noted(table: Table, texts: Sequence[str]) -> Table:
    """The table with these footnotes, which its first heading refers to."""
    first, footnotes = table.headings[0], (*table.footnotes, *texts)
    refs = (*first.refs, *range(len(table.footnotes) + 1, len(footnotes) + 1))
    return replace(table, headings=(replace(first, refs=refs), *table.headings[1:]), footnotes=footnotes)


def _dated(table: Table, when: Mapping[str, str]) -> Table:
    """A table of rows by revision ("row @ revision") with revision and date as columns of their own."""
    headings = (
        table.headings[0],
        Heading("Revision", numeric=False),
        Heading("Newest run (UTC)", numeric=False),
        *table.headings[1:],
    )
    lines = []
    for line in table.lines:
        name, *rest = line.entries
        row, _, revision = name.text.rpartition(" @ ")
        lines.append(Line((replace(name, text=row), Entry(revision), Entry(when[name.text]), *rest)))
    return replace(table, headings=headings, lines=tuple(lines), keys=3, compared="")


def _suite_line(one: Shown) -> Line:
    group, cells = one.group, one.group.frames["cells"]
    newest = cells.drop_duplicates("cell_id", keep="last")
    failed = int((newest["status"] != "ok").sum())
    names = (", ".join(group.datasets), f"{group.profile} · {group.setting} · {group.image_size}\N{NO-BREAK SPACE}px")
    return Line(
        (
            Entry(group.suite, link=one.link),
            *map(Entry, names),
            Entry(str(len(newest)), number=len(newest)),
            Entry(str(failed), number=failed, level="alarm" if failed else "plain"),
            Entry(cells["started_at"].max().strftime("%Y-%m-%d %H:%M")),
            Entry(group.store),
        )
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
