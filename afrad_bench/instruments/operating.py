"""Operating points: a threshold from scores of images, the normalised score, and the decision."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from afrad_bench.instruments.metrics.values import Undefined
from afrad_bench.types import OperatingPoint

if TYPE_CHECKING:
    from afrad_bench.types import BoolArray, FloatArray, Split


def operating_point(
    scores: FloatArray, labels: BoolArray, rate: float | None, split: Split, data: str
) -> OperatingPoint:
    """The point for a rate of false alarms (of which the normal images decide), or for the best F1 if `rate` is None.

    `scores` (N,), `labels` (N,) bool, True for anomalous. Raises `Undefined` if these images cannot decide it."""
    scores = np.asarray(scores, np.float32)
    normal = scores[~labels]
    if len(normal) < 2 or (scale := float(normal.std(dtype=np.float64))) <= 0:
        raise Undefined("no threshold: it needs two normal images with different scores")
    threshold = at_best_f1(scores, labels) if rate is None else at_false_alarms(normal, rate)
    return OperatingPoint(
        threshold=threshold,
        scale=scale,
        rule="best_f1" if rate is None else "false_alarms",
        rate=rate,
        split=split,
        data=data,
        normal=len(normal),
        anomalous=int(labels.sum()),
    )


def at_false_alarms(normal: FloatArray, rate: float) -> float:
    """Threshold that a new normal image exceeds with a probability of at most `rate`, if it is drawn like these (N,).

    The ceil((N + 1) (1 - rate))-th smallest score, as in split conformal prediction (Vovk et al. 2005); halfway to the
    next one, so that rounding changes no decision. Raises `Undefined` if N is below 1 / rate - 1.
    >>> at_false_alarms(np.array([1.0, 2.0, 3.0, 4.0]), 0.4)
    3.5
    """
    ascending = np.sort(np.asarray(normal, np.float64))
    rank = ceil(round((len(ascending) + 1) * (1 - rate), 9))
    if rank > len(ascending):
        needed = ceil(round(1 / rate, 9)) - 1
        raise Undefined(f"a false-alarm rate of {rate:g} needs {needed} normal images, there are {len(normal)}")
    above = ascending[ascending > ascending[rank - 1]]
    return float(np.float32((ascending[rank - 1] + (above[0] if len(above) else ascending[rank - 1])) / 2))


def at_best_f1(scores: FloatArray, labels: BoolArray) -> float:
    """The threshold of the largest F1, halfway between two scores; of equal ones the highest.

    Raises `Undefined` without an anomalous image.
    >>> at_best_f1(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True]))
    2.5
    """
    if not labels.any():
        raise Undefined("no threshold of the best F1: there is no anomalous image")
    levels, first = np.unique(-np.asarray(scores, np.float64), return_inverse=True)
    flagged = np.cumsum(np.bincount(first))
    hits = np.cumsum(np.bincount(first, weights=labels.astype(np.float64)))
    best = int(np.argmax(2 * hits / (flagged + labels.sum())))
    lowest = -levels[best]
    if best + 1 < len(levels):
        return float(np.float32((lowest - levels[best + 1]) / 2))
    return float(np.nextafter(np.float32(lowest), np.float32(-np.inf)))


def is_anomalous(scores: FloatArray, point: OperatingPoint) -> BoolArray:
    """(N,) bool: whether each score is above the threshold, compared as float32 like in an exported file."""
    return np.asarray(scores, np.float32) > np.float32(point.threshold)


def normalised(scores: FloatArray, point: OperatingPoint) -> FloatArray:
    """(N,) float32 in [0, 1], ascending in the score, 0.5 at the threshold."""
    z = (np.asarray(scores, np.float32) - np.float32(point.threshold)) / np.float32(point.scale)
    return 0.5 + 0.5 * z / (1 + np.abs(z))
