"""Savings by the cache of backbone features: AFRAD's training step with the cache and with the backbone, and an
ablation of five variants with one backbone pass.

    python benchmarks/bench_training.py [--rounds 12] [--threads 1] [--image-size 256] [--batch 8] [--skip-suite]
                                        [--device cpu]
    python benchmarks/bench_training.py --host      # what the host does for a step beside the network's launches

EfficientNet-B4 with random weights (they do not affect the time). Both loops call `afrad.training.train`, one step at a
time in turns. They differ in the source of a batch's features:

    cached    read from the cache's memory-mapped file, as `fit` does
    backbone  computed from decoded images in memory, without gradients

There is a row for each value of `features.grid`, the resolution of the features, which decides AFRAD's own cost. The
suite runs through the harness on a folder of noise images with an empty cache. Its seconds are the stored timings:
"features" is the backbone's pass over the images, "fit" the training of each variant, complete AFRAD first."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from _record import record
from PIL import Image

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.machine.environment import current
from afrad_bench.machine.load import LoadWatch
from afrad_bench.methods import afrad
from afrad_bench.methods.afrad.method import Afrad
from afrad_bench.methods.afrad.training import train
from afrad_bench.running.plan import make
from afrad_bench.running.run import run_suite
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.suite import load
from afrad_bench.types import Bench, Seeds

BACKBONE = {"name": "efficientnet_b4", "weights": "random"}
SETS = 8  # batches of images to train on
SUITE = """\
suite: bench_training
title: Five variants
measures: [cost]
methods:
  - method: afrad
    params: {backbone: {name: efficientnet_b4, weights: random}, training: {epochs: EPOCHS}}
    variants:
      - {label: AFRAD}
      - {label: without FLD, params: {decoders: [stage_adaptive, compensation]}}
      - {label: without CD, params: {decoders: [stage_adaptive, focused_local]}}
      - {label: without SAD, params: {decoders: [focused_local, compensation]}}
      - {label: without NGIB, params: {ngib: false}}
profiles:
  noise:
    datasets: [{name: folder, root: ROOT}]
    image_size: SIDE
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--skip-suite", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--host", action="store_true", help="only the host's part of a step, for a card")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.host:
        host(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for grid in (16, 8) for row in throughput(Path(folder), grid, args)]
        if not args.skip_suite:
            rows += suite(Path(folder), args)
    default = afrad.Config().features.grid
    record(
        "bench_training",
        "Training time saved by the feature cache",
        rows,
        [
            f"EfficientNet-B4, {args.image_size} x {args.image_size}, batch {args.batch}, {args.threads} threads, "
            f"medians of {args.rounds} steps in turns; the default grid is {default}. A ratio is the median of the "
            "ratios within a round; CPU ratios use the process's CPU time, which other load affects least."
        ],
    )


def throughput(folder: Path, grid: int, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row with the images per second of both loops."""
    side, batch = args.image_size, args.batch
    config = afrad.Config.model_validate({"backbone": BACKBONE, "features": {"grid": grid}, "training": {"epochs": 1}})
    method = afrad.build(config, Bench(args.device, side, Seeds(0, 0), FeatureCache(None)))
    draws = np.random.default_rng(0)
    images = torch.from_numpy(draws.random((SETS * batch, 3, side, side), dtype=np.float32)).to(args.device)
    (shape,) = method.extractor.shapes
    path = folder / f"features{grid}.npy"
    np.save(path, draws.standard_normal((SETS * batch, *shape), dtype=np.float32))
    features = np.load(path, mmap_mode="r")
    layout = torch.channels_last

    def cached(rows: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(features[rows.numpy()]).to(args.device).contiguous(memory_format=layout)

    def backbone(rows: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            (maps,) = method.extractor(images[rows])
        return maps.clone().contiguous(memory_format=layout)

    loops = {"cached": step(method, cached, args), "backbone": step(method, backbone, args)}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for i in range(args.rounds + 2):
        for name, call in loops.items():
            began = time.perf_counter(), time.process_time()
            call(i)
            spent[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    wall, cpu = ({name: [each[k] for each in times[2:]] for name, times in spent.items()} for k in (0, 1))
    yield {
        "case": f"training step, grid {grid}",
        "cached, images/s": round(batch / median(wall["cached"]), 2),
        "backbone, images/s": round(batch / median(wall["backbone"]), 2),
        "ratio": round(median(b / c for b, c in zip(wall["backbone"], wall["cached"], strict=True)), 2),
        "CPU ratio": round(median(b / c for b, c in zip(cpu["backbone"], cpu["cached"], strict=True)), 2),
        "target": ">= 5",
    }


REPEATS = 4
STEPS = {
    "AFRAD": (8, ((696, 32, 32),), 1),
    "UniAD": (8, ((272, 16, 16),), 1),
    "RD4AD": (16, ((256, 64, 64), (512, 32, 32), (1024, 16, 16)), 0),
    "SimpleNet": (8, ((512, 32, 32), (1024, 16, 16)), 0),
}
"""Method -> images of a batch, feature maps of an image of 256 px, draws of noise of the maps' size in a step."""


def host(args: argparse.Namespace) -> None:
    """Record the host's CPU time of a step for batch, noise and loss: made on the host and copied, or by the card.

    Tensors of torch's device `meta` stand for those of a card: the host launches all and computes nothing."""
    watch = LoadWatch()
    rows = [row for name in STEPS for row in host_of(name, args.rounds)]
    told = "; ".join(watch.load(wait=True).doubts) or "no other load"
    record(
        "bench_training_host",
        "What the host does for a training step on a card, beside the launches of network and optimizer",
        rows,
        [
            f"CPU milliseconds of the process, one thread, medians of {args.rounds} rounds in turns; 256 px, batches "
            "and maps of the papers. Before: features gathered in memory and copied, noise drawn on the "
            "CPU and copied, the loss read in each step; a copy within the memory stands for one to a card. After: all "
            f"of it launched on the card, for which `meta` stands, and the loss read once an epoch. {told}."
        ],
    )


def host_of(name: str, rounds: int) -> Iterator[dict[str, Any]]:
    """One row: milliseconds of a step before and after."""
    batch, shapes, noises = STEPS[name]
    rows, images = torch.randperm(4 * batch)[:batch], 4 * batch
    on_host = [np.zeros((images, *shape), np.float32) for shape in shapes]
    for values in on_host:
        values[...] = np.random.default_rng(0).standard_normal(values.shape[1:], dtype=np.float32)
    on_card = [torch.empty(images, h, w, c, device="meta") for c, h, w in shapes]
    order, loss = rows.to("meta"), torch.zeros(())

    def before() -> None:
        for values in on_host:
            moved = torch.from_numpy(np.ascontiguousarray(values[rows.numpy()])).clone()
            for _ in range(noises):
                torch.randn(moved.shape).clone()
        loss.item()

    total = torch.zeros((), device="meta", dtype=torch.double)

    def after() -> None:
        for values in on_card:
            moved = values[order].permute(0, 3, 1, 2).float()
            for _ in range(noises):
                torch.randn(moved.shape, device="meta")
        total.add(total)

    spent: dict[str, list[float]] = {"before": [], "after": []}
    for _ in range(rounds + 2):
        for kind, call in (("before", before), ("after", after)):
            began = time.process_time()
            for _ in range(REPEATS):
                call()
            spent[kind].append(1e3 / REPEATS * (time.process_time() - began))
    taken = {kind: median(times[2:]) for kind, times in spent.items()}
    megabytes = 4 * batch * sum(c * h * w for c, h, w in shapes) / 1e6
    yield {
        "method": name,
        "batch": batch,
        "MB of features": round(megabytes, 1),
        "before, ms": round(taken["before"], 2),
        "after, ms": round(taken["after"], 2),
        "after / before": round(taken["after"] / taken["before"], 3),
    }


@dataclass(frozen=True)
class OneBatch:
    """Features of one batch as training asks for them (`frozen.TrainingMaps`)."""

    fetch: Callable[[torch.Tensor], torch.Tensor]
    count: int

    def __len__(self) -> int:
        return self.count

    def epoch(self, size: int, epoch: int) -> Iterator[list[torch.Tensor]]:
        yield [self.fetch(torch.arange(self.count))]


def step(method: Afrad, fetch: Callable[[torch.Tensor], torch.Tensor], args: argparse.Namespace) -> Any:
    """A function that runs one training step on batch `i`."""
    config = method.config.training.model_copy(update={"epochs": 1, "batch_size": args.batch})

    def call(i: int) -> None:
        first = (i % SETS) * args.batch
        maps = OneBatch(lambda rows: fetch(rows + first), args.batch)
        train(method.scorer, maps, method.extractor.map_channels, config, method.bench)

    return call


def suite(folder: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row with the stored timings of five variants that share one backbone pass."""
    draws = np.random.default_rng(0)
    for split, count in (("train/good", 32), ("test/good", 2), ("test/bad", 2)):
        place = folder / "data" / "noise" / split
        place.mkdir(parents=True)
        for i in range(count):
            pixels = draws.integers(0, 255, (args.image_size, args.image_size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.png")
    text = SUITE.replace("ROOT", str(folder / "data")).replace("SIDE", str(args.image_size)).replace("EPOCHS", "2")
    (folder / "suite.yaml").write_text(text)
    workspace = Workspace(folder / "store", folder / "cache", 2**40, args.device, args.threads)
    plan = make(load(folder / "suite.yaml").select(), workspace, workspace.files())
    store = Store(folder / "store")
    began = time.perf_counter()
    for done in run_suite(plan, plan.cells, workspace):
        assert done.status == "ok", done.error
    total = time.perf_counter() - began
    phases = [json.loads(text) for text in store.read("cells")["timings"]]
    passes, fits = sum(each.get("features", 0.0) for each in phases), [each["fit"] for each in phases]
    allowed = 5 * fits[0] + passes
    yield {
        "case": f"five variants, {current(args.device, args.threads).threads} thread(s), 32 images, 2 epochs",
        "backbone pass, s": round(passes, 2),
        "fits, s": ", ".join(f"{fit:.2f}" for fit in fits),
        "suite, s": round(total, 2),
        "ratio": round(total / allowed, 3),
        "target": "<= 1: suite / (5 fits of the first variant + 1 backbone pass)",
    }


if __name__ == "__main__":
    main()
