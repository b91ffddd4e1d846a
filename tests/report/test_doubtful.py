"""What must not be read as a result: unreliable times, and the paper's figures beside data that are not the paper's."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from afrad_bench.report import Report, to_csv, to_html, to_markdown, to_wide_csv
from tests.report.test_report import (
    LATENCY,
    MVTEC,
    PAPER,
    Bookkeeper,
    auroc,
    everywhere,
    fact,
    footnotes,
    main_table,
    place,
    row,
    suite,
)

LOAD = "unreliable: other processes used 1.9 of 2 cores while this was timed"
CALM = "CPU wall clock; batch 1; n=50"


@pytest.fixture
def book(tmp_path: Path) -> Bookkeeper:
    return Bookkeeper(tmp_path / "store")


def timed(book: Bookkeeper, times: dict[str, list[tuple[float, str]]], **more: object) -> Report:
    """A report of rows with these times and notes, one per seed."""
    rows = [row(label, range(len(values)), published_row=more.get(label)) for label, values in times.items()]
    spec = suite(*rows, measures={"latency": LATENCY}, reproduces=more.get("reproduces"))
    for each, values in zip(rows, times.values(), strict=True):
        for cell, (ms, note) in zip(each.cells, values, strict=True):
            values_of = {("latency_median", None): ms, ("latency_p95", None): 2 * ms}
            notes = dict.fromkeys(values_of, note)
            book.run(cell, {"latency": values_of}, notes=notes, **(PAPER if spec.reproduces else {}))
    return book.report(spec)


def test_an_unreliable_time_is_flagged_at_its_number_and_has_no_rank(book: Bookkeeper) -> None:
    report = timed(
        book,
        {
            "loaded": [(1.0, f"{LOAD}; {CALM}")],
            "one seed of two": [(2.0, CALM), (2.2, f"unreliable: drifts, scatters; {CALM}")],
            "calm": [(12.6, CALM)],
            "slower": [(79.0, CALM)],
        },
    )
    section = report.section("efficiency")
    assert section is not None
    main, further = section.tables
    entries = {label: place(main, label, "ms/image") for label in ("loaded", "one seed of two", "calm", "slower")}
    assert [(each.flag, each.rank) for each in entries.values()] == [
        ("unreliable", ""),
        ("unreliable", ""),
        ("", "best"),
        ("", "second"),
    ]
    assert LOAD in " ".join(main.footnotes[ref - 1] for ref in entries["loaded"].refs)
    assert place(further, "loaded", "p95").flag == "unreliable"
    assert re.search(r"\| 1\.0<sup>\d</sup> \*\*⚠ unreliable\*\*", to_markdown(report))
    assert re.search(r"\| 2\.1 ± 0\.1<sup>\d</sup> \*\*⚠ unreliable\*\*", to_markdown(report))
    assert "| **12.6**" in to_markdown(report)
    caution = (
        "Unreliable, measure again on an idle machine (run --force): ms/image (loaded, one seed of two). "
        "These are not ranked."
    )
    wide = {line["row"]: line for line in csv.DictReader(io.StringIO(to_wide_csv(report)))}
    (why,) = (name for name in wide["calm"] if name.endswith("latency_median unreliable"))
    assert wide["loaded"][why] == LOAD.removeprefix("unreliable: ")
    assert wide["one seed of two"][why] == "drifts, scatters"
    assert wide["calm"][why] == ""
    for text in everywhere(report):
        assert "⚠ unreliable" in text.replace("&nbsp;", " ")
        assert caution in text


def test_a_column_of_unreliable_times_has_no_best(book: Bookkeeper) -> None:
    report = timed(book, {"a": [(1.0, f"{LOAD}; {CALM}")], "b": [(2.0, f"{LOAD}; {CALM}")], "c": [(3.0, CALM)]})
    section = report.section("efficiency")
    assert section is not None
    assert [place(section.tables[0], label, "ms/image").rank for label in "abc"] == ["", "", ""]
    alike = timed(Bookkeeper(None), {label: [(1.0, f"{LOAD}; {CALM}")] for label in "ab"}).section("efficiency")
    assert alike is not None  # a doubt that all share is said once, and flagged at each number
    assert footnotes(alike.tables[0], "ms/image") == [f"{LOAD}; {CALM}"]
    assert [place(alike.tables[0], label, "ms/image").flag for label in "ab"] == ["unreliable"] * 2


def test_steady_times_have_no_flag(book: Bookkeeper) -> None:
    report = timed(book, {"a": [(1.0, "n=50; an image of an unreliable: camera")], "b": [(2.0, CALM)]})
    assert "unreliable**" not in to_markdown(report)
    assert not [caution for caution in report.warnings if "idle machine" in caution.text]


def test_an_unreliable_time_reproduces_nothing(book: Bookkeeper) -> None:
    report = timed(book, {"AFRAD": [(24.0, f"{LOAD}; {CALM}")]}, AFRAD="afrad", reproduces="table4")
    (quote,) = fact(report, "AFRAD", "latency_median", "").quotes
    assert quote.verdict == "not comparable"
    assert quote.why == f"not comparable: {LOAD.replace(': ', ' (')})"
    calm = timed(Bookkeeper(None), {"AFRAD": [(24.0, CALM)]}, AFRAD="afrad", reproduces="table4")
    assert fact(calm, "AFRAD", "latency_median", "").quotes[0].verdict == "reproduced"


# ------------------------------------------------------------------------------------------------ rows without numbers


def test_figures_of_rows_without_numbers_are_not_comparable_with_other_data_beside_them(book: Bookkeeper) -> None:
    """DiAD has no cells; UniAD has some, but they were not run."""
    spec = suite(
        row("AFRAD", published_row="afrad"), row("UniAD", method="uniad", published_row="uniad"), reproduces="table1"
    )
    book.run(spec.rows[0].cells[0], auroc(0.9, brick=0.9))
    report = book.report(spec)
    table = main_table(report)
    why = "not comparable: data demo ≠ mvtec_ad; image size 128 px ≠ 256 px"
    for label in ("DiAD", "UniAD"):
        (quote,) = place(table, label, "I-AUROC").quotes
        assert (quote.verdict, quote.shown, quote.why) == ("not measured", "not comparable", why)
        assert [table.footnotes[ref - 1] for ref in quote.refs] == [why]
    assert "| DiAD | – | – not run<br>(paper 97.2, not comparable<sup>" in to_markdown(report)
    assert to_html(report).count("<em>not comparable</em>") >= 7
    (terminal,) = everywhere(report)[2:]
    assert "(paper 97.2 ≠" in terminal
    line = next(
        each
        for each in csv.DictReader(io.StringIO(to_csv(report)))
        if (each["row"], each["published"]) == ("DiAD", "97.2")
    )
    assert (line["mean"], line["verdict"]) == ("", "not measured")
    assert line["note"].endswith(why)


def test_backbone_and_epochs_of_another_row_say_nothing_against_them(book: Bookkeeper) -> None:
    spec = suite(
        row("full", (0,), "mvtec_ad", published_row="full"),
        row("no", (0,), "mvtec_ad", published_row="no_fld"),
        reproduces="table5",
    )
    values = auroc(0.5, **dict.fromkeys(MVTEC, 0.5))
    book.run(spec.rows[0].cells[0], values, **{**PAPER, "epochs": 2, "weights": "random", "weights_hash": "random"})
    report = book.report(spec)
    assert fact(report, "full", "image_auroc", dataset="mvtec_ad").quotes[0].verdict == "not comparable"
    (quote,) = fact(report, "no", "image_auroc", dataset="mvtec_ad").quotes
    assert (quote.verdict, quote.shown, quote.why) == ("not measured", "not measured", "")


def test_figures_with_nothing_beside_them_are_not_measured(book: Bookkeeper) -> None:
    report = book.report(suite(row("full", published_row="full"), reproduces="table5"))
    (quote,) = place(main_table(report), "full", "I-AUROC").quotes
    assert (quote.shown, quote.why) == ("not measured", "")


def test_times_of_rows_without_numbers_are_not_comparable_with_another_device(book: Bookkeeper) -> None:
    spec = suite(row("AFRAD", published_row="afrad"), measures={"latency": LATENCY}, reproduces="table4")
    book.run(spec.rows[0].cells[0], {"latency": {("latency_median", None): 99.0}})
    (quote,) = fact(book.report(spec), "RD4AD", "latency_median", "").quotes
    assert quote.shown == "not comparable"
    assert quote.why == "not comparable: image size 128 px ≠ 256 px; device Example CPU 9000 ≠ RTX 4090"
