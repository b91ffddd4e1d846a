"""One part of a table: a Parquet file, written whole, and read in any version of the schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench import writing
from afrad_bench.store.schema import ESSENTIAL, JSON, NAMING, schema

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 1 << 17  # rows
SUFFIX, COMPACT = ".parquet", "compact-"
"""A part is called <cell>-<run>.parquet, or compact-<time>-<number>.parquet if it holds many runs."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A part that cannot be used, wholly or in part."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


class Unusable(Exception):
    """A file that is no part of its table; the message says why."""


def write_part(folder: Path, name: str, rows: pa.Table) -> None:
    """Write one part: readers see all of it or nothing. Raises `DiskFull`."""
    import pyarrow.parquet as pq

    with writing.replacing(folder / name, writing.STORE) as scratch:
        pq.write_table(rows, scratch, row_group_size=_ROW_GROUP, write_page_checksum=True)


def read_part(path: Path, table: str, columns: list[str] | None = None) -> pa.Table:
    """All rows of a part, with the current columns (or these of them). Raises `FileNotFoundError` for a missing part,
    and `Unusable` for a file that is damaged or holds something else."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.exists() and not path.is_file() and not path.is_dir():
        raise Unusable("is not a regular file, but a pipe or a device")  # opening a pipe would wait for ever
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            there = file.schema_arrow.names
            raw = file.read(columns and [name for name in columns if name in there])
            raw.validate(full=True)
    except FileNotFoundError:
        if path.is_symlink():
            raise Unusable("a link to a file that does not exist") from None
        raise
    except (OSError, ValueError, pa.ArrowException) as error:  # Arrow's errors are of many types
        raise Unusable(f"cannot be read: {_reason(error)}") from error
    if missing := [name for name in (*NAMING, *ESSENTIAL[table]) if name not in there]:
        raise Unusable(f"not a part of the table {table}: it has no column {', '.join(missing)}")
    found = _as_current(raw, table, columns)
    if table == "cells" and columns is None:
        _must_hold_json(found)
    return found


def _must_hold_json(cells: pa.Table) -> None:
    """Damage that a file of an earlier version has no checksum for shows in the texts."""
    import pyarrow.compute as pc

    for name in JSON:
        for text in pc.unique(cells[name]).to_pylist():
            try:
                json.loads(text or "null")
            except ValueError as error:
                raise Unusable(f"damaged: the column {name} holds no JSON") from error


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.partition("\n")[0].rstrip(". ") or type(error).__name__


def _as_current(raw: pa.Table, table: str, columns: list[str] | None) -> pa.Table:
    """A part of any version, with exactly today's columns: missing ones are null, foreign ones are left out."""
    import pyarrow as pa

    wanted = schema(table) if columns is None else pa.schema([schema(table).field(name) for name in columns])
    found = raw
    if not raw.schema.equals(wanted):
        try:
            made: list[Any] = [
                raw[field.name].cast(field.type) if field.name in raw.column_names else pa.nulls(len(raw), field.type)
                for field in wanted
            ]
        except pa.ArrowException as error:
            raise Unusable(f"not a part of the table {table}: {_reason(error)}") from error
        found = pa.table(made, schema=wanted)
    if any(found[name].null_count for name in NAMING if name in found.column_names):
        raise Unusable(f"not a part of the table {table}: it has rows of no run")
    return found


def runs_of(rows: pa.Table) -> list[str]:
    """The runs in a table, in order of appearance."""
    import pyarrow.compute as pc

    found: list[str] = pc.unique(rows["run_id"]).to_pylist()
    return found
