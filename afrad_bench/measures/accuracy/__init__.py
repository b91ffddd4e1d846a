"""Accuracy on the test images: exact image and pixel metrics, per category, their mean, and pooled.

Definitions, conventions and undefined cases: docs/metrics.md. By default the image score is the method's own, and pixel
metrics are computed at the input size, with masks resized by nearest neighbour. They cover all test images of a
category, including good ones. An undefined value is None, with the reason in its note. A note also names the convention
if it is not the default."""

from __future__ import annotations

from collections.abc import Iterator

from afrad_bench.measures.accuracy.config import Config
from afrad_bench.measures.accuracy.definitions import METRICS
from afrad_bench.types import Curve, Measurement, Score, Subject

__all__ = ["METRICS", "TERMS", "VERSION", "Config", "measure"]

VERSION = "1"
TERMS: tuple[str, ...] = ()


def measure(subject: Subject, config: Config) -> Iterator[Measurement | Score | Curve]:
    """Predict every test image once; yields its score, then the measurements and curves of each category, the means,
    and the pooled ones.

    Raises `ValueError`, naming the images, for predictions that have a wrong shape or are not finite."""
    from afrad_bench.measures.accuracy.evaluate import evaluate

    yield from evaluate(subject, config)
