"""AFRAD's training step on a card at the paper's size, and what could still be gained.

    python benchmarks/gpu_training.py [--device cuda:0] [--steps 40]

EfficientNet-B4's 448, 160, 56 and 32 channels on a grid of 8 and of 16 pixels, batches of 8 of 512 images, random
weights. An epoch of MVTec AD has 454 steps. The last line is JSON."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods import afrad
from afrad_bench.methods.afrad.training import reconstruction_loss
from afrad_bench.methods.fitting import adamw, jittered, noise_of, stepped
from afrad_bench.methods.frozen import TrainingMaps
from afrad_bench.types import Bench, Seeds

BATCH, SIDE, STEPS_OF_MVTEC = 8, 256, 454


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--images", type=int, default=512)
    args = parser.parse_args()
    found: dict[str, Any] = {"device": args.device}
    for grid in (16, 8):
        found[f"grid {grid}"] = of_grid(grid, args.device, args.steps, args.images)
    print(json.dumps(found))


def of_grid(grid: int, device: str, steps: int, images: int) -> dict[str, float]:
    """Milliseconds of a step of each kind."""
    config = afrad.Config.model_validate(
        {"backbone": {"name": "efficientnet_b4", "weights": "random"}, "features": {"grid": grid}}
    )
    bench = Bench(device, SIDE, Seeds(1, 2), FeatureCache(None))
    draws = np.random.default_rng(0)
    few = ImageArray(draws.random((images, 3, SIDE, SIDE), dtype=np.float32))
    table: dict[str, float] = {}
    method = afrad.build(config, bench)
    maps = TrainingMaps(bench, method.extractor, few, in_memory=True)
    kinds: dict[str, Any] = {"as it is": {}}
    if device.startswith("cuda"):
        kinds |= {
            "bfloat16": {"half": torch.bfloat16},
            "torch.compile": {"wrap": torch.compile},
            "network as a CUDA graph": {"wrap": graphed},
        }
    for name, options in kinds.items():
        try:
            table[name] = timed(afrad.build(config, bench), maps, bench, steps, **options)
        except Exception as error:  # noqa: BLE001 - the others are still worth measuring
            print(f"grid {grid}, {name}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
            continue
        milliseconds = table[name]
        hours = STEPS_OF_MVTEC * milliseconds / 3.6e3
        text = f"grid {grid}, {name:26s} {milliseconds:8.2f} ms/step, {hours:.2f} h per 1000 epochs of MVTec AD"
        print(text, flush=True)
    if device.startswith("cuda"):
        table["busy, %"] = busy(method, maps, bench)
        print(f"grid {grid}: the card is busy {table['busy, %']:.0f} % of the time", flush=True)
    return table


def timed(
    method: Any,
    maps: TrainingMaps,
    bench: Bench,
    steps: int,
    half: torch.dtype | None = None,
    wrap: Callable[..., Any] | None = None,
) -> float:
    """Milliseconds of a step, as `afrad.training` makes it, in `half` precision and with the network wrapped."""
    wait = torch.cuda.synchronize if bench.device.startswith("cuda") else lambda: None
    made = endless(method, maps, bench, half, wrap)
    for _ in range(3):
        next(made)
    wait()
    began = time.perf_counter()
    for _ in range(steps):
        next(made)
    wait()
    return 1e3 * (time.perf_counter() - began) / steps


def endless(method: Any, maps: TrainingMaps, bench: Bench, half: Any, wrap: Any) -> Iterator[Tensor]:
    config, scorer = method.config.training, method.scorer
    net, scales = scorer.reconstruction.train(), method.extractor.map_channels
    optimizer = adamw(net.parameters(), config.lr, config.weight_decay)
    noise = noise_of(bench, "jitter", 0)
    called: Any = None
    epoch = 0
    while True:
        for (features,) in maps.epoch(BATCH, epoch):
            if len(features) < BATCH:
                continue
            original = scorer.standardise(features.contiguous(memory_format=torch.channels_last))
            source = jittered(original, config.jitter, noise)
            called = called or (net if wrap is None else wrap(net, source) if wrap is graphed else wrap(net))
            with torch.autocast("cuda", dtype=half) if half else nullcontext():
                restored = called(source)
            loss = reconstruction_loss(restored.float(), original, scales, config.loss)
            yield stepped(loss, optimizer, config.clip)
        epoch += 1


def graphed(net: Any, sample: Tensor) -> Any:
    """The network with its forward and backward pass as CUDA graphs."""
    return torch.cuda.make_graphed_callables(net, (sample.detach().clone(memory_format=torch.channels_last),))


def busy(method: Any, maps: TrainingMaps, bench: Bench) -> float:
    """Per cent of the time in which a kernel runs, over eight steps."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    made = endless(method, maps, bench, None, None)
    for _ in range(3):
        next(made)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        began = time.perf_counter()
        for _ in range(8):
            next(made)
        torch.cuda.synchronize()
        wall = time.perf_counter() - began
    kernels = [each for each in recorded.events() if each.device_type == DeviceType.CUDA]
    return 100 * sum(each.time_range.elapsed_us() for each in kernels) / 1e6 / wall


if __name__ == "__main__":
    main()
