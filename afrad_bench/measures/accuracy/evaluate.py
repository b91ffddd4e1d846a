"""Evaluation of a fitted method: from predictions, category by category, to measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from afrad_bench.instruments.metrics import (
    PixelCurves,
    PixelMetrics,
    PixelScores,
    Undefined,
    auroc,
    average_precision,
    f1_max,
)
from afrad_bench.measures._subject.predictions import predictions
from afrad_bench.measures.accuracy.convention import (
    compared,
    image_scores,
    image_terms,
    pixel_terms,
    sizes,
)
from afrad_bench.measures.accuracy.elsewhere import PROFILES, Elsewhere
from afrad_bench.measures.accuracy.gathering import allocate, missing_masks
from afrad_bench.measures.accuracy.regions import vanished, with_held_mask
from afrad_bench.types import MEAN, Curve, Measurement, Prediction, Sample, Score, Subject

if TYPE_CHECKING:
    from afrad_bench.measures.accuracy.config import Config
    from afrad_bench.types import BoolArray, FloatArray

IMAGE_METRICS: dict[str, Callable[[FloatArray, BoolArray], float]] = {
    "image_auroc": auroc,
    "image_ap": average_precision,
    "image_f1_max": f1_max,
}
PIXEL_METRICS: dict[str, Callable[[PixelMetrics], float]] = {
    "pixel_auroc": lambda pixels: pixels.auroc,
    "pixel_ap": lambda pixels: pixels.ap,
    "pixel_f1_max": lambda pixels: pixels.f1_max,
    "pixel_iou_max": lambda pixels: pixels.iou_max,
    "pixel_aupro": lambda pixels: pixels.aupro,
}
POOLED_METRICS = {"image_auroc_pooled": auroc, "image_f1_max_pooled": f1_max}
POOLED_PIXEL_METRICS: dict[str, Callable[[PixelMetrics], float]] = {
    "pixel_auroc_pooled": lambda pixels: pixels.auroc,
    "pixel_f1_max_pooled": lambda pixels: pixels.f1_max,
}


def evaluate(subject: Subject, config: Config) -> Iterator[Measurement | Score | Curve]:
    """See `accuracy.measure`. Memory holds the pixel scores of one category at a time, and the pooled ones of all."""
    samples, done = subject.dataset.test, 0
    scores = np.full(len(samples), np.nan)
    labels = np.array([sample.gt_label for sample in samples], dtype=bool)
    found: list[Measurement] = []
    side, image_note = subject.test.size[0], image_terms(config)
    of_category = {
        category: [sample for sample in samples if sample.category == category]
        for category in subject.dataset.categories
    }
    pixels_of = {
        category: sum(height * width for height, width in sizes(mine, side, config))
        for category, mine in of_category.items()
        if not missing_masks(mine)
    }
    pooled = _Pooled(sum(pixels_of.values()), [name for name in of_category if name not in pixels_of], config)
    for category in subject.dataset.categories:
        mine = [i for i, sample in enumerate(samples) if sample.category == category]
        pixels = _Pixels(
            category, of_category[category], pixels_of.get(category, 0), side, subject.threads, config, pooled
        )
        others = [
            Elsewhere(PROFILES[name], category, of_category[category], side, config.memory_gib) for name in config.also
        ]
        for prediction, batch in predictions(subject, mine, config.batch_size):
            scores[batch] = image_scores(prediction, config)
            taken = [with_held_mask(samples[i]) for i in batch]
            pixels.add(prediction, taken)
            for other in others:
                other.add(prediction, taken)
            done += len(batch)
            subject.watch(done, len(samples), "scoring test images")
        yield from (
            Score(category, samples[i].id, samples[i].gt_label, float(scores[i]), samples[i].defect) for i in mine
        )
        measured = [
            *(
                _measured(name, category, metric, scores[mine], labels[mine], image_note)
                for name, metric in IMAGE_METRICS.items()
            ),
            *pixels.measurements(),
            *(measurement for other in others for measurement in other.measurements(subject.threads)),
        ]
        yield from measured
        yield from pixels.curves()
        found += measured
    elsewhere = [metric for name in config.also for metric in PROFILES[name].metrics]
    for name in (*IMAGE_METRICS, *PIXEL_METRICS, *elsewhere):
        yield _mean(name, [one for one in found if one.metric == name])
    for name, metric in POOLED_METRICS.items():
        yield _measured(name, None, metric, scores, labels, image_note)
    yield from pooled.measurements(subject.threads)


def _measured(
    name: str,
    category: str | None,
    metric: Callable[[FloatArray, BoolArray], float],
    scores: FloatArray,
    labels: BoolArray,
    note: str,
) -> Measurement:
    try:
        return Measurement(name, metric(scores, labels), "fraction", category, note)
    except Undefined as undefined:
        return Measurement(name, None, "fraction", category, undefined.reason)


def _mean(name: str, of_categories: Sequence[Measurement]) -> Measurement:
    """Unweighted mean over the categories that have a value; its note names the other categories and their reasons."""
    values = [one.value for one in of_categories if one.value is not None]
    notes = [_notes([one for one in of_categories if one.value is not None], len(of_categories))]
    if len(values) < len(of_categories):
        reasons = _notes([one for one in of_categories if one.value is None], len(of_categories))
        notes.insert(0, f"over {len(values)} of {len(of_categories)} categories; undefined: {reasons}")
    if not of_categories:
        notes = ["no test images"]
    value = float(np.mean(values)) if values else None
    return Measurement(name, value, "fraction", MEAN, "; ".join(filter(None, notes)))


def _notes(of_categories: Sequence[Measurement], categories: int) -> str:
    """The different notes, each followed by its categories unless all categories have it."""
    names: dict[str, list[str]] = {}
    for one in of_categories:
        if one.note:
            names.setdefault(one.note, []).append(str(one.category))
    return "; ".join(
        note if len(about) == categories else f"{note} ({', '.join(about)})" for note, about in names.items()
    )


# -------------------------------------------------------------------------------------------------------------- pixels


class _Pixels:
    """The pixel metrics of one category, collected batch by batch, or the reason why they are undefined."""

    def __init__(
        self,
        category: str,
        samples: Sequence[Sample],
        pixels: int,
        side: int,
        threads: int,
        config: Config,
        pooled: _Pooled,
    ) -> None:
        self._category, self._config, self._threads, self._side = category, config, threads, side
        self._pixels, self._pooled = pixels, pooled
        self._undefined = missing_masks(samples)
        self._scores: PixelScores | None = None
        self._lost = self._vanished = 0
        self._notes: list[str] = []
        self._curves: PixelCurves | None = None

    def add(self, prediction: Prediction, samples: Sequence[Sample]) -> None:
        """Add the maps of a batch and the masks of its samples; nothing is stored if the metrics are undefined."""
        if prediction.anomaly_map is None:
            self._undefined = self._undefined or "the method gives no anomaly map"
        if self._undefined or prediction.anomaly_map is None:
            return
        if self._scores is None:
            self._scores, notes = allocate(self._pixels, self._config)
            self._notes += [*pixel_terms(self._config), *notes]
        marked = []
        for maps, masks in compared(prediction.anomaly_map, samples, self._side, self._config):
            marked += [bool(mask.any()) for mask in masks]
            self._scores.add(maps, masks)
            self._pooled.add(maps, masks)
            if self._config.resolution == "input":
                self._vanished += sum(
                    vanished(sample.mask.read() > 0, mask, self._config.connectivity)
                    for sample, mask in zip(samples, masks, strict=True)
                    if sample.mask is not None
                )
        self._lost += sum(sample.gt_label and not any_ for sample, any_ in zip(samples, marked, strict=True))

    def measurements(self) -> Iterator[Measurement]:
        metrics: PixelMetrics | None = None
        if self._scores is not None and not self._undefined:
            try:
                metrics, self._curves = self._scores.metrics_and_curves(self._config.fpr_limit, self._threads)
            except Undefined as undefined:
                self._undefined = undefined.reason
        if self._lost:
            are = "image has" if self._lost == 1 else "images have"
            size = f"{self._side}x{self._side}" if self._config.resolution == "input" else "the original size"
            self._notes.append(f"{self._lost} anomalous {are} no marked pixel at {size}")
        if self._vanished:
            what = "region vanishes" if self._vanished == 1 else "regions vanish"
            where = f"{self._side}x{self._side}"
            self._notes.append(f"{self._vanished} marked {what} at {where}, in images that keep other marked pixels")
        for name, value in PIXEL_METRICS.items():
            notes = [*self._notes, *(self._variant() if name == "pixel_aupro" else ())]
            if metrics is None:
                notes.insert(0, self._undefined)
            yield Measurement(
                name, None if metrics is None else value(metrics), "fraction", self._category, "; ".join(notes)
            )

    def curves(self) -> Iterator[Curve]:
        """The curves of P-AUROC and P-AUPRO, after `measurements` has run; none if these metrics are undefined."""
        if self._curves is not None:
            roc, pro = self._curves.roc, self._curves.pro
            yield Curve("pixel_roc", self._category, tuple(roc.x.tolist()), tuple(roc.y.tolist()))
            yield Curve("pro", self._category, tuple(pro.x.tolist()), tuple(pro.y.tolist()))

    def _variant(self) -> Iterator[str]:
        """How this AUPRO differs from the default, as text."""
        fields = type(self._config).model_fields
        if self._config.fpr_limit != fields["fpr_limit"].default:
            yield f"up to FPR {self._config.fpr_limit:g}"
        if self._config.connectivity != fields["connectivity"].default:
            yield f"{self._config.connectivity}-connected regions"


class _Pooled:
    """The pixels of all categories in one ranking, as for a deployment with one threshold."""

    def __init__(self, pixels: int, without_masks: Sequence[str], config: Config) -> None:
        self._pixels, self._without, self._config = pixels, without_masks, config
        self._scores: PixelScores | None = None
        self._notes = list(pixel_terms(config))

    def add(self, maps: FloatArray, masks: BoolArray) -> None:
        if not self._config.pool_pixels:
            return
        if self._scores is None:
            self._scores, notes = allocate(self._pixels, self._config)
            self._notes += notes
        self._scores.add(maps, masks)

    def measurements(self, threads: int) -> Iterator[Measurement]:
        if not self._config.pool_pixels:
            return
        if self._without:
            self._notes.insert(0, f"without {', '.join(self._without)}: masks are missing")
        metrics: PixelMetrics | None = None
        try:
            if self._scores is None:
                raise Undefined("no masks" if self._pixels == 0 else "the method gives no anomaly map")
            metrics = self._scores.metrics(threads=threads)
        except Undefined as undefined:
            self._notes = [undefined.reason]
        for name, value in POOLED_PIXEL_METRICS.items():
            found = None if metrics is None else value(metrics)
            yield Measurement(name, found, "fraction", None, "; ".join(self._notes))
