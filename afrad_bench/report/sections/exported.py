"""The files that were made of a fitted method beside the method itself: a line for each row and file."""

from __future__ import annotations

from dataclasses import replace

from afrad_bench.report.basis.comparison import Footnotes, Item, compare
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.tables import heading
from afrad_bench.report.model import Entry, Heading, Line, Section, Table

INTRO = (
    "What a deployment would run, measured on the same test images as the fitted method that it was made of.",
    "Label flips: test images whose decision at the operating point is another one than the fitted method's.",
)


def exported(grid: Grid) -> Section | None:
    """A table for each data set; None for a suite without such metrics (`Metric.of`), or before one was measured."""
    tables = (_table(grid, dataset) for dataset in grid.datasets)
    made = tuple(table for table in tables if table is not None)
    return Section("exported", "Exported files", made, INTRO) if made else None


def _table(grid: Grid, dataset: str) -> Table | None:
    found = {name for use in grid.uses if use.cell.dataset == dataset for name in use.taken.values}
    items = [
        Item(dataset, measure, spec, name, metric, None)
        for measure, spec, name, metric in grid.metrics(cost=False)
        if metric.of and name in found
    ]
    if not items:
        return None
    rows = [row for row in grid.spec.rows if any(cell.dataset == dataset for cell in row.cells)]
    notes = Footnotes()
    titles = tuple(dict.fromkeys(item.metric.title for item in items))
    of_file: dict[str, dict[str, tuple[Entry, ...]]] = {}
    for item in items:
        made = compare(grid, rows, item, notes, ranked=False)
        entries = tuple(replace(entry, refs=(*entry.refs, *made.refs)) for entry in made.entries)
        of_file.setdefault(item.metric.of, {})[item.metric.title] = entries
    lines = [
        Line((Entry(row.label), Entry(of), *(by_title[t][i] if t in by_title else Entry("–") for t in titles)))
        for i, row in enumerate(rows)
        for of, by_title in of_file.items()
    ]
    first = {item.metric.title: item for item in reversed(items)}
    names = (Heading("Method", numeric=False), Heading("Run as", numeric=False))
    headings = (*names, *(heading(first[title]) for title in titles))
    several = f", {dataset}" if len(grid.datasets) > 1 else ""
    return Table(f"Exported files{several}", headings, tuple(lines), tuple(notes.texts), keys=2, dataset=dataset)
