"""Strips of image scores: which dots, their names, the threshold, and what is left out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from afrad_bench.report import to_html
from afrad_bench.report.basis.evidence import RowEvidence
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.results import Results, read
from afrad_bench.report.drawing.pictures import vectors
from afrad_bench.report.drawing.shapes import Figure, Strips
from afrad_bench.report.model import MeasureSpec, PlannedCell
from afrad_bench.report.sections.strips import DOTS, LEAST, MEASURE, MOST, PANELS, THRESHOLD, strips
from afrad_bench.store import Store
from afrad_bench.types import Metric, Score
from tests.report.test_figures import MEASURES, fill, made
from tests.report.test_report import ACCURACY, Bookkeeper, row, suite

OPERATING = MeasureSpec({THRESHOLD: Metric("Threshold", "score", True, "the threshold of the score", headline=False)})


def scores_of(category: str, normal: int, anomalous: int) -> list[Score]:
    return [
        Score(category, f"{category}/{kind}/{at}", kind == "dent", float(at + (kind == "dent") * normal), kind)
        for kind, count in (("good", normal), ("dent", anomalous))
        for at in range(count)
    ]


def figures_of(rows: int = 1, categories: int = 1, images: int = 3) -> list[Figure]:
    spec = suite(*(row(f"method {at}") for at in range(rows)))
    names = [f"c{at}" for at in range(categories)]
    seen = [
        RowEvidence(each, at, "demo", 0, {name: scores_of(name, images, images) for name in names})
        for at, each in enumerate(spec.rows)
    ]
    return strips(Grid(spec, Results({}, {})), "demo", seen)


def test_every_image_is_a_dot_beside_the_threshold_of_the_best_f1() -> None:
    (figure,) = figures_of()
    assert isinstance(figure.drawing, Strips)
    strip = figure.drawing.strips[0][0]
    assert strip is not None
    assert strip.normal.names == ("c0/good/0", "c0/good/1", "c0/good/2")
    assert strip.anomalous.scores == (3.0, 4.0, 5.0)
    assert strip.threshold == 3.0  # from here on it is anomalous
    svg = vectors([figure])["score_strips"]
    assert svg.count('<g class="point" role="img" data-image=') == 6
    assert "<title>c0/dent/1, anomalous: 4</title>" in svg
    assert "Not drawn" not in " ".join(figure.caption)


def test_of_many_images_some_are_drawn_evenly_with_the_ends_and_that_is_said() -> None:
    figures = figures_of(rows=4, categories=20, images=900)
    assert len(figures) == 4
    most = min(MOST, DOTS // (2 * max(2, PANELS // 20) * 20))
    dots = [
        kind
        for figure in figures
        for line in figure.drawing.strips
        for strip in line
        for kind in (strip.normal, strip.anomalous)
    ]
    assert {len(each.scores) for each in dots} == {most}
    assert sum(len(each.scores) for each in dots) <= DOTS
    assert (dots[0].scores[0], dots[0].scores[-1]) == (0.0, 899.0)
    assert f"Of a panel with more than {most} images of a kind, {most} are drawn" in " ".join(figures[0].caption)


DECIDED = "at most 5 % false alarms, decided on 75 normal images of demo (held out)"


def test_a_stored_operating_point_is_a_line_with_its_value_and_what_decided_it() -> None:
    """Of its own cell: that of the seed and of the part of the data whose scores are drawn."""
    parts = {name: PlannedCell(f"of {name}", "demo", 0, name) for name in ("c0", "c1")}
    spec = suite(
        row("none"),
        replace(row("with"), cells=tuple(parts.values())),
        measures={"accuracy": ACCURACY, MEASURE: OPERATING},
        stale={"of c1": {MEASURE: "rate"}},
    )
    book, at = Bookkeeper(None), (THRESHOLD, None)
    for cell, value in zip(parts.values(), (3.25, 4.5), strict=True):
        book.run(cell, {MEASURE: {at: value}}, notes={at: DECIDED})
    scores = {name: scores_of(name, 3, 3) for name in parts}
    whole = dict.fromkeys(parts, spec.rows[0].cells[0])
    seen = [RowEvidence(spec.rows[at], at, "demo", 0, scores, of) for at, of in enumerate((whole, parts))]
    results = read(*book.frames())
    (figure,) = strips(Grid(spec, results), "demo", seen)
    assert isinstance(figure.drawing, Strips)
    found = [[strip.operating for strip in line if strip is not None] for line in figure.drawing.strips]
    assert found == [[None, None], [3.25, 4.5]]
    assert "the stored operating point, one for all categories of a model: " in figure.caption[-1]
    assert f"{DECIDED} (with); {DECIDED}; stale: rate (with)." in figure.caption[-1]
    svg = vectors([figure])["score_strips"]
    assert svg.count("stroke: #00664b") == 3  # a line in two panels, and one in the legend
    assert all(f">{text}<" in svg for text in ("3.25", "4.5", "operating point"))


def test_an_operating_point_far_from_all_dots_is_an_arrow_that_leaves_them_their_room() -> None:
    (figure,) = figures_of(categories=2)
    assert isinstance(figure.drawing, Strips)
    (first, second), *_ = figure.drawing.strips
    assert first is not None
    assert second is not None
    strips = ((replace(first, operating=900.5), replace(second, operating=-80.25)),)
    svg = vectors([replace(figure, drawing=replace(figure.drawing, strips=strips))])["score_strips"]
    assert ">900.5 →<" in svg
    assert ">← −80.25<" in svg or ">← -80.25<" in svg
    assert svg.count("stroke: #00664b") == 1  # no line but that of the legend
    assert ">800<" not in svg


def test_without_an_operating_point_nothing_is_said_of_one() -> None:
    (figure,) = figures_of()
    assert "Solid" not in " ".join(figure.caption)
    assert "operating point<" not in vectors([figure])["score_strips"]


def test_rows_that_are_not_drawn_are_named() -> None:
    figures = figures_of(rows=50, categories=27, images=LEAST + 1)
    count = max(2, PANELS // 27)
    assert all(len(figure.drawing.rows) == count for figure in figures)
    assert f"Not drawn, for their number: method {count}," in " ".join(figures[0].caption)


def test_a_hostile_name_is_only_text_and_the_page_names_each_dot(tmp_path: Path) -> None:
    store, spec = Store(tmp_path), suite(row("a"), measures=MEASURES)
    fill(store, spec, examples=False)
    report = made(store, spec)
    page = to_html(report)
    figure = page[page.index('aria-labelledby="score_strips-drawing-title') :].partition("</svg>")[0]
    found = re.findall(r'class="point" role="img"[^>]*><title>([^<]*)</title>', figure)
    assert "alpha/good/0, normal: 0.1" in found
    assert len(found) == 11
    (hostile,) = strips(
        Grid(spec, Results({}, {})),
        "demo",
        [RowEvidence(spec.rows[0], 0, "demo", 0, {"c": [Score("c", "<b>&", False, 1.0), Score("c", "d", True, 2.0)]})],
    )
    assert "<title>&lt;b&gt;&amp;, normal: 1</title>" in vectors([hostile])["score_strips"]
