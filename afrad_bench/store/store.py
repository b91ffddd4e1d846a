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
once and is one part of its own table, which counts by itself. `Store.compact` puts the rows of many parts, as they are,
into one: thousands of small files take longer to open than to read.

The schema has a version in every row. Columns are only ever added; an older part reads as null in a newer column."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import fail

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SCHEMA_VERSION = 1

_ROW_GROUP = 1 << 17  # rows
_TRIES = 3  # to read parts that vanish meanwhile
_COMPACT = "compact-"  # how the name of a part begins that holds many runs; all others are <cell>-<run>.parquet
_LOCK = ".compacting"

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

        strange = {key for row in rows for key in row} - set(COLUMNS[table])
        if strange:
            raise ValueError(f"no such column in {table}: {', '.join(sorted(strange))}")
        columns = {column: [row.get(column) for row in rows] for column in COLUMNS[table]}
        self._put(table, name, pa.table(columns, schema=schema(table)))

    def _put(self, table: str, name: str, rows: pa.Table) -> None:
        """Write one part beside and rename it."""
        import pyarrow.parquet as pq

        folder = self.root / table
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{name}.{uuid.uuid4().hex}.tmp"
        with scratch.open("wb") as file:
            pq.write_table(rows, file, row_group_size=_ROW_GROUP)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(folder / name)

    def read(self, table: str, cell_ids: Iterable[str] | None = None) -> pd.DataFrame:
        """All committed rows of a table (of these cells), oldest first; unreadable parts are a `UserError`."""
        return self.read_all([table], cell_ids)[table]

    def read_all(self, tables: Iterable[str], cell_ids: Iterable[str] | None = None) -> dict[str, pd.DataFrame]:
        """`read` for several tables at once."""
        found = self._committed(tables, None if cell_ids is None else set(cell_ids))
        return {table: rows.to_pandas() for table, rows in found.items()}

    def _committed(self, tables: Iterable[str], wanted: set[str] | None) -> dict[str, pa.Table]:
        import pyarrow.compute as pc

        cells = self._parts("cells", wanted)
        order = [("started_at", "ascending"), ("run_id", "ascending")]
        cells = cells.take(pc.sort_indices(cells, sort_keys=order))
        runs = cells["run_id"].combine_chunks()
        found = {}
        for table in tables:
            if table == "cells":
                found[table] = cells
            elif table in OF_RUNS:
                found[table] = _in_order(self._parts(table, wanted), runs)
            else:
                found[table] = self._sessions(table, wanted)
        return found

    def _sessions(self, table: str, wanted: set[str] | None) -> pa.Table:
        """All rows of a table whose parts count by themselves, oldest first."""
        import pyarrow as pa
        import pyarrow.compute as pc

        parts = [_read_part(part, table) for part in sorted((self.root / table).glob("*.parquet"))]
        rows = pa.concat_tables(parts) if parts else schema(table).empty_table()
        if wanted is not None:
            rows = rows.filter(pc.is_in(rows["cell_id"], pa.array(sorted(wanted), pa.string())))
        order = [("started_at", "ascending"), ("run_id", "ascending")]
        return rows.take(pc.sort_indices(rows, sort_keys=order))

    def _parts(self, table: str, wanted: set[str] | None) -> pa.Table:
        """All rows of a table, each run once, in any order. Parts that a compaction takes away meanwhile are looked for
        again where they have gone."""
        for _ in range(_TRIES):
            try:
                return self._read_parts(table, wanted)
            except FileNotFoundError:
                continue
        return self._read_parts(table, wanted)

    def _read_parts(self, table: str, wanted: set[str] | None) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        names = sorted(part.name for part in (self.root / table).glob("*.parquet"))
        compact = [name for name in names if name.startswith(_COMPACT)]
        seen = pa.array([], pa.string())
        parts = []
        for name in reversed(compact):  # newest first: what a killed compaction left twice is read once
            part = _read_part(self.root / table / name, table)
            part = part.filter(pc.invert(pc.is_in(part["run_id"], seen)))
            seen = pa.concat_arrays([seen, pc.unique(part["run_id"])])
            if wanted is not None:
                part = part.filter(pc.is_in(part["cell_id"], pa.array(sorted(wanted), pa.string())))
            parts.append(part)
        known = set(seen.to_pylist())
        for name in names:
            cell, _, run = name.removesuffix(".parquet").partition("-")
            if not name.startswith(_COMPACT) and (wanted is None or cell in wanted) and run not in known:
                parts.append(_read_part(self.root / table / name, table))
        return pa.concat_tables(parts) if parts else schema(table).empty_table()

    def compact(self) -> tuple[int, int]:
        """Put the committed runs into one part per table; how many parts there were, and how many are left.

        Rows stay as they are. Runs that are being written meanwhile keep their own parts, and a kill at any moment
        loses nothing: parts are removed only once their rows are in the new one."""
        with self._alone():
            listed = {table: sorted((self.root / table).glob("*.parquet")) for table in OF_RUNS}
            found = self._committed(OF_RUNS, None)
            runs = set(found["cells"]["run_id"].to_pylist())
            name = f"{_COMPACT}{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex}.parquet"
            for table in reversed(OF_RUNS):  # `cells` last, as in `append`
                if len(found[table]):
                    self._put(table, name, found[table])
            for parts in listed.values():
                for part in parts:
                    if part.name.startswith(_COMPACT) or part.stem.partition("-")[2] in runs:
                        part.unlink()
            left = sum(len(list((self.root / table).glob("*.parquet"))) for table in OF_RUNS)
            return sum(map(len, listed.values())), left

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one compaction at a time; readers and writers of runs go on."""
        lock = self.root / _LOCK
        try:
            lock.touch(exist_ok=False)
        except FileExistsError:
            raise fail(
                "the store is being compacted", str(lock), "wait for it; if that process was killed, remove the file"
            ) from None
        try:
            yield
        finally:
            lock.unlink()


def _read_part(path: Path, table: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            raw = file.read()
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowInvalid) as error:
        raise fail(
            f"not a readable part of the store: {error}", str(path), "move the file away; the rest still counts"
        ) from error
    return _as_current(raw, table)


def _as_current(raw: pa.Table, table: str) -> pa.Table:
    """A part of any version, with exactly today's columns: missing ones are null, foreign ones are left out."""
    import pyarrow as pa

    wanted = schema(table)
    if raw.schema.equals(wanted):
        return raw
    columns = [
        raw.column(field.name).cast(field.type) if field.name in raw.column_names else pa.nulls(len(raw), field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)


def _in_order(rows: pa.Table, runs: pa.Array) -> pa.Table:
    """The rows of these runs, in the order of the runs; rows of one run keep theirs."""
    import numpy as np
    import pyarrow.compute as pc

    place = pc.fill_null(pc.index_in(rows["run_id"], runs), -1).to_numpy()
    if len(place) and place[0] >= 0 and (np.diff(place) >= 0).all():
        return rows
    order = np.argsort(place, kind="stable")
    return rows.take(order[np.count_nonzero(place < 0) :])


def new_run_id() -> str:
    """32 hexadecimal digits."""
    return uuid.uuid4().hex
