"""What a number of seeds can show: against tables, statsmodels, and tests of drawn differences."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.power import TTestPower

from afrad_bench.statistics import planning, pooled, power, seeds_needed, visible
from afrad_bench.statistics.planning import MOST


def test_seeds_are_those_of_cohens_tables() -> None:
    """Cohen 1988: of paired samples, a medium effect (0.5) takes 34 at 0.05 with power 0.8, a large one (0.8) 15."""
    assert [seeds_needed(effect, 1.0) for effect in (0.5, 0.8)] == [34, 15]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 6.0), st.integers(2, 60), st.sampled_from([0.05, 0.05 / 6, 0.001]))
def test_power_is_that_of_statsmodels(effect: float, seeds: int, alpha: float) -> None:
    known = TTestPower().power(effect, seeds, alpha, alternative="two-sided")
    assume(known == known)  # its other tail is not a number where that is next to nothing
    assert power(effect, 1.0, seeds, alpha) == pytest.approx(known, abs=1e-6)


@pytest.mark.parametrize(("effect", "seeds", "alpha"), [(4.0, 3, 0.05), (2.0, 5, 0.01), (40.0, 3, 0.05 / 12)])
def test_power_is_an_integral_over_the_estimated_spread(effect: float, seeds: int, alpha: float) -> None:
    """Given the estimated spread s = sqrt(chi2(n - 1) / (n - 1)), the mean is normal: P(Z + d sqrt(n) > t s), and the
    other tail; this must be averaged over s."""
    limit, far, freedom = stats.t.ppf(1 - alpha / 2, seeds - 1), effect * seeds**0.5, seeds - 1

    def at(s: float) -> float:
        density = 2 * freedom * s * stats.chi2.pdf(freedom * s * s, freedom)
        return float(density * (stats.norm.sf(limit * s - far) + stats.norm.cdf(-limit * s - far)))

    known = integrate.quad(at, 0, 8, limit=200, points=[far / limit])[0]
    assert power(effect, 1.0, seeds, alpha) == pytest.approx(known, abs=1e-5)


def test_power_is_the_share_of_tests_that_find_the_difference() -> None:
    drawn = np.random.default_rng(0).normal(1.5, 1.0, (20_000, 5))
    share = float((stats.ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.05).mean())
    assert power(1.5, 1.0, 5) == pytest.approx(share, abs=4 * (share * (1 - share) / 20_000) ** 0.5)


def test_without_a_difference_the_power_is_the_level() -> None:
    assert power(0.0, 1.0, 4, 0.03) == pytest.approx(0.03)
    assert power(1e-9, 1.0, 4, 0.03) == pytest.approx(0.03)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 20.0), st.integers(2, 40), st.sampled_from([0.05, 0.05 / 12]), st.sampled_from([0.5, 0.8, 0.95]))
def test_what_is_visible_needs_the_seeds_that_show_it(spread: float, seeds: int, alpha: float, chance: float) -> None:
    found = visible(spread, seeds, alpha, chance)
    assert power(found, spread, seeds, alpha) == pytest.approx(chance, abs=1e-4)
    assert seeds_needed(found * 1.001, spread, alpha, chance) == seeds
    assert seeds_needed(found * 0.999, spread, alpha, chance) == seeds + 1


def test_the_sign_and_the_unit_play_no_part() -> None:
    assert power(-0.5, 1.0, 7) == power(0.5, 1.0, 7) == pytest.approx(power(50.0, 100.0, 7))


def test_too_many_seeds_are_not_a_number() -> None:
    assert seeds_needed(0.001, 1.0) is None
    edge = visible(1.0, MOST)
    assert seeds_needed(edge * 1.0001, 1.0) == MOST
    assert seeds_needed(edge * 0.9990, 1.0) is None


def test_spreads_are_pooled_by_their_freedom() -> None:
    """Variances 1 and 4 with 2 and 4 degrees of freedom: (2 * 1 + 4 * 4) / 6 = 3."""
    assert pooled([(1.0, 3), (2.0, 5), (99.0, 1)]) == pytest.approx(3**0.5)
    assert pooled([(1.0, 1)]) is None
    assert pooled([]) is None


def test_the_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(planning).failed == 0
