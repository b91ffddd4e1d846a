"""The operating point of a fitted method, by the options of a measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from afrad_bench.hashing import seed_for
from afrad_bench.instruments.metrics import Undefined
from afrad_bench.instruments.operating import operating_point
from afrad_bench.measures._subject.decided_by import DecidedBy
from afrad_bench.types import OperatingPoint, Split, Subject

if TYPE_CHECKING:
    from afrad_bench.types import BoolArray, FloatArray

BATCH = 16
"""Images per call of `predict`."""


def test_scores(subject: Subject) -> FloatArray:
    """(N,): the method's own score of every test image, in the order of `dataset.test`."""
    return _scores(subject, "test")


def point_of(subject: Subject, config: DecidedBy, test: FloatArray) -> OperatingPoint:
    """The operating point; `test`: see `test_scores`. Raises `Undefined` if the images cannot decide it."""
    data = subject.dataset.name
    if config.decided_on == "test":
        scores, labels = test, labels_of(subject)
    elif config.decided_on == "test_share":
        deciding = deciding_images(subject, config)
        scores, labels = test[deciding], labels_of(subject)[deciding]
        data = f"{data}, {config.share:.0%} of its test images (seed {config.seed})"
    else:
        if config.decided_on == "held_out" and subject.held_out is None:
            raise Undefined("no threshold: the data set holds nothing out (`hold_out: {share: 0.2}` beside its name)")
        scores = _scores(subject, config.decided_on)
        labels = np.zeros(len(scores), dtype=bool)
    rate = config.rate if config.rule == "false_alarms" else None
    split: Split = "held_out" if config.decided_on == "test_share" else config.decided_on
    return operating_point(scores, labels, rate, split, data)


def deciding_images(subject: Subject, config: DecidedBy) -> BoolArray:
    """(N,): which test images decide by `decided_on: test_share`, so that the others judge; none for another split.

    The share is drawn from each category and label. At least one image of each judges, and one decides where there are
    two. An image's place in the draw depends on its id alone, so that the draw of others does not change it."""
    test = subject.dataset.test
    groups: dict[tuple[str, bool], list[int]] = {}
    for at, sample in enumerate(test):
        groups.setdefault((sample.category, bool(sample.gt_label)), []).append(at)
    found = np.zeros(len(test), dtype=bool)
    if config.decided_on != "test_share":
        return found
    for mine in groups.values():
        drawn = sorted(mine, key=lambda at: seed_for(config.seed, "operating point", test[at].id))
        found[drawn[: min(max(1, round(config.share * len(mine))), len(mine) - 1)]] = True
    return found


def labels_of(subject: Subject) -> BoolArray:
    """(N,): whether each test image is anomalous."""
    return np.array([sample.gt_label for sample in subject.dataset.test], dtype=bool)


def _scores(subject: Subject, which: Split) -> FloatArray:
    images = {"test": subject.test, "train": subject.train, "held_out": subject.held_out}[which]
    assert images is not None
    found: list[FloatArray] = []
    for batch in images.batches(BATCH):
        found.append(np.asarray(subject.method.predict(batch).pred_score))
        subject.watch(sum(map(len, found)), len(images), f"scoring {which.replace('_', '-')} images")
    return np.concatenate(found)
