"""Statistics of noisy measurements: paired differences, confidence intervals, p values, and the
seeds that a difference needs.

Estimates from arrays (image scores, timed calls) are in `statistics.resampling`, which needs numpy."""

from __future__ import annotations

from afrad_bench.statistics.estimates import (
    CONFIDENCE,
    Bootstrapped,
    Difference,
    Estimate,
    Student,
    holm,
    over_seeds,
    over_seeds_and_images,
    paired,
)
from afrad_bench.statistics.planning import pooled, power, seeds_needed, visible

__all__ = [
    "CONFIDENCE",
    "Bootstrapped",
    "Difference",
    "Estimate",
    "Student",
    "holm",
    "over_seeds",
    "over_seeds_and_images",
    "paired",
    "pooled",
    "power",
    "seeds_needed",
    "visible",
]
