"""Pictures of a report: what is drawn, under which words, nothing twice, and what the page makes of it."""

from __future__ import annotations

import doctest
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from PIL import Image

from afrad_bench.report import Report, build, failure_report, to_html, to_markdown, write
from afrad_bench.report import failures as failing
from afrad_bench.report.basis import evidence, figures
from afrad_bench.report.basis.evidence import TRAINING
from afrad_bench.report.drawing import bubbles, pictures
from afrad_bench.report.drawing.bubbles import _apart, _round
from afrad_bench.report.drawing.shapes import Bubble, Bubbles, Curves, Figure, Gallery, Histograms
from afrad_bench.report.drawing.style import COLOURS, RC, colour, dash
from afrad_bench.report.formats.html import script
from afrad_bench.report.model import MeasureSpec, ReportInput
from afrad_bench.report.sections import curves
from afrad_bench.store import OF_RUNS, Store
from afrad_bench.types import MEAN, Metric, Score
from tests.program import Place
from tests.report.test_report import ACCURACY, HOSTILE, START, Bookkeeper, Page, auroc, row, suite

COST = MeasureSpec(
    {
        "gmacs": Metric("GFLOPs (MACs)", "GMAC/image", False, "Multiply-accumulates", decimals=2),
        "params_total": Metric("Parameters (M)", "M", False, "Parameters", decimals=2),
    }
)
MEASURES = {"accuracy": ACCURACY, "complexity": COST, "gallery": MeasureSpec({})}


def png(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


def example(category: str, number: int, score: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    anomalous = more.pop("gt_label", True)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:16, 8:16] = 255 * anomalous
    ramp = np.arange(32 * 32, dtype=np.float64).reshape(32, 32) / 1023 * 255
    return {
        "category": category,
        "image_id": f"{category}/{'dent' if anomalous else 'good'}/{number}",
        "defect": "dent" if anomalous else "good",
        "gt_label": anomalous,
        "pred_score": score,
        "role": "chosen",
        "rank": number + 1,
        "image": png(np.full((32, 32, 3), 90, np.uint8)),
        "mask": png(mask),
        "anomaly_map": png(ramp.astype(np.uint8)),
        "low": low,
        "high": high,
        **more,
    }


SCORES = {"alpha": ((0.1, 0.2, 0.5, 0.6), (0.4, 0.7, 0.8)), "beta": ((1.0, 2.0), (3.0, 4.0))}
"""Category -> scores of normal and of anomalous images."""


def fill(
    store: Store,
    spec: ReportInput,
    *,
    shift: float = 0.0,
    examples: bool = True,
    more: Mapping[str, Mapping[str, float]] | None = None,
    losses: tuple[float, ...] = (),
    **terms: Any,
) -> None:
    """One complete run of every cell, with scores, curves and pictures; `more`: measure -> metric -> value."""
    more = more or {}
    planned = [(each, cell) for each in spec.rows for cell in each.cells]
    for number, (each, cell) in enumerate(planned):
        start = START + timedelta(minutes=number)
        run = {
            "run_id": f"{number:032x}",
            "cell_id": cell.id,
            "started_at": start,
            "ended_at": start + timedelta(seconds=9),
            "method": each.method,
            "label": each.label,
            "dataset": cell.dataset,
            "setting": "unified",
            "seed": cell.seed,
            "profile": "demo",
            "image_size": 32,
            "epochs": 3,
            "backbone": "resnet18",
            "status": "ok",
            "measures": json.dumps({name: {"version": "1", "status": "ok"} for name in (*MEASURES, *more)}),
            **terms,
        }
        values = (("accuracy", "image_auroc", MEAN, 0.9), ("complexity", "gmacs", None, 1.0 + number))
        values += (("complexity", "params_total", None, 2.0),)
        values += tuple((name, metric, None, each) for name, of in more.items() for metric, each in of.items())
        measurements = [dict(zip(("measure", "metric", "category", "value"), one, strict=True)) for one in values]
        scores = [
            {
                "category": category,
                "image_id": f"{category}/{kind}/{i}",
                "gt_label": kind == "dent",
                "pred_score": value,
                "defect": kind,
            }
            for category, kinds in SCORES.items()
            for kind, of_kind in zip(("good", "dent"), kinds, strict=True)
            for i, value in enumerate(of_kind)
        ]
        curves = [
            {"category": "alpha", "kind": "pixel_roc", "x": (0.0, 0.0, 1.0), "y": (0.0, 0.5 + shift * cell.seed, 1.0)},
            {"category": "alpha", "kind": "pro", "x": (0.0, 0.3), "y": (0.0, 0.9)},
        ]
        if losses:
            epochs = tuple(map(float, range(1, len(losses) + 1)))
            curves.append({"category": None, "kind": TRAINING, "x": epochs, "y": losses})
        kept = [
            example("alpha", 0, 0.4, 0.0, 2.0),
            example("alpha", 1, 0.1, 1.0, 4.0, gt_label=False),
            example("beta", 0, 3.0, 0.0, 1.0),
            example("alpha", 0, 0.4, 0.0, 2.0, role="missed", rank=1),
        ]
        store.append(run, measurements, scores, curves, kept if examples else [])


def made(store: Store, spec: ReportInput) -> Report:
    return build(spec, **store.read_all(OF_RUNS))


def figure(report: Report, key: str) -> Figure:
    (found,) = (each for each in report.figures if each.key == key)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """A report in its folder, drawn once for the tests that only look."""
    root = tmp_path_factory.mktemp("written")
    fill(Store(root / "store"), TWO)
    report = made(Store(root / "store"), TWO)
    write(report, root / "report")
    return report, root / "report"


TWO = suite(row("a", (0, 1)), row("b", (0, 1), method="padim"), measures=MEASURES)


# ------------------------------------------------------------------------------------------------------------- gallery


def test_the_gallery_has_a_row_per_method_and_a_column_per_category(store: Store) -> None:
    fill(store, TWO)
    drawing = figure(made(store, TWO), "gallery").drawing
    assert isinstance(drawing, Gallery)
    assert drawing.rows == ("image", "ground truth", "a", "b")
    assert [(column.group, column.head) for column in drawing.columns] == [("alpha", "dent"), ("beta", "dent")]
    more = figure(made(store, TWO), "gallery_more").drawing
    assert isinstance(more, Gallery)
    assert [(column.group, column.head) for column in more.columns] == [("alpha", "good")]


def test_a_map_is_scaled_with_the_other_chosen_maps_of_its_method_and_category(store: Store) -> None:
    fill(store, TWO)
    drawing = figure(made(store, TWO), "gallery").drawing
    more = figure(made(store, TWO), "gallery_more").drawing
    assert isinstance(drawing, Gallery)
    assert isinstance(more, Gallery)
    alpha, beta = drawing.columns
    assert alpha.tiles[2].span == (0.0, 0.5)  # 0 to 2 of 0 to 4, since the normal image reaches 4
    assert more.columns[0].tiles[2].span == (0.25, 1.0)
    assert beta.tiles[2].span == (0.0, 1.0)


def test_below_a_map_stands_the_share_of_normal_images_with_a_lower_score(store: Store) -> None:
    fill(store, TWO)
    drawing = figure(made(store, TWO), "gallery").drawing
    assert isinstance(drawing, Gallery)
    assert [column.tiles[3].text for column in drawing.columns] == ["above 50% of normal", "above 100% of normal"]


def test_a_row_without_pictures_is_left_out_and_one_without_the_image_says_so(store: Store) -> None:
    fill(store, replace(TWO, rows=TWO.rows[:1]))
    report = made(store, TWO)
    drawing = figure(report, "gallery").drawing
    assert isinstance(drawing, Gallery)
    assert drawing.rows == ("image", "ground truth", "a")
    assert "gallery" in to_markdown(report)


def test_many_categories_are_broken_into_figures_that_fit() -> None:
    assert [part.stop - part.start for part in figures.blocks(15, 8)] == [8, 7]
    assert figures.blocks(0, 8) == []
    assert figures.packed([["a"] * 2, ["b"] * 2, ["c"] * 2, ["d"] * 2, ["e"] * 2], 8) == [
        [*"aabbcc"],
        [*"ddee"],
    ]
    assert [len(block) for block in figures.packed([["a"] * 20], 8)] == [8, 8, 4]


def test_a_store_without_pictures_has_no_gallery_but_everything_else(store: Store) -> None:
    fill(store, TWO, examples=False)
    report = made(store, TWO)
    assert report.section("gallery") is None
    assert report.section("curves") is not None
    assert build(TWO, store.read("cells"), store.read("measurements")).section("curves") is None


# ----------------------------------------------------------------------------------------------- curves and histograms


def test_the_roc_curve_of_images_is_the_one_worked_by_hand(store: Store) -> None:
    one = suite(row("a"), measures=MEASURES)
    fill(store, one)
    drawing = figure(made(store, one), "roc_images").drawing
    assert isinstance(drawing, Curves)
    alpha, beta = drawing.panels
    # descending: 0.8 + , 0.7 + , 0.6 - , 0.5 - , 0.4 + , 0.2 - , 0.1 -
    assert list(zip(alpha.strokes[0].x, alpha.strokes[0].y, strict=True)) == [
        (0.0, 0.0),
        (0.0, 0.33333),
        (0.0, 0.66667),
        (0.25, 0.66667),
        (0.5, 0.66667),
        (0.5, 1.0),
        (0.75, 1.0),
        (1.0, 1.0),
    ]
    assert beta.strokes[0].y[:3] == (0.0, 0.5, 1.0)


def test_curves_of_several_seeds_are_their_mean_between_the_lowest_and_the_highest(store: Store) -> None:
    fill(store, TWO, shift=0.2)
    drawing = figure(made(store, TWO), "roc_pixels").drawing
    assert isinstance(drawing, Curves)
    stroke = drawing.panels[0].strokes[0]
    assert (stroke.low[1], stroke.y[1], stroke.high[1]) == (0.5, 0.6, 0.7)
    middle = stroke.x.index(0.25)
    assert stroke.y[middle] == pytest.approx((0.625 + 0.775) / 2)
    assert figure(made(store, TWO), "roc_pixels").stamp[0].count("mean over seeds 0, 1") == 1


def test_missing_curves_are_said_to_be_missing(store: Store) -> None:
    fill(store, TWO)
    for part in (store.root / "curves").glob("*.parquet"):
        part.unlink()
    section = made(store, TWO).section("curves")
    assert section is not None
    assert {each.key for each in section.figures} == {"roc_images", "score_histograms", "score_strips"}
    assert any("No curve over pixels is stored for a and b" in text for text in section.intro)


def test_histograms_are_shares_of_each_kind(store: Store) -> None:
    fill(store, TWO)
    drawing = figure(made(store, TWO), "score_histograms").drawing
    assert isinstance(drawing, Histograms)
    assert (drawing.rows, drawing.columns) == (("a", "b"), ("alpha", "beta"))
    bars = drawing.bars[0][0]
    assert bars is not None
    assert sum(bars.normal) == pytest.approx(1.0)
    assert sum(bars.anomalous) == pytest.approx(1.0)
    assert (bars.edges[0], bars.edges[-1]) == (0.1, 0.8)
    assert (bars.normal[0], bars.anomalous[-1]) == (0.25, pytest.approx(1 / 3))


def test_rows_beyond_the_budget_of_a_figure_are_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = suite(row("a"), row("b"), row("c"))
    fill(store, spec)
    monkeypatch.setattr(curves, "PANELS", 4)
    monkeypatch.setattr(curves, "LINES", 4)
    for key in ("score_histograms", "roc_images"):
        found = figure(made(store, spec), key)
        assert "Not drawn, for their number: c; `--only LABEL` chooses rows." in found.caption
        labels = found.drawing.rows if isinstance(found.drawing, Histograms) else found.drawing.labels
        assert len(labels) == 2


# ----------------------------------------------------------------------------------------------- accuracy against cost


def test_measured_and_published_are_told_apart_and_kept_apart_where_data_differ(store: Store) -> None:
    spec = suite(row("full", (0, 1), published_row="full"), measures=MEASURES, reproduces="table5")
    fill(store, spec)
    found = figure(made(store, spec), "efficiency_plot")
    drawing = found.drawing
    assert isinstance(drawing, Bubbles)
    (bubble,) = drawing.bubbles
    assert (bubble.x, bubble.y, bubble.size) == (1.5, pytest.approx(90.0), 2.0)
    assert {mark.label: mark.y for mark in drawing.marks}["full"] == 98.3
    assert len(drawing.marks) == 5  # the rows that the suite lacks are the paper's too
    assert not drawing.shared
    assert "an axis of their own, since they are for mvtec_ad" in " ".join(found.caption)
    assert "full: 98.3 %" in found.description


def test_published_on_the_same_data_shares_the_axis(store: Store) -> None:
    spec = suite(row("full", dataset="mvtec_ad", published_row="full"), measures=MEASURES, reproduces="table5")
    fill(store, spec)
    drawing = figure(made(store, spec), "efficiency_plot").drawing
    assert isinstance(drawing, Bubbles)
    assert drawing.shared


def test_a_row_without_a_count_is_named_instead_of_drawn(store: Store) -> None:
    fill(store, replace(TWO, rows=TWO.rows[:1]))
    found = figure(made(store, TWO), "efficiency_plot")
    assert isinstance(found.drawing, Bubbles)
    assert [bubble.label for bubble in found.drawing.bubbles] == ["a"]
    assert "Not drawn, since accuracy or GFLOPs were not measured: b." in found.caption


@pytest.mark.parametrize("count", [13, 30])
def test_many_long_labels_cover_neither_each_other_nor_a_point(count: int) -> None:
    """Costs lie close together, as those of the variants of few methods do."""
    costs = (0.1, 0.11, 0.2, 2.1, 30.0)
    found = tuple(
        Bubble(f"PatchCore, fraction=0.1, on 4,8,16,32 ({at})", at, costs[at % 5], 80 + at * 7 % 12 + at / 50, 0.4, 2.0)
        for at in range(count)
    )
    drawing = Bubbles(found, (), "GFLOPs", "I-AUROC", "M parameters")
    with matplotlib.rc_context(RC):
        canvas = Canvas(figsize=bubbles.size(drawing), layout="constrained")
        bubbles.fill(canvas, drawing, 0.3)
        canvas.draw_without_rendering()
        (axes,) = canvas.axes
        boxes = [each.get_window_extent() for each in axes.texts if each.get_text()]
    assert len(boxes) == count
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    points = [axes.transData.transform((each.x, each.y)) for each in found]
    assert not any(box.contains(x, y) for box in boxes for x, y in points)


@pytest.mark.parametrize("places", [[0.0, 1.0, 2.0, 40.0], [5.0] * 6, [0.0, 9.0, 10.0, 11.0, 30.0], [1.0]])
def test_labels_moved_apart_do_not_overlap_and_keep_their_order(places: list[float]) -> None:
    moved = _apart(places, 10.0)
    assert all(b - a >= 10.0 - 1e-9 for a, b in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(places))


# ------------------------------------------------------------------------------------------------------------- failures


def test_failures_are_those_on_the_wrong_side_of_the_best_f1(store: Store) -> None:
    one = suite(row("a"), measures=MEASURES)
    fill(store, one)
    frames = store.read_all(OF_RUNS)
    told = (frames["cells"], frames["measurements"], frames["scores"])
    report, found = failure_report(one, *told, frames["examples"], 3, None)
    # alpha: from 0.7 on F1 is 2*2/(2+3) = 0.8, from 0.4 on 2*3/(5+3) = 0.75
    assert [(f.category, f.kind, f.image_id, f.score, f.threshold, f.above_normal) for f in found] == [
        ("alpha", "missed", "alpha/dent/0", 0.4, 0.7, 0.5)
    ]
    (picture,) = report.figures
    assert isinstance(picture.drawing, Gallery)
    assert [(column.group, column.head) for column in picture.drawing.columns] == [("alpha", "missed 1")]
    bare, _ = failure_report(one, *told, None, 3, None)
    assert not bare.figures
    assert "gallery: {failures: 3}" in to_markdown(bare)


def test_a_rate_of_false_alarms_is_kept(store: Store) -> None:
    one = suite(row("a"), measures=MEASURES)
    fill(store, one)
    frames = store.read_all(OF_RUNS)
    told = (frames["cells"], frames["measurements"], frames["scores"], None)
    _, found = failure_report(one, *told, 1, 0.5)
    assert [(f.category, f.kind, f.image_id, f.of) for f in found] == [
        ("alpha", "false alarm", "alpha/good/3", 2),
        ("beta", "false alarm", "beta/good/1", 1),
    ]
    _, none = failure_report(one, *told, 1, 0.0)
    assert [(f.category, f.kind, f.image_id) for f in none] == [("alpha", "missed", "alpha/dent/0")]


def test_a_row_without_failures_says_so_and_times_are_another_page(store: Store) -> None:
    one = suite(row("a"), measures=MEASURES)
    fill(store, one)
    frames = store.read_all(OF_RUNS)
    scores = frames["scores"].assign(pred_score=frames["scores"]["gt_label"].astype(float))
    measured = frames["measurements"].assign(note="unreliable: drifts")
    report, found = failure_report(one, frames["cells"], measured, scores, None, 3, None)
    assert not found
    text = to_markdown(report)
    assert "None: every image is on the right side" in text
    assert "| Category |" not in text
    assert "idle machine" not in text
    assert "idle machine" in to_markdown(build(one, frames["cells"], measured))


def test_equal_scores_fall_on_one_side() -> None:
    scores = [
        Score("a", str(i), label, value) for i, (label, value) in enumerate([(True, 1.0), (False, 1.0), (True, 0.0)])
    ]
    assert evidence.best_f1(scores) == 0.0  # 2*2/(3+2); from 1.0 on it is 2*1/(2+2)


# ---------------------------------------------------------------------------------------------------------------- files


def test_every_figure_says_under_which_terms_it_was_made(store: Store) -> None:
    fill(store, TWO, weights="random", weights_hash="random", overrides='["seeds=[0, 1]"]')
    report = made(store, TWO)
    assert len(report.figures) == 9
    for each in report.figures:
        text = "\n".join(each.stamp)
        for words in (
            "suite decoders",
            "profile demo",
            "data demo",
            "seed",
            "epochs trained 3",
            "⚠ Random weights: a, b",
        ):
            assert words in text, each.key
        assert "⚠ Not the suite's own settings" in text
    drawing = figure(report, "gallery").drawing
    assert isinstance(drawing, Gallery)
    assert drawing.rows[2] == "a ⚠ random weights"


def test_pictures_are_drawn_once_and_drawn_again_when_they_change(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, TWO)
    report = made(store, TWO)
    folder = tmp_path / "report"
    paths = write(report, folder)
    names = {path.name for path in paths if path.parent.name == "figures"}
    assert names == {f"{each.key}.{kind}" for each in report.figures for kind in ("svg", "png")}
    before = {path: path.read_bytes() for path in paths}
    drawn: list[str] = []
    from afrad_bench.report.drawing import canvas as _canvas

    draw = _canvas.draw
    monkeypatch.setattr(_canvas, "draw", lambda figure, mark: drawn.append(figure.key) or draw(figure, mark))
    write(report, folder)
    assert drawn == []
    assert {path: path.read_bytes() for path in paths} == before
    (folder / "figures" / "pro.png").unlink()
    write(report, folder)
    assert drawn == ["pro"]
    assert {path: path.read_bytes() for path in paths} == before  # drawn twice, it is the same to the byte
    (section,) = (each for each in report.sections if each.key == "curves")
    changed = replace(section.figures[2], stamp=("other terms",))
    fewer = replace(report, lead=None, sections=(replace(section, figures=(changed,)),))
    own = folder / "figures" / "mine.png"
    own.write_bytes(png(np.zeros((2, 2), np.uint8)))
    write(fewer, folder)
    assert drawn == ["pro", "pro"]
    assert {path.name for path in (folder / "figures").iterdir()} == {"pro.svg", "pro.png", "mine.png"}


def test_the_files_are_real_pictures(written: tuple[Report, Path]) -> None:
    report, folder = written
    paths = sorted((folder / "figures").iterdir())
    assert len(paths) == 2 * len(report.figures)
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
                assert min(image.size) > 200
        elif path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_alarms_stand_in_the_files_of_a_figure_and_once_on_the_page(store: Store) -> None:
    fill(store, TWO, weights="random", weights_hash="random")
    report = made(store, TWO)
    svg, page = pictures.vectors(report.figures)["efficiency_plot"], to_html(report)
    assert svg.count("⚠ Random weights: a, b.") == 1
    assert page.count("Random weights: a, b.") == 1
    of_page = page[page.index("efficiency_plot-drawing-title") :]
    height, less = (float(text.split('viewBox="0 0 ')[1].split('"')[0].split()[1]) for text in (svg, of_page))
    assert height - less == pytest.approx(0.145 * 72)  # one line


def test_the_page_holds_the_pictures_with_words_for_them(written: tuple[Report, Path]) -> None:
    report, folder = written
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert source == to_html(report)
    page = Page(source)
    assert page.open == []
    assert page.tags.count("svg") == len(report.figures)
    assert len(set(page.ids)) == len(page.ids)
    for each in report.figures:
        assert f'id="{each.key}-drawing-title"' in source
        assert each.description[:40] in page.text
    assert page.tags.count("script") == 1
    assert not {"img", "iframe", "object", "link", "metadata"} & set(page.tags)
    assert not re.search(r"https?:|@import|url\((?!#)", source.replace(script(), ""))
    for tag, name, value in page.attributes:
        if name in ("href", "xlink:href"):
            assert value is not None
            assert value.startswith("data:image/png;base64,") or value[1:] in page.ids, (tag, value[:60])


def test_markdown_links_the_pictures_that_are_written(written: tuple[Report, Path]) -> None:
    report, folder = written
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", to_markdown(report))
    assert len(links) == len(report.figures)
    assert all((folder / link).is_file() for link in links)


def test_hostile_names_are_only_text_in_pictures(store: Store) -> None:
    spec = suite(row("a"), measures=MEASURES)
    spec = replace(spec, rows=(replace(spec.rows[0], label=HOSTILE),), suite=HOSTILE)
    fill(store, spec)
    report = made(store, spec)
    gallery = report.section("gallery")
    assert gallery is not None
    page = Page(to_html(replace(report, sections=(replace(gallery, figures=gallery.figures[:1]),))))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert "svg" in page.tags


def test_dollars_and_signs_that_the_font_lacks_are_text_in_pictures(store: Store, tmp_path: Path) -> None:
    """matplotlib would read formulas between dollars, and warn of each sign."""
    name = "猫 for $5 and $x_{"
    spec = suite(row("a"), measures=MEASURES)
    spec = replace(spec, rows=(replace(spec.rows[0], label=name),), suite=name)
    fill(store, spec)
    drawn = pictures.drawn(made(store, spec).figures, tmp_path / "figures")
    assert len(drawn) > 3
    assert all(f"suite {name}" in picture.svg for picture in drawn.values())


def test_the_last_bits_of_the_layout_change_no_file(
    written: tuple[Report, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The solver of the layout orders its variables by their place in memory."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    report, _ = written
    drawings, execute = pictures.vectors(report.figures), ConstrainedLayoutEngine.execute

    def otherwise(self: ConstrainedLayoutEngine, fig: Canvas) -> object:
        found = execute(self, fig)
        for axes in fig.axes:
            axes._set_position(axes.get_position(original=True).translated(1e-12, 1e-12), which="original")  # type: ignore[attr-defined]
        return found

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", otherwise)
    assert pictures.vectors(report.figures) == drawings


def test_nothing_is_written_beyond_the_edge_of_a_figure(store: Store) -> None:
    """Also with names as long as those of a grid, whose times are unreliable."""
    from afrad_bench.report.drawing import canvas

    times = MeasureSpec({name: Metric(name, "ms/image", False, name) for name in ("latency_median", "latency_p95")})
    labels = [f"PatchCore, fraction={share}, backbone=wide_resnet50_2" for share in ("0.01", "0.1", "0.25", "1.0")]
    spec = suite(*map(row, labels), measures={**MEASURES, "latency": times}, compare_to=labels[0])
    fill(store, spec, more={"latency": {"latency_median": 9.5, "latency_p95": 9.75}}, losses=(3.0, 1.0))
    found = made(store, spec).figures
    assert len(found) == 12
    for each in found:
        with canvas._styled(each):
            drawn = canvas._canvas(each)
            drawn.draw_without_rendering()
            ticks = {
                id(each.label1) for axes in drawn.axes for axis in (axes.xaxis, axes.yaxis) for each in axis.majorTicks
            }
            for text in drawn.findobj(Text):
                if isinstance(text, Text) and text.get_text() and text.get_visible() and id(text) not in ticks:
                    box = text.get_window_extent()
                    assert -1 <= box.x0 <= box.x1 <= drawn.bbox.width + 1, (each.key, text.get_text())
                    assert -1 <= box.y0 <= box.y1 <= drawn.bbox.height + 1, (each.key, text.get_text())


def test_styles_differ_in_grey_too() -> None:
    assert len({(colour(i), str(dash(i))) for i in range(28)}) == 28
    assert len({str(dash(i)) for i in range(4)}) == 4
    assert len(set(COLOURS)) == 7


def test_the_examples_in_the_docstrings_run() -> None:
    from afrad_bench.instruments import polyline
    from afrad_bench.report.drawing import style

    assert _round(1.19) == 1.0
    for module in (evidence, figures, failing, bubbles, polyline, style):
        assert doctest.testmod(module).failed == 0


def test_identities_follow_the_drawing_and_the_code(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    fill(store, TWO)
    one, other = made(store, TWO).figures[:2]
    assert pictures.identity(one) == pictures.identity(replace(one))
    assert pictures.identity(one) != pictures.identity(other)
    assert pictures.identity(one) != pictures.identity(replace(one, title="x"))
    before = pictures.identity(one)
    monkeypatch.setattr(pictures, "_NOT_DRAWING", ("canvas.py",))
    assert pictures.identity(one) != before


# --------------------------------------------------------------------------------------------------------- command line


SUITE = """\
suite: shown
title: Shown
measures: [accuracy, {gallery: {failures: 1}}]
methods:
  - method: nearest_colour
profiles:
  demo:
    datasets: [folder]
    image_size: 32
"""


def test_the_command_line_draws_once_and_lists_failures(tmp_path: Path, cache_folder: Path) -> None:
    place = Place(tmp_path, cache_folder)
    path = place.write(SUITE)
    out = place.run(path)
    folder = place.folder / "reports" / "shown" / "demo" / "figures"
    assert {"gallery.svg", "gallery.png", "roc_images.svg", "score_histograms.png"} <= {
        f.name for f in folder.iterdir()
    }
    assert "figures/gallery.svg" in out
    assert set(place.table("examples")["role"]) == {"chosen", "missed", "alarm"}
    code = (
        "import sys; sys.argv = ['afrad-bench', *sys.argv[1:]]\n"
        "from afrad_bench.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'matplotlib', 'PIL', 'scipy'} & set(sys.modules), 'heavy'"
    )
    again = [sys.executable, "-c", code, "run", str(path), "--data", f"folder={place.data}", "--device", "cpu"]
    done = subprocess.run(again, cwd=place.folder, env=place.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    data = ("--data", f"folder={place.data}")
    found = json.loads(place.call("failures", path, *data, "--fpr", "0", "--json"))
    assert {one["kind"] for one in found} <= {"missed"}
    told = place.call("failures", path, *data, "--fpr", "1", "--out", "wrong", "--latex")
    assert "false alarm" in told
    names = {f.name for f in (place.folder / "wrong").iterdir()}
    assert names == {"failures.md", "failures.html", "failures_figures", "failures.tex", "failures_tables.tex"}
    assert r"\toprule" in (place.folder / "wrong" / "failures_tables.tex").read_text(encoding="utf-8")
    refused = place.call("failures", path, *data, "--latex", expect=2)
    assert "--latex: no report is written that could have this format" in refused
    assert "no image scores of this suite" in place.call("failures", path, *data, "--store", "other", expect=2)


def test_the_front_holds_what_nothing_cheaper_beats() -> None:
    at = [
        Bubble(name, 0, x, y, None, None)
        for name, x, y in (
            ("dear", 9.0, 99.0),
            ("beaten", 5.0, 90.0),
            ("cheap", 1.0, 80.0),
            ("equal", 2.0, 80.0),
            ("good", 4.0, 95.0),
        )
    ]
    assert [each.label for each in Bubbles(tuple(at), (), "x", "y", "size").front] == ["cheap", "good", "dear"]


TIMES = MeasureSpec(
    {name: Metric(name, "ms/image", False, name) for name in ("latency_median", "latency_p5", "latency_p95")},
    terms=("device_name",),
)


@pytest.mark.parametrize("machines", [("A", "A"), ("A", "B")])
def test_times_are_drawn_against_accuracy_if_they_are_of_one_machine(tmp_path: Path, machines: tuple[str, str]) -> None:
    book = Bookkeeper(tmp_path)
    spec = suite(row("a"), row("b"), measures={"accuracy": ACCURACY, "latency": TIMES})
    for each, machine in zip(spec.rows, machines, strict=True):
        times = {("latency_median", None): 4.0, ("latency_p5", None): 3.5, ("latency_p95", None): 6.0}
        notes = {("latency_median", None): "unreliable: the machine was busy"} if each.label == "b" else {}
        book.run(each.cells[0], {**auroc(0.9), "latency": times}, label=each.label, device_name=machine, notes=notes)
    found = {figure.key: figure for figure in book.report(spec).figures}
    assert ("latency_plot" in found) is (machines == ("A", "A"))
    for figure in found.values():
        if isinstance(figure.drawing, Bubbles):
            assert figure.drawing.bubbles[0].range == (3.5, 6.0)
            assert [each.label for each in figure.drawing.bubbles] == ["a", "b ⚠ unreliable"]
            svg = pictures.vectors([figure])[figure.key]
            assert '<g class="point" role="img"><title>a: 90.0 % at 4 ms (3.5 to 6)</title>' in svg
