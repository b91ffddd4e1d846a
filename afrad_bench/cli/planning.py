"""Steps shared by commands: make the plan of a suite with progress on the screen, and write a report to its folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from afrad_bench.report import Report
    from afrad_bench.running.plan import Plan
    from afrad_bench.running.workspace import Workspace
    from afrad_bench.suite.selection import Selection


def plan_of(selection: Selection, workspace: Workspace, out: Console) -> Plan:
    """The plan of a selection. Loading and verifying the data may take a while; the screen shows the progress."""
    return timed_plan_of(selection, workspace, out)[0]


def timed_plan_of(selection: Selection, workspace: Workspace, out: Console) -> tuple[Plan, float]:
    """The plan, and the seconds that it took."""
    from afrad_bench.cli.screen.console import busy
    from afrad_bench.running.plan import make

    began = time.perf_counter()
    with busy(out) as watch:
        made = make(selection, workspace, workspace.files(watch))
    return made, time.perf_counter() - began


def report_folder(reports: Path, selection: Selection) -> Path:
    """Folder of the report of a suite's profile."""
    return reports / selection.suite / selection.profile


def publish(
    report: Report,
    folder: Path,
    out: Console,
    timing: bool = False,
    more: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Show a report, write it to a folder (`more`: further files, by name), and print its path."""
    from afrad_bench.report import to_terminal, write

    to_terminal(report, out, timing=timing)
    written = write(report, folder, more)
    page = next(path for path in written if path.suffix == ".html")
    out.print(f"report: {page}", soft_wrap=True)
    if count := len(report.figures):
        where = folder / report.folder
        out.print(f"pictures: {count} as SVG and PNG in {where}, and in the page", soft_wrap=True)
