"""The sentences that a report begins with: true, grammatical, and the same in every format."""

from __future__ import annotations

import doctest
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from afrad_bench.report import MeasureSpec, Report, ReportInput, RowSpec
from afrad_bench.report.basis import wording
from afrad_bench.report.drawing.shapes import Forest
from afrad_bench.types import MEAN
from tests.report.test_report import ACCURACY, COMPLEXITY, LATENCY, Bookkeeper, everywhere, row, suite

Values = Sequence[float | None]


@pytest.fixture
def book(tmp_path: Path) -> Bookkeeper:
    return Bookkeeper(tmp_path / "store")


def said(book: Bookkeeper, values: Mapping[str, Values], to: str | None = None, **more: Any) -> tuple[str, ...]:
    """The sentences on rows with an I-AUROC for each seed (None: not run)."""
    return report(book, values, to, **more).answer


def report(
    book: Bookkeeper,
    values: Mapping[str, Values],
    to: str | None = None,
    methods: Mapping[str, str] | None = None,
    terms: Mapping[str, dict[str, Any]] | None = None,
) -> Report:
    seeds = range(max(map(len, values.values())))
    spec = suite(*(row(each, seeds, method=(methods or {}).get(each, "padim")) for each in values), compare_to=to)
    fill(book, spec, values, terms or {})
    return book.report(spec)


def fill(
    book: Bookkeeper, spec: ReportInput, values: Mapping[str, Values], terms: Mapping[str, dict[str, Any]]
) -> None:
    for each in spec.rows:
        for cell, value in zip(each.cells, values[each.label], strict=False):
            if value is not None:
                accuracy = {("image_auroc", MEAN): value}
                book.run(cell, {"accuracy": accuracy}, label=each.label, **terms.get(each.label, {}))


# -------------------------------------------------------------------------------------------------------------- effects

FULL = [0.90, 0.92, 0.94]


def test_effects_are_told_with_what_the_seeds_cannot_show(book: Bookkeeper) -> None:
    made = report(
        book,
        {
            "AFRAD": FULL,
            "without SAD": [0.888, 0.9085, 0.9275],  # −1.2, −1.15, −1.25: certain
            "tuned": [0.91, 0.931, 0.949],  # +1.0, +1.1, +0.9: certain
            "without CD": [0.903, 0.915, 0.941],  # +0.3, −0.5, +0.1
            "without FLD": [0.895, 0.923, 0.943],  # −0.5, +0.3, +0.3
        },
        "AFRAD",
    )
    first, second = made.answer
    assert first == (
        "AFRAD is better than “without SAD” by 1.2 points of I-AUROC [1.1, 1.3]; "
        "tuned is better than AFRAD by 1.0 points of I-AUROC [0.8, 1.2]."
    )
    assert second.startswith(
        "“without CD” and “without FLD” make no difference in I-AUROC that 3 seeds can show: they can show"
    )
    for text in everywhere(made):
        assert first in text
        assert second in text


def test_what_the_seeds_can_show_is_the_power_of_the_test(book: Bookkeeper) -> None:
    """Differences +0.3, −0.5, +0.1 and −0.5, +0.3, +0.3, in points: variances 0.1733 and 0.2133, pooled sd 0.4397."""
    rows = {"AFRAD": FULL, "a": [0.903, 0.915, 0.941], "b": [0.895, 0.923, 0.943]}
    (only,) = said(book, rows, "AFRAD")
    spread, alpha = ((0.52 / 3 + 0.64 / 3) / 2) ** 0.5, 0.05 / 2  # the first step of Holm's correction for two rows

    def chance(difference: float, seeds: int) -> float:
        limit, far = stats.t.ppf(1 - alpha / 2, seeds - 1), difference / spread * seeds**0.5
        return float(stats.nct.sf(limit, seeds - 1, far))  # that the test errs in the sign is next to impossible

    assert only == (
        "a and b make no difference in I-AUROC that 3 seeds can show: they can show about 2.0 points or more; "
        "it would take about 11 seeds to see 0.5 points."
    )
    assert chance(1.95, 3) < 0.8 < chance(2.05, 3)
    assert chance(0.5, 10) < 0.8 <= chance(0.5, 11)


def test_an_interval_without_the_correction_is_perhaps(book: Bookkeeper) -> None:
    rows = {
        "full": [0.90, 0.90, 0.90],
        "other": [0.910, 0.915, 0.920],
        "noise": [0.89, 0.90, 0.92],
        "more noise": [0.91, 0.90, 0.88],
    }
    first, *_ = said(book, rows, "full")
    assert first == (
        "other is perhaps better than full by 1.5 points of I-AUROC [0.3, 2.7] "
        "(not significant after the correction for 3 comparisons)."
    )


def test_many_rows_are_named_by_the_largest(book: Bookkeeper) -> None:
    rows = {f"r{i}": [FULL[seed] - 0.01 * i - 0.0005 * seed for seed in range(3)] for i in range(1, 7)}
    assert said(book, {"full": FULL, **rows}, "full") == (
        "full is better than r6 by 6.0 points of I-AUROC [5.9, 6.2], than r5 by 5.1 [4.9, 5.2] and 4 more.",
    )


def test_a_gain_in_a_metric_where_less_is_better_is_a_smaller_value(book: Bookkeeper) -> None:
    less = MeasureSpec({"image_auroc": ACCURACY.metrics["image_auroc"].__class__("Error", "", False, "", percent=True)})
    spec = suite(row("full", (0, 1, 2)), row("a", (0, 1, 2)), measures={"accuracy": less}, compare_to="full")
    fill(book, spec, {"full": [0.10, 0.11, 0.12], "a": [0.08, 0.091, 0.099]}, {})
    assert book.report(spec).answer[0].startswith("a is better than full by 2.0 points of Error [")


def test_one_seed_tells_nothing_from_noise(book: Bookkeeper) -> None:
    assert said(book, {"full": [0.9], "a": [0.91], "b c": [0.85]}, "full") == (
        "One seed cannot tell a difference from noise; the largest is that of “b c”, 5.0 points of I-AUROC below full.",
    )


def test_one_seed_of_some_rows(book: Bookkeeper) -> None:
    found = said(book, {"full": FULL, "a": [0.8, 0.82, 0.84], "b": [0.91, None, None]}, "full")
    assert "a is worse than full by 10.0 points of I-AUROC in every seed." in found
    assert found[0].startswith("One seed, all that b shares with full, cannot tell a difference from noise; ")


def test_rows_that_are_the_same_in_every_seed(book: Bookkeeper) -> None:
    assert said(book, {"full": FULL, "a": FULL, "b": FULL}, "full") == (
        "a and b have the I-AUROC of full in every seed.",
    )


def test_failed_and_missing_rows_are_not_compared(book: Bookkeeper) -> None:
    found = said(book, {"full": FULL, "a": [0.903, 0.915, 0.941], "gone": [None] * 3, "lost": [None] * 3}, "full")
    assert found[-1] == "gone and lost have no I-AUROC to compare."


def test_a_failed_cell_leaves_two_seeds(book: Bookkeeper) -> None:
    spec = suite(row("full", (0, 1, 2)), row("a", (0, 1, 2)), compare_to="full")
    fill(book, spec, {"full": FULL, "a": [0.903, 0.915]}, {})
    book.run(spec.rows[1].cells[2], {}, failed={"accuracy": "ValueError: no"})
    assert "no difference in I-AUROC that 2 seeds can show" in book.report(spec).answer[0]


def test_rows_on_other_data_say_so(book: Bookkeeper) -> None:
    terms = {"b": {"data_fingerprint": "ff" * 32}}
    found = said(book, {"full": FULL, "a": [0.8, 0.82, 0.84], "b": FULL}, "full", terms=terms)
    assert found[-1] == "b is not compared, since these differ: data."


def test_a_reference_without_a_result(book: Bookkeeper) -> None:
    first, second, *_ = said(book, {"full": [None] * 3, "a": FULL, "b": [0.88, 0.91, 0.92]}, "full")
    assert first == "No row can be compared with full."
    assert second.startswith("a leads with 92.0 % I-AUROC, 1.7 points [")


def test_another_metric_that_is_clear_is_told(book: Bookkeeper) -> None:
    spec = suite(row("full", (0, 1, 2)), row("a", (0, 1, 2)), compare_to="full")
    for each, drop in zip(spec.rows, ([0.0, 0.0, 0.0], [0.020, 0.021, 0.019]), strict=True):
        for cell, base, less, noise in zip(each.cells, FULL, drop, (0.003, -0.004, 0.002), strict=True):
            moved = base + (noise if each.label == "a" else 0.0)
            book.run(cell, {"accuracy": {("image_auroc", MEAN): moved, ("pixel_aupro", MEAN): base - less}})
    assert book.report(spec).answer[-1] == "In P-AUPRO, full is better than a by 2.0 points [1.8, 2.2]."


def test_too_much_noise_for_any_plan(book: Bookkeeper) -> None:
    (only,) = said(book, {"full": [0.5, 0.5], "a": [0.1, 0.95]}, "full")
    assert "nothing below 100 points" in only
    assert only.endswith("to see 10 points would take more than 100 seeds.")


# --------------------------------------------------------------------------------------------------------------- leader


def test_the_leader_and_from_whom_it_is_not_told(book: Bookkeeper) -> None:
    rows = {
        "PaDiM": [0.80, 0.81, 0.82],
        "PatchCore": [0.905, 0.915, 0.95],
        "UniAD": [0.90, 0.93, 0.94],
        "AFRAD": [0.7, 0.71, 0.722],
    }
    first, *rest = said(book, rows, methods={"AFRAD": "afrad"})
    assert first == "PatchCore and UniAD lead with 92.3 % I-AUROC."
    assert rest[0].startswith("3 seeds do not tell the leader from UniAD; they can show about ")
    assert rest[1] == "The lead over PaDiM and AFRAD is significant."
    assert rest[2].startswith("AFRAD is 4th of 4 with 71.1, 21.3 points [")
    assert rest[2].endswith("] behind.")


def test_a_lead_of_one_seed(book: Bookkeeper) -> None:
    assert said(book, {"a": [0.9], "b": [0.88]}) == (
        "a leads with 90.0 % I-AUROC, 2.0 points ahead of b.",
        "One seed cannot tell a lead from noise.",
    )


def test_a_lead_over_other_seeds_is_told_over_the_common_ones(book: Bookkeeper) -> None:
    first, *_ = said(book, {"a": [0.90, 0.95, None], "b": [0.89, 0.90, 0.94]})
    assert first.startswith("a leads with 92.5 % I-AUROC, 3.0 points [")
    assert first.endswith("] ahead of b over the 2 seeds that both have.")
    assert said(Bookkeeper(None), {"a": [0.95, 0.90], "b": [0.96, None], "c": [0.5, 0.5]})[0].startswith("b leads")


def test_a_table_of_one_row(book: Bookkeeper) -> None:
    assert said(book, {"a": [0.9, 0.92]}) == ("a reaches 91.0 % I-AUROC (± 1.4 over 2 seeds).",)
    assert said(Bookkeeper(None), {"a": [0.9]}) == ("a reaches 90.0 % I-AUROC with 1 seed.",)
    assert said(Bookkeeper(None), {"a": [0.9], "b": [None]}) == (
        "a reaches 90.0 % I-AUROC with 1 seed, the only one of 2 rows with a result.",
    )
    assert said(Bookkeeper(None), {"a": [0.9]}, "a") == ("a reaches 90.0 % I-AUROC with 1 seed.",)


def test_a_leader_with_random_weights_says_so(book: Bookkeeper) -> None:
    terms = {"a": {"weights": "random", "weights_hash": "random"}}
    assert said(book, {"a": [0.9], "b": [0.88]}, terms=terms)[0].startswith("a (random weights) leads")


def test_rows_that_differ_in_their_terms_have_no_leader(book: Bookkeeper) -> None:
    terms = {"b": {"image_size": 256}}
    assert said(book, {"a": [0.9], "b": [0.88]}, terms=terms) == (
        "The rows are not ranked in I-AUROC, since these differ: image_size.",
    )


def test_nothing_measured(book: Bookkeeper) -> None:
    assert said(book, {"a": [None], "b": [None]}) == ("Nothing has been measured yet.",)


def test_each_data_set_has_its_sentences(book: Bookkeeper) -> None:
    rows = tuple(RowSpec(name, "padim", (*row(name, (0,), "x").cells, *row(name, (0,), "y").cells)) for name in "ab")
    spec = suite(*rows)
    for each, value in zip(rows, (0.9, 0.8), strict=True):
        for cell in each.cells:
            book.run(cell, {"accuracy": {("image_auroc", MEAN): value}})
    answer = book.report(spec).answer
    assert answer[0] == "On x: a leads with 90.0 % I-AUROC, 10.0 points ahead of b."
    assert answer[2].startswith("On y: a leads")


# ---------------------------------------------------------------------------------------------------------------- costs


def test_a_suite_of_times_tells_the_fastest_the_slowest_and_afrads_place(book: Bookkeeper) -> None:
    rows = [row("PaDiM", method="padim"), row("AFRAD"), row("SimpleNet", method="simplenet")]
    spec = suite(*rows, measures={"complexity": COMPLEXITY, "latency": LATENCY})
    for each, time in zip(rows, (40.0, 15.0, 11.0), strict=True):
        values = {"complexity": {("gmacs", None): 1.0}, "latency": {("latency_median", None): time}}
        book.run(each.cells[0], values, method=each.method)
    made = book.report(spec)
    assert made.answer == (
        "SimpleNet is the fastest with 11.0 ms/image, PaDiM the slowest with 40.0; AFRAD is 2nd of 3 with 15.0.",
    )
    assert made.lead is None


def test_unreliable_times_are_left_out(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"), measures={"latency": LATENCY})
    notes = ({}, {("latency_median", None): "unreliable: drifts"})
    for each, note in zip(spec.rows, notes, strict=True):
        book.run(each.cells[0], {"latency": {("latency_median", None): 11.0}}, notes=note)
    assert book.report(spec).answer == ("a takes 11.0 ms/image.", "1 unreliable value is left out.")


def test_accuracies_that_the_data_leave_undefined_are_said_before_costs(book: Bookkeeper) -> None:
    spec = suite(row("a"), measures={"accuracy": ACCURACY, "complexity": COMPLEXITY})
    why = {("image_auroc", MEAN): "no anomalous image"}
    values = {"accuracy": {("image_auroc", MEAN): None}, "complexity": {("gmacs", None): 1.5}}
    book.run(spec.rows[0].cells[0], values, notes=why)
    first, second = book.report(spec).answer
    assert first == "Undefined on these data: I-AUROC, P-AUPRO; footnotes of the results say why."
    assert second == "a takes 1.50 GMAC/image."


def test_a_suite_of_counts(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"), measures={"complexity": COMPLEXITY})
    for each, count in zip(spec.rows, (1.5, 0.5), strict=True):
        book.run(each.cells[0], {"complexity": {("gmacs", None): count}})
    assert book.report(spec).answer == ("b needs the least GMACs with 0.50 GMAC/image, a the most with 1.50.",)


# --------------------------------------------------------------------------------------------------------------- forest


def test_the_forest_has_the_rows_of_the_table_the_largest_first(book: Bookkeeper) -> None:
    rows = {"full": FULL, "a": [0.903, 0.915, 0.941], "b": [0.85, 0.872, 0.889], "c": [None] * 3}
    lead = report(book, rows, "full").lead
    assert lead is not None
    drawing = lead.drawing
    assert isinstance(drawing, Forest)
    assert drawing.rows == ("b", "a", "c")
    first, second, third = drawing.panels[0].intervals
    assert first is not None
    assert (first.gain, first.certainty, first.text) == (-1, "certain", "−5.0 [−5.3, −4.6] ●")
    assert second is not None
    assert second.certainty == "unclear"
    assert third is None


def test_many_rows_are_cut_in_the_forest_and_it_says_so(book: Bookkeeper) -> None:
    rows = {"full": FULL} | {f"r{i}": [value - 0.001 * i for value in FULL] for i in range(12)}
    lead = report(book, rows, "full").lead
    assert lead is not None
    assert isinstance(lead.drawing, Forest)
    assert len(lead.drawing.rows) == 8
    assert "The 8 largest of 12 differences are drawn." in lead.caption


def test_one_row_has_no_forest(book: Bookkeeper) -> None:
    assert report(book, {"a": [0.9, 0.92]}).lead is None


def test_the_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(wording).failed == 0
