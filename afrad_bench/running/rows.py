"""The rows that a run of a cell adds to the tables of the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from afrad_bench import registry
from afrad_bench.hashing import canonical
from afrad_bench.machine.environment import Environment
from afrad_bench.running.plan import PlannedCell
from afrad_bench.suite.selection import ChosenMeasure
from afrad_bench.types import Curve, Example, Measurement, OperatingPoint, Result, Score, TrainingRecord

Rows = dict[str, list[dict[str, Any]]]
"""Table -> its rows."""

TABLES: Mapping[type[Measurement | Score | Curve | Example], str] = {
    Measurement: "measurements",
    Score: "scores",
    Curve: "curves",
    Example: "examples",
}
"""Type of result -> table of the store."""


LOSSES = 200
"""Points that are kept of the loss of one training."""


def no_rows() -> Rows:
    """Every table, empty."""
    return {table: [] for table in TABLES.values()}


def rows_of(found: Iterable[Result], measure: str) -> Rows:
    """The results of a measure as rows of the tables."""
    rows = no_rows()
    source = {"measure": measure, "measure_version": registry.find("measure", measure).load().VERSION}
    for one in found:
        if isinstance(one, OperatingPoint):  # kept with the model; its numbers are measurements
            continue
        columns = {name: getattr(one, name) for name in one.__dataclass_fields__}
        rows[TABLES[type(one)]].append(columns | (source if isinstance(one, Measurement) else {}))
    return rows


def training_rows(record: TrainingRecord) -> Rows:
    """The mean loss of each epoch as one curve of the whole cell; of a long training `LOSSES` epochs at equal
    distances, the first and the last among them. No rows for a method that does not train."""
    rows, count = no_rows(), len(record.loss)
    if count:
        kept = range(count) if count <= LOSSES else [round(i * (count - 1) / (LOSSES - 1)) for i in range(LOSSES)]
        loss = Curve("training_loss", None, tuple(float(i + 1) for i in kept), tuple(record.loss[i] for i in kept))
        rows[TABLES[Curve]].append({name: getattr(loss, name) for name in loss.__dataclass_fields__})
    return rows


def outcome_of(planned: PlannedCell, measure: ChosenMeasure, environment: Environment, error: str) -> dict[str, Any]:
    """How one measure of a run ended, for the `measures` column of `cells`; an empty error means success."""
    return {
        "version": registry.find("measure", measure.name).load().VERSION,
        "terms": planned.measure_terms(measure, environment),
        "status": "failed" if error else "ok",
        "error": error,
    }


def environment_row(environment: Environment) -> dict[str, Any]:
    """The environment as columns of the `cells` table."""
    return {**asdict(environment), "packages": canonical(environment.packages)}
