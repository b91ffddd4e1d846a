"""Accuracy on the test images: image and pixel metrics, exact, per category, their mean, and pooled.

Definitions, conventions and undefined cases: docs/metrics.md. Unless the configuration says otherwise, the score of an
image is the one that the method gives, and pixel metrics are taken at the size of the input, masks brought there by
nearest neighbour. They are over all test images of a category, good ones included. A value that is undefined is None,
with the reason in its note, and a note names the convention where it is not the usual one."""

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

    Raises `ValueError`, naming the images, for predictions of a wrong shape or that are not finite."""
    from afrad_bench.measures.accuracy.evaluate import evaluate

    yield from evaluate(subject, config)
