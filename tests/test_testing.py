"""The contract of methods has teeth: it finds the faults that it is for."""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import ModuleType

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ConfigDict

from afrad_bench.methods.small import small_images
from afrad_bench.testing import MethodContract, kept_settings
from afrad_bench.types import Bench, Images, Method, Prediction, TrainingRecord
from tests.adapters import bench_at

SEEDED = {
    "seeds torch": lambda: torch.manual_seed(0),
    "seeds numpy": lambda: np.random.seed(0),
    "seeds random": lambda: random.seed(0),
}
"""Faults that leave a global generator in the same state each time: only the first fit of a process changes it."""
SET = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "number of threads": lambda: torch.set_num_threads(1),
    "gradient mode": lambda: torch.set_grad_enabled(False),
    "deterministic mode": lambda: torch.use_deterministic_algorithms(True),
    "treatment of errors": lambda: np.seterr(all="ignore"),
}
"""Faults that change a global setting, by a part of its name."""


class Careless:
    """A method that breaks the contract in the way that is asked for, and else keeps it."""

    def __init__(self, fault: str, bench: Bench) -> None:
        self.fault = fault
        self.noise = np.random.default_rng(bench.seeds.init).random()
        SEEDED.get(fault, lambda: None)()
        SET.get(fault, lambda: None)()

    def fit(self, train: Images) -> TrainingRecord:
        SEEDED.get(self.fault, lambda: None)()
        if self.fault == "global randomness":
            self.noise = np.random.random()
        if self.fault == "returns nothing":
            return None  # type: ignore[return-value]
        if self.fault == "no losses":
            return TrainingRecord(epochs=2, images_seen=len(train))
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

    def state(self) -> Mapping[str, torch.Tensor]:
        noise = torch.tensor(self.noise, dtype=torch.float64)
        return {} if self.fault == "forgets what it found" else {"noise": noise}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        if state:
            self.noise = state["noise"].item()


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("", ()),
        ("global randomness", ("same_seed_same_bits", "global_random_states_do_not_change")),
        *((fault, ("global_random_states_do_not_change",)) for fault in SEEDED),
        *((fault, ("global_settings_do_not_change",)) for fault in SET),
        ("returns nothing", ("fit_returns_a_valid_record",)),
        ("no losses", ("fit_returns_a_valid_record",)),
        ("changes images", ("images_do_not_change",)),
        ("looks at the batch", ("score_does_not_depend_on_the_batch",)),
        ("not finite", ("prediction_has_its_shape_and_is_finite",)),
        ("wrong shape", ("prediction_has_its_shape_and_is_finite", "network_equals_predict")),
        ("one score for all", ("scores_of_images_differ", "network_equals_predict")),
        ("another network", ("network_equals_predict",)),
        ("training mode", ("network_equals_predict",)),
        ("forgets what it found", ("a_fitted_method_is_made_again_from_its_state",)),
    ],
)
def test_contract_finds_the_fault(fault: str, checks: tuple[str, ...]) -> None:
    class Contract(MethodContract):
        def build(self, bench: Bench) -> Method:
            return Careless(fault, bench)

    contract = Contract()
    found = {}
    for name, takes in {
        "fit_returns_a_valid_record": ("fitted",),
        "prediction_has_its_shape_and_is_finite": ("fitted", "images"),
        "scores_of_images_differ": ("fitted", "images"),
        "score_does_not_depend_on_the_batch": ("fitted", "images"),
        "same_seed_same_bits": ("bench", "train", "images"),
        "global_random_states_do_not_change": ("bench", "train", "images"),
        "global_settings_do_not_change": ("bench", "train", "images"),
        "images_do_not_change": ("bench", "train", "images"),
        "network_equals_predict": ("fitted", "images"),
        "a_fitted_method_is_made_again_from_its_state": ("bench", "fitted", "images"),
    }.items():
        given = {"bench": bench_at(32), "train": small_images(4, 32, 1), "images": small_images(5, 32, 2)}
        with kept_settings():
            method = contract.build(given["bench"])
            given["fitted"] = (method, method.fit(small_images(4, 32, 3)))
            try:
                getattr(contract, f"test_{name}")(**{one: given[one] for one in takes})
            except AssertionError as error:
                found[name] = str(error)
    assert found.keys() >= set(checks)
    assert fault or not found
    assert all(found.values()), "an assertion without a message"
    assert fault not in SET or f"{fault} by build()" in found["global_settings_do_not_change"]


def test_contract_says_what_to_do() -> None:
    class Contract(MethodContract):
        def build(self, bench: Bench) -> Method:
            return Careless("seeds torch", bench)

    contract, bench = Contract(), bench_at(32)
    with pytest.raises(AssertionError, match=r"must return what it did, for example TrainingRecord.*but returned None"):
        contract.test_fit_returns_a_valid_record((Careless("returns nothing", bench), None))  # type: ignore[arg-type]
    Careless("seeds torch", bench).fit(small_images(4, 32, 1))  # what an earlier test leaves
    with pytest.raises(AssertionError, match=r"seeded by bench.seeds; changed: torch by build\(\), torch by fit\(\)"):
        contract.test_global_random_states_do_not_change(bench, small_images(4, 32, 1), small_images(5, 32, 2))


def test_contract_compares_check_with_build() -> None:
    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

    def check(config: Config, image_size: int) -> None:
        if image_size != 32:
            raise ValueError("32 px only")

    module = ModuleType("mine")
    module.Config, module.check = Config, check  # type: ignore[attr-defined]

    class Contract(MethodContract):
        def build(self, bench: Bench) -> Method:
            return Careless("", bench)

        def loaded(self) -> ModuleType:
            return module

    contract, bench = Contract(), bench_at(32)
    with pytest.raises(pytest.fail.Exception, match=r"check\(\) refuses .* that build\(\) accepts: 32 px only"):
        contract.test_check_accepts_what_can_be_built(bench)
    contract.image_size = 32  # type: ignore[misc]
    contract.test_check_accepts_what_can_be_built(bench)
