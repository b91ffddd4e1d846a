"""Error rates of the gate, by simulation: false alarms if nothing changed, and true drops that it finds.

    python benchmarks/bench_gate.py --store results    # a store of suites/regression.yaml; created if missing
    python benchmarks/bench_gate.py --pairs 1000

Accuracy: `suites/regression.yaml` is fitted once with 24 seeds, with 60 normal and 60 anomalous test images in each
category. A simulated pair draws test images (normal and anomalous ones separately, the same for both sides), and
different seeds for BASE and NEW. So the two sides differ by the whole noise of training, more than two runs with equal
seeds. To simulate a drop, the scores of NEW's anomalous images are moved towards the mean score of normal images, until
the mean I-AUROC over all seeds and images is lower by 1.0 point. Each pair goes through the gate with default rules.

Latency: two equal networks are timed in turns. A simulated pair takes consecutive rounds and chooses at random which of
the two is NEW. For a simulated slowdown, NEW's times are multiplied by 1.05."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _record import record

from afrad_bench.comparing import Rules, Side, compare, decide, default_rules, locate
from afrad_bench.comparing.side import LATENCY, Images, Key, Row, Timed
from afrad_bench.instruments.metrics import auroc
from afrad_bench.types import MEAN

LABEL = "AFRAD"
SEEDS = 24
SIZES = ((60, 8), (60, 12), (60, 3), (30, 8))
"""(Normal, and as many anomalous, test images per category; seeds of each side). First: the size of the suite."""
ROUNDS = (50, 100, 200)
DROP, SLOWER = 1.0, 0.05


# ------------------------------------------------------------------------------------------------------------ accuracy


def measured(store: Path) -> Row:
    """The row whose scores are resampled; it is fitted now if the store does not exist."""
    if not (store / "cells").is_dir():
        seeds = f"seeds={list(range(SEEDS))}"
        command = [sys.executable, "-c", "from afrad_bench.cli import main; main()", "run", "suites/regression.yaml"]
        command += [
            "--set",
            seeds,
            "--set",
            "methods=[afrad]",
            "--store",
            str(store),
            "--reports",
            str(store / "reports"),
        ]
        subprocess.run(command, check=True)
    return next(
        row for key, row in locate(str(store), store).rows.items() if key.label == LABEL and len(row.images) > 1
    )


Scores = dict[str, tuple[np.ndarray, np.ndarray]]
"""Category -> labels (n,), scores (S, n)."""


def scores_of(row: Row) -> Scores:
    return {name: (np.array(one.labels), np.array(list(one.scores.values()))) for name, one in row.images.items()}


def mean_auroc(scores: Scores) -> float:
    return float(np.mean([auroc(one, labels) for labels, of in scores.values() for one in of])) * 100


def worse(scores: Scores, share: float) -> Scores:
    """Move anomalous scores towards the mean normal score of their seed, by the fraction `share` of the distance."""
    made = {}
    for name, (labels, of) in scores.items():
        centre = of[:, ~labels].mean(axis=1, keepdims=True)
        made[name] = (labels, np.where(labels, of + share * (centre - of), of))
    return made


def dropped(scores: Scores) -> Scores:
    """Scores whose mean I-AUROC is lower by `DROP` points, found by bisection."""
    goal, low, high = mean_auroc(scores) - DROP, 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if mean_auroc(worse(scores, middle)) < goal else (middle, high)
    return worse(scores, high)


def side(name: str, scores: Scores, seeds: np.ndarray, drawn: dict[str, np.ndarray]) -> Side:
    """One side of a comparison: the drawn images, and the I-AUROC on them."""
    key = Key(LABEL, "demo", "unified", "demo")
    images, values = {}, {}
    for category, (labels, of) in scores.items():
        at = drawn[category]
        picked = {i: of[seed, at] for i, seed in enumerate(seeds)}
        values[category] = {i: auroc(one, labels[at]) for i, one in picked.items()}
        ids = tuple(map(str, range(len(at))))
        images[category] = Images(ids, tuple(labels[at].tolist()), {i: tuple(one) for i, one in picked.items()})
    mean = {i: float(np.mean([of[i] for of in values.values()])) for i in range(len(seeds))}
    numbers = {("image_auroc", category): of for category, of in values.items()} | {("image_auroc", MEAN): mean}
    return Side(name, {key: Row(key, {}, {}, {"image_auroc": "accuracy"}, numbers, images)})


def pairs(before: Scores, after: Scores, images: int, seeds: int, rng: np.random.Generator) -> tuple[Side, Side]:
    chosen = rng.permutation(len(next(iter(before.values()))[1]))[: 2 * seeds]
    drawn = {}
    for category, (labels, _) in before.items():
        kinds = (np.flatnonzero(labels), np.flatnonzero(~labels))
        drawn[category] = np.concatenate([rng.choice(kind, images) for kind in kinds])
    return side("BASE", before, chosen[:seeds], drawn), side("NEW", after, chosen[seeds:], drawn)


def accuracy(row: Row, pairs_of: Sequence[int], draws: int) -> Iterator[dict[str, object]]:
    scores = scores_of(row)
    cases = {"nothing changed": scores, f"I-AUROC lower by {DROP} point": dropped(scores)}
    sizes = [(*size, case, count) for size, count in zip(SIZES, pairs_of, strict=True) for case in cases]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        jobs = [
            processes.submit(verdicts, scores, cases[case], images, seeds, count, draws)
            for images, seeds, case, count in sizes
        ]
        for (images, seeds, case, _), job in zip(sizes, jobs, strict=True):
            size = f"{seeds} seeds, {images} + {images} images in each of {len(scores)}"
            yield row_of("accuracy", size, case, job.result())


def verdicts(before: Scores, after: Scores, images: int, seeds: int, count: int, draws: int) -> Counter[str]:
    """Verdicts of the gate on `count` pairs, with its first default rule."""
    rng = np.random.default_rng(images * 1000 + seeds)
    rules = Rules(confidence=default_rules().confidence, rules=default_rules().rules[:1])
    return Counter(
        decide(compare(*pairs(before, after, images, seeds, rng), count=draws), rules).verdict for _ in range(count)
    )


# ------------------------------------------------------------------------------------------------------------- latency


def timings(rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of two equal networks, timed in turns in random order; (rounds,) each."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 32, 3, 2, 1), *(torch.nn.Conv2d(32, 32, 3, 1, 1) for _ in range(6))]
    networks = [torch.nn.Sequential(*layers).eval(), torch.nn.Sequential(*layers).eval()]
    image, rng = torch.rand(1, 3, 128, 128), np.random.default_rng(0)
    found = np.empty((2, rounds))
    with torch.inference_mode():
        for at in range(-20, rounds):
            for i in rng.permutation(2):
                began = time.perf_counter()
                networks[i](image)
                found[i, at] = (time.perf_counter() - began) * 1000
    return found[0], found[1]


def latency(count: int, rounds: int) -> Iterator[dict[str, object]]:
    times = timings(rounds)
    key = Key(LABEL, "demo", "unified", "demo")
    rules = Rules(confidence=default_rules().confidence, rules=default_rules().rules[-1:])
    for length in ROUNDS:
        for case, factor in (("nothing changed", 1.0), (f"slower by {SLOWER:.0%}", 1 + SLOWER)):
            rng = np.random.default_rng(length)
            found: Counter[str] = Counter()
            for _ in range(count):
                at, new = rng.integers(0, rounds - length), rng.integers(0, 2)
                sides = []
                for name, series, scale in (("BASE", times[1 - new], 1.0), ("NEW", times[new], factor)):
                    ms = dict(enumerate((series[at : at + length] * scale).tolist()))
                    row = Row(key, {}, {}, {}, {}, timed=(Timed("session", "eager", 1, "cpu", ms),))
                    sides.append(Side(name, {key: row}))
                found[decide(compare(*sides), rules).verdict] += 1
            yield row_of(LATENCY, f"{length} interleaved rounds", case, found)


def row_of(what: str, size: str, case: str, found: Counter[str]) -> dict[str, object]:
    total = sum(found.values())
    return {
        "what": what,
        "size": size,
        "case": case,
        "pairs": total,
        **{f"{verdict} %": round(100 * found[verdict] / total, 1) for verdict in ("pass", "regression", "cannot tell")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("results/bench_gate"), help="created if it does not exist")
    parser.add_argument("--pairs", type=int, default=1000, help="number of pairs at the suite's size, and for latency")
    parser.add_argument("--others", type=int, default=200, help="number of pairs at each of the other sizes")
    parser.add_argument("--draws", type=int, default=400, help="bootstrap draws of images for each pair")
    parser.add_argument("--rounds", type=int, default=3000, help="timed rounds for latency")
    given = parser.parse_args()
    row = measured(given.store)
    scores = scores_of(row)
    stds = np.std([[auroc(one, labels) for one in of] for labels, of in scores.values()], axis=1, ddof=1) * 100
    by_seed = np.mean([[auroc(one, labels) for one in of] for labels, of in scores.values()], axis=0) * 100
    rows = [
        *accuracy(row, [given.pairs, *[given.others] * (len(SIZES) - 1)], given.draws),
        *latency(given.pairs, given.rounds),
    ]
    notes = [
        f"Default rules: confidence {default_rules().confidence}, smallest change that matters 1.0 point of mean "
        "I-AUROC and 5 % latency. Each rule is checked alone, as its own family of tests.",
        f"Scores of {len(by_seed)} seeds of {LABEL}: mean I-AUROC {by_seed.mean():.2f}, standard deviation over seeds "
        f"{by_seed.std(ddof=1):.2f} points; of single categories "
        f"{', '.join(f'{name} {std:.2f}' for name, std in zip(scores, stds, strict=True))}.",
        "Errors are: pass although there was a drop, regression although there was none. 'cannot tell' exits with 3.",
    ]
    record("bench_gate", "Error rates of the gate", rows, notes)


if __name__ == "__main__":
    main()
