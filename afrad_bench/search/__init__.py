"""Hyper-parameter search with Optuna around the only row of a suite.

A trial is a cell like any other, measured on images that were divided off for the search, and kept in the store. The
best trials are then measured anew, on fresh seeds and on the report's images, beside the configuration as it was."""

from __future__ import annotations

from afrad_bench.search.best import best_suite, best_trials, reasons
from afrad_bench.search.declared import Declared, declared
from afrad_bench.search.report import dashboard, report_of_search
from afrad_bench.search.study import opened, recover, remaining
from afrad_bench.search.workers import search

__all__ = [
    "Declared",
    "best_suite",
    "best_trials",
    "dashboard",
    "declared",
    "opened",
    "reasons",
    "recover",
    "remaining",
    "report_of_search",
    "search",
]
