"""Training curves: the losses that a report shows, what it says of them, and nothing without them."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from afrad_bench.hashing import digest
from afrad_bench.report import Report, build, to_html, to_markdown
from afrad_bench.report.drawing.pictures import vectors
from afrad_bench.report.drawing.shapes import Losses
from afrad_bench.report.model import PlannedCell, ReportInput
from afrad_bench.report.sections import training
from afrad_bench.running.rows import LOSSES, training_rows
from afrad_bench.store import OF_RUNS, Store
from afrad_bench.types import MEAN, TrainingRecord
from tests.report.test_report import ACCURACY, START, row, suite

FALLING = tuple(10.0 - epoch for epoch in range(10))
SETTLED = (10.0, 4.0, 2.0, *[1.0] * 7)
RISEN = tuple(float(epoch) for epoch in range(1, 11))


def spec_of(*labels: str, seeds: int = 2) -> ReportInput:
    return suite(*(row(label, range(seeds)) for label in labels), measures={"accuracy": ACCURACY})


def keep(store: Store, cell: PlannedCell, loss: tuple[float, ...], number: int = 0, **more: Any) -> None:
    """A run of a cell with accuracy and this loss."""
    run = {
        "run_id": digest(cell.id, str(number))[:32],
        "cell_id": cell.id,
        "started_at": START + timedelta(minutes=number),
        "method": "afrad",
        "dataset": cell.dataset,
        "seed": cell.seed,
        "status": "ok",
        "final_loss": loss[-1] if loss else None,
        "measures": json.dumps({"accuracy": {"version": "1", "status": "ok"}}),
        **more,
    }
    rows = training_rows(TrainingRecord(epochs=len(loss), loss=loss))
    rows["measurements"] = [{"measure": "accuracy", "metric": "image_auroc", "category": MEAN, "value": 0.9}]
    store.append(run, **rows)


def reported(tmp_path: Path, losses: dict[str, tuple[float, ...]], **more: Any) -> Report:
    store, spec = Store(tmp_path / "results"), spec_of(*losses)
    for each in spec.rows:
        for cell in each.cells:
            keep(store, cell, losses[each.label], **more)
    return build(spec, **store.read_all(OF_RUNS))


def test_a_long_training_keeps_so_many_points_evenly_with_the_first_and_the_last() -> None:
    (curve,) = training_rows(TrainingRecord(loss=tuple(map(float, range(1003)))))["curves"]
    assert len(curve["x"]) == len(curve["y"]) == LOSSES
    assert (curve["x"][0], curve["x"][-1], curve["y"][-1]) == (1.0, 1003.0, 1002.0)
    steps = {after - before for before, after in zip(curve["x"], curve["x"][1:], strict=False)}
    assert steps == {5.0, 6.0}
    (short,) = training_rows(TrainingRecord(loss=(3.0, 2.0)))["curves"]
    assert (short["x"], short["y"]) == ((1.0, 2.0), (3.0, 2.0))
    assert training_rows(TrainingRecord())["curves"] == []


def test_a_panel_for_each_method_that_trains_with_a_line_for_each_seed(tmp_path: Path) -> None:
    report = reported(tmp_path, {"falls": FALLING, "closed form": (), "settles": SETTLED})
    section = report.section("training")
    assert section is not None
    (figure,) = section.figures
    assert isinstance(figure.drawing, Losses)
    assert [panel.title for panel in figure.drawing.panels] == ["falls", "settles"]
    assert [label for _, label in figure.drawing.labels] == ["seed 0", "seed 1"]
    lines = figure.drawing.panels[0].strokes
    assert [(line.style, line.y) for line in lines] == [(0, FALLING), (1, FALLING)]
    assert lines[0].x == tuple(map(float, range(1, 11)))
    assert section.intro[0].startswith("The loss has not levelled off for falls (2 of 2 fits)")
    assert "settles" not in section.intro[0]
    assert "falls: from 10 to 1 in 10 epochs, still falling; settles: from 10 to 1" in figure.description
    (table,) = section.tables
    assert [line.entries[-1].text for line in table.lines] == ["no", "yes"]
    assert [line.entries[5].number for line in table.lines] == [pytest.approx(100 / 9), 0.0]


def test_the_formats_show_the_losses(tmp_path: Path) -> None:
    report = reported(tmp_path, {"falls": FALLING})
    page, text = to_html(report), to_markdown(report)
    assert 'id="training-drawing"' not in page  # an id is that of its title
    assert 'aria-labelledby="training-drawing-title training-drawing-text"' in page
    assert "figures/training.png" in text
    assert "has not levelled off" in page
    assert "has not levelled off" in text


def test_without_losses_there_is_nothing(tmp_path: Path) -> None:
    report = reported(tmp_path, {"closed form": ()})
    assert report.section("training") is None
    assert "raining loss" not in to_html(report)


def test_a_row_trained_before_losses_were_kept_is_named(tmp_path: Path) -> None:
    store, spec = Store(tmp_path), spec_of("old", "new", seeds=1)
    keep(store, spec.rows[0].cells[0], (), final_loss=0.5)
    keep(store, spec.rows[1].cells[0], SETTLED)
    section = build(spec, **store.read_all(OF_RUNS)).section("training")
    assert section is not None
    assert section.intro[0].startswith("No losses by epoch are stored for old")


def test_a_loss_that_rises_is_told(tmp_path: Path) -> None:
    section = reported(tmp_path, {"diverges": RISEN}).section("training")
    assert section is not None
    assert section.intro[0] == "The loss ended no lower than it began for diverges (2 of 2 fits)."


def test_the_losses_of_a_kept_model_are_those_of_the_run_that_fitted_it(tmp_path: Path) -> None:
    """The later run measured accuracy again: its numbers count, and the losses of the earlier one."""
    store, spec = Store(tmp_path), spec_of("kept", seeds=1)
    (cell,) = spec.rows[0].cells
    keep(store, cell, RISEN, 0, terms=json.dumps({"epochs": 10, "other": True}))
    keep(store, cell, FALLING, 1, terms=json.dumps({"epochs": 10}))
    keep(store, cell, (), 2, terms=json.dumps({"epochs": 10}))
    section = build(spec, **store.read_all(OF_RUNS)).section("training")
    assert section is not None
    assert isinstance(section.figures[0].drawing, Losses)
    assert section.figures[0].drawing.panels[0].strokes[0].y == FALLING


def test_the_fits_of_one_seed_are_a_mean_with_its_range(tmp_path: Path) -> None:
    parts = tuple(PlannedCell(f"{part}0", "demo", 0, part) for part in ("alpha", "beta"))
    spec = suite(replace(row("one class"), cells=parts), measures={"accuracy": ACCURACY})
    store = Store(tmp_path)
    keep(store, parts[0], FALLING)
    keep(store, parts[1], tuple(y + 2 for y in FALLING))
    section = build(spec, **store.read_all(OF_RUNS)).section("training")
    assert section is not None
    assert isinstance(section.figures[0].drawing, Losses)
    (line,) = section.figures[0].drawing.panels[0].strokes
    assert (line.low, line.y[0], line.high[0]) == (FALLING, 11.0, 12.0)
    assert "(2 of 2 fits)" in section.intro[0]


def test_a_scale_is_logarithmic_where_losses_span_decades(tmp_path: Path) -> None:
    wide = tuple(10.0**-epoch for epoch in range(5))
    (figure,) = reported(tmp_path, {"wide": wide, "narrow": SETTLED[:3]}).section("training").figures  # type: ignore[union-attr]
    svg = vectors([figure])["training"]
    assert svg.count("mean loss (log scale)") == 1
    assert svg.count(">epoch<") == 2


def test_examples_in_docstrings() -> None:
    found = doctest.testmod(training)
    assert found.attempted
    assert not found.failed
