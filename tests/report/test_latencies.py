"""Latency as intervals: which rows, in which order, on which axis, and what is unreliable."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from afrad_bench.report import Report, to_markdown
from afrad_bench.report.drawing.pictures import vectors
from afrad_bench.report.drawing.shapes import Figure, Span, Spans
from afrad_bench.report.model import MeasureSpec
from afrad_bench.report.sections import latencies
from afrad_bench.report.sections.latencies import spans_figure
from afrad_bench.types import MEAN, Metric
from tests.report.test_report import ACCURACY, Bookkeeper, row, suite

TIMES = ("latency_median", "latency_p5", "latency_p95")
LATENCY = MeasureSpec(
    {name: Metric(name, "ms/image", False, name, decimals=2) for name in TIMES}, ("device", "device_name", "threads")
)


@pytest.fixture
def book(tmp_path: Path) -> Bookkeeper:
    return Bookkeeper(tmp_path / "results")


def report_of(book: Bookkeeper, times: dict[str, tuple[float, str]], devices: tuple[str, ...] = ("cpu",)) -> Report:
    spec = suite(*map(row, times), measures={"accuracy": ACCURACY, "latency": LATENCY})
    for at, (each, (median, note)) in enumerate(zip(spec.rows, times.values(), strict=True)):
        found = {(name, None): median * share for name, share in zip(TIMES, (1.0, 0.9, 1.2), strict=True)}
        values = {"accuracy": {("image_auroc", MEAN): 0.9}, "latency": found}
        book.run(each.cells[0], values, notes=dict.fromkeys(found, note), device=devices[at % len(devices)])
    return book.report(spec)


def figure_of(report: Report) -> Figure | None:
    section = report.section("efficiency")
    assert section is not None
    return next((figure for figure in section.figures if figure.key == "latency_intervals"), None)


def test_rows_stand_from_fast_to_slow_with_their_ends(book: Bookkeeper) -> None:
    report = report_of(book, {"slow": (40.0, ""), "fast": (10.0, ""), "doubted": (20.0, "unreliable: drifts")})
    figure = figure_of(report)
    assert figure is not None
    assert isinstance(figure.drawing, Spans)
    found = figure.drawing.spans
    assert [(span.label, span.doubted) for span in found] == [
        ("fast", False),
        ("doubted ⚠ unreliable", True),
        ("slow", False),
    ]
    assert (found[0].low, found[0].value, found[0].high, found[0].text) == (9.0, 10.0, 12.0, "10 ms (9–12)")
    assert "fast: 10 ms (9–12); doubted ⚠ unreliable: 20 ms (18–24); slow: 40 ms (36–48)" in figure.description
    assert "the note of the row in the table says why" in " ".join(figure.caption)
    assert "figures/latency_intervals.png" in to_markdown(report)


def test_times_of_different_devices_share_no_axis(book: Bookkeeper) -> None:
    report = report_of(book, {"a": (10.0, ""), "b": (20.0, "")}, devices=("cpu", "cuda:0"))
    assert figure_of(report) is None


def test_one_time_is_no_figure(book: Bookkeeper) -> None:
    assert figure_of(report_of(book, {"a": (10.0, "")})) is None


@pytest.mark.parametrize(("slowest", "logarithmic"), [(9.0, False), (2e6, True)])
def test_the_axis_is_logarithmic_above_a_decade(slowest: float, logarithmic: bool) -> None:
    spans = [Span(str(value), None, value, None, False, "") for value in (1.0, slowest)]
    svg = vectors([spans_figure(spans, "times", "Times", (), ("stamp",))])["times"]
    assert ("ms per image (log scale)" in svg) is logarithmic
    assert ("1,000,000" in svg) is logarithmic
    assert "unreliable" not in svg


def test_examples_in_docstrings() -> None:
    found = doctest.testmod(latencies)
    assert found.attempted
    assert not found.failed
