"""Time and memory for reading a large store and rendering its summary.

    python benchmarks/bench_store.py [--runs 5000] [--rows 200] [--rounds 3]

First the store is created: `--runs` runs of as many cells (variants x 10 seeds), appended as the same parts as real
runs, with `--rows` measurements each (5,000 x 200 are 1,000,000). Then, in each round, a new process reads `cells` and
`measurements` completely, finds the newest complete run of each cell, and renders terms, warnings and the table of
results (mean over categories, mean and deviation over seeds) as Markdown. This is done with the parts as they were
appended, and again after `afrad-bench store compact`. The import time of pandas and pyarrow is reported separately."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from unittest import mock

from _record import record

from afrad_bench.hashing import canonical
from afrad_bench.measures import accuracy
from afrad_bench.store import Store, new_run_id

SEEDS = 10
CATEGORIES = (*(f"category_{i:02}" for i in range(15)), "mean")
START = datetime(2026, 1, 1, tzinfo=timezone.utc)

TIMED = """
import json, resource, sys, time
from pathlib import Path
began = time.perf_counter()
import pandas, pyarrow.dataset, pyarrow.parquet
from afrad_bench.measures import accuracy
from afrad_bench.report.basis import results
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.cautions import cautions
from afrad_bench.report.formats.markdown import to_markdown
from afrad_bench.report.model import MeasureSpec, PlannedCell, Report, ReportInput, RowSpec, Section
from afrad_bench.report.basis.tables import items, summary_table
from afrad_bench.report.basis.terms import terms
from afrad_bench.store import Store
ready, busy = time.perf_counter(), time.process_time()
frames = Store(Path(sys.argv[1])).read_all(["cells", "measurements"])
rows = len(frames["measurements"])
read = time.perf_counter()
by_label = {}
for cell, label, dataset, seed in zip(*(frames["cells"][name] for name in ("cell_id", "label", "dataset", "seed"))):
    by_label.setdefault(label, []).append(PlannedCell(cell, dataset, int(seed)))
spec = ReportInput(
    "store", "Everything in the store", "demo",
    tuple(RowSpec(label, "afrad", tuple(cells)) for label, cells in by_label.items()),
    {"accuracy": MeasureSpec(accuracy.METRICS)}, "",
)
found = results.read(**frames)
taken = time.perf_counter()
grid = Grid(spec, found)
table = summary_table(grid, items(grid, cost=False, headline=True), "Mean over categories")
shown = Section("results", "Results", (table,))
text = to_markdown(Report("store", spec.title, "demo", "", "", terms(grid), cautions(grid), (shown,), ()))
done = time.perf_counter()
assert text.count("\\n| variant ") == len(by_label)
print(json.dumps({
    "rows": rows, "import s": ready - began, "read s": read - ready, "newest runs s": taken - read,
    "table s": done - taken, "sum without import s": done - ready,
    "sum, CPU s": time.process_time() - busy,
    "peak RSS MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def make(root: Path, runs: int, rows: int) -> None:
    """Create a store like `run` does, but without `fsync` for each part."""
    store = Store(root)
    names = [name for name in accuracy.METRICS if not name.endswith("_pooled")]
    outcomes = canonical({"accuracy": {"version": accuracy.VERSION, "terms": {}, "status": "ok", "error": ""}})
    with mock.patch.object(os, "fsync"):
        for i in range(runs):
            variant, seed = divmod(i, SEEDS)
            cell = {
                "run_id": new_run_id(),
                "cell_id": f"{i:016x}",
                "started_at": START + timedelta(minutes=i),
                "ended_at": START + timedelta(minutes=i + 1),
                "method": "afrad",
                "label": f"variant {variant:03}",
                "dataset": "mvtec_ad",
                "setting": "unified",
                "seed": seed,
                "profile": "demo",
                "status": "ok",
                "params": canonical({"variant": variant, "text": "x" * 800}),
                "measures": outcomes,
                "terms": canonical({"selection": "last epoch"}),
                "packages": canonical({f"package{n}": "1.0" for n in range(10)}),
                "timings": canonical({"fit": 1.0, "accuracy": 2.0}),
            }
            measurements = [
                {
                    "measure": "accuracy",
                    "measure_version": accuracy.VERSION,
                    "category": CATEGORIES[n % len(CATEGORIES)],
                    "metric": names[n // len(CATEGORIES) % len(names)]
                    + ("" if n < len(CATEGORIES) * len(names) else f"_{n // (len(CATEGORIES) * len(names))}"),
                    "value": (i * 7919 + n * 104729) % 100003 / 100003,
                    "unit": "fraction",
                    "note": "over 14 of 15 categories; undefined: no masks (category_03)" if n % 16 == 15 else "",
                }
                for n in range(rows)
            ]
            store.append(cell, measurements, [])


def timed(root: Path) -> dict[str, float]:
    """One measurement, in a process of its own, so that the peak memory is that of the measurement."""
    done = subprocess.run([sys.executable, "-c", TIMED, str(root)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "store"
        make(root, chosen.runs, chosen.rows)
        for state in ("as appended", "compacted"):
            if state == "compacted":
                Store(root).compact()
            found = [timed(root) for _ in range(chosen.rounds)]
            parts = sum(1 for _ in root.glob("*/*.parquet"))
            rows.append(
                {"store": state, "files": parts}
                | {name: round(median(each[name] for each in found), 2) for name in found[0]}
            )
    note = f"Medians of {chosen.rounds} processes. Target without import: at most 5 s and 1,024 MiB."
    record("bench_store", "Reading a whole store and rendering its summary", rows, [note])


if __name__ == "__main__":
    main()
