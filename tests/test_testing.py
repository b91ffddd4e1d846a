"""The contract of methods has teeth: it finds the faults that it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, Images, Method, Prediction, TrainingRecord
from tests.adapters import bench_at


class Careless:
    """A method that breaks the contract in the way that is asked for, and else keeps it."""

    def __init__(self, fault: str, bench: Bench) -> None:
        self.fault = fault
        self.noise = np.random.default_rng(bench.seeds.init).random()

    def fit(self, train: Images) -> TrainingRecord:
        if self.fault == "global randomness":
            self.noise = np.random.random()
        if self.fault == "changes images":
            train.array()[:] = 0
        return TrainingRecord(images_seen=len(train))

    def predict(self, images: Images) -> Prediction:
        pixels = images.array()
        maps = pixels.mean(1) + np.float32(self.noise)
        if self.fault == "looks at the batch":
            maps = maps - maps.min()
        if self.fault == "not finite":
            maps[0, 0, 0] = np.nan
        if self.fault == "wrong shape":
            maps = maps[:, ::2]
        scores = np.zeros(len(maps)) if self.fault == "one score for all" else maps.max((1, 2))
        return Prediction(scores, maps)

    def network(self) -> torch.nn.Module:
        fault, noise = self.fault, self.noise

        class Network(torch.nn.Module):
            def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                maps = images.mean(1) + noise + (0.01 if fault == "another network" else 0.0)
                return maps, maps.amax((1, 2))

        network = Network()
        return network if fault == "training mode" else network.eval()


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("", ()),
        ("global randomness", ("same_seed_same_bits", "global_random_states_do_not_change")),
        ("changes images", ("images_do_not_change",)),
        ("looks at the batch", ("score_does_not_depend_on_the_batch",)),
        ("not finite", ("prediction_has_its_shape_and_is_finite",)),
        ("wrong shape", ("prediction_has_its_shape_and_is_finite", "network_equals_predict")),
        ("one score for all", ("scores_of_images_differ", "network_equals_predict")),
        ("another network", ("network_equals_predict",)),
        ("training mode", ("network_equals_predict",)),
    ],
)
def test_contract_finds_the_fault(fault: str, checks: tuple[str, ...]) -> None:
    class Contract(MethodContract):
        def build(self, bench: Bench) -> Method:
            return Careless(fault, bench)

    contract = Contract()
    found = set()
    for name, takes in {
        "prediction_has_its_shape_and_is_finite": ("fitted", "images"),
        "scores_of_images_differ": ("fitted", "images"),
        "score_does_not_depend_on_the_batch": ("fitted", "images"),
        "same_seed_same_bits": ("bench", "train", "images"),
        "global_random_states_do_not_change": ("bench", "train", "images"),
        "images_do_not_change": ("bench", "train", "images"),
        "network_equals_predict": ("fitted", "images"),
    }.items():
        given = {"bench": bench_at(32), "train": small_images(4, 32, 1), "images": small_images(5, 32, 2)}
        given["fitted"] = (contract.build(given["bench"]), TrainingRecord(images_seen=4))
        try:
            getattr(contract, f"test_{name}")(**{one: given[one] for one in takes})
        except AssertionError:
            found.add(name)
    assert found >= set(checks)
    assert fault or not found
