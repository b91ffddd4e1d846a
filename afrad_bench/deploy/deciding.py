"""From scores to decisions: calibrate a kept model on images, and say of other images whether they are anomalous."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from afrad_bench.deploy import model_file
from afrad_bench.deploy.model_file import Card
from afrad_bench.errors import fail
from afrad_bench.images.intake import batches, image_names
from afrad_bench.types import Method, OperatingPoint

if TYPE_CHECKING:
    import torch

    from afrad_bench.images.intake import Image
    from afrad_bench.types import BoolArray, FloatArray

BATCH = 16
"""Images per forward pass."""


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a model says of N images."""

    names: tuple[str, ...]
    pred_score: FloatArray
    """(N,), higher is more anomalous."""
    normalised_score: FloatArray
    """(N,) in [0, 1], 0.5 at the threshold."""
    is_anomalous: BoolArray
    """(N,)"""
    point: OperatingPoint


def calibrate(
    path: Path,
    normal: Sequence[Image],
    anomalous: Sequence[Image] = (),
    rate: float | None = 0.01,
    split: Literal["train", "held_out", "test"] = "held_out",
    data: str = "",
    device: str = "auto",
) -> OperatingPoint:
    """Choose a threshold on these images and write it into the model file.

    `rate`: the accepted rate of false alarms, of which the normal images decide; None: the best F1, for which anomalous
    ones are needed. `split`: what the images are to the model. Raises `UserError` if they cannot decide it."""
    import numpy as np

    from afrad_bench.instruments.metrics.values import Undefined
    from afrad_bench.instruments.operating import operating_point

    restored = model_file.load(path, device)
    good = scores(restored.method, restored.card, normal)
    bad = scores(restored.method, restored.card, anomalous) if anomalous else np.empty(0, np.float32)
    labels = np.arange(len(good) + len(bad)) >= len(good)
    try:
        point = operating_point(np.concatenate([good, bad]), labels, rate, split, data)
    except Undefined as undefined:
        hint = "give more images, a higher --false-alarms, or --best-f1 with --anomalous"
        raise fail(undefined.reason, data or "normal images", hint) from undefined
    model_file.decide(path, point)
    return point


def decide(path: Path, images: Sequence[Image], device: str = "auto") -> Decisions:
    """Score images and decide. Raises `UserError` for a model file without an operating point."""
    from afrad_bench.instruments.operating import is_anomalous, normalised

    point = model_file.read_card(path).operating_point
    if point is None:
        raise fail(
            "this model has no operating point, so nothing says which score is anomalous",
            str(path),
            "afrad-bench calibrate MODEL --normal FOLDER chooses one on normal images",
        )
    restored = model_file.load(path, device)
    found = scores(restored.method, restored.card, images)
    return Decisions(image_names(images), found, normalised(found, point), is_anomalous(found, point), point)


def scores(method: Method, card: Card, images: Sequence[Image]) -> FloatArray:
    """(N,) float32: the image scores of a loaded method."""
    import numpy as np

    given = batches(images, card.image_size, BATCH, card.trained_on.white)
    found: FloatArray = np.concatenate([method.predict(batch).pred_score for batch in given]).astype(np.float32)
    return found


def with_decision(network: torch.nn.Module, point: OperatingPoint) -> torch.nn.Module:
    """The network with two more outputs: normalised_score (B,) float32 and is_anomalous (B,) bool."""
    import torch

    class Decided(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            if (largest := getattr(network, "largest_batch", None)) is not None:
                self.largest_batch = largest

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            anomaly_map, score = self.network(images)
            z = (score - point.threshold) / point.scale
            return anomaly_map, score, 0.5 + 0.5 * z / (1 + z.abs()), score > point.threshold

    return Decided().eval()
