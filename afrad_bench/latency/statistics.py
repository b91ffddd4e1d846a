"""Statistics of interleaved rounds: throughput, and ratios with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ratio of the time to the reference time, with an interval."""

    value: float
    low: float
    high: float


def paired_ratio(times: Sequence[float], reference: Sequence[float], seed: int = 0) -> Ratio:
    """Median over the rounds of the ratio within a round, and its 95 % interval: the percentiles of that median over
    2,000 resamples of the rounds (Efron's percentile bootstrap, rounds drawn with replacement).

    `times` and `reference` belong to the same rounds, in order; a `ValueError` otherwise. Both times of a pair
    share the drift, so it cancels. The ratio of a method to itself is exactly 1."""
    import numpy as np

    if len(times) != len(reference) or not len(times):
        raise ValueError(f"{len(times)} and {len(reference)} times do not form rounds")
    ratios = np.asarray(times) / np.asarray(reference)
    drawn = np.random.default_rng(seed).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Ratio(float(np.median(ratios)), float(low), float(high))


def images_per_second(batch: int, median_ms: float) -> float:
    """Throughput of calls one after another."""
    return 1e3 * batch / median_ms
