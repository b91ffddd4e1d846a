"""Whether methods compute on a device what they compute on the CPU.

Each method is fitted on the CPU, in the small configuration that it declares, to a few drawn images. It is written to a
model file and loaded on the device, as a kept model is, and scores the same images on both. A method without a state is
fitted on the device, too, if it fits in closed form."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from afrad_bench import registry
from afrad_bench.backbone.features import FeatureCache
from afrad_bench.deploy import model_file
from afrad_bench.errors import UserError, first_line
from afrad_bench.hashing import seed_for
from afrad_bench.machine.arithmetic import without_tf32
from afrad_bench.machine.devices import made_current
from afrad_bench.machine.free_memory import must_answer
from afrad_bench.methods.small import Small, small_images, small_of
from afrad_bench.running.foreseen import file_checks
from afrad_bench.running.plan import weights_of
from afrad_bench.types import Bench, HasState, Method, Prediction, Seeds, Watch, unwatched

if TYPE_CHECKING:
    from pydantic import BaseModel

    from afrad_bench.types import FloatArray

TOLERANCE = 1e-3
"""Largest difference that counts as rounding, relative to the range of the CPU's values: a quarter of a grey level of a
map in 8 bits. float32 rounds to 6e-8, which leaves four orders of magnitude to what networks make of it; TF32, which
rounds to 5e-4, is off during the comparison."""
TRAINING_IMAGES, TEST_IMAGES = 6, 5

State = Literal["ok", "differs", "failed", "not tried"]


@dataclass(frozen=True, slots=True)
class Parity:
    """What one method did on the device, compared with the CPU."""

    method: str
    state: State
    map_difference: float | None = None
    """Largest difference of a pixel, relative to the range of the CPU's maps; None without maps."""
    score_difference: float | None = None
    """Largest difference of an image score, relative to the range of the CPU's scores."""
    detail: str = ""
    """Why it failed or was not tried, or how else it was compared, in one line."""

    @property
    def good(self) -> bool:
        """False if the method differs or fails there."""
        return self.state not in ("differs", "failed")


def compared(entries: Iterable[registry.Entry], device: str, watch: Watch = unwatched) -> Iterator[Parity]:
    """Compare these methods, one after another. Raises `DeviceFailed` if the device is lost for this process."""
    every = tuple(entries)
    with tempfile.TemporaryDirectory(prefix="afrad_bench_") as folder:
        for i, entry in enumerate(every):
            watch(i, len(every), f"{entry.name} on cpu and {device}")
            yield _of(entry, device, Path(folder) / f"{entry.name}{model_file.SUFFIX}")


def _of(entry: registry.Entry, device: str, path: Path) -> Parity:
    try:
        small = small_of(entry.load())
        if small is None:
            return Parity(entry.name, "not tried", detail="its module declares no SMALL configuration")
        if lacking := _lacking(entry, small):
            return Parity(entry.name, "not tried", detail=lacking)
        with made_current(device):
            return _tried(entry, small, device, path)
    except Exception as error:  # noqa: BLE001 - a method may fail in any way; the line holds the error
        must_answer(device)
        return Parity(entry.name, "failed", detail=first_line(f"{type(error).__name__}: {error}"))


def _lacking(entry: registry.Entry, small: Small) -> str:
    """What this machine lacks of what the configuration needs, and how to supply it; empty if nothing."""
    module = entry.load()
    try:
        for check in file_checks(module):
            check(module.Config.model_validate(small.params))
    except UserError as error:
        return "; ".join(first_line(text) for one in error.problems for text in (one.what, one.hint) if text)
    return ""


def _tried(entry: registry.Entry, small: Small, device: str, path: Path) -> Parity:
    config = entry.load().Config.model_validate(small.params)
    train = small_images(TRAINING_IMAGES, small.image_size, seed=1)
    here, how = _built(entry, config, small, "cpu"), ""
    record = here.fit(train)
    if isinstance(here, HasState):
        weights = weights_of(entry.name, config.model_dump_json(), None)
        about = model_file.trained_on("", "", TRAINING_IMAGES, 0, record)
        card = model_file.card_of(entry.name, config, small.image_size, weights, about)
        there = model_file.restored(model_file.write(path, here, card), device).method
    elif record.epochs == 0:
        there, how = _built(entry, config, small, device), "without a state(), it was fitted there, too"
        there.fit(train)
    else:
        return Parity(entry.name, "not tried", detail="it trains, and offers no state() that could be loaded there")
    images = small_images(TEST_IMAGES, small.image_size, seed=2)
    with without_tf32():
        return _judged(entry.name, here.predict(images), there.predict(images), how)


def _built(entry: registry.Entry, config: BaseModel, small: Small, device: str) -> Method:
    seeds = Seeds(init=seed_for(entry.name, "init"), order=seed_for(entry.name, "order"))
    made: Method = entry.load().build(config, Bench(device, small.image_size, seeds, FeatureCache(None)))
    return made


def _judged(name: str, here: Prediction, there: Prediction, how: str) -> Parity:
    maps = None
    if here.anomaly_map is not None and there.anomaly_map is not None:
        maps = _difference(here.anomaly_map, there.anomaly_map)
    scores = _difference(here.pred_score, there.pred_score)
    fine = all(value <= TOLERANCE for value in (maps, scores) if value is not None)  # not a number is not fine
    return Parity(name, "ok" if fine else "differs", maps, scores, how)


def _difference(here: FloatArray, there: FloatArray) -> float:
    """The largest difference, relative to the range of the first values; infinite where a value is not finite."""
    import numpy as np

    if not (np.isfinite(here).all() and np.isfinite(there).all()):
        return float("inf")
    return float(np.abs(here - there).max() / max(float(np.ptp(here)), float(np.finfo(np.float32).tiny)))
