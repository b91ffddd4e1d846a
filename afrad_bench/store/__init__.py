"""Results on disk: append-only Parquet tables."""

from __future__ import annotations

from afrad_bench.store.schema import COLUMNS, JSON, OF_RUNS, SCHEMA_VERSION, schema
from afrad_bench.store.store import Store, new_run_id

__all__ = ["COLUMNS", "JSON", "OF_RUNS", "SCHEMA_VERSION", "Store", "new_run_id", "schema"]
