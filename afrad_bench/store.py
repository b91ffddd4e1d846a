"""The results: append-only tables of Parquet parts, safe against crashes and several writers.

    <root>/cells/          one row per run of a cell: configuration, terms, provenance, status
    <root>/measurements/   one row per number: cell, measure, category, metric, value, unit, note
    <root>/scores/         one row per test image: cell, category, image, label, score
    <root>/curves/         one row per curve: cell, category, kind, its points
    <root>/examples/       one row per image kept to be shown: cell, image, truth and heat map as small pictures
    <root>/latency/        one row per timed call of `afrad-bench latency`: session, method, mode, batch, round, ms

`pandas.read_parquet` reads each folder as it is. A run is appended as one part per table, written beside and renamed;
its row in `cells` comes last and makes the others count, so that a kill at any moment loses at most that run. Rows are
never changed: for each cell and measure the newest complete run counts. A latency session measures several cells at
once and is one part of its own table, which counts by itself.

The schema has a version in every row. Columns are only ever added; an older part reads as null in a newer column."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import fail

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SCHEMA_VERSION = 1

Row = Mapping[str, Any]

_RUN = {"schema_version": "int32", "run_id": "string", "cell_id": "string", "started_at": "timestamp"}

# What a reader of one table needs to tell rows apart without a join.
_CELL = {
    "method": "string",
    "label": "string",
    "dataset": "string",
    "setting": "string",
    "seed": "int64",
    "profile": "string",
}

COLUMNS: dict[str, dict[str, str]] = {
    "cells": {
        **_RUN,
        **_CELL,
        "suite": "string",
        "category": "string",
        "params": "string",
        "dataset_params": "string",
        "data_root": "string",
        "image_size": "int32",
        "status": "string",
        "error": "string",
        "traceback": "string",
        "measures": "string",
        "terms": "string",
        "overrides": "string",
        "notes": "string",
        "data_fingerprint": "string",
        "dataset_version": "string",
        "method_version": "string",
        "backbone": "string",
        "weights": "string",
        "weights_hash": "string",
        "epochs": "int32",
        "images_seen": "int64",
        "final_loss": "double",
        "resumed_at": "int32",
        "device": "string",
        "device_name": "string",
        "threads": "int32",
        "precision": "string",
        "code_version": "string",
        "git_revision": "string",
        "git_dirty": "bool",
        "packages": "string",
        "python": "string",
        "platform": "string",
        "timings": "string",
        "ended_at": "timestamp",
    },
    "measurements": {
        **_RUN,
        **_CELL,
        "measure": "string",
        "measure_version": "string",
        "category": "string",
        "metric": "string",
        "value": "double",
        "unit": "string",
        "note": "string",
    },
    "scores": {
        **_RUN,
        **_CELL,
        "category": "string",
        "image_id": "string",
        "gt_label": "bool",
        "pred_score": "double",
        "defect": "string",
    },
    "curves": {
        **_RUN,
        **_CELL,
        "category": "string",
        "kind": "string",
        "x": "doubles",
        "y": "doubles",
    },
    "examples": {
        **_RUN,
        **_CELL,
        "category": "string",
        "image_id": "string",
        "defect": "string",
        "gt_label": "bool",
        "pred_score": "double",
        "role": "string",
        "rank": "int32",
        "image": "binary",
        "mask": "binary",
        "anomaly_map": "binary",
        "low": "double",
        "high": "double",
    },
    "latency": {
        **_RUN,
        **_CELL,
        "session": "string",
        "mode": "string",
        "batch": "int32",
        "round": "int32",
        "ms": "double",
        "suite": "string",
        "image_size": "int32",
        "params": "string",
        "device": "string",
        "device_name": "string",
        "threads": "int32",
        "terms": "string",
        "facts": "string",
    },
}
"""Tables, their columns and types. Text columns named in the plural hold JSON. A store that was written before a table
existed has no folder of it, and reads as empty there.

In `latency`, rows of one `session` and equal `round` (from 0) were measured in the same interleaved round: every method
in every `mode` ("eager", "amp+compile") and `batch` once, `ms` for the whole batch. `terms` describes the session,
`facts` the method in its mode and batch."""

OF_RUNS = ("cells", "measurements", "scores", "curves", "examples")
"""Tables of the runs of cells. The parts of the others count without a row in `cells`."""


def schema(table: str) -> pa.Schema:
    """The explicit schema of a table, with its version in the metadata."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "double": pa.float64(),
        "bool": pa.bool_(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "binary": pa.binary(),
        "doubles": pa.list_(pa.float64()),
    }
    fields = [pa.field(name, types[kind]) for name, kind in COLUMNS[table].items()]
    return pa.schema(fields, metadata={"afrad_bench.schema_version": str(SCHEMA_VERSION)})


class Store:
    """A folder of results. Opening creates nothing; the first append does."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def append(
        self,
        cell: Row,
        measurements: Sequence[Row],
        scores: Sequence[Row],
        curves: Sequence[Row] = (),
        examples: Sequence[Row] = (),
    ) -> None:
        """Add one run of a cell: all of it, or (after a crash) nothing that readers see.

        `cell` holds `run_id` and `cell_id`; the common columns are copied into the other rows. Unknown columns are a
        `ValueError`."""
        common = {name: cell.get(name) for name in (*_RUN, *_CELL)}
        common["schema_version"] = SCHEMA_VERSION
        name = f"{cell['cell_id']}-{cell['run_id']}.parquet"
        tables = {"examples": examples, "curves": curves, "scores": scores, "measurements": measurements}
        for table, rows in (*tables.items(), ("cells", [cell])):
            if rows:
                self._write(table, name, [{**row, **common} for row in rows])

    def append_latency(self, rows: Sequence[Row]) -> None:
        """Add one latency session: all of its rows, or (after a crash) none. Each holds the columns of the table but
        `schema_version`."""
        (session,) = {row["session"] for row in rows}
        self._write("latency", f"{session}.parquet", [{**row, "schema_version": SCHEMA_VERSION} for row in rows])

    def _write(self, table: str, name: str, rows: Sequence[Row]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        strange = {key for row in rows for key in row} - set(COLUMNS[table])
        if strange:
            raise ValueError(f"no such column in {table}: {', '.join(sorted(strange))}")
        folder = self.root / table
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{name}.{uuid.uuid4().hex}.tmp"
        columns = {column: [row.get(column) for row in rows] for column in COLUMNS[table]}
        with scratch.open("wb") as file:
            pq.write_table(pa.table(columns, schema=schema(table)), file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(folder / name)

    def read(self, table: str, cell_ids: Iterable[str] | None = None) -> pd.DataFrame:
        """All committed rows of a table (of these cells), oldest first; unreadable parts are a `UserError`."""
        return self.read_all([table], cell_ids)[table]

    def read_all(self, tables: Iterable[str], cell_ids: Iterable[str] | None = None) -> dict[str, pd.DataFrame]:
        """`read` for several tables at once."""
        wanted = None if cell_ids is None else set(cell_ids)
        cells = self._parts("cells", wanted)
        committed = set(cells["run_id"])
        found = {}
        for table in tables:
            frame = cells if table == "cells" else self._parts(table, wanted)
            if table in OF_RUNS:
                frame = frame[frame["run_id"].isin(committed)]
            found[table] = frame.sort_values(["started_at", "run_id"], kind="stable").reset_index(drop=True)
        return found

    def _parts(self, table: str, wanted: set[str] | None) -> pd.DataFrame:
        import pyarrow as pa
        import pyarrow.parquet as pq

        parts = []
        of_one_cell = table in OF_RUNS
        for part in sorted((self.root / table).glob("*.parquet")):
            if wanted is not None and of_one_cell and part.name.partition("-")[0] not in wanted:
                continue
            try:
                with pq.ParquetFile(part) as file:
                    raw = file.read()
            except (OSError, pa.ArrowInvalid) as error:
                raise fail(
                    f"not a readable part of the store: {error}", str(part), "move the file away; the rest still counts"
                ) from error
            parts.append(_as_current(raw, table))
        whole = pa.concat_tables(parts) if parts else schema(table).empty_table()
        frame: pd.DataFrame = whole.to_pandas()
        return frame if wanted is None or of_one_cell else frame[frame["cell_id"].isin(wanted)]


def _as_current(raw: pa.Table, table: str) -> pa.Table:
    """A part of any version, with exactly today's columns: missing ones are null, foreign ones are left out."""
    import pyarrow as pa

    wanted = schema(table)
    columns = [
        raw.column(field.name).cast(field.type) if field.name in raw.column_names else pa.nulls(len(raw), field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)


def new_run_id() -> str:
    """32 hexadecimal digits."""
    return uuid.uuid4().hex
