"""Why a cell counts as done or not: its stored configuration compared with the present state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import Problem, UserError, fail, unknown
from afrad_bench.machine.environment import current
from afrad_bench.running.paths import expanded
from afrad_bench.running.plan import PlannedCell, base_terms, incomplete, weights_of, with_states
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.selection import ChosenDataset, ChosenMeasure, SuiteRow
from afrad_bench.types import Cell

if TYPE_CHECKING:
    import pandas as pd


def explain(prefix: str, workspace: Workspace) -> dict[str, Any]:
    """The cell whose id begins with `prefix`: its runs, and the state of each measure with the reason.

    Raises `UserError` if no id in the store, or more than one, begins with `prefix`."""
    store = Store(workspace.store)
    history = store.read("cells")
    ids = sorted({cell_id for cell_id in history["cell_id"] if cell_id.startswith(prefix)})
    if not ids:
        problem = unknown("cell", prefix, set(history["cell_id"]), str(workspace.store))
        raise UserError(problem, *(Problem(fault) for fault in store.faults))
    if len(ids) > 1:
        raise fail(f"{len(ids)} ids begin with {prefix!r}", str(workspace.store), f"one of: {', '.join(ids)}")
    runs = history[history["cell_id"] == ids[0]]
    last = runs.iloc[-1]
    planned = _planned_again(_values(last), workspace)
    environment = current(workspace.device, workspace.threads or int(last["threads"]))
    states = with_states(planned, environment, history, incomplete(store, history, ids)).states
    return {
        "cell": ids[0],
        "method": last["method"],
        "label": last["label"],
        "dataset": last["dataset"],
        "seed": int(last["seed"]),
        "profile": last["profile"],
        "measures": {name: {"state": state.state, "why": state.why} for name, state in states.items()},
        "runs": [
            {
                "started_at": run["started_at"].isoformat(),
                "status": run["status"],
                "error": run["error"],
                "traceback": run["traceback"],
            }
            for run in (_values(row) for _, row in runs.iterrows())
        ],
        "params": json.loads(last["params"]),
    }


def _values(row: pd.Series) -> dict[str, Any]:
    """A row of the store, with None for null."""
    return {str(name): None if value is None or value != value else value for name, value in row.items()}


def _planned_again(row: dict[str, Any], workspace: Workspace) -> PlannedCell:
    """The cell of a stored row, with the terms of a run now."""
    cell = Cell(
        method=row["method"],
        params=row["params"],
        dataset=row["dataset"],
        dataset_params=row["dataset_params"],
        setting=row["setting"],
        category=row["category"],
        image_size=int(row["image_size"]),
        seed=int(row["seed"]),
        profile=row["profile"],
    )
    name = cell.dataset.partition(":")[0]
    root = row["data_root"] and expanded(row["data_root"])
    chosen = ChosenDataset(name, cell.dataset_params, root, f"cell {cell.id}")
    dataset = workspace.load(chosen, workspace.files())
    if cell.category is not None:
        dataset = dataset.only(cell.category)
    weights = weights_of(cell.method, cell.params, workspace.cache)
    measures = tuple(ChosenMeasure(n, run["terms"]["options"]) for n, run in json.loads(row["measures"]).items())
    label = SuiteRow(row["label"], cell.method, cell.params, None, "{}")
    terms = base_terms(cell, dataset, weights, json.loads(row["terms"] or "{}").get("arithmetic", ""))
    return PlannedCell(cell, label, chosen, dataset, measures, weights, terms, {}, None)
