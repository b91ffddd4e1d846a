"""Run each method on the CPU and on the simulated cards; print one line of JSON per method and card.

    LD_PRELOAD=.../preload.so SIMULATED_CARD=.../guard.so python -m tests.simulated_card.methods [CLASS ...]

The methods and their small configurations are those of the contract's tests."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.images.sets import train_images
from afrad_bench.methods.small import small_images
from afrad_bench.testing import MethodContract
from afrad_bench.types import Bench, HasState, Seeds
from tests.conftest import drawn_dataset
from tests.simulated_card import card

Inside = Callable[[], AbstractContextManager[None]]
TESTS = Path(__file__).parents[1]
CROWDED = "UniAD on a card without memory for its features"
UNCACHED = "UniAD there, with a cache that keeps nothing"


def contracts() -> dict[str, type[MethodContract]]:
    """Each subclass of the contract in the tests of methods and baselines, by name."""
    found = {}
    for path in sorted([*(TESTS / "methods").glob("test_*.py"), *(TESTS / "baselines").glob("test_*.py")]):
        module = importlib.import_module(f"tests.{path.parent.name}.{path.stem}")
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, MethodContract) and value is not MethodContract:
                found[name] = value
    return found


def run(
    contract: type[MethodContract], name: str, inside: Inside, devices: Sequence[str], cache: Path | None = None
) -> Iterator[dict[str, Any]]:
    """What the method does on each device, compared with the CPU. `cache`: keeps features of the training images."""
    case = contract()
    side = case.small().image_size
    train, images = small_images(case.train_count, side, 1), small_images(3, side, 2)
    kept = train if cache is None else train_images(drawn_dataset(), side)

    def made(device: str) -> Any:
        bench = Bench(device=device, image_size=side, seeds=Seeds(init=3, order=4), features=FeatureCache(cache))
        return case.build(bench)

    on_cpu = made("cpu")
    on_cpu.fit(kept)
    expected = on_cpu.predict(images)
    for device in devices:
        with inside():
            method = made(device)
            with card.counted() as fit:
                record = method.fit(kept)
            with card.counted() as scoring:
                found = method.predict(images)
            line: dict[str, Any] = {
                "name": name,
                "module": contract.module,
                "device": device,
                "score": _difference(expected.pred_score, found.pred_score),
                "map": _difference(expected.anomaly_map, found.anomaly_map),
                "epochs": record.epochs,
                "fit": asdict(fit),
                "predict": asdict(scoring),
            }
            if hasattr(method, "network"):
                line |= _network(method.network(), images, device)
            if isinstance(method, HasState):
                fresh = made(device)
                fresh.restore({key: value.detach().cpu() for key, value in on_cpu.state().items()})
                line["restored"] = _difference(expected.pred_score, fresh.predict(images).pred_score)
        yield line


def _network(network: torch.nn.Module, images: Any, device: str) -> dict[str, Any]:
    pixels = torch.from_numpy(images.pixels).to(device)
    tensors = [*network.named_parameters(), *network.named_buffers()]
    with torch.inference_mode(), card.counted() as forward:
        network(pixels)
    return {"left": [name for name, each in tensors if str(each.device) != device], "network": asdict(forward)}


def _difference(expected: Any, found: Any) -> float | None:
    """Largest difference, relative to the range of the expected values."""
    if expected is None or found is None:
        return None if expected is found else float("inf")
    return float(np.abs(expected - found).max() / max(float(np.ptp(expected)), 1e-12))


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with patch("torch.accelerator.is_available", return_value=False):  # diffusers asks when it is imported
        found = contracts()
    card.prepare()
    devices = [f"cuda:{i}" for i in range(card.CARDS)]
    uniad, crowded = found["TestUniadContract"], partial(card.simulated, 2**12)
    folder = tempfile.TemporaryDirectory()
    cases: list[tuple[str, type[MethodContract], Inside, Path | None]] = [
        *((each, found[each], partial(card.simulated, 2**34), None) for each in found),
        (UNCACHED, uniad, crowded, None),
        (CROWDED, uniad, crowded, Path(folder.name)),
    ]
    for name, contract, inside, cache in cases:
        if not names or name in names:
            try:
                for line in run(contract, name, inside, devices, cache):
                    print(json.dumps(line), flush=True)
            except Exception as error:
                print(json.dumps({"name": name, "error": f"{type(error).__name__}: {error}"}), flush=True)
                if names:
                    raise


if __name__ == "__main__":
    main(sys.argv[1:])
