"""The operating point of a fitted method, by the options of a measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from afrad_bench.instruments.operating import operating_point
from afrad_bench.measures._subject.decided_by import DecidedBy
from afrad_bench.types import OperatingPoint, Subject

if TYPE_CHECKING:
    from afrad_bench.types import BoolArray, FloatArray

BATCH = 16
"""Images per call of `predict`."""


def test_scores(subject: Subject) -> FloatArray:
    """(N,): the method's own score of every test image, in the order of `dataset.test`."""
    return _scores(subject, "test")


def point_of(subject: Subject, config: DecidedBy, test: FloatArray) -> OperatingPoint:
    """The operating point; `test`: see `test_scores`. Raises `Undefined` if the images cannot decide it."""
    if config.decided_on == "test":
        scores, labels = test, labels_of(subject)
    else:
        scores = _scores(subject, "train")
        labels = np.zeros(len(scores), dtype=bool)
    rate = config.rate if config.rule == "false_alarms" else None
    return operating_point(scores, labels, rate, config.decided_on, subject.dataset.name)


def labels_of(subject: Subject) -> BoolArray:
    """(N,): whether each test image is anomalous."""
    return np.array([sample.gt_label for sample in subject.dataset.test], dtype=bool)


def _scores(subject: Subject, which: str) -> FloatArray:
    images = subject.test if which == "test" else subject.train
    found: list[FloatArray] = []
    for batch in images.batches(BATCH):
        found.append(np.asarray(subject.method.predict(batch).pred_score))
        subject.watch(sum(map(len, found)), len(images), f"scoring {which} images")
    return np.concatenate(found)
