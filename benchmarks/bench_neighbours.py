"""The exact search of a memory bank: torch's and faiss', on normal noise.

python benchmarks/bench_neighbours.py [--rounds 5] [--threads 1]"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import torch
from _record import record

from afrad_bench.methods.neighbours import MemoryBank

CASES = ((1024, 4096, 1024), (1024, 40960, 1024), (784, 40960, 384))
"""Queries, vectors of the bank, values of each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    record(
        "bench_neighbours",
        "Nearest neighbours in a memory bank: torch and faiss",
        [measured(*case, args.rounds) for case in CASES],
        [
            f"{args.threads} threads, medians of {args.rounds} rounds in turns after one that is not counted; CPU "
            "seconds of all threads of the process. `equal`: the same neighbours at the same distances."
        ],
    )


def measured(queries: int, size: int, values: int, rounds: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    vectors, asked = (torch.randn(count, values, generator=generator) for count in (size, queries))
    banks = {"torch": MemoryBank(vectors, "torch"), "faiss": MemoryBank(vectors, "faiss")}
    spent: dict[str, list[float]] = {name: [] for name in banks}
    found = {}
    for _ in range(rounds + 1):
        for name, bank in banks.items():
            began = time.process_time()
            found[name] = bank.nearest(asked, 1)
            spent[name].append(time.process_time() - began)
    cpu = {name: median(seconds[1:]) for name, seconds in spent.items()}
    equal = all(torch.equal(one, other) for one, other in zip(found["torch"], found["faiss"], strict=True))
    return {
        "queries": queries,
        "vectors": size,
        "values": values,
        **{f"{name}, CPU s": round(seconds, 3) for name, seconds in cpu.items()},
        "faiss / torch": round(cpu["faiss"] / cpu["torch"], 2),
        "equal": equal,
    }


if __name__ == "__main__":
    main()
