"""Operating points: thresholds against brute force, what too few images cannot decide, and the normalised score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afrad_bench.instruments.metrics import Undefined, f1_max
from afrad_bench.instruments.operating import (
    at_best_f1,
    at_false_alarms,
    is_anomalous,
    normalised,
    operating_point,
)

SCORES = st.lists(st.integers(0, 12), min_size=4, max_size=30)


def test_a_new_normal_image_raises_a_false_alarm_as_rarely_as_promised() -> None:
    """The promise of split conformal prediction, over many draws of 39 images and a new one."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(4000, 40))
    alarms = [float(row[39]) > at_false_alarms(row[:39], 0.1) for row in drawn]
    assert 0.08 < np.mean(alarms) <= 0.11


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.5, 1)])
def test_a_rate_needs_enough_images(rate: float, needed: int) -> None:
    at_false_alarms(np.arange(needed, dtype=float), rate)
    if needed > 1:
        with pytest.raises(Undefined, match=f"needs {needed} normal images, there are {needed - 1}"):
            at_false_alarms(np.arange(needed - 1, dtype=float), rate)


@given(SCORES, st.data())
def test_the_threshold_of_the_best_f1_has_that_f1(values: list[int], data: st.DataObject) -> None:
    scores = np.array(values, dtype=float)
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    if not labels.any() or labels.all():
        return
    flagged = scores > at_best_f1(scores, labels)
    hits = (flagged & labels).sum()
    assert 2 * hits / (flagged.sum() + labels.sum()) == pytest.approx(f1_max(scores, labels))


def test_the_normalised_score_ascends_and_is_half_at_the_threshold() -> None:
    scores = np.linspace(1, 3, 50, dtype=np.float32)
    point = operating_point(scores, np.zeros(50, bool), 0.1, "held_out", "good")
    every = np.concatenate([np.linspace(-100, 100, 999), [point.threshold]]).astype(np.float32)
    shown = normalised(every, point)
    order = np.argsort(every)
    assert (np.diff(shown[order]) >= 0).all()
    assert shown[-1] == 0.5
    assert ((shown > 0.5) == is_anomalous(every, point)).all()
    assert 0 < shown.min() < shown.max() < 1


def test_what_decided_is_named_and_marked() -> None:
    scores, labels = np.arange(30.0), np.arange(30) >= 20
    held = operating_point(scores, labels, 0.1, "held_out", "good")
    assert str(held) == "at most 10 % false alarms, decided on 20 normal images of good (held out)"
    assert held.caution == ""
    best = operating_point(scores, labels, None, "test", "mvtec_ad")
    assert "best F1, decided on 20 normal and 10 anomalous images of mvtec_ad (test labels)" in str(best)
    assert "optimistic" in best.caution
    assert best.threshold == 19.5
    assert "more false alarms" in operating_point(scores, labels, 0.1, "train", "x").caution


def test_equal_scores_decide_nothing() -> None:
    with pytest.raises(Undefined, match="two normal images with different scores"):
        operating_point(np.ones(30), np.zeros(30, bool), 0.1, "train", "x")
