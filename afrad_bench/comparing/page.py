"""Comparisons and decisions as reports, so that they are written like any other: as a page, or as Markdown."""

from __future__ import annotations

from afrad_bench.comparing.changes import Comparison
from afrad_bench.comparing.gate import Decision
from afrad_bench.comparing.show import LEVELS, READING, clear, compare_table, gate_table, head, remarks, worst
from afrad_bench.report import Report
from afrad_bench.report.model import Caution, Level, Section, Term


def comparison_report(comparison: Comparison, *, everything: bool = False) -> Report:
    """The changes from BASE to NEW; with `everything` also those of further metrics and single categories."""
    table = compare_table(comparison, everything=everything)
    return _report(comparison, f"{comparison.new} against {comparison.base}", clear(comparison), (
        Section("changes", "Changes", (table,), (READING,)),
    ))  # fmt: skip


def decision_report(decision: Decision) -> Report:
    """The verdict of the gate, its worst checks, and all of them."""
    title = f"Gate: {decision.comparison.new} against {decision.comparison.base}"
    rate = f"{1 - decision.confidence:.2g}"
    told = f"Each end of an interval errs at a rate of {rate}; false alarms of the whole gate: at most {rate}."
    answer = (f"Verdict: {head(decision)}.", *(f"{text}." for text in worst(decision)))
    checks = Section("checks", "Checks", (gate_table(decision),), (READING, told))
    return _report(decision.comparison, title, answer, (checks,), decision.unmeasured, LEVELS[decision.verdict])


def _report(
    comparison: Comparison,
    title: str,
    answer: tuple[str, ...],
    sections: tuple[Section, ...],
    unmeasured: tuple[str, ...] = (),
    verdict: Level = "plain",
) -> Report:
    alarms = (*unmeasured, *comparison.missing)
    return Report(
        suite="",
        title=title,
        profile="",
        reproduces="",
        command="",
        terms=(Term("BASE", comparison.base), Term("NEW", comparison.new)),
        warnings=(
            *(Caution(text, "alarm") for text in dict.fromkeys(alarms)),
            *(Caution(text) for text in remarks(comparison)),
        ),
        sections=sections,
        facts=(),
        answer=answer,
        verdict=verdict,
    )
