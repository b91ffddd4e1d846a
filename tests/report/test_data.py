"""A report as JSON: nothing is lost, and the published schema is that of the program.

The schema is written anew by `afrad-bench schema report > docs/report.schema.json`."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from afrad_bench.report import from_data, json_schema, to_csv, to_data
from afrad_bench.report.drawing.shapes import Gallery
from afrad_bench.store import Store
from tests.report.test_figures import TWO, figure, fill, made
from tests.report.test_report import Bookkeeper, auroc, fact, row, suite

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"


def test_the_report_comes_back_from_its_json(tmp_path: Path) -> None:
    fill(Store(tmp_path), TWO)
    report = made(Store(tmp_path), TWO)
    data = json.loads(json.dumps(to_data(report), allow_nan=False))
    assert from_data(data) == report
    drawing = figure(report, "gallery").drawing
    assert isinstance(drawing, Gallery)
    shown = next(
        each for section in data["report"]["sections"] for each in section["figures"] if each["key"] == "gallery"
    )
    tile = shown["drawing"]["columns"][0]["tiles"][0]
    assert base64.urlsafe_b64decode(tile["data"]) == drawing.columns[0].tiles[0].data != b""


def test_other_data_are_refused(tmp_path: Path) -> None:
    data = to_data(Bookkeeper(None).report(suite(row("a"))))
    with pytest.raises(ValidationError):
        from_data({**data, "version": 2})
    del data["report"]["title"]
    with pytest.raises(ValidationError):
        from_data(data)


def test_the_published_schema_is_current() -> None:
    published = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert published == json_schema()
    assert {"Report", "Table", "Fact", "Contrast", "Forest"} <= published["$defs"].keys()


def test_differences_with_their_intervals_are_in_the_csv_file() -> None:
    book = Bookkeeper(None)
    spec = suite(row("full", (0, 1, 2)), row("less", (0, 1, 2)), row("alone", (7,)), compare_to="full")
    values = {"full": (0.9, 0.92, 0.91), "less": (0.88, 0.91, 0.88), "alone": (0.5,)}
    for each in spec.rows:
        for cell, value in zip(each.cells, values[each.label], strict=True):
            book.run(cell, auroc(value, bottle=value))
    report = book.report(spec)
    contrast = fact(report, "less", "image_auroc").contrast
    assert contrast is not None
    lines = csv.DictReader(io.StringIO(to_csv(report)))
    by_row = {line["row"]: line for line in lines if (line["metric"], line["category"]) == ("image_auroc", "mean")}
    less = by_row["less"]
    assert (less["compared_to"], less["n_pairs"]) == ("full", "3")
    # differences -2, -1, -3 points: mean -2, standard error 1/sqrt(3), t(0.975, 2) = 4.3027
    assert [float(less[name]) for name in ("difference", "low", "high")] == pytest.approx(
        [-2, -4.4841, 0.4841], abs=1e-4
    )
    assert float(less["p_holm"]) == pytest.approx(0.0742, abs=1e-4)
    assert [by_row[label]["difference"] for label in ("full", "alone")] == ["", ""]
