"""Pivots of grids: which table has which numbers where, what is best, shades, and what has no pivot."""

from __future__ import annotations

import doctest
import re
from itertools import product
from pathlib import Path

import pytest

from afrad_bench.report import Report, to_html, to_latex, to_markdown
from afrad_bench.report.model import RowSpec, Section
from afrad_bench.report.sections import pivots
from afrad_bench.suite.suite import load
from afrad_bench.types import MEAN
from tests.report.test_report import Bookkeeper, row, suite

AXES = {"channels": ("50", "100"), "sigma": ("2.0", "4.0", "8.0")}


@pytest.fixture
def book(tmp_path: Path) -> Bookkeeper:
    return Bookkeeper(tmp_path / "results")


def rows_of(**axes: tuple[str, ...]) -> tuple[RowSpec, ...]:
    points = [tuple(zip(axes, values, strict=True)) for values in product(*axes.values())]
    return tuple(
        row(f"PaDiM {'-'.join(value for _, value in point)}", range(2), grid="PaDiM", point=point) for point in points
    )


def report_of(book: Bookkeeper, rows: tuple[RowSpec, ...]) -> Report:
    for at, each in enumerate(rows):
        for cell in each.cells:
            book.run(cell, {"accuracy": {("image_auroc", MEAN): 0.5 + 0.05 * at + 0.002 * cell.seed}})
    return book.report(suite(*rows))


def grid_of(report: Report) -> Section:
    section = report.section("grid")
    assert section is not None
    return section


def test_one_axis_goes_down_and_one_across(book: Bookkeeper) -> None:
    report = report_of(book, rows_of(**AXES))
    (table,) = [table for table in grid_of(report).tables if "I-AUROC" in table.caption]
    assert [(heading.text, heading.group) for heading in table.headings] == [
        ("channels", ""),
        *((value, "sigma") for value in AXES["sigma"]),
    ]
    assert [[entry.text for entry in line.entries] for line in table.lines] == [
        ["50", "50.1", "55.1", "60.1"],
        ["100", "65.1", "70.1", "75.1"],
    ]
    assert [entry.rank for entry in table.lines[1].entries] == ["", "", "second", "best"]
    assert table.lines[0].entries[1].spread == "0.1"


def test_a_third_axis_makes_a_table_for_each_of_its_values(book: Bookkeeper) -> None:
    report = report_of(book, rows_of(**AXES, size=("a", "b")))
    captions = [table.caption for table in grid_of(report).tables if "I-AUROC" in table.caption]
    assert captions == ["PaDiM, I-AUROC ↑ (%), size=a", "PaDiM, I-AUROC ↑ (%), size=b"]
    first, second = (table for table in grid_of(report).tables if "I-AUROC" in table.caption)
    assert [first.lines[0].entries[1].text, second.lines[0].entries[1].text] == ["50.1", "55.1"]


def test_an_excluded_combination_is_a_dash(book: Bookkeeper) -> None:
    report = report_of(book, rows_of(**AXES)[1:])
    first, _ = grid_of(report).tables[0].lines
    assert [entry.text for entry in first.entries] == ["50", "–", "50.1", "55.1"]


def test_the_whole_table_is_shaded_from_the_worst_to_the_best(book: Bookkeeper) -> None:
    page = to_html(report_of(book, rows_of(**AXES)))
    body = page[page.index('<h2 id="grid">') :].partition("</section>")[0]
    shades = re.findall(r"number (heat\d)", body)
    assert len(shades) == 6
    assert shades == sorted(shades)
    assert (shades[0], shades[-1]) == ("heat0", "heat4")


def test_every_format_has_it(book: Bookkeeper) -> None:
    report = report_of(book, rows_of(**AXES))
    assert "| channels | sigma: 2.0 |" in to_markdown(report).replace("--:", "").replace("  ", " ")
    assert "sigma" in to_latex(report)


@pytest.mark.parametrize("axes", [{"channels": ("50", "100")}, {"channels": ("50", "100"), "sigma": ("2.0",)}])
def test_one_axis_has_no_pivot(book: Bookkeeper, axes: dict[str, tuple[str, ...]]) -> None:
    assert report_of(book, rows_of(**axes)).section("grid") is None


def test_rows_of_a_suite_know_their_place(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "suite: g\ntitle: G\nmeasures: [accuracy]\nmethods:\n  - method: padim\n    label: PaDiM\n"
        "    grid: {channels: [50, 100], sigma: [2.0, 4.0]}\n    exclude: [{channels: 50, sigma: 4.0}]\n"
        "    include: [{channels: 200}]\n"
        "profiles:\n  demo:\n    datasets: [demo]\n"
        "    params: {padim: {backbone: {name: tf_efficientnet_lite0, weights: packaged}}}\n",
        encoding="utf-8",
    )
    found = [(each.grid, dict(each.point)) for each in load(path).select().rows]
    assert found == [
        ("PaDiM", {"channels": "50", "sigma": "2.0"}),
        ("PaDiM", {"channels": "100", "sigma": "2.0"}),
        ("PaDiM", {"channels": "100", "sigma": "4.0"}),
        ("", {}),
    ]


def test_examples_in_docstrings() -> None:
    found = doctest.testmod(pivots)
    assert found.attempted
    assert not found.failed
