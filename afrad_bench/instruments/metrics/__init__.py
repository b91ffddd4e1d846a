"""Image and pixel metrics: arrays in, floats out, exact, float64 on the CPU. Definitions: docs/metrics.md, version 1.

ROC, precision-recall and PRO curves change direction only at the scores of the positives (anomalous images, defective
pixels), which are few. Between two of these scores a ROC or PRO curve is level, and it is straight where positives and
negatives have the same score. So no list of thresholds is needed: the negatives are sorted, and counted at each
distinct score of the positives. The result is exact, ties included; most of the time goes into the sort.

A higher score is more anomalous. Scores are compared in the precision that they have; nothing is scaled or rounded.
An undefined metric raises `Undefined`, a score that is not finite `ValueError`."""

from __future__ import annotations

from afrad_bench.instruments.metrics.image import auroc, average_precision, f1_max
from afrad_bench.instruments.metrics.pixel import Connectivity, PixelScores, pixel_metrics
from afrad_bench.instruments.metrics.values import Above, Line, PixelCurves, PixelMetrics, Undefined

__all__ = [
    "Above",
    "Connectivity",
    "Line",
    "PixelCurves",
    "PixelMetrics",
    "PixelScores",
    "Undefined",
    "auroc",
    "average_precision",
    "f1_max",
    "pixel_metrics",
]
