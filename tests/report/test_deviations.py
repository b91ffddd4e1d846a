"""Overrides of the command line stand beside the rows that they changed, and beside no others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from afrad_bench.measures import accuracy
from afrad_bench.report import MeasureSpec, PlannedCell, ReportInput, RowSpec
from afrad_bench.report.basis.deviations import deviations
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.results import read
from afrad_bench.store import COLUMNS

ROWS = {"AFRAD": ("afrad", "1"), "PaDiM": ("padim", "2")}
PARAMS = {"afrad": {"training": {"epochs": 2}}, "padim": {"channels": 9}}


def grid(chosen: tuple[str, ...] | None, recorded: tuple[str, ...] = (), threads: int = 1) -> Grid:
    rows = tuple(RowSpec(label, method, (PlannedCell(cell, "demo", 0),)) for label, (method, cell) in ROWS.items())
    spec = ReportInput("s", "S", "p", rows, {"accuracy": MeasureSpec(accuracy.METRICS)}, "run", overrides=chosen)
    outcome = json.dumps({"accuracy": {"version": "1", "status": "ok", "error": "", "terms": {}}})
    cells: list[dict[str, Any]] = [
        {
            "cell_id": cell,
            "run_id": f"run {cell}",
            "status": "ok",
            "measures": outcome,
            "params": json.dumps(PARAMS[method]),
            "overrides": json.dumps(list(recorded)),
            "threads": threads,
        }
        for method, cell in ROWS.values()
    ]
    frames = (pd.DataFrame(cells, columns=list(COLUMNS["cells"])), pd.DataFrame(columns=list(COLUMNS["measurements"])))
    return Grid(spec, read(*frames))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("afrad.training.epochs=2", ["AFRAD"]),
        ("padim.channels=9", ["PaDiM"]),
        ("shared.training.epochs=2", ["AFRAD"]),  # PaDiM has no such field
        ("image_size=64", ["AFRAD", "PaDiM"]),
        ("demo.train=6", ["AFRAD", "PaDiM"]),
        ("accuracy.resolution=original", ["AFRAD", "PaDiM"]),
        ("threads=1", ["AFRAD", "PaDiM"]),
        ("threads=2", []),  # no cell was measured with two
        ("digits.limit=2", []),
        ("search.trials=9", []),
    ],
)
def test_an_override_is_attributed_to_what_it_changed(text: str, labels: list[str]) -> None:
    expected = {text: labels} if labels else {}
    assert deviations(grid((text,))) == expected
    assert deviations(grid(None, recorded=(text,))) == expected


def test_what_a_run_recorded_does_not_matter_if_the_rows_were_chosen_without_it() -> None:
    made = grid((), recorded=("seeds=[0]", "afrad.training.epochs=2"))
    assert deviations(made) == {}
    assert deviations(Grid(replace(made.spec, overrides=None), made.results)) != {}
