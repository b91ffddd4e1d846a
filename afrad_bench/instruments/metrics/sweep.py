"""All metrics from one pass over the scores of the positives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from afrad_bench.instruments.metrics.values import PixelMetrics

if TYPE_CHECKING:
    import numpy.typing as npt

    from afrad_bench.types import FloatArray

    IntArray = npt.NDArray[np.signedinteger[Any]]

_STEP = 128  # values between two samples of a sorted array; a power of two
BLOCK = 1 << 15  # thresholds treated at a time: their arrays fit a core's cache
_NARROW = 1 << 29  # pixels up to which sums of their numbers fit 32 bits


@dataclass(frozen=True, slots=True, eq=False)
class Sorted:
    """Ascending values, and the last of every `_STEP` of them, which bring a search close within the cache."""

    values: FloatArray
    samples: FloatArray

    @classmethod
    def of(cls, ascending: FloatArray) -> Sorted:
        return cls(ascending, ascending[_STEP - 1 :: _STEP].copy())

    @classmethod
    def in_place(cls, values: FloatArray) -> Sorted:
        values.sort()
        return cls.of(values)

    def counts(self, thresholds: FloatArray) -> tuple[IntArray, IntArray]:
        """How many values lie below, and how many at or below, each of the ascending thresholds."""
        up_to = self._count(thresholds, "right", np.less_equal)
        below = up_to.copy()
        tied = np.flatnonzero(self.values.take(up_to - 1, mode="clip") == thresholds)
        below[tied] -= 1
        tied = tied[self.values.take(below[tied] - 1, mode="clip") == thresholds[tied]]
        below[tied] = self._count(thresholds[tied], "left", np.less)  # more than one value equals these
        return below, up_to

    def _count(self, thresholds: FloatArray, side: Literal["left", "right"], counts: np.ufunc) -> IntArray:
        """`values.searchsorted(thresholds, side)` in less time: a binary search without branches within the `_STEP`
        values that the samples leave. Past the end, the last value stands in and the count is cut to size."""
        at: IntArray = self.samples.searchsorted(thresholds, side) * _STEP
        half = _STEP // 2
        while half:
            at += counts(self.values.take(at + (half - 1), mode="clip"), thresholds) * np.int64(half)
            half //= 2
        return np.minimum(at, len(self.values), out=at)


def sweep(
    positives: FloatArray,
    region: npt.NDArray[np.int32],
    counts: IntArray,
    negatives: int,
    fpr_limit: float,
    spread: Any,
) -> PixelMetrics:
    """Each positive adds to each metric what its own count of negatives says, so that nothing needs to be accumulated.

    `region` (P,) numbers the region of each of the ascending `positives` from 0; `counts` (2, P) come from `counts_of`.
    To 1 - AUPRO, a positive adds the false positive rate at which it is found, cut at the limit."""
    below, up_to = counts
    total, limit = len(positives), fpr_limit * negatives
    found_at = np.empty(total)

    def sums(block: slice) -> tuple[int, float, float]:
        reached = negatives - below[block]
        pairs = below[block] + up_to[block]
        np.minimum(negatives - pairs / 2, limit, out=found_at[block])
        hits = total - _first_of_ties(positives[block], block.start)
        reached += hits
        return int(pairs.sum()), float((hits / reached).sum()), float((hits / (reached + total)).max())

    pairs, precisions, halves = zip(*spread(sums, _blocks(positives)), strict=True)
    # Only a tie that the limit cuts is found in part: along a straight line, from its first negative to its last.
    cut = slice(up_to.searchsorted(negatives - limit, "right"), below.searchsorted(negatives - limit, "left"))
    if cut.start < cut.stop:
        first, last = negatives - up_to[cut.start], negatives - below[cut.start]
        found_at[cut] = limit - (limit - first) ** 2 / 2 / (last - first)
    found_at /= limit
    missed = np.bincount(region, found_at) / np.bincount(region)
    return PixelMetrics(
        auroc=sum(pairs) / (2 * total * negatives),
        ap=sum(precisions) / total,
        f1_max=2 * max(halves),
        aupro=max(1.0 - float(missed.mean()), 0.0),
    )


def _first_of_ties(ascending: FloatArray, start: int) -> IntArray:
    """For each value the position of the first one that equals it, where the positions begin with `start`."""
    position = np.arange(start, start + len(ascending))
    repeated = np.flatnonzero(ascending[1:] == ascending[:-1]) + 1
    if len(repeated):
        position[repeated] = start
        np.maximum.accumulate(position, out=position)
    return position


def counts_of(positives: FloatArray, background: Sequence[Sorted], spread: Any) -> IntArray:
    """(2, P): how many of the background's scores lie below, and how many at or below, each of the positives.

    `background` holds them in any number of parts; `spread` is `map` or that of an executor."""
    pixels = len(positives) + sum(len(part.values) for part in background)
    counts = np.zeros((2, len(positives)), np.int32 if pixels < _NARROW else np.int64)

    def fill(start: int) -> None:
        block = slice(start, start + BLOCK)
        for part in background:
            below, up_to = part.counts(positives[block])
            counts[0, block] += below
            counts[1, block] += up_to

    for _ in spread(fill, range(0, len(positives), BLOCK)):
        pass
    return counts


def shares(region: npt.NDArray[np.int32]) -> FloatArray:
    """What one pixel of each region adds to the PRO: every region counts the same, and all together 1."""
    areas = np.bincount(region)
    return np.asarray(1.0 / (areas * len(areas)))


def _blocks(ascending: FloatArray) -> Iterator[slice]:
    """Slices of about `BLOCK` values from the highest down, none of which cuts a run of equal values."""
    stop = len(ascending)
    while stop:
        start = int(ascending.searchsorted(ascending[max(stop - BLOCK, 0)]))
        yield slice(start, stop)
        stop = start
