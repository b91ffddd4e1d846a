"""Find the newest complete run of each cell and measure in the store's rows, or the reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from afrad_bench.store import COLUMNS, JSON

if TYPE_CHECKING:
    import pandas as pd


UNRELIABLE = "unreliable: "
"""Begins the part of a note that says why a time must not be trusted."""
RANDOM = "random weights"
"""Begins the note of a run in which a network that should be pretrained has its initial values."""


def doubts(note: str) -> tuple[str, ...]:
    """The parts of a note that say why its number must not be trusted.

    >>> doubts("unreliable: drifts, scatters; CPU wall clock")
    ('drifts, scatters',)
    """
    parts = (part.strip() for part in note.split("; "))
    return tuple(part.removeprefix(UNRELIABLE) for part in parts if part.startswith(UNRELIABLE))


class Value(NamedTuple):
    """One stored number."""

    value: float | None
    unit: str
    note: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a cell: its row of the `cells` table as plain Python values, JSON decoded, nulls as None."""

    cell_id: str
    run_id: str
    row: Mapping[str, Any]

    @property
    def measures(self) -> Mapping[str, Mapping[str, Any]]:
        """Measure -> its version, status and error in this run."""
        return self.row["measures"] or {}

    @property
    def is_random(self) -> bool:
        """Whether the backbone, or another network that is never trained, had random weights."""
        noted = any(note.startswith(RANDOM) for note in self.row["notes"] or ())
        return noted or "random" in (self.row["weights"], self.row["weights_hash"])

    def term(self, name: str) -> Any:
        """A condition of the run: a column of its row, or else a key of its `terms`."""
        if name in self.row and name not in JSON:
            return self.row[name]
        return (self.row["terms"] or {}).get(name)


Values = Mapping[str, Mapping[str | None, Value]]
"""Metric -> category -> number; the category is None for a number of the whole cell."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The stored result of one cell and measure."""

    state: Literal["ok", "failed", "missing"]
    run: Run | None = None
    """The run whose numbers count, or else the newest failure."""
    error: str = ""
    """Error of the newest failure. With state "ok": a later run failed, and the older numbers still count."""
    values: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Results:
    """All runs of the cells of a report, oldest first, and their numbers by (cell, run, measure)."""

    runs: Mapping[str, tuple[Run, ...]]
    values: Mapping[tuple[str, str, str], Values]

    def take(self, cell_id: str, measure: str) -> Taken:
        """The newest run in which the measure was completed, else the newest in which it failed, else "missing".

        A run that failed before its first measure counts as a failure of every measure."""
        good: Run | None = None
        bad: Run | None = None
        error = ""
        for run in self.runs.get(cell_id, ()):
            outcome = run.measures.get(measure)
            if outcome is not None and outcome["status"] == "ok":
                good, bad, error = run, None, ""
            elif outcome is not None or (run.row["status"] != "ok" and not run.measures):
                bad, error = run, (outcome or {}).get("error") or run.row["error"] or "no message was stored"
        if good is not None:
            return Taken("ok", good, error, self.values.get((cell_id, good.run_id, measure), {}))
        return Taken("failed", bad, error) if bad is not None else Taken("missing")


def read(cells: pd.DataFrame, measurements: pd.DataFrame) -> Results:
    """Results from frames of the store (`Store.read`), which are in order from old to new."""
    runs: dict[str, tuple[Run, ...]] = {}
    for raw in _records(cells, "cells"):
        row = {name: _decoded(value) if name in JSON else value for name, value in raw.items()}
        run = Run(row["cell_id"], row["run_id"], row)
        runs[run.cell_id] = (*runs.get(run.cell_id, ()), run)
    return Results(runs, _values(measurements))


@dataclass(frozen=True, slots=True)
class _Columns:
    """The measurements by column; equal texts share one object."""

    metric: list[str]
    category: list[str | None]
    value: list[float]
    unit: list[str | None]
    note: list[str | None]


class _OfRun(Mapping[str, Mapping[str | None, Value]]):
    """The numbers of one run and measure, created on first access, since a store may hold millions."""

    def __init__(self, columns: _Columns, rows: list[int]) -> None:
        self._columns, self._rows = columns, rows

    @cached_property
    def _by_metric(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row in self._rows:
            found.setdefault(self._columns.metric[row], []).append(row)
        return found

    @cached_property
    def _made(self) -> dict[str, Mapping[str | None, Value]]:
        return {}

    def __getitem__(self, metric: str) -> Mapping[str | None, Value]:
        if metric not in self._made:
            of = self._columns
            self._made[metric] = {
                of.category[row]: Value(
                    None if of.value[row] != of.value[row] else of.value[row], of.unit[row] or "", of.note[row] or ""
                )
                for row in self._by_metric[metric]
            }
        return self._made[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_metric)

    def __len__(self) -> int:
        return len(self._by_metric)


def _values(measurements: pd.DataFrame) -> Mapping[tuple[str, str, str], Values]:
    cells, runs, measures = (_texts(measurements[name]) for name in ("cell_id", "run_id", "measure"))
    columns = _Columns(
        metric=_texts(measurements["metric"]),
        category=_texts(measurements["category"]),
        value=measurements["value"].tolist(),
        unit=_texts(measurements["unit"]),
        note=_texts(measurements["note"]),
    )
    rows: dict[tuple[str, str, str], list[int]] = {}
    for row, key in enumerate(zip(cells, runs, measures, strict=True)):
        rows.setdefault(key, []).append(row)
    return {key: _OfRun(columns, mine) for key, mine in rows.items()}


def _texts(column: pd.Series) -> list[Any]:
    """The texts of a column; None for missing values."""
    codes, distinct = column.factorize()
    texts = [*map(str, distinct), None]
    return [texts[code] for code in codes]


def _decoded(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _records(frame: pd.DataFrame, table: str) -> list[dict[str, Any]]:
    """Plain Python rows with every column of the table; all of pandas' missing values become None."""
    import pandas as pd

    kinds = COLUMNS[table]
    rows = []
    for record in frame.to_dict("records"):
        row: dict[str, Any] = {}
        for name, kind in kinds.items():
            value = record.get(name)
            if value is None or pd.isna(value):
                row[name] = None
            elif kind.startswith("int"):
                row[name] = int(value)
            elif kind == "timestamp":
                row[name] = pd.Timestamp(value).to_pydatetime()
            else:
                row[name] = {"string": str, "double": float, "bool": bool}[kind](value)
        rows.append(row)
    return rows
