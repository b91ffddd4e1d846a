"""The time of a cell, from earlier runs; and what a method says of a plan that is too large for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from afrad_bench.machine.environment import current
from afrad_bench.running.estimate import image_passes, seconds_of
from afrad_bench.types import Cell
from afrad_bench_baselines.patchcore import Config, warn
from tests.conftest import drawn_dataset

DATA = drawn_dataset(train=10, normal=5, anomalous=5, categories=("a",))
HERE = current("cpu")
TERMS = {"data_fingerprint": DATA.fingerprint, "weights_hash": "w"}
START = pd.Timestamp("2026-01-01", tz="UTC")


def cell(seed: int = 0, epochs: int = 4) -> Cell:
    params = json.dumps({"training": {"epochs": epochs}})
    return Cell("afrad", params, "drawn", "{}", "unified", None, 64, seed, "demo")


def row(one: Cell, seconds: float, **changed: Any) -> dict[str, Any]:
    known = {
        "cell_id": one.id,
        "method": one.method,
        "params": one.params,
        "dataset": one.dataset,
        "image_size": one.image_size,
        "status": "ok",
        "device_name": HERE.device_name,
        "started_at": START,
        "ended_at": START + pd.Timedelta(seconds=seconds),
        "timings": json.dumps({"fit": seconds}),
        **TERMS,
    }
    return {**known, **changed}


def estimated(one: Cell, *rows: dict[str, Any]) -> float | None:
    columns = list(row(one, 1.0))
    return seconds_of(one, DATA, TERMS, HERE, pd.DataFrame(list(rows), columns=columns))


def test_nothing_is_known_without_an_earlier_run() -> None:
    assert estimated(cell()) is None
    assert estimated(cell(), row(cell(), 9.0, status="failed")) is None
    assert estimated(cell(), row(cell(), 9.0, device_name="another")) is None
    recomputed = row(cell(), 0.1, timings=json.dumps({"accuracy": 0.1}))  # from kept maps, without a fit
    assert estimated(cell(), recomputed) is None


def test_the_nearest_earlier_run_counts() -> None:
    others = [row(cell(seed=1), 20.0), row(cell(seed=2), 24.0), row(cell(epochs=9), 100.0)]
    assert estimated(cell(), row(cell(), 10.0), *others) == pytest.approx(10.0)
    assert estimated(cell(), *others) == pytest.approx(22.0)


def test_other_parameters_are_scaled_by_the_images_that_pass_through() -> None:
    assert image_passes(cell(epochs=4).config, DATA) == 4 * 10 + 10
    assert estimated(cell(epochs=9), row(cell(epochs=4), 50.0)) == pytest.approx(50.0 * 100 / 50)


def test_features_that_are_in_the_cache_do_not_count() -> None:
    first = row(cell(), 30.0, timings=json.dumps({"fit": 5.0, "features": 25.0}))
    assert estimated(cell(), first) == pytest.approx(5.0)
    assert estimated(cell(seed=1), first) == pytest.approx(5.0)
    assert estimated(cell(), {**first, "data_fingerprint": "other images"}) == pytest.approx(30.0)
    assert estimated(cell(), {**first, "weights_hash": None}) == pytest.approx(30.0)


def test_patchcore_warns_of_a_bank_that_grows_with_the_square() -> None:
    config = Config()
    assert warn(config, 128, 60) is None
    text = warn(config, 256, 3629)  # MVTec AD
    assert text is not None
    assert "371,609 of 3,716,096 patches" in text
    assert "1.42 GiB" in text
    assert "3.9e+11 to score an image" in text
    assert warn(config.model_copy(update={"fraction": 1e-4}), 256, 3629) is None
    whole = warn(config.model_copy(update={"fraction": 1.0}), 256, 3629)
    assert whole is not None
    assert "0.0e+00 to choose it" in whole  # all patches are kept: nothing is chosen


def test_an_estimate_needs_the_same_data_set() -> None:
    assert estimated(replace(cell(), dataset="elsewhere"), row(cell(), 10.0)) is None
