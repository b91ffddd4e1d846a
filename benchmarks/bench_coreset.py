"""The greedy coreset of PatchCore, ReConPatch and Uniformaly: time of the choice in three ways that pick the same.

    python benchmarks/bench_coreset.py [--rounds 3] [--threads 2]

    literal  each choice is compared with all points at once, as in the official code; its time grows linearly with the
             choices, so it is measured on a few of them and multiplied
    whole    as now, but all distances are brought up to date between two groups of choices
    lazy     as `coreset.farthest_first` does it: only distances that may matter are brought up to date

The points are patch features (EfficientNet-Lite0, 256 pixels) of real images of the data set `demo`, projected to 128
values as for PatchCore, and standard normal noise, which no method can save much work on."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from _record import record
from torch import Tensor

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.datasets import demo
from afrad_bench.images.pictures import FileIndex
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods import coreset
from afrad_bench.types import Bench, Seeds
from afrad_bench_baselines import patchcore

LITERAL = 20
"""Choices on which the literal loop is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    noise = torch.randn(100_000, 128, generator=torch.Generator().manual_seed(0))
    patches = demo_patches(143_360)
    cases = [
        ("demo patches, 100,000, 1 %", patches[:100_000], 1_000),
        ("noise, 100,000, 1 %", noise, 1_000),
        ("demo patches, 143,360, 1 %", patches, 1_433),
        ("demo patches, 50,000, 10 %", patches[:50_000], 5_000),
        ("demo patches, 143,360, 10 %", patches, 14_336),
    ]
    record(
        "bench_coreset",
        "Time of the greedy coreset",
        [measured(*case, args.rounds) for case in cases],
        [
            f"128 values per point, {args.threads} threads, medians of {args.rounds} rounds in turns; `literal` is "
            f"{LITERAL} of its choices, multiplied. CPU: seconds of all threads of the process, which other load "
            "affects least. `different`: choices of `lazy` that are not in `whole`."
        ],
    )


def demo_patches(count: int) -> Tensor:
    """(count, 128) projected patch features of training images, in an order drawn once."""
    side = 256
    data = demo.load(demo.Config(train=60), None, FileIndex())
    config = patchcore.Config.model_validate({"backbone": {"name": "tf_efficientnet_lite0", "weights": "packaged"}})
    method = patchcore.build(config, Bench("cpu", side, Seeds(0, 0), FeatureCache(None)))
    images = torch.stack([square(sample.image.read(), side) for sample in data.train[:: len(data.train) // 150][:150]])
    matrix, _ = coreset.mapper(config.width, config.projection, 0)
    assert matrix is not None
    with torch.inference_mode():
        points = torch.cat([rows @ matrix for rows in method._patches(ImageArray(images.numpy()), "patches")])
    return points.clone()[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:count]]


def square(pixels: Any, side: int) -> Tensor:
    planes = torch.from_numpy(pixels.copy()).float().permute(2, 0, 1)[None] / 255
    return torch.nn.functional.interpolate(planes, (side, side), mode="bilinear", antialias=True)[0]


def literal(points: Tensor, count: int, starts: Tensor) -> list[int]:
    """The loop with one comparison of all points per choice."""
    norms = points.square().sum(1)
    reach = torch.cdist(points, points[starts]).mean(1)
    chosen = []
    for _ in range(count):
        chosen.append(int(reach.argmax()))
        one = points[chosen[-1]]
        reach = torch.minimum(reach, (norms - 2 * points @ one + one @ one).clamp(min=0).sqrt())
    return chosen


def whole(points: Tensor, count: int, starts: Tensor) -> Tensor:
    before = coreset.STALE
    coreset.STALE = len(points)
    try:
        return coreset.farthest_first(points, count, starts)
    finally:
        coreset.STALE = before


def measured(case: str, points: Tensor, count: int, rounds: int) -> dict[str, Any]:
    starts = torch.arange(10) * 997
    ways: dict[str, Callable[[], Any]] = {
        "literal": lambda: literal(points, LITERAL, starts),
        "whole": lambda: whole(points, count, starts),
        "lazy": lambda: coreset.farthest_first(points, count, starts),
    }
    wall: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    chosen = {}
    for _ in range(rounds):
        for way, call in ways.items():
            began = time.perf_counter(), time.process_time()
            chosen[way] = call()
            share = count / LITERAL if way == "literal" else 1
            wall[way].append(share * (time.perf_counter() - began[0]))
            cpu[way].append(share * (time.process_time() - began[1]))
    assert chosen["literal"] == chosen["lazy"][:LITERAL].tolist()
    return {
        "case": case,
        **{f"{way}, s": round(median(wall[way]), 2) for way in ways},
        **{f"{way}, CPU s": round(median(cpu[way]), 2) for way in ways},
        "literal / lazy": round(median(cpu["literal"]) / median(cpu["lazy"]), 1),
        "different": len(set(chosen["lazy"].tolist()) - set(chosen["whole"].tolist())),
    }


if __name__ == "__main__":
    main()
