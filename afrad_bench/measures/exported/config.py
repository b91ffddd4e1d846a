"""Options and metrics of the measure `exported`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field

from afrad_bench.measures._subject.decided_by import DecidedBy
from afrad_bench.types import Metric

Artefact = Literal["onnx_fp32", "onnx_fp16", "onnx_int8"]
CHECKPOINT = "checkpoint"
TITLES = {
    CHECKPOINT: "fitted method (torch)",
    "onnx_fp32": "ONNX fp32",
    "onnx_fp16": "ONNX fp16",
    "onnx_int8": "ONNX int8",
}
"""What was run -> its name in reports. The names of the metrics begin with it."""


class Config(DecidedBy):
    """Which files are written, and how they are run. The threshold decides which labels flip."""

    files: tuple[Artefact, ...] = Field(
        ("onnx_fp32", "onnx_fp16", "onnx_int8"), min_length=1, description="onnx_fp32, onnx_fp16, onnx_int8"
    )
    calibration_images: int = Field(64, ge=1, description="training images, evenly spread, by which int8 is scaled")
    repeats: int = Field(50, ge=10, description="timed calls")
    warmup: int = Field(10, ge=1, description="minimum number of warm-up calls")
    warmup_seconds: float = Field(0.5, ge=0, description="minimum duration of the warm-up in seconds")
    max_seconds: float = Field(120.0, gt=0, description="seconds after which no further call of a file is timed")


def _metrics(of: str) -> Iterator[tuple[str, Metric]]:
    """The metrics of one file, or of the fitted method beside it."""
    yield "image_auroc", Metric("I-AUROC", "fraction", True, "of the image scores, mean over categories", percent=True)
    yield "latency", Metric("ms/image", "ms/image", False, "median time of one image on the CPU, batch 1", decimals=2)
    if of == CHECKPOINT:
        return
    yield "size", Metric("MiB", "MiB", False, "size of the file", decimals=1)
    differs = "largest difference from the fitted method over all test images, relative to the largest value"
    yield "score_difference", Metric("Score difference", "relative", False, differs, decimals=6)
    yield "map_difference", Metric("Map difference", "relative", False, differs, decimals=6)
    flips = "test images whose decision differs from the fitted method's"
    yield "flips", Metric("Label flips", "images", False, flips, decimals=0)


METRICS: Mapping[str, Metric] = {
    f"{of}_{what}": replace(metric, of=title, headline=False, on_request=True)
    for of, title in TITLES.items()
    for what, metric in _metrics(of)
}
