"""The pages of a site as reports: the index, leaderboards by data set and setting, and all rows in one table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from afrad_bench.report import Report, build
from afrad_bench.report.basis.comparison import Footnotes, compare
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.tables import SEEDS, defined, items, summary_table
from afrad_bench.report.model import Caution, Entry, Heading, Line, Section, Table
from afrad_bench.site.layout import (
    BOARDS,
    HISTORY,
    INDEX,
    ROWS,
    Shown,
    by_place,
    caption_of,
    counted,
    framed,
    grid_on,
    noted,
)
from afrad_bench.site.stored import Group, Opened

ALONE = (
    "Made from the store alone: published figures, the row that others are compared to, and cells that were never run "
    "stand only in the report of the suite (`afrad-bench report SUITE`)."
)
RANKED = (
    "A table holds what one suite, profile and image size measured in one store; rows are ranked only within a table, "
    "and not where data, versions of a measure or, for times, devices differ. They stand by the first metric, the best "
    "first. Each row leads to its report.",
    "Bold: best; underlined: second best.",
)
TOGETHER = (
    "Every row on every data set, whatever it was measured by. Numbers of different data, suites, profiles or image "
    "sizes do not compare: sorted together they only help to find a row. Each row leads to its report.",
)


def report_of(group: Group) -> Report:
    """The report of a group, without what only its suite file knows."""
    made = build(group.spec, **group.frames)
    return replace(made, warnings=(*made.warnings, Caution(ALONE)))


def index(stores: Sequence[Opened], shown: Sequence[Shown]) -> Report:
    """What there is: suites with their reports, and data sets with their leaderboards."""
    headings = (
        *(Heading(text, numeric=False) for text in ("Suite", "Data sets", "Profile", "Setting")),
        Heading("Image size", unit="px", numeric=False),
        *(Heading(text) for text in ("Cells", "Failed")),
        *(Heading(text, numeric=False) for text in ("Newest run (UTC)", "Store")),
    )
    places = by_place(shown)
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
    suites = counted(len({one.group.suite for one in shown}), "suite")
    kept = f"{counted(cells, 'cell')} in {counted(len(stores), 'store')}"
    found = f"{suites}, {counted(len(places), 'data set')} (by setting), {kept}."
    return framed(
        INDEX,
        "Benchmark results",
        (
            Section("suites", "Reports", (Table("Reports", headings, tuple(map(_suite_line, shown))),)),
            Section("data", "Leaderboards", (Table("Leaderboards", data, lines),)),
        ),
        stores,
        (found,),
    )


def leaderboard(stores: Sequence[Opened], shown: Sequence[Shown]) -> Report:
    """A section for each data set and setting, with a table for each suite, profile, image size and store."""

    def tables(one: Shown, dataset: str) -> tuple[Table, ...]:
        grid = _best_first(grid_on(one.group, dataset))
        made: list[Table] = []
        for cost, name in ((False, ""), (True, " · efficiency")):
            columns, left_out = defined(grid, items(grid, cost=cost, headline=True))
            if columns:
                table = replace(summary_table(grid, columns, caption_of(one, shown) + name), folded=cost and bool(made))
                alarms = (f"the report warns: {each.text}" for each in one.report.warnings if each.level == "alarm")
                made.append(noted(_linked(table, one.link), (*left_out, *alarms)))
        return tuple(made)

    sections = (
        Section(key, f"{dataset} · {setting}", tuple(table for one in here for table in tables(one, dataset)), RANKED)
        for key, (dataset, setting, here) in by_place(shown).items()
    )
    return framed(BOARDS, "Leaderboards", tuple(sections), stores, tabbed=True)


def _best_first(grid: Grid) -> Grid:
    """The rows by their first headline metric, the best first; in the order of the store if they must not be ranked."""
    columns = defined(grid, (*items(grid, cost=False, headline=True), *items(grid, cost=True, headline=True)))[0]
    compared = [compare(grid, grid.spec.rows, item, Footnotes()) for item in columns[:1]]
    if not compared or not any(entry.rank for entry in compared[0].entries):
        return grid
    sign = -1.0 if columns[0].metric.higher_is_better else 1.0
    values = [math.inf if each.number is None else sign * each.number for each in compared[0].entries]
    order = sorted(range(len(values)), key=values.__getitem__)
    return replace(grid, spec=replace(grid.spec, rows=tuple(grid.spec.rows[at] for at in order)))


def rows(stores: Sequence[Opened], shown: Sequence[Shown]) -> Report:
    """One table of every row on every data set with its headline accuracies, to search in."""
    notes = Footnotes()
    metrics: dict[str, Heading] = {}
    found: list[tuple[tuple[Entry, ...], dict[str, Entry], tuple[Entry, ...]]] = []
    for dataset, setting, here in by_place(shown).values():
        for one in here:
            group, grid = one.group, grid_on(one.group, dataset)
            columns, _ = defined(grid, items(grid, cost=False, headline=True))
            table = summary_table(grid, columns, "", folded=True)
            dates = group.frames["cells"].groupby("cell_id")["started_at"].max()
            for row, line in zip(grid.spec.rows, table.lines, strict=True):
                name, seeds, *values = (
                    replace(entry, refs=tuple(notes.refer(table.footnotes[ref - 1]) for ref in entry.refs))
                    for entry in line.entries
                )
                metrics |= {heading.label: replace(heading, refs=()) for heading in table.headings[2:]}
                newest = max(dates[cell.id] for cell in row.cells).strftime("%Y-%m-%d %H:%M")
                of_metric = {heading.label: each for heading, each in zip(table.headings[2:], values, strict=True)}
                first = (replace(name, link=one.link), Entry(dataset), Entry(setting))
                of_group = (Entry(group.suite), Entry(group.profile), _size(group))
                found.append((first, of_metric, (seeds, *of_group, Entry(newest), Entry(group.store))))
    headings = (
        *(Heading(text, numeric=False) for text in ("Row", "Data set", "Setting")),
        *metrics.values(),
        SEEDS,
        *(Heading(text, numeric=False) for text in ("Suite", "Profile")),
        Heading("Image size", unit="px", numeric=False),
        *(Heading(text, numeric=False) for text in ("Newest run (UTC)", "Store")),
    )
    lines = tuple(
        Line((*first, *(of_metric.get(label, Entry("")) for label in metrics), *last))
        for first, of_metric, last in found
    )
    table = Table("All rows", headings, lines, tuple(notes.texts))
    section = Section("rows", "All rows", (table,), TOGETHER)
    answer = f"{counted(len(lines), 'row')} on {counted(len(by_place(shown)), 'data set')} (by setting)."
    return framed(ROWS, "All rows", (section,), stores, (answer,))


def _linked(table: Table, link: str) -> Table:
    """The table, each of its rows with a link to the report that it is from."""
    lines = (replace(line, entries=(replace(line.entries[0], link=link), *line.entries[1:])) for line in table.lines)
    return replace(table, lines=tuple(lines))


def _size(group: Group) -> Entry:
    """The image size as a number to sort by."""
    return Entry(group.image_size, number=float(group.image_size) if group.image_size.isdecimal() else None)


def _suite_line(one: Shown) -> Line:
    group, cells = one.group, one.group.frames["cells"]
    newest = cells.drop_duplicates("cell_id", keep="last")
    failed = int((newest["status"] != "ok").sum())
    names = (", ".join(group.datasets), group.profile, group.setting)
    return Line(
        (
            Entry(group.suite, link=one.link),
            *map(Entry, names),
            _size(group),
            Entry(str(len(newest)), number=len(newest)),
            Entry(str(failed), number=failed, level="alarm" if failed else "plain"),
            Entry(cells["started_at"].max().strftime("%Y-%m-%d %H:%M")),
            Entry(group.store),
        )
    )
