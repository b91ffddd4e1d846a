"""Noise of image metrics: bootstrap draws against the metrics themselves, DeLong against the paper's formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afrad_bench.instruments import metrics as exact
from afrad_bench.statistics.resampling import delong, draws, image_metrics


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=30), st.integers(0, 99))
def test_metrics_of_a_draw_are_those_of_its_images(images: list[tuple[int, bool]], seed: int) -> None:
    scores, labels = np.array([s for s, _ in images], dtype=float), np.array([label for _, label in images])
    if labels.all() or not labels.any():
        return
    counts = draws(labels, 3, np.random.default_rng(seed))
    assert (counts[:, labels].sum(axis=1) == labels.sum()).all()
    found = image_metrics(scores, labels, counts)
    for i, row in enumerate(counts):
        drawn = np.repeat(scores, row), np.repeat(labels, row)
        assert found["image_auroc"][i] == pytest.approx(exact.auroc(*drawn))
        assert found["image_ap"][i] == pytest.approx(exact.average_precision(*drawn))
        assert found["image_f1_max"][i] == pytest.approx(exact.f1_max(*drawn))


def literal_delong(base: np.ndarray, new: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """By the paper's definition: the kernel over all pairs, covariances of the structural components."""
    aurocs, tens, ones = [], [], []
    for scores in (base, new):
        kernel = np.array([[(p > n) + 0.5 * (p == n) for n in scores[~labels]] for p in scores[labels]], dtype=float)
        aurocs.append(kernel.mean())
        tens.append(kernel.mean(axis=1))
        ones.append(kernel.mean(axis=0))
    covariance = np.cov(tens) / labels.sum() + np.cov(ones) / (~labels).sum()
    contrast = np.array([-1.0, 1.0])
    return aurocs[1] - aurocs[0], float(contrast @ covariance @ contrast)


def test_delong_is_that_of_the_paper_and_near_the_bootstrap() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(80) % 2 == 0
    base = np.round(rng.normal(size=80) + labels, 1)
    new = np.round(base + 0.5 * rng.normal(size=80), 1)
    found = delong(base[None], new[None], labels)
    assert (found.difference, found.variance) == pytest.approx(literal_delong(base, new, labels))
    counts = draws(labels, 4000, rng)
    drawn = image_metrics(new, labels, counts)["image_auroc"] - image_metrics(base, labels, counts)["image_auroc"]
    assert drawn.std() == pytest.approx(found.variance**0.5, rel=0.1)
