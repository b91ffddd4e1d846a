"""The tables of a report, built from a grid: results, efficiency, missing cells, categories."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from afrad_bench import published
from afrad_bench.methods.recipes import DIFFERS
from afrad_bench.report.basis.comparison import Footnotes, Item, compare, fact
from afrad_bench.report.basis.grid import Grid, Use, one_line
from afrad_bench.report.basis.recipes import chosen, stated
from afrad_bench.report.model import Entry, Fact, Heading, Level, Line, RowSpec, Table
from afrad_bench.types import MEAN

SEEDS = Heading("Seeds", hint="Seeds over which mean and standard deviation are taken", importance=-1)


def items(grid: Grid, *, cost: bool, headline: bool | None = None) -> tuple[Item, ...]:
    """Metrics × data sets, in column order: headline metrics (True), the others (False), or all (None)."""
    return tuple(
        Item(dataset, measure, spec, name, metric, None if cost else MEAN)
        for dataset in grid.datasets
        for measure, spec, name, metric in grid.metrics(cost=cost)
        if (headline is None or metric.headline is headline) and not metric.by_part
    )


def heading(item: Item, group: str = "") -> Heading:
    """The heading of a column of this metric."""
    arrow = "↑" if item.metric.higher_is_better else "↓"
    named = re.search(rf"(?<!\w){re.escape(item.unit)}(?!\w)", item.metric.title)  # "fit (s)" names its unit already
    return Heading(item.metric.title, group, arrow, "" if named else item.unit, item.metric.description)


def defined(grid: Grid, columns: Sequence[Item]) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """The columns that say something, and a line on those that are left out: undefined for every measured row, and
    without a figure of the paper. If nothing would be left, all stay."""
    empty: list[Item] = []
    reasons: dict[str, None] = {}
    for item in columns:
        summaries = [fact(grid, row, item)[0].summary for row in grid.spec.rows if row.cells]
        states = {summary.state for summary in summaries} - {"missing"}
        if states == {"undefined"} and not any(item.published(grid, row) for row in grid.spec.rows):
            empty.append(item)
            notes = (note for summary in summaries if summary.state == "undefined" for note in summary.notes)
            reasons |= {note.rpartition("undefined: ")[2]: None for note in notes}
    if not empty or len(empty) == len(columns):
        return tuple(columns), ()
    several = len(grid.datasets) > 1
    names = ", ".join(f"{item.metric.title} on {item.dataset}" if several else item.metric.title for item in empty)
    kept = tuple(item for item in columns if item not in empty)
    return kept, (f"Left out, since undefined for every row: {names} ({'; '.join(reasons)}).",)


def summary_table(grid: Grid, columns: Sequence[Item], caption: str, *, folded: bool = False) -> Table:
    """One line per row of the suite, one column per metric and data set. Folded tables are not ranked."""
    notes = Footnotes()
    rows = [row for row in grid.spec.rows if row.cells or any(item.published(grid, row) for item in columns)]
    made = [compare(grid, rows, item, notes, ranked=not folded) for item in columns]
    headings = [Heading("Method", numeric=False), SEEDS]
    for item, column in zip(columns, made, strict=True):
        group = item.dataset if len(grid.datasets) > 1 else ""
        headings.append(replace(heading(item, group), refs=column.refs))
    lines = []
    for i, name in enumerate(names(grid, rows, notes, plain=folded)):
        seeds = {column.facts[i].summary.seeds for column in made} - {0}
        count = Entry(_range(seeds), number=min(seeds, default=None))
        lines.append(Line((name, count, *(column.entries[i] for column in made))))
    return Table(caption, tuple(headings), tuple(lines), tuple(notes.texts), folded, compared="lines")


def category_tables(grid: Grid, columns: Sequence[Item]) -> tuple[Table, ...]:
    """One table per metric and data set: categories as lines, rows of the suite as columns, as in papers."""
    found = []
    for item in columns:
        categories = grid.categories(item.dataset, item.measure, item.name)
        if categories:
            found.append(_category_table(grid, item, categories))
    return tuple(found)


def _category_table(grid: Grid, item: Item, categories: Sequence[str]) -> Table:
    notes = Footnotes()
    rows = [row for row in grid.spec.rows if any(cell.dataset == item.dataset for cell in row.cells)]
    quoted = [replace(item, category=category) for category in categories]
    rows += [row for row in grid.spec.rows if not row.cells and any(each.published(grid, row) for each in quoted)]
    lines = []
    for category in (*categories, MEAN):
        made = compare(grid, rows, replace(item, category=category), notes)
        lines.append(Line((Entry(category, refs=made.refs), *made.entries), strong=category == MEAN))
    caption = f"{heading(item).label}, {item.dataset}"
    headings = (Heading("Category", numeric=False), *(Heading(row.label, flag=_flag(grid, row)) for row in rows))
    return Table(
        caption,
        headings,
        tuple(lines),
        tuple(notes.texts),
        folded=not item.metric.headline,
        compact=True,
        compared="columns",
        higher_is_better=item.metric.higher_is_better,
        dataset=item.dataset,
    )


def facts(grid: Grid) -> tuple[Fact, ...]:
    """All facts, row by row: for each metric its mean, then its categories."""
    measured = {metric for use in grid.uses for metric in use.taken.values}
    found = []
    for row in grid.spec.rows:
        for cost in (False, True):
            for item in items(grid, cost=cost):
                if item.metric.on_request and item.name not in measured:
                    continue
                found.append(fact(grid, row, item)[0])
                for category in () if cost else grid.categories(item.dataset, item.measure, item.name):
                    found.append(fact(grid, row, replace(item, category=category))[0])
    return tuple(found)


def missing_table(grid: Grid) -> Table | None:
    """Cells that failed, were not run or are stale, by reason; cells that differ in row, seed or part share a line."""
    found: dict[tuple[str, str, str, str, str], list[Use]] = {}
    for use in grid.uses:
        place = (use.row.label, use.cell.dataset)
        if use.taken.state == "failed":
            found.setdefault((*place, use.measure, "✗ failed", one_line(use.taken.error)), []).append(use)
        elif use.taken.state == "missing":
            why = grid.stale(use.cell, use.measure)  # it was run, but its rows are not all in the store
            found.setdefault((*place, use.measure, "– missing" if why else "– not run", why), []).append(use)
        elif why := grid.stale(use.cell, use.measure):
            found.setdefault((*place, use.measure, "stale", why), []).append(use)
    for why, absent in (("no adapter yet", True), ("the suite has no cells for it", False)):
        rows = [row for row in grid.spec.rows if not row.cells]
        if labels := [row.label for row in rows if (row.published_row in grid.spec.absent) is absent]:
            found[", ".join(labels), "", "", "not measured", why] = []
    if not found:
        return None
    merged: dict[tuple[str, ...], list[str]] = {}
    for (label, dataset, measure, state, why), uses in found.items():
        seeds = ", ".join(dict.fromkeys(str(use.cell.seed) for use in uses))
        parts = ", ".join(dict.fromkeys(use.cell.part for use in uses if use.cell.part is not None))
        merged.setdefault((label, dataset, parts, seeds, state, why), []).append(measure)
    alike: dict[tuple[str, ...], list[str]] = {}
    for (label, dataset, parts, seeds, state, why), measures in merged.items():
        everything = len(measures) == len(grid.spec.measures) > 1
        of = "all" if everything else ", ".join(measures)
        alike.setdefault((dataset, parts, seeds, of, state, why), []).append(label)
    lines = []
    for (dataset, parts, seeds, of, state, why), labels in alike.items():
        several = f", {len(labels)} rows" if len(labels) > 1 else ""
        between = "; " if any("," in label for label in labels) else ", "
        texts = (between.join(labels), dataset, parts, seeds, of, f"{state}{several}", why)
        alarm: Level = "alarm" if state == "✗ failed" else "plain"
        entries = (*map(Entry, texts[:5]), *(Entry(text, level=alarm) for text in texts[5:]))
        lines.append(Line(entries, dataset=dataset))
    names = ("Method", "Data", "Part", "Seeds", "Measures", "State", "Why")
    return Table("Failed, missing and stale cells", tuple(Heading(n, numeric=False) for n in names), tuple(lines))


# ----------------------------------------------------------------------------------------------------------- entries


def names(grid: Grid, rows: Sequence[RowSpec], notes: Footnotes, *, plain: bool = False) -> tuple[Entry, ...]:
    """The name of each row, with footnotes on how it differs from what was published, and on which data its defaults
    were chosen; `plain`: without them."""
    told, marked = ({}, {}) if plain else (stated(grid), chosen(grid))
    found = []
    for row in rows:
        refs = [notes.refer(told[row.label])] if DIFFERS in told.get(row.label, "") else []
        refs += [notes.refer(marked[row.label])] if row.label in marked else []
        found.append(Entry(row.label, refs=tuple(refs), flag=_flag(grid, row)))
    return tuple(found)


def _flag(grid: Grid, row: RowSpec) -> str:
    return "random weights" if row.label in grid.random else ""


def _range(counts: set[int]) -> str:
    if not counts:
        return "–"
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low}–{high}"


def uncovered(spec_rows: Sequence[RowSpec], table: str | None) -> tuple[RowSpec, ...]:
    """Rows of the paper's table without a row in the suite; they are shown as missing, never dropped."""
    if table is None:
        return ()
    covered = {row.published_row for row in spec_rows}
    return tuple(RowSpec(published.printed(key), key, (), key) for key in published.rows(table) if key not in covered)
