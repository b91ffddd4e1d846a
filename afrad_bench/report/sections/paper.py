"""The results in the layout of the paper's table that a suite reproduces: Tables 1 to 3 with a column for each method
and a line for each category, Table 4 by time, Tables 5 to 7 with the parts that each row has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from afrad_bench import published
from afrad_bench.published import COMPLETE, GROUPS, METRICS
from afrad_bench.published.layouts import ABLATIONS, KINDS
from afrad_bench.report.basis.comparison import Footnotes, Item, compare
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.tables import heading, items, names
from afrad_bench.report.model import Entry, Heading, Line, RowSpec, Table
from afrad_bench.types import MEAN

PRESENT, ABSENT = "✓", "–"


def paper_tables(grid: Grid) -> tuple[Table, ...]:
    """The tables; one for each data set, unless the paper's own has several. Empty if the suite reproduces none."""
    table = grid.spec.reproduces
    if table is None:
        return ()
    printed = {figure.metric for figure in published.figures(table)}
    shown = [item for cost in (False, True) for item in items(grid, cost=cost) if item.name in printed]
    if table in ABLATIONS and shown:
        return (_ablation(grid, table, shown),)
    by_data = [[item for item in shown if item.dataset == dataset] for dataset in grid.datasets]
    made = _times if table == "table4" else _by_category
    return tuple(made(grid, table, columns) for columns in by_data if columns)


def _caption(table: str, dataset: str, columns: Sequence[Item]) -> str:
    metrics = "/".join(dict.fromkeys(METRICS[item.name] for item in columns))
    metrics += " (%)" if all(item.metric.percent for item in columns) else ""
    return f"{metrics} on {dataset}, in the layout of the paper's {published.CAPTIONS[table]}"


def _by_category(grid: Grid, table: str, columns: Sequence[Item]) -> Table:
    """A line for each category, and for each row of the suite a column with all metrics."""
    notes = Footnotes()
    dataset = columns[0].dataset
    categories = grid.categories(dataset, columns[0].measure, columns[0].name)
    rows = _ordered(grid, table, columns, categories)
    groups = {category: group for group, of in GROUPS.get(table, {}).items() for category in of}
    grouped = all(category in groups for category in categories) and bool(groups)
    kinds = {key: kind for kind, keys in KINDS.get(table, {}).items() for key in keys}
    headings = [Heading("Group", numeric=False)] if grouped else []
    headings.append(Heading("Category", numeric=False))
    for row, name in zip(rows, names(grid, rows, notes), strict=True):
        over = kinds.get(_key(grid, row), "")
        headings += [replace(heading(item, row.label), over=over, refs=name.refs, flag=name.flag) for item in columns]
    lines = []
    for category in (*categories, MEAN):
        made = [compare(grid, rows, replace(item, category=category), notes) for item in columns]
        refs = tuple(dict.fromkeys(ref for column in made for ref in column.refs))
        keys = [Entry(groups.get(category, ""))] if grouped else []
        keys.append(Entry(category, refs=refs))
        cells = [column.entries[at] for at in range(len(rows)) for column in made]
        lines.append(Line((*keys, *cells), strong=category == MEAN))
    if grouped:
        order = list(GROUPS[table])
        lines[:-1] = sorted(lines[:-1], key=lambda line: order.index(line.entries[0].text))
    caption = _caption(table, dataset, columns)
    return Table(caption, tuple(headings), tuple(lines), tuple(notes.texts), keys=1 + grouped, joined=True)


def _key(grid: Grid, row: RowSpec) -> str:
    """The row of the paper's table that a row of the suite belongs to: its own, or that of its method."""
    of_method = (other.published_row for other in grid.spec.rows if other.method == row.method and other.published_row)
    return row.published_row or next(of_method, "")


def _ordered(grid: Grid, table: str, columns: Sequence[Item], categories: Sequence[str]) -> list[RowSpec]:
    """The rows with something to show, in the order of the paper; other rows of a method stand beside it, and methods
    that the paper lacks at the end."""
    quoted = [replace(item, category=category) for item in columns for category in (*categories, MEAN)]
    rows = [row for row in grid.spec.rows if row.cells or any(item.published(grid, row) for item in quoted)]
    order = {key: place for place, key in enumerate(published.rows(table))}
    return sorted(rows, key=lambda row: (order.get(_key(grid, row), len(order)), row.published_row is None))


def _times(grid: Grid, table: str, columns: Sequence[Item]) -> Table:
    """A line for each method, the fastest first; those that were not measured at the end, by the paper's figures."""
    notes = Footnotes()
    rows = [row for row in grid.spec.rows if row.cells or any(item.published(grid, row) for item in columns)]
    made = [compare(grid, rows, item, notes) for item in columns]
    headings = [Heading("Method", numeric=False)]
    headings += [replace(heading(item), refs=column.refs) for item, column in zip(columns, made, strict=True)]
    texts = names(grid, rows, notes)
    lines = [Line((name, *(column.entries[at] for column in made))) for at, name in enumerate(texts)]

    def speed(at: int) -> tuple[bool, float]:
        mean = made[0].facts[at].summary.mean
        quoted = made[0].facts[at].quotes
        return mean is None, mean if mean is not None else min((quote.value for quote in quoted), default=0.0)

    ordered = tuple(lines[at] for at in sorted(range(len(rows)), key=speed))
    return Table(_caption(table, columns[0].dataset, columns), tuple(headings), ordered, tuple(notes.texts))


def _ablation(grid: Grid, table: str, columns: Sequence[Item]) -> Table:
    """A line for each row of the suite: its name, which parts it has, and for each data set all metrics."""
    notes = Footnotes()
    parts, present = ABLATIONS[table].parts, ABLATIONS[table].present
    order = [*present]
    rows = sorted(
        (row for row in grid.spec.rows if row.cells or any(item.published(grid, row) for item in columns)),
        key=lambda row: order.index(row.published_row) if row.published_row else len(order),
    )
    made = [compare(grid, rows, item, notes) for item in columns]
    headings = [Heading("Row", numeric=False), *(Heading(text, group, numeric=False) for group, text in parts)]
    for item, column in zip(columns, made, strict=True):
        headings.append(replace(heading(item, item.dataset), refs=column.refs))
    lines = []
    for at, (row, name) in enumerate(zip(rows, names(grid, rows, notes), strict=True)):
        has = present.get(row.published_row or "")
        signs = ["" for _ in parts] if has is None else [PRESENT if each else ABSENT for each in has]
        whole = row.published_row == COMPLETE[table]
        lines.append(Line((name, *map(Entry, signs), *(column.entries[at] for column in made)), strong=whole))
    caption = _caption(table, " and ".join(grid.datasets), columns)
    return Table(caption, tuple(headings), tuple(lines), tuple(notes.texts), keys=1 + len(parts), joined=True)
