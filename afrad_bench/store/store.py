"""The results: append-only tables of Parquet parts, safe against crashes and several writers.

    <root>/cells/          one row per run of a cell: configuration, terms, provenance, status
    <root>/measurements/   one row per number: cell, measure, category, metric, value, unit, note
    <root>/scores/         one row per test image: cell, category, image, label, score
    <root>/curves/         one row per curve: cell, category, kind, points
    <root>/examples/       one row per image kept for the report: cell, image, mask and heat map as small pictures
    <root>/latency/        one row per timed call of `afrad-bench latency`: session, method, mode, batch, round, ms

`pandas.read_parquet` reads each folder. A run is appended as one part per table, written to a temporary file and
renamed. Its row in `cells` is written last; readers ignore the other rows until it is there, so a kill at any moment
loses at most that run. Rows never change: for each cell and measure the newest complete run counts. A latency session
measures several cells at once; it is one part of its own table and needs no row in `cells`. `Store.compact` merges many
parts into one without changing rows: opening thousands of small files takes longer than reading them.

Every row holds the schema version. Columns are only ever added; an older part reads as null in a newer column."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import fail
from afrad_bench.store.parts import in_order, read_part, write_part
from afrad_bench.store.schema import CELL, COLUMNS, OF_RUNS, RUN, SCHEMA_VERSION, schema

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_TRIES = 3  # to read parts that vanish meanwhile
_COMPACT = "compact-"  # how the name of a part begins that holds many runs; all others are <cell>-<run>.parquet
_LOCK = ".compacting"

Row = Mapping[str, Any]


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
        common = {name: cell.get(name) for name in (*RUN, *CELL)}
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
        write_part(self.root / table, name, pa.table(columns, schema=schema(table)))

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
                found[table] = in_order(self._parts(table, wanted), runs)
            else:
                found[table] = self._sessions(table, wanted)
        return found

    def _sessions(self, table: str, wanted: set[str] | None) -> pa.Table:
        """All rows of a table whose parts count by themselves, oldest first."""
        import pyarrow as pa
        import pyarrow.compute as pc

        parts = [read_part(part, table) for part in sorted((self.root / table).glob("*.parquet"))]
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
            part = read_part(self.root / table / name, table)
            part = part.filter(pc.invert(pc.is_in(part["run_id"], seen)))
            seen = pa.concat_arrays([seen, pc.unique(part["run_id"])])
            if wanted is not None:
                part = part.filter(pc.is_in(part["cell_id"], pa.array(sorted(wanted), pa.string())))
            parts.append(part)
        known = set(seen.to_pylist())
        for name in names:
            cell, _, run = name.removesuffix(".parquet").partition("-")
            if not name.startswith(_COMPACT) and (wanted is None or cell in wanted) and run not in known:
                parts.append(read_part(self.root / table / name, table))
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
                    write_part(self.root / table, name, found[table])
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


def new_run_id() -> str:
    """32 hexadecimal digits."""
    return uuid.uuid4().hex
