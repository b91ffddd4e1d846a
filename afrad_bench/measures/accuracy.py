"""Accuracy on the test images: image and pixel metrics, exact, per category, their mean, and pooled.

Definitions, conventions and undefined cases: docs/metrics.md. Unless the configuration says otherwise, the score of an
image is the one that the method gives, and pixel metrics are taken at the size of the input, masks brought there by
nearest neighbour. They are over all test images of a category, good ones included. A value that is undefined is None,
with the reason in its note, and a note names the convention where it is not the usual one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from afrad_bench.types import Curve, Measurement, Metric, Score, Subject

VERSION = "1"
TERMS: tuple[str, ...] = ()


def _metric(title: str, description: str, headline: bool = False) -> Metric:
    return Metric(title, "fraction", True, description, decimals=1, percent=True, headline=headline)


METRICS: dict[str, Metric] = {
    "image_auroc": _metric("I-AUROC", "area under the ROC curve of the image scores; ties count half", headline=True),
    "image_ap": _metric("I-AP", "average precision of the image scores, without interpolation"),
    "image_f1_max": _metric("I-F1max", "largest F1 of the image scores over all thresholds, chosen on the test labels"),
    "pixel_auroc": _metric(
        "P-AUROC", "area under the ROC curve over the pixels of all test images of a category", headline=True
    ),
    "pixel_ap": _metric("P-AP", "average precision over the same pixels, without interpolation"),
    "pixel_f1_max": _metric("P-F1max", "largest F1 over the same pixels, at a threshold chosen on the test masks"),
    "pixel_iou_max": _metric("P-IoUmax", "intersection over union at the threshold of P-F1max, its largest value"),
    "pixel_aupro": _metric(
        "P-AUPRO",
        "area under the per-region overlap up to a false positive rate of 0.3 (unless the note says otherwise), "
        "divided by that limit; every connected region counts the same",
        headline=True,
    ),
    "image_auroc_pooled": _metric(
        "I-AUROC pooled", "I-AUROC over the images of all categories together: one threshold for all of them"
    ),
    "image_f1_max_pooled": _metric(
        "I-F1max pooled", "I-F1max over the images of all categories together: one threshold for all of them"
    ),
    "pixel_auroc_pooled": _metric(
        "P-AUROC pooled", "P-AUROC over the pixels of all categories together: one threshold for all of them"
    ),
    "pixel_f1_max_pooled": _metric(
        "P-F1max pooled", "P-F1max over the pixels of all categories together: one threshold for all of them"
    ),
}


def _elsewhere(title: str, description: str) -> Metric:
    return replace(_metric(title, description), on_request=True)


_ADER = "by ADer's convention: masks by bilinear >= 0.5, image score the maximum of the map"
_STEPS = "at 21 equal steps of the score"
METRICS |= {
    "ader_image_auroc": _elsewhere("I-AUROC (ADer)", f"I-AUROC {_ADER}"),
    "ader_image_ap": _elsewhere("I-AP (ADer)", f"I-AP {_ADER}"),
    "ader_image_f1_max": _elsewhere("I-F1max (ADer)", f"I-F1max {_ADER}"),
    "ader_pixel_auroc": _elsewhere("P-AUROC (ADer)", f"P-AUROC {_ADER}"),
    "ader_pixel_ap": _elsewhere("P-AP (ADer)", f"P-AP {_ADER}"),
    "ader_pixel_f1_max": _elsewhere("P-F1max (ADer)", f"largest F1 {_STEPS}, {_ADER}"),
    "ader_pixel_iou_max": _elsewhere("P-IoUmax (ADer)", f"largest intersection over union {_STEPS}, {_ADER}"),
    "ader_pixel_aupro": _elsewhere(
        "P-AUPRO (ADer)", f"per-region overlap at 200 equal steps of the score, rescaled below FPR 0.3, {_ADER}"
    ),
    "mvtec_image_auroc": _elsewhere(
        "I-AUROC (MVTec)", "I-AUROC of the maximum of the map at the original size, as MVTec AD's own evaluation has it"
    ),
    "mvtec_pixel_aupro": _elsewhere(
        "P-AUPRO (MVTec)", "P-AUPRO at the original size, as MVTec AD's own evaluation has it"
    ),
    "uniad_image_auroc": _elsewhere(
        "I-AUROC (UniAD)",
        "I-AUROC by UniAD's convention: of the maximum of the map after 16x16 average pooling, below 0.5 reflected",
    ),
    "uniad_pixel_auroc": _elsewhere("P-AUROC (UniAD)", "P-AUROC by UniAD's convention: below 0.5 reflected"),
}


class Config(BaseModel):
    """What may be chosen; everything else is part of the definitions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fpr_limit: float = Field(0.3, gt=0, le=1, description="false positive rate at which AUPRO stops")
    connectivity: Literal[4, 8] = Field(8, description="neighbours by which defective pixels form regions: 4 or 8")
    resolution: Literal["input", "original"] = Field(
        "input",
        description="size at which pixels are compared: that of the method's input, masks brought there by mask_rule, "
        "or the original size of each mask, maps brought there bilinearly",
    )
    mask_rule: Literal["nearest", "bilinear", "any"] = Field(
        "nearest",
        description="how masks get to the size of the input: nearest neighbour, bilinear and more than 0.5, "
        "or any marked pixel",
    )
    image_score: Literal["method", "max", "pool", "top"] = Field(
        "method",
        description="what scores an image: the method, or its map: the maximum, the maximum after average pooling, "
        "or the mean of the highest values",
    )
    pool: int = Field(16, ge=1, description="side of the average pooling of image_score=pool, in pixels of the map")
    top_share: float = Field(0.01, gt=0, le=1, description="share of the map that image_score=top takes the mean of")
    pool_pixels: bool = Field(
        True, description="also one ranking of the pixels of all categories; needs as much room as all maps together"
    )
    also: tuple[Literal["ader", "mvtec", "uniad"], ...] = Field(
        (), description="code bases whose conventions are followed too, in metrics of their own beside ours"
    )
    batch_size: int = Field(16, ge=1, description="images predicted at a time; no effect on the values")
    memory_gib: float = Field(
        4.0,
        gt=0,
        description="largest size of the pixel scores of one ranking in memory, in GiB; larger ones are kept in a "
        "temporary file, which is slower and gives the same values",
    )

    @field_validator("also")
    @classmethod
    def _each_once(cls, also: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(also)))

    @model_serializer(mode="wrap")
    def _silent_if_empty(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `also`, what was stored before there was such a field stays current."""
        written: dict[str, Any] = write(self)
        return written if self.also else {name: value for name, value in written.items() if name != "also"}

    @model_validator(mode="after")
    def _rule_has_an_effect(self) -> Config:
        if self.resolution == "original" and self.mask_rule != "nearest":
            raise ValueError("mask_rule has no effect at resolution=original, where no mask is resized")
        return self


def measure(subject: Subject, config: Config) -> Iterator[Measurement | Score | Curve]:
    """Predict every test image once; yields its score, then the measurements and curves of each category, the means,
    and the pooled ones.

    Raises `ValueError`, naming the images, for predictions of a wrong shape or that are not finite."""
    from afrad_bench.measures._accuracy import evaluate

    yield from evaluate(subject, config)
