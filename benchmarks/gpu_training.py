"""AFRAD's training step on a card at the paper's size, and what could still be gained.

    python benchmarks/gpu_training.py [--device cuda:0] [--kind eager graph]

EfficientNet-B4's 448, 160, 56 and 32 channels on a grid of 8 and of 16 pixels, batches of 8 of 512 images, random
weights. An epoch of MVTec AD has 454 steps. The last line that begins with a brace holds all figures as JSON. A kind
that fails on a card may make it unusable for the process: run such kinds alone."""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.images.sets import ImageArray
from afrad_bench.instruments.clock import clock_for
from afrad_bench.instruments.kernels import Kernels, recorded
from afrad_bench.methods import afrad
from afrad_bench.methods.afrad.training import masked, reconstruction_loss
from afrad_bench.methods.fitting import adamw, jittered, noise_of, prepared, stepped
from afrad_bench.methods.frozen import TrainingMaps
from afrad_bench.methods.training_step import Step
from afrad_bench.types import Bench, Seeds

BATCH, SIDE, STEPS_OF_MVTEC = 8, 256, 454
KINDS: dict[str, dict[str, Any]] = {
    "eager": {},
    "graph": {"how": "graph"},
    "bfloat16": {"half": True},
    "compile": {"how": "compile"},
}
"""Kinds of a step: those of `training.step`, and what lower precision would gain."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--kind", nargs="*", choices=KINDS, default=["eager"])
    args = parser.parse_args()
    found: dict[str, Any] = {"device": args.device}
    trained = {grid: Trained(grid, args.device, args.images) for grid in (16, 8)}
    for kind in args.kind:
        for grid, one in trained.items():
            try:
                found[f"grid {grid}, {kind}"] = one.milliseconds(kind, args.steps)
            except Exception as error:  # noqa: BLE001 - the others are still worth measuring
                print(f"grid {grid}, {kind}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
                continue
            milliseconds = found[f"grid {grid}, {kind}"]
            hours = STEPS_OF_MVTEC * milliseconds / 3.6e3
            print(f"grid {grid}, {kind:8s} {milliseconds:8.2f} ms/step, {hours:.2f} h per 1000 epochs of MVTec AD")
            print(json.dumps(found), flush=True)  # the last line counts, also if time is up
    if args.device.startswith("cuda"):  # last: the profiler slows down what is timed after it
        for grid, one in trained.items():
            if (whole := found.get(f"grid {grid}, eager")) is None:
                continue
            kernels = one.kernels()
            found |= {f"grid {grid}, kernels, ms": kernels.ms, f"grid {grid}, kernels": kernels.count}
            share = 100 * kernels.ms / whole
            print(f"grid {grid}: {kernels.count} kernels take {kernels.ms:.2f} ms, the card is busy {share:.0f} %")
            print(json.dumps(found), flush=True)


class Trained:
    """AFRAD with this grid, and the features of the images that its steps are made of."""

    def __init__(self, grid: int, device: str, images: int) -> None:
        self.config = afrad.Config.model_validate(
            {"backbone": {"name": "efficientnet_b4", "weights": "random"}, "features": {"grid": grid}}
        )
        self.bench = Bench(device, SIDE, Seeds(1, 2), FeatureCache(None))
        draws = np.random.default_rng(0)
        few = ImageArray(draws.random((images, 3, SIDE, SIDE), dtype=np.float32))
        self.maps = TrainingMaps(self.bench, self._built().extractor, few, in_memory=True)

    def milliseconds(self, kind: str, steps: int) -> float:
        """Milliseconds of a step of this kind, made as `afrad.training` makes it."""
        wait = clock_for(self.bench.device).synchronise
        made = endless(self._built(), self.maps, self.bench, **KINDS[kind])
        for _ in range(3):
            next(made)
        wait()
        began = time.perf_counter()
        for _ in range(steps):
            next(made)
        wait()
        return 1e3 * (time.perf_counter() - began) / steps

    def kernels(self) -> Kernels:
        """What the card does in a step."""
        made = endless(self._built(), self.maps, self.bench)
        for _ in range(3):
            next(made)
        return recorded(lambda: next(made), self.bench.device)

    def _built(self) -> Any:
        return afrad.build(self.config, self.bench)


def endless(method: Any, maps: TrainingMaps, bench: Bench, how: Step = "eager", half: bool = False) -> Iterator[Tensor]:
    """Losses of steps without end; `half`: the network in bfloat16."""
    config, scorer = method.config.training, method.scorer
    net, scales = scorer.reconstruction.train(), method.extractor.map_channels
    optimizer = adamw(net.parameters(), config.lr, config.weight_decay)
    noise = noise_of(bench, "jitter", 0)

    def loss(source: Tensor, original: Tensor) -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=half):
            restored = net(source)
        return reconstruction_loss(restored.float(), original, scales, config.loss)

    loss_of = prepared(net, loss, how, bench.device)
    for epoch in itertools.count():
        for (features,) in maps.epoch(BATCH, epoch):
            original = scorer.standardise(scorer.arranged(features))
            source = jittered(original, config.jitter, noise)
            source = masked(source, config.mask, noise) if config.mask else source
            yield stepped(loss_of(source, original), optimizer, config.clip)


if __name__ == "__main__":
    main()
