"""The results: append-only tables of Parquet parts, safe against crashes and several writers.

    <root>/cells/          one row per run of a cell: configuration, terms, provenance, status
    <root>/measurements/   one row per number: cell, measure, category, metric, value, unit, note
    <root>/scores/         one row per test image: cell, category, image, label, score
    <root>/curves/         one row per curve: cell, category (null for the loss of a training), kind, points
    <root>/examples/       one row per image kept for the report: cell, image, mask and heat map as small pictures
    <root>/latency/        one row per timed call of `afrad-bench latency`: session, method, mode, batch, round, ms

`pandas.read_parquet` reads each folder. A run is appended as one part per table, written to a temporary file and
renamed. Its row in `cells` is written last; readers ignore the other rows until it is there, so a kill at any moment
loses at most that run. That row also holds the number and a digest of the run's other rows, so that a run counts only
with all of its rows: a part that is damaged, was deleted, or belongs to something else is named, and the rest still
counts.

Rows never change: for each cell and measure the newest complete run counts. Newer is what was appended later; clocks
play no part. A latency session measures several cells at once; it is one part of its own table and needs no row in
`cells`. `Store.compact` merges many parts into one without changing rows: opening thousands of small files takes longer
than reading them.

Every row holds the schema version. Columns are only ever added; an older part reads as null in a newer column."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical
from afrad_bench.store import completeness, numbering, reading
from afrad_bench.store.parts import COMPACT, SUFFIX, write_part
from afrad_bench.store.reading import Found
from afrad_bench.store.schema import CELL, COLUMNS, OF_RUNS, RUN, SCHEMA_VERSION, schema

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_LOCK = ".compacting"
NUMBERS = "measurements"

Row = Mapping[str, Any]


class Store:
    """A folder of results. Opening creates nothing; the first append does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._told: dict[str, None] = {}

    @property
    def faults(self) -> tuple[str, ...]:
        """What the reads of this object left out: each file or run, and why."""
        return tuple(self._told)

    def append(
        self,
        cell: Row,
        measurements: Sequence[Row],
        scores: Sequence[Row],
        curves: Sequence[Row] = (),
        examples: Sequence[Row] = (),
    ) -> None:
        """Add one run of a cell: all of it, or (after a crash or an error) nothing that readers see.

        `cell` holds `run_id` and `cell_id`; the common columns are copied into the other rows. Unknown columns are a
        `ValueError`. Raises `DiskFull`."""
        common = {name: cell.get(name) for name in (*RUN, *CELL)}
        common["schema_version"] = SCHEMA_VERSION
        name = f"{cell['cell_id']}-{cell['run_id']}{SUFFIX}"
        rows = {"examples": examples, "curves": curves, "scores": scores, "measurements": measurements}
        tables = {table: _made(table, [{**row, **common} for row in of]) for table, of in rows.items() if of}
        stored = {table: completeness.summary(made, table) for table, made in tables.items()}
        _made("cells", [{**cell, **common}])  # an unknown column is told before anything is written
        with self._all_or_none([self.root / table / name for table in (*tables, "cells")]):
            for table, made in tables.items():
                write_part(self.root / table, name, made)
            last = {"sequence": numbering.take(self.root / "cells", name), "stored": canonical(stored)}
            write_part(self.root / "cells", name, _made("cells", [{**cell, **common, **last}]))

    def append_latency(self, rows: Sequence[Row]) -> None:
        """Add one latency session: all of its rows, or (after a crash) none. Each holds the columns of the table but
        `schema_version` and `sequence`. Raises `DiskFull`."""
        (session,) = {row["session"] for row in rows}
        name, folder = f"{session}{SUFFIX}", self.root / "latency"
        common = {"schema_version": SCHEMA_VERSION, "sequence": numbering.take(folder, name)}
        write_part(folder, name, _made("latency", [{**row, **common} for row in rows]))

    def read(self, table: str, cell_ids: Iterable[str] | None = None) -> pd.DataFrame:
        """All committed rows of a table (of these cells), oldest first."""
        return self.read_all([table], cell_ids)[table]

    def read_all(self, tables: Iterable[str], cell_ids: Iterable[str] | None = None) -> dict[str, pd.DataFrame]:
        """`read` for several tables at once.

        Files that cannot be used are left out. A run whose measurements are not all there is left out of all tables;
        one that lacks rows of another table (scores, curves, examples) is left out of that one. `faults` names them."""
        names, wanted = list(tables), None if cell_ids is None else set(cell_ids)
        found = self._committed(names, wanted)
        self._tell(found.values())
        cells = found["cells"].rows
        of = dict(zip(*(cells[name].to_pylist() for name in ("run_id", "cell_id")), strict=True))
        wrong: dict[str, dict[str, str]] = {}
        for table in (name for name in found if name in OF_RUNS[1:]):
            wrong[table] = completeness.lacking(cells, {table: found[table]})
            effect = "does not count" if table == NUMBERS else f"is shown without its {table}"
            self._told |= {f"a run of cell {of[run]} {effect}: {why}": None for run, why in wrong[table].items()}
        uncounted = wrong.get(NUMBERS, {})
        return {table: _without(found[table].rows, {*uncounted, *wrong.get(table, ())}).to_pandas() for table in names}

    def lacking(self, cells: pd.DataFrame) -> dict[str, str]:
        """Run -> which of its rows are missing or damaged, and in which file, for the runs of these rows of `cells`."""
        import pyarrow as pa

        names = ("cell_id", "run_id", "stored")
        mine = pa.table({name: pa.array(_texts(cells[name]), pa.string()) for name in names})
        ids, only = set(cells["cell_id"]), set(cells["run_id"])
        runs = mine["run_id"].combine_chunks()
        found = {table: self._of_runs(table, runs, ids, only) for table in OF_RUNS[1:]}
        self._tell(found.values())
        return completeness.lacking(mine, found)

    def has_more(self, cell_id: str, runs: Collection[str]) -> bool:
        """Whether the store has got runs of this cell beside these."""
        there = map(reading.cell_and_run, (path.name for path in (self.root / "cells").glob(f"{cell_id}-*{SUFFIX}")))
        return any(found is not None and found[1] not in runs for found in there)

    def unfinished(self, cell_ids: Collection[str], runs: Collection[str]) -> dict[str, str]:
        """Cell -> the missing row in `cells` of a run that has other rows, for these cells; `runs` have such a row."""
        found: dict[str, str] = {}
        for table in OF_RUNS[1:]:
            for path in sorted((self.root / table).glob(f"*{SUFFIX}")):
                cell, run = reading.cell_and_run(path.name) or ("", "")
                if cell in cell_ids and run not in runs:
                    lost = self.root / "cells" / path.name
                    found.setdefault(cell, f"the row of a run in cells is missing: {lost} does not exist")
        for path in sorted((self.root / NUMBERS).glob(f"{COMPACT}*{SUFFIX}")):
            for cell in reading.cells_of(path, NUMBERS, runs).intersection(cell_ids) - found.keys():
                lost = self.root / "cells" / path.name
                found[cell] = f"the row of a run in cells is missing, perhaps with {lost}: its numbers are in {path}"
        return found

    def _tell(self, found: Iterable[Found]) -> None:
        self._told |= {str(fault): None for one in found for fault in one.faults}

    def _committed(self, tables: Iterable[str], wanted: set[str] | None) -> dict[str, Found]:
        """These tables and `cells`, in order, with the rows of committed runs only."""
        cells = reading.find(self.root / "cells", "cells", wanted)
        cells = replace(cells, rows=reading.sort(cells.rows))
        runs = cells.rows["run_id"].combine_chunks()
        found = {"cells": cells}
        for table in tables:
            if table in OF_RUNS[1:]:
                found[table] = self._of_runs(table, runs, wanted)
            elif table != "cells":
                sessions = reading.find(self.root / table, table, wanted)
                found[table] = replace(sessions, rows=reading.sort(sessions.rows))
        return found

    def _of_runs(self, table: str, runs: pa.Array, cells: set[str] | None, only: set[str] | None = None) -> Found:
        found = reading.find(self.root / table, table, cells, only)
        return replace(found, rows=reading.in_order(found.rows, runs))

    def compact(self) -> tuple[int, int]:
        """Put the committed runs into one part per table; how many parts there were, and how many are left.

        Rows stay as they are. Runs that are being written meanwhile and files that cannot be used stay, too; `faults`
        names the latter. A kill at any moment loses nothing: parts are removed only once their rows are in the new
        one. Raises `DiskFull`."""
        with self._alone():
            listed = {table: sorted((self.root / table).glob(f"*{SUFFIX}")) for table in OF_RUNS}
            found = self._committed(OF_RUNS, None)
            self._tell(found.values())
            runs = set(found["cells"].rows["run_id"].to_pylist())
            name = f"{COMPACT}{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex}{SUFFIX}"
            filled = [table for table in reversed(OF_RUNS) if len(found[table].rows)]  # `cells` last, as in `append`
            with self._all_or_none([self.root / table / name for table in filled]):
                for table in filled:
                    write_part(self.root / table, name, found[table].rows)
            for table, parts in listed.items():
                for part in parts:
                    if (held := found[table].held.get(part)) is not None and runs.issuperset(held):
                        part.unlink()
            left = sum(len(list((self.root / table).glob(f"*{SUFFIX}"))) for table in OF_RUNS)
            return sum(map(len, listed.values())), left

    @contextmanager
    def _all_or_none(self, paths: Sequence[Path]) -> Iterator[None]:
        """The block writes these parts, the last one makes them count; without it, the others are removed."""
        try:
            yield
        except BaseException:
            if not paths[-1].exists():
                for path in paths:
                    path.unlink(missing_ok=True)
            raise

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


def _made(table: str, rows: Sequence[Row]) -> pa.Table:
    """Rows as a table. Unknown columns are a `ValueError`."""
    import pyarrow as pa

    strange = {key for row in rows for key in row} - set(COLUMNS[table])
    if strange:
        raise ValueError(f"no such column in {table}: {', '.join(sorted(strange))}")
    columns = {column: [row.get(column) for row in rows] for column in COLUMNS[table]}
    return pa.table(columns, schema=schema(table))


def _without(rows: pa.Table, runs: Collection[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.invert(pc.is_in(rows["run_id"], pa.array(sorted(runs), pa.string())))) if runs else rows


def _texts(column: pd.Series) -> list[str | None]:
    """The texts of a column, None for null."""
    return [value if isinstance(value, str) else None for value in column]


def new_run_id() -> str:
    """32 hexadecimal digits."""
    return uuid.uuid4().hex
