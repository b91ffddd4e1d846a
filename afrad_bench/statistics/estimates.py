"""Statistics of a difference between two measurements: confidence intervals and p values. No arrays, no data frames.

Estimates from arrays (image scores, timed calls) are in `resampling`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev, variance
from typing import Protocol, TypeVar

CONFIDENCE = 0.95
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Difference:
    """Row minus reference over the seeds that both have, in the displayed unit of the metric."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    """Ends of the confidence interval of the mean; None if it cannot be computed from these seeds."""
    p: float | None = None
    """Two-sided p value of a paired t test."""
    seeds: int = 0
    why: str = ""
    """Reason if there is no difference or no interval."""
    spread: float | None = None
    """Standard deviation of the differences over seeds (ddof = 1); None for one seed."""


def paired(row: Mapping[K, float], reference: Mapping[K, float]) -> Difference:
    """The mean difference over common seeds (or other keys). An interval needs two seeds with different differences.

    >>> found = paired({0: 3.0, 1: 5.0, 2: 4.0}, {0: 2.0, 1: 3.0, 2: 1.0})
    >>> found.mean, round(found.low, 2), round(found.high, 2), round(found.p, 3)
    (2.0, -0.48, 4.48, 0.074)
    """
    changes = [row[seed] - reference[seed] for seed in row if seed in reference]
    if not changes:
        return Difference(why="no seed was measured for both")
    mean = fmean(changes)
    if len(changes) == 1:
        return Difference(mean, seeds=1, why="one seed: no interval")
    spread = stdev(changes)
    error = spread / sqrt(len(changes))
    if error < 1e-12:
        return Difference(mean, seeds=len(changes), why="the same for every seed: no interval", spread=0.0)
    found = Student(mean, error, len(changes) - 1)
    return Difference(mean, *found.interval(CONFIDENCE), found.p, len(changes), spread=spread)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (Holm 1979, Scandinavian Journal of Statistics 6:65-70), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(values)
    largest = 0.0
    for place, i in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - place) * values[i]))
        adjusted[i] = largest
    return adjusted


class Estimate(Protocol):
    """A change and its noise."""

    @property
    def value(self) -> float: ...

    def interval(self, confidence: float) -> tuple[float, float]:
        """Ends of the two-sided confidence interval; the error probability of each end is (1 - confidence) / 2."""

    @property
    def p_below(self) -> float:
        """One-sided p value: probability of a value this low if the true one is not below 0."""

    @property
    def p_above(self) -> float:
        """One-sided p value: probability of a value this high if the true one is not above 0."""


@dataclass(frozen=True, slots=True)
class Student:
    """A change whose noise follows Student's t: normal if `freedom` is infinite, no noise if `error` is 0."""

    value: float
    error: float
    """Standard error."""
    freedom: float = inf
    """Degrees of freedom."""

    def interval(self, confidence: float) -> tuple[float, float]:
        from scipy import stats

        if self.error == 0:
            return self.value, self.value
        half = float(stats.t.ppf((1 + confidence) / 2, self.freedom)) * self.error
        return self.value - half, self.value + half

    @property
    def p_below(self) -> float:
        return self._tail(-self.value)

    @property
    def p_above(self) -> float:
        return self._tail(self.value)

    @property
    def p(self) -> float:
        """Two-sided p value."""
        return min(1.0, 2 * self._tail(abs(self.value)))

    def _tail(self, value: float) -> float:
        from scipy import stats

        if self.error == 0:
            return 0.0 if value > 0 else 1.0
        return float(stats.t.sf(value / self.error, self.freedom))


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """A change whose noise is given by its values on resampled data (percentile bootstrap; Efron 1979)."""

    value: float
    draws: tuple[float, ...]
    """Values on resampled data, ascending."""

    def interval(self, confidence: float) -> tuple[float, float]:
        """Percentile interval: on each side, (1 - confidence) / 2 of the draws, rounded down, lie outside."""
        cut = int(len(self.draws) * (1 - confidence) / 2)
        return self.draws[cut], self.draws[len(self.draws) - 1 - cut]

    @property
    def p_below(self) -> float:
        beyond = len(self.draws) - bisect_left(self.draws, 0.0)
        return (beyond + 1) / (len(self.draws) + 1)

    @property
    def p_above(self) -> float:
        return (bisect_right(self.draws, 0.0) + 1) / (len(self.draws) + 1)


def over_seeds(changes: Sequence[float]) -> Student:
    """The mean change over two or more seeds: a paired t test."""
    return Student(fmean(changes), sqrt(variance(changes) / len(changes)), len(changes) - 1)


def over_seeds_and_images(changes: Sequence[float], images: float, each: float) -> Student:
    """The mean change over seeds that were all measured on the same images; seeds and images both vary.

    `images`: variance of the mean change over draws of the images, one draw for all seeds; `each`: the same with a
    separate draw for each seed. With two-way clustering the variance is that of the seeds plus `images` minus `each`,
    which is counted twice (Cameron, Gelbach and Miller 2011, JBES 29:238-249); here it is at least that of the seeds
    alone and at least `images`. Degrees of freedom are Satterthwaite's, infinite for the images. With one seed, the
    variance over seeds is unknown and the noise is that of the images."""
    mean = fmean(changes)
    if len(changes) == 1:
        return Student(mean, sqrt(images))
    seeds = variance(changes) / len(changes)
    total = max(seeds + images - each, seeds, images)
    freedom = (len(changes) - 1) * (total / seeds) ** 2 if seeds > 0 else inf
    return Student(mean, sqrt(total), freedom)
