"""Comparisons and decisions as pages: the style of the reports, and nothing left out."""

from __future__ import annotations

from afrad_bench.comparing import compare, comparison_report, decision_report, default_rules
from afrad_bench.comparing.changes import Change
from afrad_bench.comparing.show import gate_table, head, named, worst
from afrad_bench.comparing.side import Key
from afrad_bench.report import to_html, to_markdown
from afrad_bench.report.model import Table
from afrad_bench.types import MEAN
from tests.comparing.test_comparing import judged, scored, side
from tests.report.test_report import HOSTILE, Page


def texts(table: Table) -> list[str]:
    return [entry.text for line in table.lines for entry in line.entries if entry.text]


def test_the_page_of_a_gate_begins_with_its_verdict_and_holds_every_check() -> None:
    decision = judged(side(scored(6)), side(scored(5, shift=0.3, rng=1), gmacs=2.0), *default_rules().rules)
    report = decision_report(decision)
    assert report.answer == (f"Verdict: {head(decision)}.", *(f"{text}." for text in worst(decision)))
    page = Page(to_html(report))
    assert page.open == []
    assert all(text in page.text for text in texts(gate_table(decision)))
    assert page.text.index("Verdict: regression") < page.text.index("Checks")
    assert set(decision.unmeasured) <= {w.text for w in report.warnings if w.level == "alarm"}
    assert "Measure it again" not in page.text
    assert "Suite" not in page.text
    assert report.verdict == "alarm"
    assert '<p class="said alarm">Verdict: regression' in to_html(report)


def test_the_page_of_a_comparison_says_what_is_clear() -> None:
    base, new = side(scored(6), "before"), side(scored(6, shift=0.4, rng=1), "after", gmacs=1.5)
    report = comparison_report(compare(base, new, count=300), everything=True)
    assert report.title == "after against before"
    assert report.answer[0].startswith("1 of 1 headline numbers with noise changed significantly")
    assert ": worse AFRAD, demo: I-AUROC by -" in report.answer[0] or ": better AFRAD, demo" in report.answer[0]
    assert report.answer[1] == "Changed, and without noise: worse AFRAD, demo: GFLOPs (MACs) by +0.5000 GMAC/image."
    text = to_markdown(report)
    assert "| AFRAD, demo | I-AUROC, a |" in text
    assert "Suite" not in text
    same = comparison_report(compare(base, base, count=300))
    assert same.answer == ("No headline number has noise to hold a change against.",)


def test_hostile_names_are_only_text() -> None:
    report = comparison_report(compare(side(scored(2), HOSTILE), side(scored(2), HOSTILE), count=50))
    page = Page(to_html(report))
    assert page.tags.count("script") == 1  # the page's own
    assert "img" not in page.tags


def test_metrics_of_exported_files_that_share_a_title_are_told_apart() -> None:
    key = Key("AFRAD", "demo", "unified", "demo")
    assert named(Change(key, "onnx_int8_flips", None)) == "Label flips (onnx_int8_flips)"
    assert named(Change(key, "image_auroc", MEAN)) == "I-AUROC"
