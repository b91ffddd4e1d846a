"""Noise of the change of an image metric from the choice of test images, by bootstrap."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from afrad_bench.statistics.resampling import IMAGE_METRICS, DeLong, delong, draws, image_metrics
from afrad_bench.types import MEAN

if TYPE_CHECKING:
    from afrad_bench.comparing.pairs import Pair
    from afrad_bench.statistics.resampling import Counts
    from afrad_bench.types import BoolArray, FloatArray

POOLED = {"image_auroc_pooled": "image_auroc", "image_f1_max_pooled": "image_f1_max"}
"""Metrics over the images of all categories together."""
ALL = ""
"""Stands for all categories together, in place of a category name."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise of a mean change over seeds; all values are fractions."""

    together: float
    """Variance over draws of the images, where all seeds share each draw."""
    each: float
    """The same if every seed has its own draws."""
    interval: tuple[float, float]
    """95 % interval: percentiles of the draws."""
    images: int
    delong: float | None
    """Two-sided p of DeLong's test, for I-AUROC of a category or their mean; else None."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Bootstrap of S seeds with B draws: changes (S, B) by (metric, category); for each category DeLong's result and
    the number of images."""

    changes: dict[tuple[str, str], FloatArray]
    tests: dict[str, DeLong]
    images: dict[str, int]
    parts: list[tuple[FloatArray, FloatArray, BoolArray, Counts]]
    """For each category: scores of BASE and NEW (S, n), labels (n,), counts (B, n)."""

    def pool(self) -> None:
        """Add the changes over all images together, unless this is already done."""
        if self.parts and ALL not in self.images:
            base, new, labels, counts = (np.concatenate(of, axis=-1) for of in zip(*self.parts, strict=True))
            self.images[ALL] = len(labels)
            self.changes.update(_changes(ALL, base, new, labels, counts))


class ImageNoise:
    """Bootstrap of the image scores of a pair: `count` draws, each the same for both sides and all seeds."""

    def __init__(self, pair: Pair, count: int) -> None:
        self._pair, self._count = pair, count
        self._drawn: dict[tuple[int, ...], _Drawn] = {}

    def of(self, metric: str, category: str | None, seeds: Sequence[int]) -> Noise | None:
        """The noise of a metric; None for pixel metrics, costs, and categories without image scores."""
        name = metric if category is not None else POOLED.get(metric)
        if name not in IMAGE_METRICS:
            return None
        if (key := tuple(seeds)) not in self._drawn:
            self._drawn[key] = self._draw(key)
        drawn = self._drawn[key]
        if category is None:
            drawn.pool()
        categories = list(drawn.tests) if category == MEAN else [ALL if category is None else category]
        if not categories or any((name, of) not in drawn.changes for of in categories):
            return None
        changes = np.mean([drawn.changes[name, of] for of in categories], axis=0)
        mean = changes.mean(axis=0)
        low, high = np.quantile(mean, (0.025, 0.975))
        p = _p([drawn.tests[of] for of in categories]) if name == "image_auroc" and category is not None else None
        images = sum(drawn.images[of] for of in categories)
        each = float(changes.var(axis=1, ddof=1).sum()) / len(seeds) ** 2
        return Noise(float(mean.var(ddof=1)), each, (float(low), float(high)), images, p)

    def _draw(self, seeds: tuple[int, ...]) -> _Drawn:
        rng = np.random.default_rng(zlib.crc32(str(self._pair.base.key).encode()))
        made = _Drawn({}, {}, {}, [])
        for category, was in self._pair.base.images.items():
            now = self._pair.new.images.get(category)
            if now is None or not all(seed in side.scores for seed in seeds for side in (was, now)):
                continue
            places = {image: at for at, image in enumerate(now.ids)}
            common = [(at, places[image]) for at, image in enumerate(was.ids) if image in places]
            labels = np.array([was.labels[at] for at, _ in common], dtype=bool)
            if not labels.any() or labels.all():
                continue
            base = np.array([[was.scores[seed][at] for at, _ in common] for seed in seeds])
            new = np.array([[now.scores[seed][at] for _, at in common] for seed in seeds])
            counts = draws(labels, self._count, rng)
            made.tests[category] = delong(base, new, labels)
            made.images[category] = len(labels)
            made.changes.update(_changes(category, base, new, labels, counts))
            made.parts.append((base, new, labels, counts))
        return made


def _changes(
    category: str, base: FloatArray, new: FloatArray, labels: BoolArray, counts: Counts
) -> dict[tuple[str, str], FloatArray]:
    was = [image_metrics(scores, labels, counts) for scores in base]
    now = [image_metrics(scores, labels, counts) for scores in new]
    return {
        (name, category): np.stack([after[name] - before[name] for before, after in zip(was, now, strict=True)])
        for name in IMAGE_METRICS
    }


def _p(tests: Sequence[DeLong]) -> float:
    """Two-sided p of the mean over categories, whose images are independent."""
    from scipy import stats

    change = sum(test.difference for test in tests)
    variance = sum(test.variance for test in tests)
    if change == 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(change) / sqrt(variance))) if variance else 0.0
