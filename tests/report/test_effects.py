"""What each row changes: differences paired by seed, their intervals, Holm's correction, and the ranking; by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from afrad_bench.report import MeasureSpec, Report
from afrad_bench.report.model import Section, Table
from afrad_bench.types import MEAN, Metric
from tests.report.test_report import ACCURACY, Bookkeeper, everywhere, row, suite

COMPLEXITY = MeasureSpec(
    {
        "gmacs": Metric("GFLOPs (MACs)", "GMAC/image", False, "Multiply-accumulates", decimals=2),
        "params_total": Metric("Parameters (M)", "M", False, "Parameters", decimals=2),
    }
)


@pytest.fixture
def book(tmp_path: Path) -> Bookkeeper:
    return Bookkeeper(tmp_path / "store")


def compared(
    book: Bookkeeper, values: dict[str, list[float | None]], axes: dict[str, str] | None = None, to: str = "full"
) -> Report:
    """A report on rows with an I-AUROC for each seed (None: that seed is not run), compared to one of them."""
    seeds = range(max(map(len, values.values())))
    spec = suite(*(row(label, seeds, axis=(axes or {}).get(label, "")) for label in values), compare_to=to)
    for each in spec.rows:
        for cell, value in zip(each.cells, values[each.label], strict=True):
            if value is not None:
                book.run(cell, {"accuracy": {("image_auroc", MEAN): value}}, label=each.label)
    return book.report(spec)


def section(report: Report) -> Section:
    found = report.section("effects")
    assert found is not None
    return found


def column(table: Table, heading: str) -> list[str]:
    (at,) = (i for i, each in enumerate(table.headings) if each.text == heading)
    return [line.entries[at].text for line in table.lines]


def test_rows_are_ranked_by_what_they_change(book: Bookkeeper) -> None:
    report = compared(
        book,
        {
            "full": [0.90, 0.92, 0.94],
            "a little": [0.909, 0.931, 0.95],  # +0.9, +1.1, +1.0: certain
            "much": [0.85, 0.88, 0.89],  # −5, −4, −5: certain
            "unsure": [0.93, 0.89, 0.94],  # +3, −3, 0
        },
    )
    (table,) = section(report).tables
    assert column(table, "Row") == ["full", "much", "a little", "unsure"]
    assert column(table, "Δ I-AUROC") == [
        "–",
        "−4.7 [−6.1, −3.2] ●",
        "+1.0 [+0.8, +1.2] ●",
        "0.0 [−7.5, +7.5]",
    ]
    assert column(table, "What it does") == [
        *("all are compared to it", "worse: I-AUROC", "better: I-AUROC", "no clear difference")
    ]
    for text in everywhere(report):
        assert "−4.7 [−6.1, −3.2] ●" in text
        assert "significant at 5% after Holm" in text


def test_many_comparisons_make_a_lone_interval_unsure(book: Bookkeeper) -> None:
    """Differences 1.0, 1.5, 2.0 have p = 0.037: enough alone, not among three rows."""
    lone = {"full": [0.90, 0.90, 0.90], "other": [0.910, 0.915, 0.920]}
    (table,) = section(compared(book, lone)).tables
    assert column(table, "Δ I-AUROC")[1] == "+1.5 [+0.3, +2.7] ●"


def test_an_interval_that_the_correction_does_not_survive(tmp_path: Path) -> None:
    rows = {
        "full": [0.90, 0.90, 0.90],
        "other": [0.910, 0.915, 0.920],
        "noise": [0.89, 0.90, 0.92],
        "more noise": [0.91, 0.90, 0.88],
    }
    (table,) = section(compared(Bookkeeper(tmp_path / "other"), rows)).tables
    assert column(table, "Δ I-AUROC")[1] == "+1.5 [+0.3, +2.7] ○"
    assert column(table, "What it does")[1] == "perhaps better: I-AUROC"


def test_axes_are_ranked_by_their_largest_effect(book: Bookkeeper) -> None:
    values = {"full": [0.9], "a1": [0.91], "b1": [0.87], "a2": [0.88], "c1": [0.901]}
    report = compared(book, values, {"a1": "A", "a2": "A", "b1": "B", "c1": "C"})
    axes, readings = section(report).tables
    assert list(zip(column(axes, "Axis"), column(axes, "Row"), strict=True)) == [("B", "b1"), ("A", "a2"), ("C", "c1")]
    assert column(readings, "Row") == ["full", "b1", "a2", "a1", "c1"]
    assert column(axes, "What it does") == ["one seed: cannot tell"] * 3
    assert "one seed: no interval" in axes.footnotes


def test_only_seeds_of_both_are_paired(book: Bookkeeper) -> None:
    report = compared(book, {"full": [0.90, 0.80, None], "other": [0.91, None, 0.99]})
    (table,) = section(report).tables
    assert column(table, "Δ I-AUROC")[1] == "+1.0"


def test_other_data_are_not_compared(book: Bookkeeper) -> None:
    spec = suite(row("full"), row("other"), row("third"), compare_to="full")
    for each, data in zip(spec.rows, ("ab", "ff", "ab"), strict=True):
        book.run(each.cells[0], {"accuracy": {("image_auroc", MEAN): 0.9}}, data_fingerprint=data * 32)
    (table,) = section(book.report(spec)).tables
    found = dict(zip(column(table, "Row"), column(table, "Δ I-AUROC"), strict=True))
    assert found == {"full": "–", "other": "n/a", "third": "0.0"}
    assert "not compared, since these differ: data" in table.footnotes


def test_costs_stand_beside(book: Bookkeeper) -> None:
    spec = suite(
        row("full"), row("small"), compare_to="full", measures={"accuracy": ACCURACY, "complexity": COMPLEXITY}
    )
    for each, gmacs in zip(spec.rows, (2.0, 0.5), strict=True):
        complexity = {("gmacs", None): gmacs, ("params_total", None): 3.25}
        book.run(each.cells[0], {"accuracy": {("image_auroc", MEAN): 0.9}, "complexity": complexity})
    (table,) = section(book.report(spec)).tables
    assert column(table, "GFLOPs (MACs)") == ["2.00", "0.50"]
    assert column(table, "Parameters (M)") == ["3.25", "3.25"]


def test_without_a_row_to_compare_to_there_is_no_section(book: Bookkeeper) -> None:
    spec = suite(row("full"), row("other"))
    for each in spec.rows:
        book.run(each.cells[0], {"accuracy": {("image_auroc", MEAN): 0.9}})
    assert book.report(spec).section("effects") is None
