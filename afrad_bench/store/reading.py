"""Reads the parts of a table: each run once, whatever lies in the folder. What cannot be used is named and left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from afrad_bench.store.parts import COMPACT, SUFFIX, Fault, Unusable, read_part, runs_of
from afrad_bench.store.schema import schema

if TYPE_CHECKING:
    import pyarrow as pa

TRIES = 4  # to read parts that vanish meanwhile
_RUN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Found:
    """The rows of a table, and where they were found."""

    folder: Path
    rows: pa.Table
    places: Mapping[str, Path]
    """Run -> the part with its rows."""
    held: Mapping[Path, Sequence[str]]
    """Part -> all runs in it."""
    faults: tuple[Fault, ...]

    def blamed(self, cell: str, run: str) -> Fault | None:
        """The file that cannot be used and holds, or may have held, the rows of this run."""
        own = _own(self.folder, cell, run)
        compact = (fault for fault in self.faults if fault.path.name.startswith(COMPACT))
        return next((fault for fault in self.faults if fault.path == own), next(compact, None))

    def place(self, cell: str, run: str) -> str:
        """Where the rows of this run are, or should be, and what is wrong there."""
        if run in self.places:
            return str(self.places[run])
        if fault := self.blamed(cell, run):
            return str(fault)
        compacted = any(self.folder.glob(f"{COMPACT}*"))
        return f"no file in {self.folder}" if compacted else f"{_own(self.folder, cell, run)} does not exist"


def _own(folder: Path, cell: str, run: str) -> Path:
    return folder / f"{cell}-{run}{SUFFIX}"


def cell_and_run(name: str) -> tuple[str, str] | None:
    """Cell and run of a part that is named by them."""
    cell, _, run = name.removesuffix(SUFFIX).rpartition("-")
    return (cell, run) if cell and _RUN.fullmatch(run) and not name.startswith(COMPACT) else None


def cells_of(path: Path, table: str, without: Collection[str]) -> set[str]:
    """The cells of the runs in a part, but for these runs; none if the part cannot be used."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        rows = read_part(path, table, ["run_id", "cell_id"])
    except (Unusable, FileNotFoundError):  # the former is told where its rows are read
        return set()
    rows = rows.filter(pc.invert(pc.is_in(rows["run_id"], pa.array(sorted(without), pa.string()))))
    return set(rows["cell_id"].to_pylist())


def find(folder: Path, table: str, cells: Collection[str] | None, runs: Collection[str] | None = None) -> Found:
    """All rows of a table (of these cells and runs), in any order, rows of a run together.

    Parts that a compaction takes away meanwhile are looked for again where they have gone."""
    for _ in range(TRIES - 1):
        try:
            return _find(folder, table, cells, runs)
        except FileNotFoundError:
            continue
    return _find(folder, table, cells, runs)


def _find(folder: Path, table: str, cells: Collection[str] | None, runs: Collection[str] | None) -> Found:
    import pyarrow as pa
    import pyarrow.compute as pc

    parts: list[pa.Table] = []
    places: dict[str, Path] = {}
    held: dict[Path, Sequence[str]] = {}
    faults: list[Fault] = []
    seen = pa.array([], pa.string())
    for path in _wanted(folder, cells, runs):
        named = cell_and_run(path.name)
        if named and named[1] in places and places[named[1]].name.startswith(COMPACT):
            held[path] = [named[1]]  # a compaction was killed before it removed this part
            continue
        try:
            part = read_part(path, table)
            own = runs_of(part)
            if named and own != [named[1]]:
                raise Unusable(f"its rows are not of the run that its name tells: {', '.join(own) or 'it has none'}")
            if table == "cells" and len(own) != len(part):
                raise Unusable("it has several rows of one run")
        except Unusable as error:
            faults.append(Fault(path, str(error)))
            continue
        if doubled := [run for run in own if run in places]:
            if not path.name.startswith(COMPACT):
                faults.append(Fault(path, f"{len(doubled)} of its runs are in other files too, and count once"))
            part = part.filter(pc.invert(pc.is_in(part["run_id"], seen)))
        held[path] = own
        places |= {run: path for run in own if run not in places}
        seen = pa.concat_arrays([seen, pa.array(own, pa.string())])
        for column, only in (("cell_id", cells), ("run_id", runs)):
            if only is not None:
                part = part.filter(pc.is_in(part[column], pa.array(sorted(only), pa.string())))
        parts.append(part)
    rows = pa.concat_tables(parts) if parts else schema(table).empty_table()
    return Found(folder, rows, places, held, tuple(faults))


def _wanted(folder: Path, cells: Collection[str] | None, runs: Collection[str] | None) -> Iterator[Path]:
    """The parts that may hold such rows: compacted ones, the newest first, then those of one run, then others, which
    are looked at in any case."""
    names = sorted(path.name for path in folder.glob(f"*{SUFFIX}"))
    compact = [name for name in names if name.startswith(COMPACT) and (runs is None or runs)]
    others: list[str] = []
    single: list[str] = []
    for name in names:
        named = cell_and_run(name)
        if named is None:
            others += [] if name.startswith(COMPACT) else [name]
        elif (cells is None or named[0] in cells) and (runs is None or named[1] in runs):
            single.append(name)
    yield from (folder / name for name in (*reversed(compact), *single, *others))


def in_order(rows: pa.Table, runs: pa.Array) -> pa.Table:
    """The rows of these runs, in the order of the runs; rows of one run keep theirs."""
    import numpy as np
    import pyarrow.compute as pc

    place = pc.fill_null(pc.index_in(rows["run_id"], runs), -1).to_numpy()
    if len(place) and place[0] >= 0 and (np.diff(place) >= 0).all():
        return rows
    order = np.argsort(place, kind="stable")
    return rows.take(order[np.count_nonzero(place < 0) :])


def sort(rows: pa.Table) -> pa.Table:
    """The rows from old to new: what was appended later is newer, whatever its clock said.

    Rows of earlier versions of the program have no number: they are older than all others, in order of the clock."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = pa.table([pc.fill_null(rows["sequence"], 0), rows["started_at"], rows["run_id"]], ["number", "began", "run"])
    return rows.take(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]))
