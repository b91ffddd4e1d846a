"""Recomputes accuracy from kept predictions: other definitions or conventions without training again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from afrad_bench import registry
from afrad_bench.errors import UserError
from afrad_bench.hashing import canonical
from afrad_bench.images.sets import test_images, train_images
from afrad_bench.running import kept_maps
from afrad_bench.running.plan import Plan, PlannedCell, difference
from afrad_bench.running.rows import environment_row, outcome_of, rows_of
from afrad_bench.store import COLUMNS, Store, new_run_id
from afrad_bench.suite.selection import ChosenMeasure
from afrad_bench.types import Subject, TrainingRecord, Watch, unwatched
from afrad_bench.writing import DiskFull

if TYPE_CHECKING:
    import pandas as pd

MEASURE = "accuracy"
NOTE = "accuracy recomputed from stored maps"


@dataclass(frozen=True, slots=True)
class Recomputed:
    """The outcome for a cell."""

    planned: PlannedCell
    state: Literal["recomputed", "current", "no maps", "other terms"]
    why: str = ""


def recompute(plan: Plan, store: Store, force: bool = False, watch: Watch = unwatched) -> Iterator[Recomputed]:
    """Compute accuracy again and append it, for every cell with kept maps whose accuracy is stale (`force`: for all).

    The new run copies the training record of the cell's newest run of this measure with equal terms."""
    history = store.read("cells")
    for planned in plan.cells:
        measure = next((one for one in planned.measures if one.name == MEASURE), None)
        if measure is None:
            continue
        path = kept_maps.place_of(store.root, planned.cell)
        if planned.states[MEASURE].state == "done" and not force:
            yield Recomputed(planned, "current")
        elif not path.is_file():
            yield Recomputed(planned, "no maps", "`run --keep-maps` keeps them (of done cells with --force)")
        else:
            try:
                yield _recomputed(plan, planned, measure, path, history, store, watch)
            except DiskFull:
                raise
            except UserError as error:
                yield Recomputed(planned, "no maps", str(error))


def _recomputed(
    plan: Plan,
    planned: PlannedCell,
    measure: ChosenMeasure,
    path: Path,
    history: pd.DataFrame,
    store: Store,
    watch: Watch,
) -> Recomputed:
    kept = kept_maps.Kept(path)
    if dict(kept.terms) != dict(planned.terms):
        return Recomputed(planned, "other terms", difference(kept.terms, planned.terms))
    _append(plan, planned, measure, kept, history, store, watch)
    return Recomputed(planned, "recomputed")


def _append(
    plan: Plan,
    planned: PlannedCell,
    measure: ChosenMeasure,
    kept: kept_maps.Kept,
    history: pd.DataFrame,
    store: Store,
    watch: Watch,
) -> None:
    began, ticks = datetime.now(timezone.utc), time.perf_counter()
    module = registry.find("measure", MEASURE).load()
    subject = Subject(
        cell=planned.cell,
        method=kept,
        dataset=planned.dataset,
        test=test_images(planned.dataset, planned.cell.image_size),
        train=train_images(planned.dataset, planned.cell.image_size),
        record=TrainingRecord(),
        fit_seconds=0.0,
        fit_peak_bytes=None,
        device=plan.environment.device,
        threads=plan.environment.threads,
        watch=watch,
    )
    found = module.measure(subject, module.Config.model_validate_json(measure.options))
    rows = rows_of(found, MEASURE)
    outcome = outcome_of(planned, measure, plan.environment, error="")
    trained = _trained(history, planned)
    notes = [*json.loads(trained["notes"] or "[]"), NOTE]  # notes of the training still apply
    row = trained | {
        **environment_row(plan.environment),
        "run_id": new_run_id(),
        "started_at": began,
        "ended_at": datetime.now(timezone.utc),
        "label": planned.row.label,
        "suite": plan.selection.suite,
        "status": "ok",
        "error": None,
        "traceback": None,
        "measures": canonical({MEASURE: outcome}),
        "overrides": canonical(list(plan.selection.overrides)),
        "notes": canonical(list(dict.fromkeys(notes))),
        "timings": canonical({MEASURE: round(time.perf_counter() - ticks, 4)}),
    }
    store.append(row, **rows)


def _trained(history: pd.DataFrame, planned: PlannedCell) -> dict[str, Any]:
    """The row of the cell's newest run with accuracy and equal terms; it exists because its maps were kept."""
    terms = canonical(dict(planned.terms))
    mine = history[(history["cell_id"] == planned.cell.id) & (history["terms"] == terms)]
    last = mine[mine["measures"].str.contains(f'"{MEASURE}"', regex=False)].iloc[-1]
    return {name: _plain(last[name], kind) for name, kind in COLUMNS["cells"].items()}


def _plain(value: Any, kind: str) -> Any:
    """A value of a frame in the type of the store: pandas turns integers into floats in columns with nulls."""
    if value is None or value != value:
        return None
    return int(value) if kind.startswith("int") else value
