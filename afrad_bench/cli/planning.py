"""Steps shared by commands: make the plan of a suite with progress on the screen, and write a report to its folder."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from afrad_bench.cli.folders import Destination
    from afrad_bench.report import Also, Report
    from afrad_bench.running.plan import Plan
    from afrad_bench.running.workspace import Workspace
    from afrad_bench.suite.selection import Selection


def plan_of(selection: Selection, workspace: Workspace, out: Console, told: Collection[str] = ()) -> Plan:
    """The plan of a selection. Loading and verifying the data may take a while; the screen shows the progress, and then
    the plan's cautions, without those on what `told` is about."""
    return timed_plan_of(selection, workspace, out, told)[0]


def timed_plan_of(
    selection: Selection, workspace: Workspace, out: Console, told: Collection[str] = (), fresh: bool = False
) -> tuple[Plan, float]:
    """The plan, and the seconds that it took. `fresh`: all image files are read again, whatever their times say."""
    from afrad_bench.cli.screen.console import busy, show_cautions
    from afrad_bench.running.plan import make

    began = time.perf_counter()
    with busy(out) as watch:
        made = make(selection, workspace, workspace.files(watch, fresh))
    seconds = time.perf_counter() - began
    kinds = {text.partition(": ")[0] for text in told}
    show_cautions(out, (text for text in made.cautions if text.partition(": ")[0] not in kinds))
    return made, seconds


def publish(
    report: Report,
    place: Destination,
    out: Console,
    timing: bool = False,
    more: Mapping[str, str] = MappingProxyType({}),
    also: Collection[Also] = (),
) -> None:
    """Write a report to its folder (`more`: further files, by name; `also`: formats on request), show it, and print its
    path.

    A report that lacks numbers of the one that is there is written to a folder beside it, for which the same holds."""
    from afrad_bench.report import lost, to_terminal, write

    folder, others = place.folder, 0
    gone = lost(report, folder)
    while lost(report, folder):
        others += 1
        folder = place.folder.with_name(f"{place.folder.name}+incomplete{others if others > 1 else ''}")
    try:
        written = write(report, folder, more, also)
        replace(place, folder=folder).note()
    finally:
        to_terminal(report, out, timing=timing)  # also when the files cannot be written
    page = next(path for path in written if path.suffix == ".html")
    out.print(f"report: {page}", soft_wrap=True, markup=False)
    if document := next((path for path in written if path.name == f"{report.name}.tex"), None):
        out.print(f"LaTeX: {document}, with the tables in {report.name}_tables.tex", soft_wrap=True, markup=False)
    if gone:
        text = f"{place.folder} keeps a report with {gone} numbers that are missing here; move it away to replace it"
        out.print(text, style="yellow", soft_wrap=True, markup=False)
    if count := len(report.figures):
        where = folder / report.folder
        kinds = "SVG, PNG and PDF" if any(path.suffix == ".pdf" for path in written) else "SVG and PNG"
        out.print(f"pictures: {count} as {kinds} in {where}, and in the page", soft_wrap=True, markup=False)
