"""A store that an earlier version of the harness wrote: its cells keep their ids, and none becomes stale but by name.

`earlier_store/` was written before the modules moved into rooms. It must never be written anew: what it proves is that
users need not measure again. A change of a method's or a measure's VERSION makes cells stale on purpose: that must be
what is said of them (`OTHERS`), and their numbers are still shown."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from afrad_bench import registry
from afrad_bench.report import to_csv
from afrad_bench.report.from_plan import report_of
from afrad_bench.running.plan import Plan, make
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.suite import load

FOLDER = Path(__file__).parent / "earlier_store"
IDS = {
    ("AFRAD", 0): "f27310815890b488",
    ("AFRAD", 1): "b386de0f4ac1f43a",
    ("PaDiM", 0): "183eca0b1ec3843e",
    ("PaDiM", 1): "d68affed9e56faaa",
    ("UniAD", 0): "a0331e1735358858",
    ("UniAD", 1): "9e1995864e8e3a73",
}


OTHERS = {"afrad": "5"}
"""Methods whose VERSION has changed since, and the one of that time."""


@pytest.fixture(scope="module")
def planned(cache_folder: Path) -> Plan:
    workspace = Workspace(FOLDER / "store", cache_folder, 2**30, "cpu")
    return make(load(FOLDER / "suite.yaml").select(), workspace, workspace.files())


def test_ids_are_what_they_were(planned: Plan) -> None:
    assert {(one.row.label, one.cell.seed): one.cell.id for one in planned.cells} == IDS


def test_every_cell_is_complete_or_stale_by_name(planned: Plan) -> None:
    states = {(one.cell, name): state for one in planned.cells for name, state in one.states.items()}
    assert len(states) == 12
    for (cell, _), state in states.items():
        if cell.method in OTHERS:
            now = registry.find("method", cell.method).load().VERSION
            assert (state.state, state.why) == ("stale", f"method_version was {OTHERS[cell.method]}, is {now}")
        else:
            assert (state.state, state.why) == ("done", "measured on equal terms")


def test_its_report_has_the_numbers_that_it_had(planned: Plan) -> None:
    report = report_of(planned, Store(FOLDER / "store"), "suite.yaml")
    told = ["row", "dataset", "category", "metric", "unit", "mean", "std", "n_seeds"]
    now, was = pd.read_csv(io.StringIO(to_csv(report))), pd.read_csv(FOLDER / "report.csv")
    assert len(was) > 100
    pd.testing.assert_frame_equal(now[told], was[told])
