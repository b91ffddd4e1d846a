"""Hyper-parameter search with Optuna around the only row of a suite.

A trial runs ordinary cells on images that are set aside for the search, and keeps them in the store. The best trials
are then measured again, with new seeds and on the report's images, together with the original configuration."""

from __future__ import annotations

from afrad_bench.search.best import best_suite, best_trials, reasons
from afrad_bench.search.declared import Declared, declared
from afrad_bench.search.report import dashboard, report_of_search
from afrad_bench.search.study import opened, recover, remaining
from afrad_bench.search.verdict import IN_WORDS, Verdict, of_finalists, of_trials
from afrad_bench.search.workers import search

__all__ = [
    "IN_WORDS",
    "Declared",
    "Verdict",
    "best_suite",
    "best_trials",
    "dashboard",
    "declared",
    "of_finalists",
    "of_trials",
    "opened",
    "reasons",
    "recover",
    "remaining",
    "report_of_search",
    "search",
]
