"""Comparison of two sides: what changed from BASE to NEW, how certain each change is, and whether it matters.

`place` finds a side: `stored` reads it from a store, `baseline` from a file; `sessions` makes one of timed calls.
`pairs` pairs equal rows and finds differing terms, `changes` estimates, `rules` and `gate` decide, `show` formats
the output, and `page` makes reports of it, and `record` keeps verdicts."""

from __future__ import annotations

from afrad_bench.comparing.changes import Change, Comparison, compare
from afrad_bench.comparing.gate import Check, Decision, decide
from afrad_bench.comparing.page import comparison_report, decision_report
from afrad_bench.comparing.place import locate
from afrad_bench.comparing.rules import Rules, default_rules, latency_rules, read_rules
from afrad_bench.comparing.side import Side

__all__ = [
    "Change",
    "Check",
    "Comparison",
    "Decision",
    "Rules",
    "Side",
    "compare",
    "comparison_report",
    "decide",
    "decision_report",
    "default_rules",
    "latency_rules",
    "locate",
    "read_rules",
]
