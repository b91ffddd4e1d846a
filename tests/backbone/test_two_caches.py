"""Two processes that need the same features: one computes them, the other waits and reads."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.backbone.weights import BackboneConfig
from afrad_bench.images.sets import train_images
from tests.conftest import drawn_dataset

CONFIG = BackboneConfig(name="mobilenetv3_small_050", weights="random")


def compute(root: Path, barrier: Any, answers: Any) -> None:
    cache = FeatureCache(root)
    extractor = cache.extractor(CONFIG, (8,), 64, "cpu")
    barrier.wait()
    (maps,) = cache.read(extractor, train_images(drawn_dataset(), 64))
    answers.put((cache.seconds > 0, cache.found, float(np.abs(maps).sum())))


def test_features_are_computed_by_one_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    workers = [context.Process(target=compute, args=(tmp_path, barrier, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(computed for computed, _, _ in found) == [False, True]
    assert sorted(images for _, images, _ in found) == [0, 24]
    assert found[0][2] == found[1][2] > 0
    assert not list(tmp_path.rglob("*.lock"))
