"""Time of the command line without measurements, and overhead of the harness.

    python benchmarks/bench_cli.py [STORE]

Medians of repeated runs. If the store holds the demo (`afrad-bench run ablation_decoders`), also the time of a second
run of the finished suite, and the harness's share of the first run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from _record import record

WORK = ("data", "features", "build", "fit", "peak memory", "accuracy", "gallery", "complexity", "latency", "cost")


def seconds(*arguments: str, repeats: int = 5) -> float:
    """Median wall-clock time of a command."""
    program = [sys.executable, "-c", "from afrad_bench.cli import main; main()", *arguments]
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run(program, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return median(times)


def main() -> None:
    store = sys.argv[1] if len(sys.argv) > 1 else "results"
    rows = [
        {"what": "--help", "s": round(seconds("--help"), 2), "target": "<= 0.5"},
        {"what": "list methods", "s": round(seconds("list", "methods"), 2)},
        {"what": "check ablation_decoders", "s": round(seconds("check", "ablation_decoders"), 2)},
    ]
    notes = ["Medians of five processes (three for the second run)."]
    if (Path(store) / "cells").is_dir():
        found, note = of_a_store(store)
        rows += found
        notes.append(note)
    else:
        notes.append("The store does not hold the demo, so the overhead of the harness was not measured.")
    record("bench_cli", "Time of the command line", rows, notes)


def of_a_store(store: str) -> tuple[list[dict[str, Any]], str]:
    """The time of a second run of the finished demo, and the time of its first run outside the actual work."""
    with tempfile.TemporaryDirectory() as reports:
        again = seconds("run", "ablation_decoders", "--store", store, "--reports", reports, repeats=3)
    cells = pd.read_parquet(Path(store) / "cells")
    spent = pd.DataFrame([json.loads(text) for text in cells["timings"]]).sum()
    own = spent.drop([name for name in WORK if name in spent])
    # The start of the interpreter and the final report are in no row; a second run does only these two.
    share = (own.sum() + again) / (spent.sum() + again)
    rows = [
        {"what": "second run of the finished demo", "s": round(again, 2), "target": "<= 3"},
        {
            "what": f"overhead of the harness, {share:.1%} of the demo",
            "s": round(own.sum() + again, 2),
            "target": "< 3 %",
        },
    ]
    parts = ", ".join(f"{name} {value:.2f} s" for name, value in own.items())
    return rows, f"Overhead of the harness: {parts}, start and report {again:.2f} s; of {spent.sum() + again:.0f} s."


if __name__ == "__main__":
    main()
