"""Accuracy as other code bases compute it, for comparison with their figures; never a replacement of ours.

Read from ADer at 902937a (`util/metric.py`), UniAD (`utils/eval_helper.py`) and the evaluation used for MVTec AD. What
each does, and which parts are not followed: docs/metrics.md, "Profiles"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.integrate import trapezoid

from afrad_bench.instruments.metrics import (
    Above,
    PixelMetrics,
    PixelScores,
    Undefined,
    auroc,
    average_precision,
    f1_max,
)
from afrad_bench.measures.accuracy.config import Config
from afrad_bench.measures.accuracy.convention import compared, score_of_map, sizes
from afrad_bench.measures.accuracy.gathering import allocate, missing_masks
from afrad_bench.types import Measurement, Prediction, Sample

if TYPE_CHECKING:
    from afrad_bench.types import BoolArray, FloatArray

AUPRO_LEVELS = np.arange(200) / 200
F1_LEVELS = np.arange(21) / 20


def stepped_aupro(above: Above, limit: float = 0.3) -> float:
    """ADer's AUPRO, with 200 equal steps of the score: area under the overlaps (T,) at the thresholds whose FPR is
    below the limit. The range of these FPR is stretched to [0, 1]; nothing is interpolated.

    Raises `Undefined` where ADer divides by zero: if no two of these thresholds have different FPR."""
    fpr = above.alarms / above.negatives
    kept = fpr < limit
    x, y = fpr[kept], above.overlap[kept]
    if len(x) == 0 or x.min() == x.max():
        raise Undefined(f"no two of {len(fpr)} equal steps of the score differ in FPR below {limit:g}")
    return float(-trapezoid(y, (x - x.min()) / (x.max() - x.min())))


def stepped_f1(above: Above) -> float:
    """Largest F1 over the thresholds, as in ADer, except for the 1e-8 that ADer adds to denominators."""
    return float((2 * above.hits / (above.hits + above.alarms + above.positives)).max())


def stepped_iou(above: Above) -> float:
    """Largest intersection over union over the thresholds."""
    return float((above.hits / (above.alarms + above.positives)).max())


def reflected(value: float) -> float:
    """One minus the AUROC if it is below 0.5, else unchanged."""
    return max(value, 1.0 - value)


def mask_in_8_bits(sample: Sample, side: int) -> BoolArray:
    """The mask as a grey image of 0 and 255, resized bilinearly (antialiased) to (side, side), thresholded at half.

    If a straight edge halves a pixel, rounding to whole grey values makes it defective; as a fraction, 0.5, it is
    not."""
    if sample.mask is None:
        return np.zeros((side, side), bool)
    grey = Image.fromarray(np.where(sample.mask.read() > 0, np.uint8(255), np.uint8(0)))
    return np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR)) > 127


class Pixels:
    """Results on the pixels of one category; each property is computed once, when it is first used."""

    def __init__(self, scores: PixelScores, threads: int) -> None:
        self._scores, self._threads = scores, threads

    @cached_property
    def exact(self) -> PixelMetrics:
        return self._scores.metrics(threads=self._threads)

    @cached_property
    def steps_200(self) -> Above:
        return self._scores.above(AUPRO_LEVELS)

    @cached_property
    def steps_21(self) -> Above:
        return self._scores.above(F1_LEVELS)


Comparing = Callable[["FloatArray", Sequence[Sample], int], Iterator[tuple["FloatArray", "BoolArray"]]]


def _in_8_bits(maps: FloatArray, samples: Sequence[Sample], side: int) -> Iterator[tuple[FloatArray, BoolArray]]:
    yield maps, np.stack([mask_in_8_bits(sample, side) for sample in samples])


@dataclass(frozen=True)
class Profile:
    """The metrics of a code base, and how it computes them."""

    name: str
    convention: Config
    """As far as our options can express it."""
    compared: Comparing
    """Maps and masks of a batch at the size of the comparison."""
    side: int | None
    """Input size at which the code base evaluates; None: any."""
    labels_from_masks: bool
    """True: an image is anomalous if its mask, as compared, has a marked pixel. False: if the data set says so."""
    image: Mapping[str, Callable[[FloatArray, BoolArray], float]]
    pixel: Mapping[str, Callable[[Pixels], float]]

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*self.image, *self.pixel)


_UNIAD, _MVTEC = Config(image_score="pool"), Config(image_score="max", resolution="original")
PROFILES = {
    "ader": Profile(
        name="ADer",
        convention=Config(image_score="max"),
        compared=_in_8_bits,
        side=256,
        labels_from_masks=True,
        image={"ader_image_auroc": auroc, "ader_image_ap": average_precision, "ader_image_f1_max": f1_max},
        pixel={
            "ader_pixel_auroc": lambda pixels: pixels.exact.auroc,
            "ader_pixel_ap": lambda pixels: pixels.exact.ap,
            "ader_pixel_f1_max": lambda pixels: stepped_f1(pixels.steps_21),
            "ader_pixel_iou_max": lambda pixels: stepped_iou(pixels.steps_21),
            "ader_pixel_aupro": lambda pixels: stepped_aupro(pixels.steps_200),
        },
    ),
    "mvtec": Profile(
        name="MVTec AD's evaluation",
        convention=_MVTEC,
        compared=partial(compared, config=_MVTEC),
        side=None,
        labels_from_masks=False,
        image={"mvtec_image_auroc": auroc},
        pixel={"mvtec_pixel_aupro": lambda pixels: pixels.exact.aupro},
    ),
    "uniad": Profile(
        name="UniAD",
        convention=_UNIAD,
        compared=partial(compared, config=_UNIAD),
        side=224,
        labels_from_masks=True,
        image={"uniad_image_auroc": lambda scores, labels: reflected(auroc(scores, labels))},
        pixel={"uniad_pixel_auroc": lambda pixels: reflected(pixels.exact.auroc)},
    ),
}


class Elsewhere:
    """The metrics of one profile on one category, collected batch by batch. Its pixel scores are stored separately from
    ours, since masks or sizes differ."""

    def __init__(
        self, profile: Profile, category: str, samples: Sequence[Sample], side: int, memory_gib: float
    ) -> None:
        self._profile, self._category, self._side = profile, category, side
        self._config = profile.convention.model_copy(update={"memory_gib": memory_gib})
        self._samples = samples
        self._undefined = missing_masks(samples)
        self._scores: PixelScores | None = None
        self._notes: list[str] = []
        self._image_scores: list[float] = []
        self._labels: list[bool] = []
        self._lost = 0

    def add(self, prediction: Prediction, samples: Sequence[Sample]) -> None:
        """Add the maps of a batch; nothing is stored if the metrics are undefined."""
        if prediction.anomaly_map is None:
            self._undefined = self._undefined or "the method gives no anomaly map"
        if self._undefined or prediction.anomaly_map is None:
            return
        if self._config.image_score == "pool" and self._side < self._config.pool:
            self._undefined = f"maps of {self._side}x{self._side} are smaller than the pooling"
            return
        if self._scores is None:
            pixels = sum(height * width for height, width in sizes(self._samples, self._side, self._config))
            self._scores, self._notes = allocate(pixels, self._config)
        marked: list[bool] = []
        for maps, masks in self._profile.compared(prediction.anomaly_map, samples, self._side):
            self._scores.add(maps, masks)
            self._image_scores += [score_of_map(one, self._config) for one in maps]
            marked += [bool(mask.any()) for mask in masks]
        labels = [sample.gt_label for sample in samples]
        self._lost += sum(label and not any_ for label, any_ in zip(labels, marked, strict=True))
        self._labels += marked if self._profile.labels_from_masks else labels

    def measurements(self, threads: int) -> Iterator[Measurement]:
        """Every metric of the profile; undefined ones with the reason."""
        pixels = None if self._undefined or self._scores is None else Pixels(self._scores, threads)
        scores, labels = np.array(self._image_scores), np.array(self._labels, bool)
        for name, of_images in self._profile.image.items():
            yield self._measured(name, None if pixels is None else partial(of_images, scores, labels))
        for name, of_pixels in self._profile.pixel.items():
            yield self._measured(name, None if pixels is None else partial(of_pixels, pixels))

    def _measured(self, name: str, value: Callable[[], float] | None) -> Measurement:
        if value is None:
            return Measurement(name, None, "fraction", self._category, self._undefined)
        try:
            return Measurement(name, value(), "fraction", self._category, "; ".join(self._remarks()))
        except Undefined as undefined:
            return Measurement(name, None, "fraction", self._category, undefined.reason)

    def _remarks(self) -> Iterator[str]:
        if self._profile.side not in (None, self._side):
            yield f"at {self._side}x{self._side}, {self._profile.name} at {self._profile.side}x{self._profile.side}"
        yield from self._notes
        if self._lost:
            are = "image has" if self._lost == 1 else "images have"
            so = ", and counts as good" if self._lost == 1 else ", and count as good"
            yield f"{self._lost} anomalous {are} no marked pixel{so if self._profile.labels_from_masks else ''}"
