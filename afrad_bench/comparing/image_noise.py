"""What drawing other test images would do to the change of an image metric."""

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
"""Stands for these in the place of a category."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Of a mean change over seeds, as fractions."""

    together: float
    """Variance over draws of the images that all seeds share."""
    each: float
    """The same if every seed drew its own images."""
    interval: tuple[float, float]
    """95 %, percentiles of the draws."""
    images: int
    delong: float | None
    """Two-sided p, for I-AUROC by category or their mean."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Of some seeds: the changes (S, B) by metric and category, DeLong's result and the number of images of each."""

    changes: dict[tuple[str, str], FloatArray]
    tests: dict[str, DeLong]
    images: dict[str, int]
    parts: list[tuple[FloatArray, FloatArray, BoolArray, Counts]]
    """Of each category: scores of both sides (S, n), labels (n,), counts (B, n)."""

    def pool(self) -> None:
        """Add the changes of all images together, once."""
        if self.parts and ALL not in self.images:
            base, new, labels, counts = (np.concatenate(of, axis=-1) for of in zip(*self.parts, strict=True))
            self.images[ALL] = len(labels)
            self.changes.update(_changes(ALL, base, new, labels, counts))


class ImageNoise:
    """The image scores of a pair; the same images are drawn for both sides and all seeds, `count` times."""

    def __init__(self, pair: Pair, count: int) -> None:
        self._pair, self._count = pair, count
        self._drawn: dict[tuple[int, ...], _Drawn] = {}

    def of(self, metric: str, category: str | None, seeds: Sequence[int]) -> Noise | None:
        """None for what image scores do not tell: pixel metrics, costs, and categories without scores."""
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
    """Of the mean over categories, whose images are others."""
    from scipy import stats

    change = sum(test.difference for test in tests)
    variance = sum(test.variance for test in tests)
    if change == 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(change) / sqrt(variance))) if variance else 0.0
