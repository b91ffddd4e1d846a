"""How long the command line takes when there is nothing to measure, and what the harness itself costs.

    python benchmarks/bench_cli.py [STORE]

Prints medians of repeated runs. With a store that holds the demo (`afrad-bench run ablation_decoders`), also the time
of a second run of the finished suite, and the harness's share of the first."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pandas as pd

WORK = ("data", "features", "build", "fit", "peak memory", "accuracy", "complexity", "latency", "cost")


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
    print(f"--help                     {seconds('--help'):6.2f} s   (at most 0.5)")
    print(f"list methods               {seconds('list', 'methods'):6.2f} s")
    print(f"check ablation_decoders    {seconds('check', 'ablation_decoders'):6.2f} s")
    if not (Path(store) / "cells").is_dir():
        print(f"no store at {store}: the demo was not run here")
        return
    with tempfile.TemporaryDirectory() as reports:
        again = seconds("run", "ablation_decoders", "--store", store, "--reports", reports, repeats=3)
    print(f"second run, finished suite {again:6.2f} s   (at most 3)")
    cells = pd.read_parquet(Path(store) / "cells")
    spent = pd.DataFrame([json.loads(text) for text in cells["timings"]]).sum()
    own = spent.drop([name for name in WORK if name in spent])
    # The interpreter's start and the report at the end stand in no row: a second run, which does nothing else, is they.
    share = (own.sum() + again) / (spent.sum() + again)
    print(f"harness's own time         {100 * share:6.2f} % of {spent.sum() + again:.0f} s   (under 3)")
    print(
        "  " + ", ".join(f"{name} {value:.2f} s" for name, value in own.items()) + f", start and report {again:.2f} s"
    )


if __name__ == "__main__":
    main()
