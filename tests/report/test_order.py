"""The order of the methods here and in the paper: rank correlation, places, and where there is none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from afrad_bench.report.basis.order import FEWEST, Both, order, order_table, sentences


def both(*pairs: tuple[float, float]) -> list[Both]:
    return [Both(f"m{i}", *pair) for i, pair in enumerate(pairs)]


def test_five_methods_by_hand() -> None:
    found = order(both((3, 10), (1, 40), (2, 20), (5, 30), (4, 50)), higher_is_better=False)
    assert found is not None
    assert [each.label for each in found.methods] == ["m1", "m2", "m0", "m4", "m3"]
    assert found.here == (1, 2, 3, 4, 5)
    assert found.paper == (4, 2, 1, 5, 3)
    # 1 - 6 (9 + 0 + 4 + 1 + 4) / (5 (25 - 1))
    assert found.correlation == pytest.approx(0.1)
    first, second = sentences(found, "I-AUROC", "Table 1")
    assert first.startswith("The order of 5 methods in I-AUROC and that of the paper's Table 1 have")
    assert first.endswith("(Spearman) of 0.10.")
    assert second == "Furthest from their published place: m1 (1st, there 4th)."


def test_where_more_is_better_the_largest_is_first() -> None:
    pairs = [(float(i), 2.0 * i) for i in range(6)]
    found = order(both(*pairs), higher_is_better=True)
    assert found is not None
    assert [each.label for each in found.methods] == ["m5", "m4", "m3", "m2", "m1", "m0"]
    assert found.correlation == pytest.approx(1)
    assert len(list(sentences(found, "I-AUROC", "Table 1"))) == 1  # nobody stands elsewhere


def test_equal_values_share_their_place() -> None:
    found = order(both((1, 1), (1, 2), (2, 3), (3, 4), (4, 5)), higher_is_better=False)
    assert found is not None
    assert found.here == (1.5, 1.5, 3, 4, 5)
    shown = order_table(found, "time", "ms", 1, "Table 4")
    assert [entry.text for entry in shown.lines[0].entries] == ["m0", "1.5", "1", "+0.5", "1.0", "1"]


def test_few_methods_or_equal_values_have_no_correlation() -> None:
    assert order(both(*[(1.0, 2.0)] * (FEWEST - 1)), higher_is_better=False) is None
    alike = order(both(*[(1.0, float(i)) for i in range(6)]), higher_is_better=False)
    assert alike is not None
    assert math.isnan(alike.correlation)
    assert list(sentences(alike, "time", "Table 4")) == []


def test_an_unreliable_value_is_marked() -> None:
    methods = [*both(*[(float(i), float(i)) for i in range(5)]), Both("slow", 9, 9, doubtful=True)]
    found = order(methods, higher_is_better=False)
    assert found is not None
    flags = [line.entries[4].flag for line in order_table(found, "time", "ms", 1, "Table 4").lines]
    assert flags == [""] * 5 + ["unreliable"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=FEWEST, max_size=20), st.booleans())
def test_the_correlation_is_scipys(pairs: list[tuple[int, int]], higher: bool) -> None:
    found = order(both(*[(float(a), float(b)) for a, b in pairs]), higher_is_better=higher)
    assert found is not None
    if len({a for a, _ in pairs}) > 1 and len({b for _, b in pairs}) > 1:
        expected = spearmanr([a for a, _ in pairs], [b for _, b in pairs]).statistic
        assert found.correlation == pytest.approx(expected)
