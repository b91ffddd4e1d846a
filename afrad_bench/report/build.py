"""Build a report from a suite and its rows in the store. Measures nothing; reads only the paper's values from disk."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from afrad_bench import published
from afrad_bench.report.basis import results
from afrad_bench.report.basis.answer import answer, contrasted
from afrad_bench.report.basis.cautions import cautions
from afrad_bench.report.basis.evidence import Evidence, collect
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.tables import (
    category_tables,
    defined,
    facts,
    items,
    missing_table,
    summary_table,
    uncovered,
)
from afrad_bench.report.basis.terms import terms
from afrad_bench.report.basis.verdict import RULE
from afrad_bench.report.model import Report, ReportInput, Section
from afrad_bench.report.sections.curves import curves
from afrad_bench.report.sections.effects import effects
from afrad_bench.report.sections.elsewhere import elsewhere
from afrad_bench.report.sections.exported import exported
from afrad_bench.report.sections.forest import forest
from afrad_bench.report.sections.gallery import gallery
from afrad_bench.report.sections.latencies import latencies
from afrad_bench.report.sections.order import order_section
from afrad_bench.report.sections.paper import paper_tables
from afrad_bench.report.sections.parts import part_facts, part_tables
from afrad_bench.report.sections.pivots import PIVOTS, pivots
from afrad_bench.report.sections.timing import timing_table
from afrad_bench.report.sections.tradeoff import tradeoffs
from afrad_bench.report.sections.training import training

if TYPE_CHECKING:
    import pandas as pd

READING = (
    "Bold: best; underlined: second best; what is shown as equal shares its rank.",
    "± is the standard deviation over seeds (ddof = 1) of the mean over categories.",
)


def build(
    spec: ReportInput,
    cells: pd.DataFrame,
    measurements: pd.DataFrame,
    scores: pd.DataFrame | None = None,
    curves: pd.DataFrame | None = None,
    examples: pd.DataFrame | None = None,
) -> Report:
    """Build the report of a suite.

    The frames are tables of the store (`Store.read`, oldest first); they may also hold cells of other suites. Without
    `scores`, `curves` or `examples`, the figures that need them are left out. For each cell and measure, the newest
    complete run counts. Raises `UserError` for an unknown table of the paper."""
    spec = checked(spec)
    grid = Grid(spec, results.read(cells, measurements))
    drawn = (forest(grid, dataset) for dataset in grid.datasets)
    return Report(
        suite=spec.suite,
        title=spec.title,
        profile=spec.profile,
        reproduces=published.CAPTIONS[spec.reproduces] if spec.reproduces else "",
        command=spec.command,
        terms=terms(grid),
        warnings=cautions(grid),
        sections=_sections(grid, collect(grid, scores, curves, examples)),
        facts=(*contrasted(grid, facts(grid)), *part_facts(grid)),
        answer=answer(grid),
        lead=next(filter(None, drawn), None),
        paper=paper_tables(grid),
        datasets=grid.datasets if len(grid.datasets) > 1 else (),
    )


def checked(spec: ReportInput) -> ReportInput:
    """Add the rows of the paper's table that the suite lacks. Raises `ValueError` for duplicate rows or cells."""
    for row in spec.rows:
        places = [(cell.dataset, cell.seed, cell.part) for cell in row.cells]
        if len(set(places)) < len(places):
            raise ValueError(f"two cells of {row.label!r} share data, seed and part; give them different ones")
    labels = [row.label for row in spec.rows]
    if len(set(labels)) < len(labels):
        raise ValueError("two rows of a report have the same label")
    return replace(spec, rows=(*spec.rows, *uncovered(spec.rows, spec.reproduces)))


def _sections(grid: Grid, evidence: Evidence) -> tuple[Section, ...]:
    """All non-empty sections, most important first. Add a new section here; every renderer then shows it."""
    rule = (RULE,) if grid.spec.reproduces else ()
    made = []
    if columns := items(grid, cost=False, headline=True):
        columns, left_out = defined(grid, columns)
        table = summary_table(grid, columns, "Mean over categories")
        made.append(Section("results", "Results", (table,), (*left_out, *READING, *rule)))
    if compared := effects(grid):
        made.append(compared)
    if tables := pivots(grid):
        made.append(Section("grid", "Grid", tables, (PIVOTS,)))
    costs = []
    if columns := items(grid, cost=True, headline=True):
        costs.append(summary_table(grid, columns, "Efficiency"))
    if columns := items(grid, cost=True, headline=False):
        costs.append(summary_table(grid, columns, "Efficiency, further figures", folded=True))
    costs += part_tables(grid)
    if costs:
        made.append(Section("efficiency", "Efficiency", tuple(costs), figures=(*tradeoffs(grid), *latencies(grid))))
    if places := order_section(grid):
        made.append(places)
    if files := exported(grid):
        made.append(files)
    if found := elsewhere(grid):
        made.append(found)
    if pictures := gallery(grid, evidence):
        made.append(pictures)
    if missing := missing_table(grid):
        made.append(Section("missing", "Failed, missing and stale", (missing,)))
    columns, left_out = defined(grid, items(grid, cost=False))
    if by_category := category_tables(grid, columns):
        made.append(Section("categories", "By category", by_category, left_out))
    if fits := training(grid, evidence):
        made.append(fits)
    if drawn := curves(grid, evidence):
        made.append(drawn)
    if timing := timing_table(grid):
        made.append(Section("timing", "Where the time went", (timing,)))
    return tuple(made)
