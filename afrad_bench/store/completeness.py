"""Whether all rows of a run are there. Its row in `cells` holds the number and a digest of its rows in each table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from afrad_bench.hashing import digest
from afrad_bench.store.schema import CELL, COLUMNS, RUN

if TYPE_CHECKING:
    import pyarrow as pa

    from afrad_bench.store.reading import Found


def summary(rows: pa.Table, table: str) -> dict[str, Any]:
    """The number and the digest of the rows that one run has in a table."""
    return {"rows": len(rows), "digest": _digest(rows, table)}


def _digest(rows: pa.Table, table: str) -> str:
    """Over the values of the columns that only this table has. It is the same whatever the layout of the file, and
    columns without values do not count, so that a column that is added later does not change it."""
    own = [name for name in COLUMNS[table] if name not in RUN and name not in CELL]
    parts: list[str | bytes] = []
    for name in own:
        column = rows[name].combine_chunks()
        if column.null_count < len(column):
            parts += [name, *_bytes(column)]
    return digest(*parts)[:16]


def _bytes(column: pa.Array) -> Iterator[bytes]:
    """Which values are null, how long they are if they have lengths, and the values themselves."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    yield np.packbits(column.is_null().to_numpy(zero_copy_only=False)).tobytes()
    values = column.drop_null()
    if pa.types.is_list(values.type):
        yield pc.list_value_length(values).to_numpy().astype("<i4").tobytes()
        yield from _bytes(values.flatten())
    elif pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        yield pc.binary_length(values).to_numpy().astype("<i4").tobytes()
        _, offsets, data = values.buffers()
        ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
        yield b"" if data is None else data[int(ends[0]) : int(ends[-1])].to_pybytes()
    else:
        found = values.to_numpy(zero_copy_only=False)
        yield found.astype(found.dtype.newbyteorder("<")).tobytes()


def lacking(cells: pa.Table, tables: Mapping[str, Found]) -> dict[str, str]:
    """Run -> which of its rows are missing or damaged, and in which file. `tables` are in the order of the runs.

    A run of an earlier version, which did not record its rows, counts as complete if no file that may hold them is
    damaged."""
    wrong: dict[str, str] = {}
    spans = {table: _spans(found.rows) for table, found in tables.items()}
    for cell, run, text in zip(*(cells[name].to_pylist() for name in ("cell_id", "run_id", "stored")), strict=True):
        wanted = None if text is None else json.loads(text)
        for table, found in tables.items():
            start, count = spans[table].get(run, (0, 0))
            if wanted is None:
                why = "are missing" if not count and found.blamed(cell, run) else ""
            else:
                why = _difference(found.rows.slice(start, count), table, wanted.get(table))
            if why:
                wrong[run] = f"rows of {table} {why}: {found.place(cell, run)}"
                break
    return wrong


def _difference(rows: pa.Table, table: str, wanted: Mapping[str, Any] | None) -> str:
    expected = wanted["rows"] if wanted else 0
    if len(rows) < expected:
        return "are missing" if not len(rows) else f"are missing, {len(rows)} of {expected} are there"
    if len(rows) > expected:
        return f"are too many, {len(rows)} instead of {expected}"
    return "" if wanted is None or _digest(rows, table) == wanted["digest"] else "are not those that were stored"


def _spans(rows: pa.Table) -> dict[str, tuple[int, int]]:
    """Run -> (start, length) of its rows, which follow each other."""
    import numpy as np

    if not len(rows):
        return {}
    codes = rows["run_id"].combine_chunks().dictionary_encode()
    numbers, names = codes.indices.to_numpy(), codes.dictionary.to_pylist()
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return {
        names[numbers[start]]: (int(start), int(end - start))
        for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True)
    }
