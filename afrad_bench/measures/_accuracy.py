"""How the accuracy of a fitted method is measured: predictions in, category by category, and measurements out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from afrad_bench.images import resized_mask
from afrad_bench.measures._predicting import predictions
from afrad_bench.metrics import PixelCurves, PixelMetrics, PixelScores, Undefined, auroc, average_precision, f1_max
from afrad_bench.types import MEAN, Curve, Measurement, Prediction, Sample, Score, Subject

if TYPE_CHECKING:
    from afrad_bench.measures.accuracy import Config
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


def evaluate(subject: Subject, config: Config) -> Iterator[Measurement | Score | Curve]:
    """See `accuracy.measure`. Only the maps of one category are held at a time."""
    samples, done = subject.dataset.test, 0
    scores = np.full(len(samples), np.nan)
    labels = np.array([sample.gt_label for sample in samples], dtype=bool)
    found: list[Measurement] = []
    for category in subject.dataset.categories:
        mine = [i for i, sample in enumerate(samples) if sample.category == category]
        pixels = _Pixels(category, [samples[i] for i in mine], subject, config)
        for prediction, batch in predictions(subject, mine, config.batch_size):
            scores[batch] = prediction.pred_score
            pixels.add(prediction, [samples[i] for i in batch])
            done += len(batch)
            subject.watch(done, len(samples), "scoring test images")
        yield from (
            Score(category, samples[i].id, samples[i].gt_label, float(scores[i]), samples[i].defect) for i in mine
        )
        of_category = [
            *(_measured(name, category, metric, scores[mine], labels[mine]) for name, metric in IMAGE_METRICS.items()),
            *pixels.measurements(),
        ]
        yield from of_category
        yield from pixels.curves()
        found += of_category
    for name in (*IMAGE_METRICS, *PIXEL_METRICS):
        yield _mean(name, [one for one in found if one.metric == name])
    for name, metric in POOLED_METRICS.items():
        yield _measured(name, None, metric, scores, labels)


def _measured(
    name: str,
    category: str | None,
    metric: Callable[[FloatArray, BoolArray], float],
    scores: FloatArray,
    labels: BoolArray,
) -> Measurement:
    try:
        return Measurement(name, metric(scores, labels), "fraction", category)
    except Undefined as undefined:
        return Measurement(name, None, "fraction", category, undefined.reason)


def _mean(name: str, of_categories: Sequence[Measurement]) -> Measurement:
    """The unweighted mean over the categories that have a value; its note names the others, and why they have none."""
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
    """Their notes, each with the categories that it is about unless it is about all of them."""
    names: dict[str, list[str]] = {}
    for one in of_categories:
        if one.note:
            names.setdefault(one.note, []).append(str(one.category))
    return "; ".join(
        note if len(about) == categories else f"{note} ({', '.join(about)})" for note, about in names.items()
    )


# -------------------------------------------------------------------------------------------------------------- pixels


class _Pixels:
    """The pixel metrics of one category, gathered batch by batch, or the reason why they are undefined."""

    def __init__(self, category: str, samples: Sequence[Sample], subject: Subject, config: Config) -> None:
        height, width = subject.test.size
        self._category, self._config, self._threads, self._side = category, config, subject.threads, height
        self._pixels = len(samples) * height * width
        self._undefined = _missing_masks(samples)
        self._scores: PixelScores | None = None
        self._lost = 0
        self._notes: list[str] = []
        self._curves: PixelCurves | None = None

    def add(self, prediction: Prediction, samples: Sequence[Sample]) -> None:
        """Take in the maps of a batch, with the masks of its samples; nothing is kept that cannot be used."""
        if prediction.anomaly_map is None:
            self._undefined = self._undefined or "the method gives no anomaly map"
        if self._undefined or prediction.anomaly_map is None:
            return
        if self._scores is None:
            self._scores = self._room()
        masks = np.stack([resized_mask(sample, self._side) for sample in samples])
        self._lost += sum(sample.gt_label and not mask.any() for sample, mask in zip(samples, masks, strict=True))
        self._scores.add(prediction.anomaly_map, masks)

    def _room(self) -> PixelScores:
        gib = self._pixels * np.dtype(np.float32).itemsize / 2**30
        scratch = Path(tempfile.gettempdir()) if gib > self._config.memory_gib else None
        if scratch:
            self._notes.append(f"pixel scores kept in a temporary file ({gib:.1f} GiB)")
        return PixelScores(self._pixels, self._config.connectivity, scratch=scratch)

    def measurements(self) -> Iterator[Measurement]:
        metrics: PixelMetrics | None = None
        if self._scores is not None and not self._undefined:
            try:
                metrics, self._curves = self._scores.metrics_and_curves(self._config.fpr_limit, self._threads)
            except Undefined as undefined:
                self._undefined = undefined.reason
        if self._lost:
            are = "image has" if self._lost == 1 else "images have"
            self._notes.append(f"{self._lost} anomalous {are} no marked pixel at {self._side}x{self._side}")
        for name, value in PIXEL_METRICS.items():
            notes = [*self._notes, *(self._variant() if name == "pixel_aupro" else ())]
            if metrics is None:
                notes.insert(0, self._undefined)
            yield Measurement(
                name, None if metrics is None else value(metrics), "fraction", self._category, "; ".join(notes)
            )

    def curves(self) -> Iterator[Curve]:
        """The curves behind P-AUROC and P-AUPRO, once `measurements` is through; none if these are undefined."""
        if self._curves is not None:
            roc, pro = self._curves.roc, self._curves.pro
            yield Curve("pixel_roc", self._category, tuple(roc.x.tolist()), tuple(roc.y.tolist()))
            yield Curve("pro", self._category, tuple(pro.x.tolist()), tuple(pro.y.tolist()))

    def _variant(self) -> Iterator[str]:
        """What sets this AUPRO apart from the usual one."""
        fields = type(self._config).model_fields
        if self._config.fpr_limit != fields["fpr_limit"].default:
            yield f"up to FPR {self._config.fpr_limit:g}"
        if self._config.connectivity != fields["connectivity"].default:
            yield f"{self._config.connectivity}-connected regions"


def _missing_masks(samples: Sequence[Sample]) -> str:
    """Why the truth per pixel of these samples is not known, or nothing."""
    anomalous = [sample for sample in samples if sample.gt_label]
    without = sum(sample.mask is None for sample in anomalous)
    if without and without == len(anomalous):
        return "no masks"
    return f"{without} of {len(anomalous)} anomalous images have no mask" if without else ""
