"""Comparisons and decisions as reports, so that they are written like any other: as a page, or as Markdown."""

from __future__ import annotations

from afrad_bench.comparing.changes import Comparison
from afrad_bench.comparing.gate import Decision
from afrad_bench.comparing.show import READING, compare_table, gate_table, head, remarks, worst
from afrad_bench.report import Report
from afrad_bench.report.model import Caution, Section, Term


def comparison_report(comparison: Comparison, *, everything: bool = False) -> Report:
    """The changes from BASE to NEW; with `everything` also those of further metrics and single categories."""
    table = compare_table(comparison, everything=everything)
    return _report(comparison, f"{comparison.new} against {comparison.base}", (_clear(comparison),), (
        Section("changes", "Changes", (table,), (READING,)),
    ))  # fmt: skip


def decision_report(decision: Decision) -> Report:
    """The verdict of the gate, its worst checks, and all of them."""
    title = f"Gate: {decision.comparison.new} against {decision.comparison.base}"
    rate = f"{1 - decision.confidence:.2g}"
    told = f"Each end of an interval errs at a rate of {rate}; false alarms of the whole gate: at most {rate}."
    answer = (f"Verdict: {head(decision)}.", *(f"{text}." for text in worst(decision)))
    checks = Section("checks", "Checks", (gate_table(decision),), (READING, told))
    return _report(decision.comparison, title, answer, (checks,), decision.unmeasured)


def _report(
    comparison: Comparison,
    title: str,
    answer: tuple[str, ...],
    sections: tuple[Section, ...],
    unmeasured: tuple[str, ...] = (),
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
    )


def _clear(comparison: Comparison) -> str:
    """How many of the headline numbers changed for certain."""
    shown = [change for change in comparison.changes if change.headline]
    tested = [change for change in shown if change.p_holm is not None]
    clear = [change for change in tested if change.p_holm is not None and change.p_holm < 0.05]
    if not tested:
        return f"None of {len(shown)} headline numbers has noise to hold a change against."
    names = "; ".join(f"{change.key}: {change.metric}" for change in clear)
    said = f"{len(clear)} of {len(tested)} headline numbers with noise changed significantly (5 %, Holm's correction)"
    return f"{said}: {names}." if clear else f"{said}."
