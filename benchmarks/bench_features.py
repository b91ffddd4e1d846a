"""Backbone features of a suite: one pass for all maps of a backbone, beside a pass for each set of maps.

python benchmarks/bench_features.py [--suite methods] [--images 200]"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _record import record

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.backbone.maps import FeatureMaps
from afrad_bench.images.sets import ImageSet, train_images
from afrad_bench.machine.load import LoadWatch
from afrad_bench.running.foreseen_features import foreseen
from afrad_bench.running.plan import make
from afrad_bench.running.workspace import Workspace
from afrad_bench.suite.suite import find, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="methods")
    parser.add_argument("--images", type=int, default=200, help="training images of the first data set")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder, "store"), Path(folder, "cache"), 2**35, "cpu", 1)
        plan = make(load(find(args.suite, [Path("suites")])).select(), workspace, workspace.files())
        images = train_images(plan.datasets[0], plan.selection.image_size)
        sets = foreseen(plan.cells)[images.fingerprint]
        images = ImageSet(images.samples[: args.images], images.side, f"first {args.images}")
        watch, rows = LoadWatch(), []
        for turn in range(2):
            several = filled(Path(folder, "several"), images, sets, together=False)
            one = filled(Path(folder, "one"), images, sets, together=True)
            rows += [{"turn": turn + 1, "passes": "a pass for each set of maps", **several}]
            ratio = round(several["CPU s"] / one["CPU s"], 2)
            rows += [{"turn": turn + 1, "passes": "one pass for each backbone", **one, "ratio": ratio}]
        load_told = "; ".join(watch.load(wait=False).doubts) or "no other load"
    record(
        "bench_features",
        f"Features of the suite {args.suite}, profile {plan.selection.profile}",
        rows,
        [
            f"{len(images)} images of {images.side} px, {len(sets)} sets of maps; CPU seconds of one thread, decoding "
            f"and writing included. A pass for each set keeps each set by itself. {load_told}."
        ],
    )


def filled(folder: Path, images: ImageSet, sets: Sequence[FeatureMaps], *, together: bool) -> dict[str, Any]:
    """Compute and keep these maps in a new cache: together, or each set in a cache of its own."""
    decoded, size, seconds = 0, 0, 0.0
    caches = [FeatureCache(folder, foreseen={images.fingerprint: sets})] if together else []
    for k, maps in enumerate(sets):
        cache = caches[0] if together else FeatureCache(folder / str(k))
        net = cache.extractor(
            maps.backbone,
            maps.reductions,
            maps.image_size,
            "cpu",
            maps.grid,
            maps.resize,
            maps.padded_for,
            maps.after_ones,
        )
        before, began = cache.seconds, time.process_time()
        cache.parts(net, images)
        seconds += time.process_time() - began
        decoded += len(images) if cache.seconds > before else 0
        size += 0 if together else sum(entry.bytes for entry in cache.entries())
    size += sum(entry.bytes for cache in caches for entry in cache.entries())
    shutil.rmtree(folder)
    return {"images passed": decoded, "CPU s": round(seconds, 1), "MiB on disk": round(size / 2**20, 1)}


if __name__ == "__main__":
    main()
