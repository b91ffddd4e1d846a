"""Image and pixel metrics: arrays in, floats out, exact, float64 on the CPU. Definitions: docs/metrics.md, version 1.

Every curve here (ROC, precision-recall, PRO) changes its course only at the scores of the positives, which are few: a
ROC or PRO curve runs level between two of them, and straight where positives and negatives share a score. So no list of
thresholds is needed, neither chosen nor complete: the negatives are sorted, and counted at each distinct score of the
positives. That is exact, ties included, and the sort is most of the work.

A higher score is more anomalous. Scores are compared in the precision they come in; nothing is scaled or rounded.
An undefined metric raises `Undefined`, a score that is not finite `ValueError`."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from afrad_bench.instruments.polyline import cut, thinned

if TYPE_CHECKING:
    import numpy.typing as npt

    from afrad_bench.types import BoolArray, FloatArray

    IntArray = npt.NDArray[np.signedinteger[Any]]

Connectivity = Literal[4, 8]

_STEP = 128  # values between two samples of a sorted array; a power of two
_BLOCK = 1 << 15  # thresholds treated at a time: their arrays fit a core's cache
_NARROW = 1 << 29  # pixels up to which sums of their numbers fit 32 bits
_THREADS = 4  # more would add searches faster than they take sorting away
_WORTH_A_THREAD = 1 << 19  # pixels


class Undefined(Exception):
    """The metric has no value on these data; `reason` says why, e.g. "no normal image"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# --------------------------------------------------------------------------------------------------------- image level


def auroc(scores: FloatArray, labels: BoolArray) -> float:
    """Probability that a random anomalous image scores above a random normal one, ties counted half; in [0, 1].

    `scores` (N,), `labels` (N,) bool, True for anomalous. Raises `Undefined` unless both kinds are there.
    >>> auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    return _image_level(scores, labels).auroc


def average_precision(scores: FloatArray, labels: BoolArray) -> float:
    """Sum over the distinct scores of (recall gained) x (precision there), without interpolation; in (0, 1].

    >>> round(average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])), 4)
    0.8333
    """
    return _image_level(scores, labels).ap


def f1_max(scores: FloatArray, labels: BoolArray) -> float:
    """Largest F1 = 2 TP / (2 TP + FP + FN) over all thresholds; in (0, 1].

    The threshold is chosen on the test labels, as in the literature: an upper bound, not an operating point.
    >>> f1_max(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.8
    """
    return _image_level(scores, labels).f1_max


def _image_level(scores: FloatArray, labels: BoolArray) -> PixelMetrics:
    """All images as one region: its PRO is the recall, and the area under it up to FPR 1 is the AUROC again."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or labels.shape != scores.shape or labels.dtype != np.bool_:
        raise ValueError(
            f"expected scores (N,) and bool labels (N,), got {scores.shape} and {labels.dtype} {labels.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(scores))} of {scores.size} image scores are not finite")
    if not labels.any():
        raise Undefined("no anomalous image")
    if labels.all():
        raise Undefined("no normal image")
    positives = np.sort(scores[labels])
    negatives = _Sorted.of(np.sort(scores[~labels]))
    counts = _counts(positives, [negatives], map)
    return _sweep(positives, np.zeros(len(positives), np.int32), counts, len(negatives.values), 1.0, map)


# --------------------------------------------------------------------------------------------------------- pixel level


@dataclass(frozen=True, slots=True)
class PixelMetrics:
    """The pixel metrics of one category, each in [0, 1]."""

    auroc: float
    ap: float
    f1_max: float
    aupro: float

    @property
    def iou_max(self) -> float:
        """Largest intersection over union; reached at the threshold of `f1_max`, of which it is a function."""
        return self.f1_max / (2.0 - self.f1_max)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A polyline of non-decreasing coordinates in [0, 1]."""

    x: FloatArray
    y: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PixelCurves:
    """The curves whose areas are P-AUROC and (after division by the limit) P-AUPRO, fit for drawing.

    Each goes through points of the exact curve, and the area under it differs by less than 0.001 of the exact one's
    square (for PRO: the rectangle up to the limit)."""

    roc: Line
    """False positive rate -> true positive rate, from (0, 0) to (1, 1)."""
    pro: Line
    """False positive rate -> mean overlap per region, from (0, 0) to the limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Above:
    """What lies strictly above each of T thresholds."""

    alarms: IntArray
    """(T,) background pixels."""
    hits: IntArray
    """(T,) defective pixels."""
    overlap: FloatArray
    """(T,) the part of a defective region, on average over the regions."""
    negatives: int
    """Background pixels in all."""
    positives: int
    """Defective pixels in all."""


def pixel_metrics(
    scores: FloatArray,
    masks: BoolArray,
    fpr_limit: float = 0.3,
    connectivity: Connectivity = 8,
    threads: int | None = None,
) -> PixelMetrics:
    """P-AUROC, P-AP, P-F1max, P-IoUmax and P-AUPRO of the maps of one category, exact.

    `scores` (N, H, W), `masks` (N, H, W) bool, True where defective; for maps of several sizes, or that arrive one
    after the other, see `PixelScores`. float64 scores are compared as float64, float32 and float16 as float32.
    `threads` is None for up to four of the process's cores; the result does not depend on it.
    Raises `Undefined` without a defective or without a background pixel."""
    scores = np.asarray(scores)
    held = PixelScores(scores.size, connectivity, dtype=np.result_type(scores.dtype, np.float32))
    held.add(scores, masks)
    return held.metrics(fpr_limit, threads)


class PixelScores:
    """The pixel scores of one category, gathered batch by batch.

    Memory: a score for each pixel announced, and a score and a region's number (4 bytes) for each defective pixel, so
    1 + 2 d times the raw float32 maps where a fraction d is defective. `metrics` sorts in place; for a while it needs
    0.01 + 6 d more, and a few MB: 1.25 times the raw maps in all at 2.7 %. With `scratch`, a folder, the scores lie in
    an unnamed file there instead, which goes with the object; results are the same."""

    def __init__(
        self,
        pixels: int,
        connectivity: Connectivity = 8,
        dtype: npt.DTypeLike = np.float32,
        scratch: Path | None = None,
    ) -> None:
        """`pixels` is the largest number of pixels that will be added."""
        if connectivity not in (4, 8):
            raise ValueError(f"connectivity is 4 or 8, not {connectivity}")
        self._connectivity: Connectivity = connectivity
        self._scores: FloatArray = _reserved(pixels, np.dtype(dtype), scratch)
        self._used = 0
        self._regions = 0
        self._defects: list[tuple[FloatArray, npt.NDArray[np.int32]]] = []

    def add(self, scores: FloatArray, masks: BoolArray) -> None:
        """Take in (B, H, W) maps and their bool masks; regions are labelled image by image. Copies both."""
        scores, masks = np.asarray(scores), np.asarray(masks)
        if scores.ndim != 3 or masks.shape != scores.shape or masks.dtype != np.bool_:
            raise ValueError(
                f"expected maps and bool masks (B, H, W), got {scores.shape} and {masks.dtype} {masks.shape}"
            )
        if self._used + scores.size > self._scores.size:
            raise ValueError(f"room for {self._scores.size} pixels, but {self._used + scores.size} were added")
        mine = self._scores[self._used : self._used + scores.size]
        _copy_finite(scores, mine.reshape(scores.shape))
        where = np.flatnonzero(masks)
        count, region = _regions(where, masks.shape[1], masks.shape[2], self._connectivity)
        self._defects.append((mine[where], (region + self._regions).astype(np.int32)))
        mine[where] = np.inf  # keeps a defect's place, above every threshold, where no count meets it
        self._regions += count
        self._used += scores.size

    def metrics(self, fpr_limit: float = 0.3, threads: int | None = None) -> PixelMetrics:
        """The metrics of all that was added so far; more may be added afterwards.

        `fpr_limit` in (0, 1] is where AUPRO stops. Raises `Undefined` without a defective or background pixel."""
        return self._evaluated(fpr_limit, threads, curves=False)[0]

    def metrics_and_curves(
        self, fpr_limit: float = 0.3, threads: int | None = None
    ) -> tuple[PixelMetrics, PixelCurves]:
        """`metrics`, and the curves behind two of them, which cost next to nothing once these are known."""
        metrics, curves = self._evaluated(fpr_limit, threads, curves=True)
        assert curves is not None
        return metrics, curves

    def _evaluated(
        self, fpr_limit: float, threads: int | None, *, curves: bool
    ) -> tuple[PixelMetrics, PixelCurves | None]:
        if not 0.0 < fpr_limit <= 1.0:
            raise ValueError(f"the FPR limit lies in (0, 1], not at {fpr_limit}")
        positives, region = self._both_kinds()
        workers = min(_cores() if threads is None else threads, _THREADS, 1 + self._used // _WORTH_A_THREAD)
        parts = np.array_split(self._scores[: self._used], workers)
        with ThreadPoolExecutor(workers) as pool:
            spread = pool.map if workers > 1 else map
            background = list(spread(_Sorted.in_place, parts))
            negatives = self._used - len(positives)
            counts = _counts(positives, background, spread)
            metrics = _sweep(positives, region, counts, negatives, fpr_limit, spread)
        return metrics, _curves(positives, region, counts, negatives, fpr_limit) if curves else None

    def above(self, levels: FloatArray) -> Above:
        """What lies strictly above each of the ascending `levels` (T,) of the scores, where 0 is the lowest of all that
        was added and 1 the highest: thresholds as other code takes them. No metric of ours depends on any.

        Raises `Undefined` without a defective or background pixel, or where all scores are equal."""
        positives, region = self._both_kinds()
        low, high = float(positives[0]), float(positives[-1])
        for block in self._background():
            low, high = float(block.min(initial=low)), float(block.max(initial=high))
        if low == high:
            raise Undefined("all pixels have the same score")

        def above(scores: FloatArray, weights: FloatArray | None = None) -> npt.NDArray[Any]:
            """Counts (int), or sums of weights (float64)."""
            passed = np.searchsorted(levels, (scores.astype(np.float64) - low) / (high - low))
            return np.bincount(passed, weights, len(levels) + 1)[:0:-1].cumsum()[::-1]

        alarms = np.zeros(len(levels), np.int64)
        for block in self._background():
            alarms += above(block)
        overlaps = above(positives, _shares(region)[region])
        return Above(alarms, above(positives), overlaps, self._used - len(positives), len(positives))

    def _background(self) -> Iterator[FloatArray]:
        for start in range(0, self._used, _BLOCK):
            block = self._scores[start : min(start + _BLOCK, self._used)]
            yield block[block < np.inf]

    def _both_kinds(self) -> tuple[FloatArray, npt.NDArray[np.int32]]:
        """Ascending scores of the defective pixels, and the region of each; raises `Undefined` unless there are some,
        and others."""
        positives, region = self._sorted_defects()
        if len(positives) == 0:
            raise Undefined("no defective pixel")
        if len(positives) == self._used:
            raise Undefined("no background pixel")
        return positives, region

    def _sorted_defects(self) -> tuple[FloatArray, npt.NDArray[np.int32]]:
        """Ascending scores of the defective pixels, and the region of each; kept so, since the order is free."""
        if not self._defects:
            return np.empty(0, self._scores.dtype), np.empty(0, np.int32)
        positives, region = (np.concatenate(part) for part in zip(*self._defects, strict=True))
        self._defects.clear()
        positives, region = _ascending(positives, region)
        self._defects.append((positives, region))
        return positives, region


def _reserved(size: int, dtype: np.dtype[Any], scratch: Path | None) -> FloatArray:
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"scores are held as float32 or float64, not as {dtype}")
    if scratch is None or size == 0:
        return np.empty(size, dtype)
    if shutil.disk_usage(scratch).free < size * dtype.itemsize:  # a full disk would kill the process later, unasked
        gib = size * dtype.itemsize / 2**30
        raise OSError(errno.ENOSPC, f"no room for {size} pixel scores ({gib:.1f} GiB)", str(scratch))
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.asarray(np.memmap(file, dtype, "w+", shape=(size,)))


def _ascending(scores: FloatArray, region: npt.NDArray[np.int32]) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """The scores in ascending order, each with its region."""
    if scores.dtype != np.float32:
        order = scores.argsort()
        return scores[order], region[order]
    # Score and region as one integer, the score above: sorting these takes half the time of finding an order.
    keys = _flipped(scores.view(np.int32)).astype(np.int64)
    keys <<= 32
    keys |= region
    keys.sort()
    return _flipped((keys >> 32).astype(np.int32)).view(np.float32), keys.astype(np.int32)


def _flipped(bits: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The bits of float32 numbers, changed so that as integers they have the numbers' order; and changed back."""
    return bits ^ (bits >> 31 & 0x7FFFFFFF)


def _copy_finite(source: FloatArray, target: FloatArray) -> None:
    """Copy (B, H, W) maps, one at a time while the cache holds it; raise a `ValueError` unless all come out finite."""
    bad = []
    with np.errstate(over="ignore", invalid="ignore"):
        for i, scores in enumerate(source):
            target[i] = scores
            # A sum over anything that is not finite is not finite, and takes half the time of looking at each.
            if not np.isfinite(target[i].sum()) and not np.isfinite(target[i]).all():
                bad.append(f"{i} ({np.count_nonzero(~np.isfinite(target[i]))} of {scores.size} pixels)")
    if bad:
        raise ValueError(f"scores are not finite (as {target.dtype}) in {len(bad)} maps, at positions {', '.join(bad)}")


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ------------------------------------------------------------------------------------------------------------- regions


def _regions(where: IntArray, height: int, width: int, connectivity: int) -> tuple[int, npt.NDArray[np.int32]]:
    """Connected regions of marked pixels: their number, and the region of each pixel; no region spans two images.

    `where` holds the ascending flat positions of the marked pixels in images of `height` x `width`. Only these few are
    looked at: cut into horizontal runs, each run is linked to those that it touches in the row above."""
    if len(where) == 0:
        return 0, np.empty(0, np.int32)
    row = where // width
    first = np.flatnonzero((np.diff(where, prepend=-2) != 1) | (np.diff(row, prepend=-1) != 0))
    length = np.diff(first, append=len(where))
    start, row = where[first], row[first]
    stop = start + length  # one past the end
    reach = 1 if connectivity == 8 else 0
    left_of_row = (row - 1) * width
    below = np.flatnonzero(row % height != 0)
    # Runs above that end right of where the run begins, and begin left of where it ends, in the row above only.
    low = np.searchsorted(stop, np.maximum(start - width - reach, left_of_row)[below], side="right")
    high = np.searchsorted(start, np.minimum(stop - width + reach, left_of_row + width)[below], side="left")
    links = np.maximum(high - low, 0)
    under = np.repeat(below, links)
    over = np.arange(len(under)) - np.repeat(np.cumsum(links) - links - low, links)
    graph = coo_array((np.ones(len(under), np.bool_), (under, over)), shape=(len(first), len(first)))
    count, region = connected_components(graph, directed=False)
    return int(count), np.repeat(region, length)


# ------------------------------------------------------------------------------------------------------- the one sweep


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """Ascending values, and the last of every `_STEP` of them, which bring a search close within the cache."""

    values: FloatArray
    samples: FloatArray

    @classmethod
    def of(cls, ascending: FloatArray) -> _Sorted:
        return cls(ascending, ascending[_STEP - 1 :: _STEP].copy())

    @classmethod
    def in_place(cls, values: FloatArray) -> _Sorted:
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


def _sweep(
    positives: FloatArray,
    region: npt.NDArray[np.int32],
    counts: IntArray,
    negatives: int,
    fpr_limit: float,
    spread: Any,
) -> PixelMetrics:
    """Each positive adds to each metric what its own count of negatives says, so that nothing needs to be accumulated.

    `region` (P,) numbers the region of each of the ascending `positives` from 0; `counts` (2, P) come from `_counts`.
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


def _counts(positives: FloatArray, background: Sequence[_Sorted], spread: Any) -> IntArray:
    """(2, P): how many of the background's scores lie below, and how many at or below, each of the positives.

    `background` holds them in any number of parts; `spread` is `map` or that of an executor."""
    pixels = len(positives) + sum(len(part.values) for part in background)
    counts = np.zeros((2, len(positives)), np.int32 if pixels < _NARROW else np.int64)

    def fill(start: int) -> None:
        block = slice(start, start + _BLOCK)
        for part in background:
            below, up_to = part.counts(positives[block])
            counts[0, block] += below
            counts[1, block] += up_to

    for _ in spread(fill, range(0, len(positives), _BLOCK)):
        pass
    return counts


def _shares(region: npt.NDArray[np.int32]) -> FloatArray:
    """What one pixel of each region adds to the PRO: every region counts the same, and all together 1."""
    areas = np.bincount(region)
    return np.asarray(1.0 / (areas * len(areas)))


def _blocks(ascending: FloatArray) -> Iterator[slice]:
    """Slices of about `_BLOCK` values from the highest down, none of which cuts a run of equal values."""
    stop = len(ascending)
    while stop:
        start = int(ascending.searchsorted(ascending[max(stop - _BLOCK, 0)]))
        yield slice(start, stop)
        stop = start


# -------------------------------------------------------------------------------------------------- curves for drawing

_GRID = 1024  # steps of either rate between which a curve may leave out thresholds: half a step of area at most
_SLACK = 4e-4  # of area that thinning may take or add
_ENOUGH = 150  # points for a drawing


def _curves(
    positives: FloatArray, region: npt.NDArray[np.int32], counts: IntArray, negatives: int, fpr_limit: float
) -> PixelCurves:
    """The ROC and PRO curves through some of the thresholds; arguments as those of `_sweep`."""
    thresholds = np.unique(positives[_some(counts[1], fpr_limit, negatives)])[::-1]
    first = positives.searchsorted(thresholds)  # of the scores equal to each threshold
    last = positives.searchsorted(thresholds, side="right") - 1
    below, up_to = counts[0][first], counts[1][first]
    # Of each threshold two corners: above it, level with the threshold before, and with all that reach it.
    x = np.stack((negatives - up_to, negatives - below), axis=1).ravel() / negatives
    found = np.stack((len(positives) - 1 - last, len(positives) - first), axis=1).ravel()
    y = found / len(positives)
    overlap = _overlaps(region, _shares(region), found, int(np.searchsorted(x, fpr_limit, side="right")))
    roc = thinned(*_between_corners(x, y), _SLACK, _ENOUGH)
    pro = cut(*_between_corners(x[: len(overlap)], overlap), fpr_limit)
    return PixelCurves(Line(*roc), Line(*thinned(*pro, _SLACK * fpr_limit, _ENOUGH)))


def _between_corners(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The points of a curve, from (0, 0) and to (1, 1)."""
    return np.concatenate(([0.0], x, [1.0])), np.concatenate(([0.0], y, [1.0]))


def _some(up_to: IntArray, fpr_limit: float, negatives: int) -> IntArray:
    """Positions of ascending positives: of any two that follow each other here, but not there, the scores are less than
    a step of the grid apart in true positives, and up to the limit in false ones."""
    count = len(up_to)
    crossed = up_to.searchsorted(np.linspace(1.0 - fpr_limit, 1.0, _GRID) * negatives)
    by_rank = np.linspace(0, count - 1, min(_GRID, count)).astype(np.int64)
    return np.concatenate((crossed, crossed - 1, by_rank)).clip(0, count - 1)


def _overlaps(region: npt.NDArray[np.int32], share: FloatArray, found: IntArray, corners: int) -> FloatArray:
    """PRO at the first of the corners, and at one more where there is one: the sum of shares of the `found` highest."""
    found = found[: corners + 1]
    totals = np.zeros(len(found))
    total = 0.0
    for start in range(0, int(found[-1]) if len(found) else 0, _BLOCK):
        stop = min(start + _BLOCK, len(region))
        sums = share.take(region[len(region) - stop : len(region) - start][::-1]).cumsum()
        here = slice(*np.searchsorted(found, (start + 1, stop + 1)))
        totals[here] = total + sums[found[here] - start - 1]
        total += float(sums[-1])
    return np.minimum(totals, 1.0)
