"""Differences and their noise: worked by hand, and against scipy and statsmodels."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from afrad_bench.statistics import Bootstrapped, Student, estimates, holm, over_seeds_and_images, paired


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653, t = 3.4641, p = 0.0742."""
    found = paired({0: 3.0, 1: 5.0, 2: 4.0, 9: 7.0}, {0: 2.0, 1: 3.0, 2: 1.0, 8: 1.0})
    assert (found.mean, found.seeds) == (2.0, 3)
    assert found.low == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-6)
    assert found.high == pytest.approx(2 + 4.302653 / 3**0.5, abs=1e-6)
    assert found.p == pytest.approx(0.0741799, abs=1e-6)


def test_too_little_for_an_interval() -> None:
    one = paired({0: 3.0}, {0: 2.5, 1: 9.0})
    assert (one.mean, one.low, one.p, one.why) == (0.5, None, None, "one seed: no interval")
    assert paired({0: 3.0}, {1: 2.5}).why == "no seed was measured for both"
    equal = paired({0: 3.0, 1: 4.0}, {0: 2.5, 1: 3.5})
    assert (equal.mean, equal.low, equal.p) == (0.5, None, None)
    assert equal.why == "the same for every seed: no interval"


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04, and never less than the one before."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_between_the_p_value_and_bonferroni(values: list[float]) -> None:
    adjusted = holm(values)
    for p, corrected in zip(values, adjusted, strict=True):
        assert p <= corrected <= min(1.0, len(values) * p)
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=6))
def test_a_swapped_pair_is_the_mirrored_difference(pairs: list[tuple[float, float]]) -> None:
    one, other = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    there, back = paired(one, other), paired(other, one)
    assert there.mean == pytest.approx(-back.mean)
    if there.low is not None:
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
        assert there.p == pytest.approx(back.p)


def test_holm_is_that_of_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    for values in ([0.01, 0.04, 0.03], [0.5], [0.2, 0.001, 0.9, 0.04, 0.04]):
        assert holm(values) == pytest.approx(list(multitest.multipletests(values, method="holm")[1]))


def test_student_and_bootstrap_agree_with_scipy() -> None:
    found = Student(-1.0, 0.5, 7)
    assert found.interval(0.95) == pytest.approx(stats.t.interval(0.95, 7, -1.0, 0.5))
    assert found.p_below + found.p_above == pytest.approx(1)
    assert found.p_below == pytest.approx(stats.t.cdf(-2, 7))
    drawn = Bootstrapped(1.0, tuple(np.linspace(-0.5, 2.0, 1000).tolist()))
    low, high = drawn.interval(0.9)
    assert (low, high) == pytest.approx((-0.375, 1.875), abs=0.01)
    assert drawn.p_above == pytest.approx(0.2, abs=0.01)
    assert drawn.p_above < 0.5 < drawn.p_below


def test_noise_of_seeds_and_images_is_never_less_than_each() -> None:
    seeds = [0.1, -0.1, 0.3, 0.1]
    alone = np.var(seeds, ddof=1) / 4
    assert over_seeds_and_images(seeds, 0.0, 0.0).error ** 2 == pytest.approx(alone)
    assert over_seeds_and_images(seeds, 0.02, 0.005).error ** 2 == pytest.approx(alone + 0.015)
    assert over_seeds_and_images(seeds, 0.3, 0.9).error ** 2 == pytest.approx(0.3)
    assert over_seeds_and_images(seeds, 0.0, 0.0).freedom == pytest.approx(3)


def test_the_examples_in_the_docstrings_run() -> None:
    found = doctest.testmod(estimates)
    assert found.attempted > 2
    assert found.failed == 0
