"""What a number of seeds can show: the power of a paired t test, the difference that it finds, the seeds that it needs.

A test at level `alpha` finds a true mean difference D, when single differences scatter by `spread` (standard
deviation), with the probability P(|T| > t), where t = t(1 - alpha / 2; n - 1) and T follows the noncentral t
distribution with n - 1 degrees of freedom and noncentrality D sqrt(n) / spread (Cohen 1988, Statistical Power Analysis
for the Behavioral Sciences, 2nd edition, chapter 2; the distribution: Owen 1965, Biometrika 52:437-446).

The spread is itself estimated, and from few seeds badly: what follows from it holds roughly ("about")."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

CHANCE = 0.8
"""The usual probability with which a difference that is said to be visible is found (Cohen 1988, section 2.4)."""
MOST = 1000
"""The largest number of seeds that is looked at."""
_ONE_SIDED = 5.0  # noncentrality from which the test errs in the sign with a probability below Phi(-5) = 3e-7


def power(difference: float, spread: float, seeds: int, alpha: float = 0.05) -> float:
    """The probability that a two-sided paired t test over `seeds` (at least 2) finds a true difference.

    `difference` and `spread` (above 0) have one unit; the sign of the difference plays no part.

    >>> round(power(0.5, 1.0, 34), 3)
    0.808
    """
    from scipy import stats

    freedom, far = seeds - 1, abs(difference) * sqrt(seeds) / spread
    limit = stats.t.ppf(1 - alpha / 2, freedom)
    found = float(stats.nct.sf(limit, freedom, far)) if far else alpha / 2
    if far >= _ONE_SIDED:
        return found
    return found + (float(stats.nct.sf(limit, freedom, -far)) if far else alpha / 2)


def visible(spread: float, seeds: int, alpha: float = 0.05, chance: float = CHANCE) -> float:
    """The smallest true difference that a test over `seeds` finds with the probability `chance`, in the unit of
    `spread`.

    >>> round(visible(1.0, 3), 2), round(visible(1.0, 34), 2)
    (3.26, 0.5)
    """
    low, high = 0.0, 1.0
    while power(high, 1.0, seeds, alpha) < chance:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, 1.0, seeds, alpha) < chance else (low, middle)
    return high * spread


def seeds_needed(difference: float, spread: float, alpha: float = 0.05, chance: float = CHANCE) -> int | None:
    """The fewest seeds with which a test finds a true difference with the probability `chance`; None above `MOST`.

    >>> seeds_needed(0.5, 1.0), seeds_needed(1.0, 1.0), seeds_needed(0.01, 1.0)
    (34, 10, None)
    """
    low, high = 1, 2
    while power(difference, spread, high, alpha) < chance:
        low, high = high, 2 * high
        if low >= MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power(difference, spread, middle, alpha) < chance else (low, middle)
    return high if high <= MOST else None


def pooled(spreads: Iterable[tuple[float, int]]) -> float | None:
    """The common spread of several series of differences, from pairs (standard deviation, seeds); None without a
    series of two seeds.

    The variances are averaged, weighed by their degrees of freedom, as in an analysis of variance: that of one series
    of three seeds alone is too uncertain to plan with. Series that share a reference are not independent; their
    average has the right expectation, but is less certain than its degrees of freedom say."""
    known = [(spread, seeds - 1) for spread, seeds in spreads if seeds > 1]
    freedom = sum(each for _, each in known)
    return sqrt(sum(each * spread**2 for spread, each in known) / freedom) if freedom else None
