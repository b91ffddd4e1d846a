"""Stored results beside the paper's values: the report, with the terms of the comparison first.

`build` turns a suite (as `ReportInput`) and frames of the store into a frozen `Report`; the renderers write it."""

from __future__ import annotations

from afrad_bench.report.build import build
from afrad_bench.report.failures import Failure, failure_report
from afrad_bench.report.formats.csv import to_csv, to_wide_csv
from afrad_bench.report.formats.data import from_data, json_schema, to_data
from afrad_bench.report.formats.files import Also, lost, write
from afrad_bench.report.formats.html import to_html
from afrad_bench.report.formats.latex import to_latex
from afrad_bench.report.formats.markdown import to_markdown
from afrad_bench.report.formats.terminal import to_terminal
from afrad_bench.report.model import MeasureSpec, PlannedCell, Report, ReportInput, RowSpec
from afrad_bench.report.ranking import Ranking, ranking_report

__all__ = [
    "Also",
    "Failure",
    "MeasureSpec",
    "PlannedCell",
    "Ranking",
    "Report",
    "ReportInput",
    "RowSpec",
    "build",
    "failure_report",
    "from_data",
    "json_schema",
    "lost",
    "ranking_report",
    "to_csv",
    "to_data",
    "to_html",
    "to_latex",
    "to_markdown",
    "to_terminal",
    "to_wide_csv",
    "write",
]
