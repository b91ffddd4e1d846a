"""One resolved profile of a suite: rows with complete configurations, data sets and measures with all options."""

from __future__ import annotations

from afrad_bench.suite.selection.resolver import Resolver
from afrad_bench.suite.selection.rows import absent_methods
from afrad_bench.suite.selection.values import HOLD_OUT, SPLIT, ChosenDataset, ChosenMeasure, Selection, SuiteRow

__all__ = ["HOLD_OUT", "SPLIT", "ChosenDataset", "ChosenMeasure", "Resolver", "Selection", "SuiteRow", "absent_methods"]
