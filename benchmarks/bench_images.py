"""An epoch's reads of the training images: decoded each time, and kept in memory from the second time on.

python benchmarks/bench_images.py [--rounds 5] [--images 32]"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _record import record
from PIL import Image

from afrad_bench.datasets import folder
from afrad_bench.images.pictures import FileIndex
from afrad_bench.images.sets import ImageSet, train_images

SIDE = 256
FILES = ((1024, "png"), (1024, "jpg"), (256, "png"))
"""Side of the files in pixels, and their format."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=32)
    args = parser.parse_args()
    record(
        "bench_images",
        "Training images in every epoch: decoded, and kept",
        [measured(side, suffix, args.images, args.rounds) for side, suffix in FILES],
        [
            f"{args.images} images at {SIDE} px in batches of 8; CPU time of all threads of the process for a pass over"
            f" all, medians of {args.rounds} rounds in turns after two that are not counted. `equal`: the same values."
        ],
    )


def measured(side: int, suffix: str, count: int, rounds: int) -> dict[str, Any]:
    with TemporaryDirectory() as place:
        kept = written(Path(place), side, suffix, count)
        sets = {"decoded": replace(kept, kept=None), "kept": kept}
        spent: dict[str, list[float]] = {name: [] for name in sets}
        found = {}
        for _ in range(rounds + 2):
            for name, images in sets.items():
                began = time.process_time()
                found[name] = [batch.array() for batch in images.batches(8)]
                spent[name].append(time.process_time() - began)
    cpu = {name: median(seconds[2:]) for name, seconds in spent.items()}
    return {
        "files": f"{side} px, {suffix}",
        **{f"{name}, ms per image": round(1000 * seconds / count, 2) for name, seconds in cpu.items()},
        "kept / decoded": round(cpu["kept"] / cpu["decoded"], 3),
        "equal": all(np.array_equal(one, other) for one, other in zip(found["kept"], found["decoded"], strict=True)),
    }


def written(root: Path, side: int, suffix: str, count: int) -> ImageSet:
    """Images with the grain of a photograph: smooth noise and a little of every pixel's own."""
    generator = np.random.default_rng(0)
    for part, number in (("train/good", count), ("test/good", 1), ("test/bad", 1)):
        (root / "a" / part).mkdir(parents=True)
        for i in range(number):
            coarse = Image.fromarray(generator.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=float)
            grain = generator.normal(0, 3, smooth.shape)
            Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(root / "a" / part / f"{i}.{suffix}")
    dataset = folder.load(folder.Config(), root, FileIndex())
    return train_images(dataset, SIDE)


if __name__ == "__main__":
    main()
