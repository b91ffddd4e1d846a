"""One part of a table: a Parquet file, read in any version of the schema and written whole."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from afrad_bench.errors import fail
from afrad_bench.store.schema import schema

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 1 << 17  # rows


def write_part(folder: Path, name: str, rows: pa.Table) -> None:
    """Write one part beside its place and rename it: readers see all of it or nothing."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{name}.{uuid.uuid4().hex}.tmp"
    with scratch.open("wb") as file:
        pq.write_table(rows, file, row_group_size=_ROW_GROUP)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(folder / name)


def read_part(path: Path, table: str) -> pa.Table:
    """All rows of a part, with the current columns; an unreadable part is a `UserError`, a missing one raises."""
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


def in_order(rows: pa.Table, runs: pa.Array) -> pa.Table:
    """The rows of these runs, in the order of the runs; rows of one run keep theirs."""
    import numpy as np
    import pyarrow.compute as pc

    place = pc.fill_null(pc.index_in(rows["run_id"], runs), -1).to_numpy()
    if len(place) and place[0] >= 0 and (np.diff(place) >= 0).all():
        return rows
    order = np.argsort(place, kind="stable")
    return rows.take(order[np.count_nonzero(place < 0) :])
