"""The report's section on what others publish: beside the paper's figures, for the methods of the suite only."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from afrad_bench.report import (
    MeasureSpec,
    PlannedCell,
    Report,
    ReportInput,
    RowSpec,
    build,
    to_terminal,
    write,
)
from afrad_bench.report.model import Table
from afrad_bench.store import COLUMNS
from afrad_bench.types import Metric

ACCURACY = MeasureSpec({"image_auroc": Metric("I-AUROC", "", True, "Area under the ROC curve, images", percent=True)})


def report(reproduces: str | None, *rows: RowSpec) -> Report:
    """Of a suite of which nothing has been run yet."""
    spec = ReportInput(
        suite="s",
        title="T",
        profile="demo",
        rows=rows,
        measures={"accuracy": ACCURACY},
        command="run s",
        reproduces=reproduces,
    )
    return build(spec, *(pd.DataFrame([], columns=list(COLUMNS[name])) for name in ("cells", "measurements")))


def row(label: str, method: str, published_row: str | None = None) -> RowSpec:
    return RowSpec(label, method, (PlannedCell(f"{label}0".replace(" ", ""), "demo", 0),), published_row)


def lines(made: Report, name: str) -> list[tuple[str, ...]]:
    """What the section's only table says of a method, without its name."""
    section = made.section("elsewhere")
    assert section is not None
    (table,) = section.tables
    found = [tuple(entry.text for entry in line.entries) for line in table.lines]
    return [texts[1:] for texts in found if texts[0] == name]


def footnotes(table: Table, refs: Sequence[int]) -> list[str]:
    return [table.footnotes[ref - 1] for ref in refs]


def test_each_source_stands_below_the_paper_with_its_difference() -> None:
    made = report("table1", row("AFRAD", "afrad", "afrad"))
    assert lines(made, "DiAD") == [
        ("the paper", "–", "97.2", "96.8", "90.7"),
        ("ADer", "100", "88.9 (−8.3)", "89.3 (−7.5)", "63.9 (−26.8)"),
        ("ADer", "300", "92.0 (−5.2)", "89.3 (−7.5)", "64.4 (−26.3)"),
        ("MambaAD", "–", "97.2 (0.0)", "96.8 (0.0)", "90.7 (0.0)"),
    ]
    assert lines(made, "AFRAD") == []  # nobody else has published it


def test_the_largest_difference_of_each_method_is_told_the_largest_first() -> None:
    section = report("table1").section("elsewhere")
    assert section is not None
    told = section.intro[-1]
    assert told.startswith(
        "The largest differences on mvtec_ad, in points: DRAEM 56.8 (P-AUPRO, ADer, 100 epochs); "
        "DiAD 26.8 (P-AUPRO, ADer, 100 epochs); SimpleNet 24.5 (P-AUPRO, ADer, 300 epochs); DeSTSeg 18.6"
    )


def test_visa_has_its_own_figures() -> None:
    assert lines(report("table2"), "UniAD")[:2] == [
        ("the paper", "–", "85.5", "95.9", "75.6"),
        ("ADer", "100", "89.0 (+3.5)", "98.3 (+2.4)", "86.5 (+10.9)"),
    ]


def test_a_method_that_the_paper_leaves_out_has_no_difference() -> None:
    made = report("table1", row("my PatchCore", "patchcore"), row("PatchCore, small", "patchcore"))
    assert lines(made, "my PatchCore") == [
        ("ADer", "100", "98.8", "98.3", "94.2"),
        ("ADer", "300", "98.8", "98.3", "94.2"),
    ]
    assert lines(made, "PatchCore, small") == []  # a method stands there once


def test_sources_and_known_differences_are_footnotes() -> None:
    section = report("table1").section("elsewhere")
    assert section is not None
    (table,) = section.tables
    noted = {
        (line.entries[0].text, line.entries[1].text, line.entries[2].text): footnotes(table, line.entries[1].refs)
        for line in table.lines
    }
    source, known = noted["DRAEM", "ADer", "100"]
    assert source.startswith("ADer: unified, 256 px, 1 seed, arXiv:2406.03262")
    assert "no synthetic anomalies" in known
    assert noted["UniAD", "MambaAD", "–"] == [
        "MambaAD: unified, 256 px, epochs not stated, arXiv:2404.06564, https://github.com/lewandofskee/MambaAD"
    ]
    assert noted["UniAD", "the paper", "–"] == []


def test_it_is_only_there_where_others_have_something_to_compare() -> None:
    for table in ("table3", "table4", "table5", "table6", "table7", None):
        assert report(table, row("AFRAD", "afrad")).section("elsewhere") is None, table


def test_every_renderer_shows_it(tmp_path: Path) -> None:
    made = report("table1", row("AFRAD", "afrad", "afrad"))
    out = io.StringIO()
    to_terminal(made, Console(file=out, width=100))
    texts = [out.getvalue()]
    texts += [p.read_text(encoding="utf-8") for p in write(made, tmp_path) if p.suffix in (".md", ".html")]
    assert len(texts) == 3
    for text in texts:
        assert "Published elsewhere" in text
        assert "63.9 (−26.8)" in text
        assert "arXiv:2406.03262" in text
