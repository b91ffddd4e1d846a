"""Open the newest report of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afrad_bench.cli.options import REPORTS, ReportsOption, load_suite
from afrad_bench.errors import fail


def open_(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite file, or the name of one in ./suites.")],
    reports: ReportsOption = REPORTS,
) -> None:
    """Open the newest report of a suite in the browser; print its path."""
    import webbrowser

    from afrad_bench.cli.screen import console

    out = console.make()
    page = newest_page(reports, load_suite(suite).file.suite, suite)
    out.print(str(page), soft_wrap=True, markup=False)
    try:
        shown = webbrowser.open(page.resolve().as_uri())
    except webbrowser.Error:
        shown = False
    if not shown:
        out.print("no browser was found here; open this file in one", style="yellow")


def newest_page(reports: Path, name: str, asked: str) -> Path:
    """The page of the suite that was written last. Raises `UserError` if there is none."""
    found = [path for path in (reports / name).glob("*/report.html") if path.is_file()]
    if not found:
        hint = f"`afrad-bench run {asked}` writes one; --reports names another folder"
        raise fail(f"no report of {name}", str(reports / name), hint)
    return max(found, key=lambda path: path.stat().st_mtime)
