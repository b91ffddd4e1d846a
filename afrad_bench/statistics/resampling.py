"""Noise of a difference between two sets of scores of the same images, or of two series of timed calls.

Shapes: S seeds, n images of one category, B draws. Draws are counts (B, n): how often each image was drawn. Normal and
anomalous images are drawn separately, which keeps their numbers fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from afrad_bench.statistics import Bootstrapped

if TYPE_CHECKING:
    import numpy.typing as npt

    from afrad_bench.types import BoolArray, FloatArray

    Counts = npt.NDArray[np.int64]

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1_max")
_BLOCK = 1 << 22  # counts processed at a time


def draws(labels: BoolArray, count: int, rng: np.random.Generator) -> Counts:
    """Counts (count, n) of images drawn with replacement, normal and anomalous ones separately."""
    found = np.empty((count, len(labels)), dtype=np.int64)
    for kind in (labels, ~labels):
        if size := int(kind.sum()):
            found[:, kind] = rng.multinomial(size, np.full(size, 1 / size), size=count)
    return found


def image_metrics(scores: FloatArray, labels: BoolArray, counts: Counts) -> Mapping[str, FloatArray]:
    """Metric -> its value (B,) on each draw. `scores` (n,), `labels` (n,) with both kinds, `counts` (B, n).

    The definitions are those of `afrad_bench.instruments.metrics`, with each image counted as often as it was drawn."""
    block = max(1, _BLOCK // len(scores))
    parts = [_of_block(scores, labels, counts[at : at + block]) for at in range(0, len(counts), block)]
    return {name: np.concatenate([part[name] for part in parts]) for name in IMAGE_METRICS}


def _of_block(scores: FloatArray, labels: BoolArray, counts: Counts) -> dict[str, FloatArray]:
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # end of each run of equal scores
    drawn, anomalous = counts[:, order].astype(np.float64), labels[order]
    hits = np.cumsum(drawn * anomalous, axis=1)[:, last]
    alarms = np.cumsum(drawn * ~anomalous, axis=1)[:, last]
    positives, negatives = hits[:, -1:], alarms[:, -1:]
    new_hits, new_alarms = np.diff(hits, axis=1, prepend=0.0), np.diff(alarms, axis=1, prepend=0.0)
    called = hits + alarms
    return {
        "image_auroc": (new_alarms * (hits - new_hits / 2)).sum(axis=1) / (positives * negatives)[:, 0],
        "image_ap": (new_hits * hits / np.maximum(called, 1.0)).sum(axis=1) / positives[:, 0],
        "image_f1_max": (2 * hits / (called + positives)).max(axis=1),
    }


# -------------------------------------------------------------------------------------------------------------- DeLong


@dataclass(frozen=True, slots=True)
class DeLong:
    """Difference of two AUROCs on the same images, and its variance over samples of images."""

    difference: float
    variance: float


def placements(scores: FloatArray, labels: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Share of normal images below each anomalous one, and of anomalous images above each normal one; ties are 1/2."""
    positives, negatives = scores[labels], scores[~labels]
    return _share_below(negatives, positives), 1 - _share_below(positives, negatives)


def _share_below(of: FloatArray, than: FloatArray) -> FloatArray:
    ordered = np.sort(of)
    below, upto = np.searchsorted(ordered, than, "left"), np.searchsorted(ordered, than, "right")
    return (below + upto) / (2 * len(of))


def delong(base: FloatArray, new: FloatArray, labels: BoolArray) -> DeLong:
    """AUROC of `new` minus that of `base` (both (S, n)), averaged over seeds, on images `labels` (n,).

    DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44:837-845), computed by ranks as in Sun and Xu 2014 (IEEE SPL
    21:1389-1393). With several seeds, the placements of an image are first averaged over the seeds. The variance needs
    two images of each kind; with fewer it is infinite."""
    changes = []
    for was, now in zip(base, new, strict=True):
        pairs = zip(placements(now, labels), placements(was, labels), strict=True)
        changes.append([after - before for after, before in pairs])
    anomalous, normal = (np.mean([each[kind] for each in changes], axis=0) for kind in (0, 1))
    if min(len(anomalous), len(normal)) < 2:
        return DeLong(float(anomalous.mean()), float("inf"))
    spread = anomalous.var(ddof=1) / len(anomalous) + normal.var(ddof=1) / len(normal)
    return DeLong(float(anomalous.mean()), float(spread))


# ------------------------------------------------------------------------------------------------------------- latency


def median_ratio(ratios: Sequence[float], count: int, seed: int) -> Bootstrapped:
    """The median of paired ratios, minus 1, and its noise over rounds; `ratios`: new / base, one per round."""
    found = np.asarray(ratios)
    rng = np.random.default_rng(seed)
    values = np.median(found[rng.integers(0, len(found), (count, len(found)))], axis=1) - 1
    return Bootstrapped(float(np.median(found)) - 1, tuple(np.sort(values).tolist()))


def ratio_of_medians(base: Sequence[float], new: Sequence[float], count: int, seed: int) -> Bootstrapped:
    """The ratio of the medians of two unpaired series (no common rounds), minus 1."""
    was, now = np.asarray(base), np.asarray(new)
    rng = np.random.default_rng(seed)
    medians = [np.median(one[rng.integers(0, len(one), (count, len(one)))], axis=1) for one in (now, was)]
    values = medians[0] / medians[1] - 1
    return Bootstrapped(float(np.median(now) / np.median(was)) - 1, tuple(np.sort(values).tolist()))
