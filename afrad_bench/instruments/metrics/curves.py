"""The ROC and PRO curves behind two of the pixel metrics, thinned for drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from afrad_bench.instruments.metrics.sweep import BLOCK, shares
from afrad_bench.instruments.metrics.values import Line, PixelCurves
from afrad_bench.instruments.polyline import cut, thinned

if TYPE_CHECKING:
    import numpy.typing as npt

    from afrad_bench.types import FloatArray

    IntArray = npt.NDArray[np.signedinteger[Any]]

_GRID = 1024  # steps of either rate between which a curve may leave out thresholds: half a step of area at most
_SLACK = 4e-4  # of area that thinning may take or add
_ENOUGH = 150  # points for a drawing


def drawn_curves(
    positives: FloatArray, region: npt.NDArray[np.int32], counts: IntArray, negatives: int, fpr_limit: float
) -> PixelCurves:
    """The ROC and PRO curves through some of the thresholds; arguments as those of `sweep`."""
    thresholds = np.unique(positives[_some(counts[1], fpr_limit, negatives)])[::-1]
    first = positives.searchsorted(thresholds)  # of the scores equal to each threshold
    last = positives.searchsorted(thresholds, side="right") - 1
    below, up_to = counts[0][first], counts[1][first]
    # Of each threshold two corners: above it, level with the threshold before, and with all that reach it.
    x = np.stack((negatives - up_to, negatives - below), axis=1).ravel() / negatives
    found = np.stack((len(positives) - 1 - last, len(positives) - first), axis=1).ravel()
    y = found / len(positives)
    overlap = _overlaps(region, shares(region), found, int(np.searchsorted(x, fpr_limit, side="right")))
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
    for start in range(0, int(found[-1]) if len(found) else 0, BLOCK):
        stop = min(start + BLOCK, len(region))
        sums = share.take(region[len(region) - stop : len(region) - start][::-1]).cumsum()
        here = slice(*np.searchsorted(found, (start + 1, stop + 1)))
        totals[here] = total + sums[found[here] - start - 1]
        total += float(sums[-1])
    return np.minimum(totals, 1.0)
