"""Effect of each row: its difference to the suite's reference row, with a confidence interval, ranked by size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from afrad_bench.report.basis.comparison import Footnotes, Item, fact
from afrad_bench.report.basis.effect import CERTAIN, LIKELY, Effect, effect
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.tables import items
from afrad_bench.report.model import Entry, Heading, Line, RowSpec, Section, State, Table
from afrad_bench.statistics import CONFIDENCE

TITLE = "What each row changes"
COSTS = ("gmacs", "params_total")
"""Cost metrics that are shown next to the differences."""


def effects(grid: Grid) -> Section | None:
    """The section; None unless the suite has a reference row and another row with cells."""
    reference = next((row for row in grid.spec.rows if row.label == grid.spec.compare_to), None)
    rows = [row for row in grid.spec.rows if row.cells and row is not reference]
    if reference is None or not rows:
        return None
    tables: list[Table] = []
    first = ""
    for dataset in grid.datasets:
        wanted = [item for item in items(grid, cost=False, headline=True) if item.dataset == dataset]
        columns = [column for item in wanted if (column := effect(grid, item, rows, reference))]
        if columns:
            first = first or columns[0].item.metric.title
            tables += _tables(grid, dataset, columns, rows, reference)
    if not tables:
        return None
    intro = (
        f"Each row minus {reference.label!r}, seed by seed on the same data; in brackets the "
        f"{CONFIDENCE:.0%} confidence interval of the mean (paired t over seeds).",
        f"{CERTAIN}: the difference is significant at {1 - CONFIDENCE:.0%} after Holm's correction for all rows that "
        f"are compared; {LIKELY}: its interval excludes 0, but it is not significant after the correction.",
        f"Ranked by the size of the difference in {first}. Intervals tell of other seeds, not of other data.",
    )
    return Section("effects", TITLE, tuple(tables), intro)


def _tables(
    grid: Grid, dataset: str, columns: Sequence[Effect], rows: Sequence[RowSpec], reference: RowSpec
) -> list[Table]:
    ranked = sorted(rows, key=lambda row: -abs(columns[0].differences[row.label].mean or 0.0))
    on = f", {dataset}" if len(grid.datasets) > 1 else ""
    axes: dict[str, RowSpec] = {}
    for row in ranked:
        if row.axis:
            axes.setdefault(row.axis, row)
    costs = [item for item in items(grid, cost=True, headline=True) if item.name in COSTS and item.dataset == dataset]
    everything = [reference, *ranked]
    if not axes:
        made = [_table(grid, f"{TITLE}{on}", columns, everything, costs)]
    else:
        by_axis = f"Axes, each by the reading that changes most{on}"
        made = [
            _table(grid, by_axis, columns, list(axes.values()), ()),
            _table(grid, f"All readings{on}", columns, everything, costs),
        ]
    return [replace(table, dataset=dataset) for table in made]


def _table(
    grid: Grid, caption: str, columns: Sequence[Effect], rows: Sequence[RowSpec], costs: Sequence[Item]
) -> Table:
    """One line per row, with a column for the axis if every row has one."""
    notes = Footnotes()
    by_axis = all(row.axis for row in rows)
    headings = [
        *([Heading("Axis", numeric=False)] if by_axis else []),
        Heading("Row", numeric=False),
        *(_heading(column.item) for column in columns),
        Heading("What it does", numeric=False, importance=1),
        *(Heading(item.metric.title, hint=item.metric.description, importance=-1) for item in costs),
    ]
    lines = []
    for row in rows:
        names = [Entry(row.axis)] if by_axis else []
        names.append(Entry(row.label, flag="random weights" if row.label in grid.random else ""))
        if row.label in columns[0].differences:
            changes = [_entry(column, row.label, notes) for column in columns]
            changes.append(Entry(_verdict(columns, row.label)))
        else:
            changes = [*(Entry("–") for _ in columns), Entry("all are compared to it")]
        lines.append(Line((*names, *changes, *(_cost(grid, row, item) for item in costs))))
    return Table(caption, tuple(headings), tuple(lines), tuple(notes.texts), keys=2 if by_axis else 1)


def _heading(item: Item) -> Heading:
    unit = "points" if item.metric.percent else item.unit
    return Heading(f"Δ {item.metric.title}", unit=unit, hint=item.metric.description)


def _cost(grid: Grid, row: RowSpec, item: Item) -> Entry:
    mean = fact(grid, row, item)[0].summary.mean
    return Entry("–" if mean is None else f"{mean:.{item.metric.decimals}f}", number=mean)


def _entry(column: Effect, label: str, notes: Footnotes) -> Entry:
    found = column.differences[label]
    state: State = "undefined" if found.mean is None else "value"
    return Entry(column.text(label), state, refs=(notes.refer(found.why),) if found.why else (), number=found.mean)


def _verdict(columns: Sequence[Effect], label: str) -> str:
    """The effect in words: better or worse, and in which metrics."""
    found = [column for column in columns if column.differences[label].mean is not None]
    if not found:
        return "not measured"
    if all(column.differences[label].seeds == 1 for column in found):
        return "one seed: cannot tell"
    by_word: dict[str, list[str]] = {}
    for mark, certainty in ((CERTAIN, ""), (LIKELY, "perhaps ")):
        for column in found:
            if column.mark(label) == mark:
                word = certainty + ("better" if column.gain(label) > 0 else "worse")
                by_word.setdefault(word, []).append(column.item.metric.title)
    return "; ".join(f"{word}: {', '.join(titles)}" for word, titles in by_word.items()) or "no clear difference"
