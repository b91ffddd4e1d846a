"""Pivots of a suite's grids: a metric by two of their axes, a table for each value of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from afrad_bench.report.basis.comparison import Footnotes, Item, compare
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.tables import defined, heading, items
from afrad_bench.report.model import Entry, Heading, Line, RowSpec, Table

PIVOTS = (
    "Lines and columns: the values of the grid's axes; mean ± std over seeds of the mean over categories. Best, "
    "second best and shades are those of each table."
)

Point = tuple[str, ...]


def pivots(grid: Grid) -> tuple[Table, ...]:
    """A table for each grid of two axes, data set and headline metric of accuracy; of more axes, for each value of the
    others. None for grids of one axis, which the results show."""
    columns, _ = defined(grid, items(grid, cost=False, headline=True))
    return tuple(
        table
        for name, rows in _grids(grid).items()
        for item in columns
        if (mine := [row for row in rows if any(cell.dataset == item.dataset for cell in row.cells)])
        for table in _tables(grid, name, mine, item)
    )


def _grids(grid: Grid) -> Mapping[str, list[RowSpec]]:
    """What the rows of a grid share of their labels -> the rows, for grids of two axes or more."""
    found: dict[str, list[RowSpec]] = {}
    for row in grid.spec.rows:
        if len(row.point) > 1:
            found.setdefault(row.grid, []).append(row)
    return found


def _tables(grid: Grid, name: str, rows: Sequence[RowSpec], item: Item) -> Iterator[Table]:
    axes = [axis for axis, _ in rows[0].point]
    values = [_ordered(row.point[at][1] for row in rows) for at in range(len(axes))]
    if sum(len(each) > 1 for each in values) < 2:
        return  # `--only` may leave a single line
    down, across, *others = values
    for rest in product(*others):
        shown = {tuple(value for _, value in row.point): row for row in rows}
        shown = {point: row for point, row in shown.items() if point[2:] == rest}
        notes = Footnotes()
        made = compare(grid, list(shown.values()), item, notes)
        places = dict(zip(shown, made.entries, strict=True))
        fixed = [f"{axis}={value}" for axis, value in zip(axes[2:], rest, strict=True)]
        data = [item.dataset] if len(grid.datasets) > 1 else []
        if any(entry.state == "value" for entry in made.entries):
            yield Table(
                ", ".join((name, heading(item).label, *data, *fixed)),
                (Heading(axes[0], numeric=False, refs=made.refs), *(Heading(column, axes[1]) for column in across)),
                tuple(_line(place, [(place, column, *rest) for column in across], places) for place in down),
                tuple(notes.texts),
                higher_is_better=item.metric.higher_is_better,
                shaded=True,
            )


def _ordered(values: Iterable[str]) -> tuple[str, ...]:
    """Each value once: numbers ascending, others as they come.

    >>> _ordered(["8.0", "16", "8.0", "4"]), _ordered(["b", "a", "b"])
    (('4', '8.0', '16'), ('b', 'a'))
    """
    found = tuple(dict.fromkeys(values))
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return found


def _line(place: str, points: Sequence[Point], places: Mapping[Point, Entry]) -> Line:
    return Line((Entry(place), *(places.get(point, Entry("–", "missing")) for point in points)))
