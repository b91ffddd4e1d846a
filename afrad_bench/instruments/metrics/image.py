"""Metrics of image scores, exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from afrad_bench.instruments.metrics.sweep import Sorted, counts_of, sweep
from afrad_bench.instruments.metrics.values import PixelMetrics, Undefined

if TYPE_CHECKING:
    import numpy.typing as npt

    from afrad_bench.types import BoolArray, FloatArray

    IntArray = npt.NDArray[np.signedinteger[Any]]


def auroc(scores: FloatArray, labels: BoolArray) -> float:
    """Probability that a random anomalous image scores above a random normal one, ties counted half; in [0, 1].

    `scores` (N,), `labels` (N,) bool, True for anomalous. Raises `Undefined` unless both kinds are there.
    >>> auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    return _image_level(scores, labels).auroc


def average_precision(scores: FloatArray, labels: BoolArray) -> float:
    """Sum over the distinct scores of (recall gained) x (precision there), without interpolation; in (0, 1].

    >>> round(average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])), 4)
    0.8333
    """
    return _image_level(scores, labels).ap


def f1_max(scores: FloatArray, labels: BoolArray) -> float:
    """Largest F1 = 2 TP / (2 TP + FP + FN) over all thresholds; in (0, 1].

    The threshold is chosen on the test labels, as in the literature: an upper bound, not an operating point.
    >>> f1_max(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.8
    """
    return _image_level(scores, labels).f1_max


def _image_level(scores: FloatArray, labels: BoolArray) -> PixelMetrics:
    """All images as one region: its PRO is the recall, and the area under it up to FPR 1 is the AUROC again."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or labels.shape != scores.shape or labels.dtype != np.bool_:
        raise ValueError(
            f"expected scores (N,) and bool labels (N,), got {scores.shape} and {labels.dtype} {labels.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(scores))} of {scores.size} image scores are not finite")
    if not labels.any():
        raise Undefined("no anomalous image")
    if labels.all():
        raise Undefined("no normal image")
    positives = np.sort(scores[labels])
    negatives = Sorted.of(np.sort(scores[~labels]))
    counts = counts_of(positives, [negatives], map)
    return sweep(positives, np.zeros(len(positives), np.int32), counts, len(negatives.values), 1.0, map)
