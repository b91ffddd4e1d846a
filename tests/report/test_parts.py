"""What each part costs, in the report: numbers worked by hand, and parts that only some rows have."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from afrad_bench.measures import complexity
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.results import Results, Run, Value
from afrad_bench.report.basis.tables import items
from afrad_bench.report.model import MeasureSpec, PlannedCell, ReportInput, RowSpec
from afrad_bench.report.sections.parts import part_facts, part_tables

SPEC = MeasureSpec(complexity.METRICS)


def grid_of(rows: Mapping[str, list[Mapping[str, float | None]]]) -> Grid:
    """One row per label with a seed for each mapping of part -> GMACs."""
    specs, runs, values = [], {}, {}
    for label, seeds in rows.items():
        cells = tuple(PlannedCell(f"{label}{seed}", "demo", seed) for seed in range(len(seeds)))
        specs.append(RowSpec(label, "afrad", cells))
        for cell, parts in zip(cells, seeds, strict=True):
            row = {"measures": {"complexity": {"version": "2", "status": "ok"}}, "status": "ok"}
            runs[cell.id] = (Run(cell.id, "r", row),)
            found = {
                part: Value(value, "GMAC/image", "" if value is not None else "why") for part, value in parts.items()
            }
            values[cell.id, "r", "complexity"] = {"gmacs_part": found, "gmacs": {None: Value(1.0, "GMAC/image", "")}}
    spec = ReportInput("s", "S", "demo", tuple(specs), {"complexity": SPEC}, "command")
    return Grid(spec, Results(runs, values))


def texts(grid: Grid) -> list[list[str]]:
    (table,) = part_tables(grid)
    heads = [heading.text for heading in table.headings]
    return [heads, *([entry.text for entry in line.entries] for line in table.lines)]


def test_each_part_and_their_sum() -> None:
    rows = {
        "no fld": [{"backbone": 1.0, "SAD": 0.25, "rest": 0.01}] * 2,
        "full": [{"backbone": 1.0, "SAD": 0.25, "FLD": 0.125, "rest": 0.01}] * 2,
    }
    assert texts(grid_of(rows)) == [
        ["Method", "backbone", "SAD", "FLD", "rest", "sum"],
        ["no fld", "1.0000", "0.2500", "–", "0.0100", "1.2600"],
        ["full", "1.0000", "0.2500", "0.1250", "0.0100", "1.3850"],
    ]


def test_seeds_that_differ_show_their_spread() -> None:
    grid = grid_of({"a": [{"bank": 1.0}, {"bank": 2.0}]})
    (table,) = part_tables(grid)
    entry = table.lines[0].entries[1]
    assert (entry.text, entry.spread) == ("1.5000", "0.7071")
    (fact,) = part_facts(grid)
    assert (fact.row, fact.category, fact.metric, fact.unit) == ("a", "bank", "gmacs_part", "GMAC/image")
    assert (fact.summary.mean, fact.summary.seeds) == (pytest.approx(1.5), 2)


def test_a_part_that_could_not_be_counted_has_its_reason() -> None:
    grid = grid_of({"a": [{"bank": None, "rest": None}]})
    assert texts(grid)[1] == ["a", "n/a", "n/a", "n/a"]
    assert part_tables(grid)[0].footnotes == ("why",)


def test_methods_without_parts_make_no_table() -> None:
    assert part_tables(grid_of({"a": [{}]})) == ()
    mixed = grid_of({"a": [{}], "b": [{"bank": 1.0}]})
    assert [line.entries[0].text for line in part_tables(mixed)[0].lines] == ["b"]


def test_parts_are_no_columns_of_the_efficiency_tables() -> None:
    names = {item.name for item in items(grid_of({"a": [{"bank": 1.0}]}), cost=True)}
    assert {"gmacs", "params_total"} <= names
    assert not {"gmacs_part", "params_part"} & names
