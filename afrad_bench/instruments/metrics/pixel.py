"""Metrics over the pixels of anomaly maps, exact, gathered batch by batch."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from afrad_bench.instruments.metrics.curves import drawn_curves
from afrad_bench.instruments.metrics.regions import regions
from afrad_bench.instruments.metrics.sweep import BLOCK, Sorted, counts_of, shares, sweep
from afrad_bench.instruments.metrics.values import Above, PixelCurves, PixelMetrics, Undefined

if TYPE_CHECKING:
    import numpy.typing as npt

    from afrad_bench.types import BoolArray, FloatArray

    IntArray = npt.NDArray[np.signedinteger[Any]]

Connectivity = Literal[4, 8]

_THREADS = 4  # more would add searches faster than they take sorting away
_WORTH_A_THREAD = 1 << 19  # pixels


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
        count, region = regions(where, masks.shape[1], masks.shape[2], self._connectivity)
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
            background = list(spread(Sorted.in_place, parts))
            negatives = self._used - len(positives)
            counts = counts_of(positives, background, spread)
            metrics = sweep(positives, region, counts, negatives, fpr_limit, spread)
        return metrics, drawn_curves(positives, region, counts, negatives, fpr_limit) if curves else None

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
        overlaps = above(positives, shares(region)[region])
        return Above(alarms, above(positives), overlaps, self._used - len(positives), len(positives))

    def _background(self) -> Iterator[FloatArray]:
        for start in range(0, self._used, BLOCK):
            block = self._scores[start : min(start + BLOCK, self._used)]
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
