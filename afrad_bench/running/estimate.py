"""How long a cell takes, estimated from earlier runs on the same kind of device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from afrad_bench.machine.environment import Environment
from afrad_bench.types import Cell, Dataset

if TYPE_CHECKING:
    import pandas as pd

FEATURES = "features"
"""Phase of a run in which the shared backbone ran; later runs find its features in the cache."""


def seconds_of(
    cell: Cell, dataset: Dataset, terms: Mapping[str, str], environment: Environment, history: pd.DataFrame
) -> float | None:
    """The median over earlier complete runs (rows of `cells`): of the cell, else of its configuration with any seed,
    else of its method on the same data with other parameters, in proportion to the images that pass through the method.
    None without such a run.

    The time of backbone features counts only if none of these runs computed them for the present images and weights."""
    same = history[(history["status"] == "ok") & (history["device_name"] == environment.device_name)]
    here = (same["dataset"] == cell.dataset) & (same["image_size"] == cell.image_size) & (same["method"] == cell.method)
    own, peers = same[same["cell_id"] == cell.id], same[here]
    for found in (own, peers[peers["params"] == cell.params], peers):
        if runs := [run for run in _runs(found) if "fit" in run.timings]:
            known = any(run.inputs == (terms["data_fingerprint"], terms["weights_hash"]) for run in runs)
            paces = [
                max(0.0, run.seconds - known * run.timings.get(FEATURES, 0.0)) / image_passes(run.params, dataset)
                for run in runs
            ]
            return median(paces) * image_passes(cell.config, dataset)
    return None


@dataclass(frozen=True, slots=True)
class _Run:
    seconds: float
    timings: Mapping[str, float]
    params: Mapping[str, Any]
    inputs: tuple[str, str]
    """Fingerprint of the data, hash of the weights."""


def _runs(rows: pd.DataFrame) -> Iterator[_Run]:
    for row in rows.to_dict("records"):
        yield _Run(
            (row["ended_at"] - row["started_at"]).total_seconds(),
            json.loads(row["timings"] or "{}"),
            json.loads(row["params"]),
            (row["data_fingerprint"], row["weights_hash"] if isinstance(row["weights_hash"], str) else ""),
        )


def image_passes(config: Mapping[str, Any], dataset: Dataset) -> int:
    """Images that pass through the method: training images times epochs (once without epochs), and the test images."""
    training = config.get("training")
    epochs = training.get("epochs", 1) if isinstance(training, dict) else 1
    return len(dataset.train) * max(1, int(epochs)) + len(dataset.test)
