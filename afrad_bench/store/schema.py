"""The tables of the store: their columns, types and version. Columns are only ever added."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1

RUN = {"schema_version": "int32", "run_id": "string", "cell_id": "string", "started_at": "timestamp"}
"""What every row of a run has."""

NAMING = ("run_id", "cell_id", "started_at")
"""Columns that are never null."""

CELL = {
    "method": "string",
    "label": "string",
    "dataset": "string",
    "setting": "string",
    "seed": "int64",
    "profile": "string",
}
"""What a reader of one table needs to distinguish rows without a join."""

COLUMNS: dict[str, dict[str, str]] = {
    "cells": {
        **RUN,
        **CELL,
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
        "sequence": "int64",
        "stored": "string",
    },
    "measurements": {
        **RUN,
        **CELL,
        "measure": "string",
        "measure_version": "string",
        "category": "string",
        "metric": "string",
        "value": "double",
        "unit": "string",
        "note": "string",
    },
    "scores": {
        **RUN,
        **CELL,
        "category": "string",
        "image_id": "string",
        "gt_label": "bool",
        "pred_score": "double",
        "defect": "string",
    },
    "curves": {
        **RUN,
        **CELL,
        "category": "string",
        "kind": "string",
        "x": "doubles",
        "y": "doubles",
    },
    "examples": {
        **RUN,
        **CELL,
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
        **RUN,
        **CELL,
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
        "sequence": "int64",
    },
}
"""Tables, their columns and types. Text columns named in the plural hold JSON. A store that was written before a table
existed has no folder of it, and reads as empty there.

`sequence` numbers what was appended, from 1; it is null in rows of earlier versions, which are older than all others.
`stored` is JSON: table -> the number and a digest of the rows that the run has there; null in earlier versions.

In `latency`, rows of one `session` and equal `round` (from 0) were measured in the same interleaved round: every method
in every `mode` ("eager", "bf16+compile") and `batch` once, `ms` for the whole batch. `terms` describes the session,
`facts` the method in its mode and batch."""

JSON = ("params", "dataset_params", "measures", "terms", "overrides", "notes", "packages", "timings", "stored")
"""Columns of `cells` that hold JSON."""

ESSENTIAL = {
    "cells": ("method", "status", "measures"),
    "measurements": ("measure", "metric", "value"),
    "scores": ("image_id", "pred_score"),
    "curves": ("kind", "x", "y"),
    "examples": ("image_id", "role", "image"),
    "latency": ("session", "mode", "round", "ms"),
}
"""Columns of every version of a table: a file without them is another table, or none of ours."""

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
