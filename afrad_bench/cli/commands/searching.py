"""Hyper-parameter search with Optuna."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afrad_bench.cli import exits
from afrad_bench.cli.commands.suites import run_shown
from afrad_bench.cli.options import REPORTS, MeasuringPlace, ReportsOption, SuiteChoice
from afrad_bench.cli.planning import plan_of, publish, report_folder
from afrad_bench.errors import fail

if TYPE_CHECKING:
    from optuna.study import Study
    from rich.console import Console

    from afrad_bench.running.workspace import Workspace
    from afrad_bench.search import Declared


def search(choice: SuiteChoice, place: MeasuringPlace, reports: ReportsOption = REPORTS) -> None:
    """Search for better parameters as the suite declares, measure the best again, and show the report.

    Run the same command again to continue: finished trials are kept, and interrupted trials are repeated."""
    from afrad_bench import search as searching
    from afrad_bench.cli.screen import console
    from afrad_bench.cli.screen.progress import search_command
    from afrad_bench.running.cell_run import RunOptions
    from afrad_bench.store import Store
    from afrad_bench.suite.suite import load

    workspace, loaded, out = place.workspace(), choice.load(), console.make()
    declared = searching.declared(loaded, loaded.select(choice.profile, choice.override or ()))
    began = time.time()
    try:
        study = _studied(declared, workspace, out, began)
        seconds = time.time() - began
        best = _best_written(study, declared, report_folder(reports, declared.selection))
        finalists = plan_of(load(best).select(), workspace, out)
        failed = run_shown(finalists, finalists.open, workspace, RunOptions(), out)
    except KeyboardInterrupt:
        out.print("[yellow]interrupted; finished trials are kept; run the same command again to continue[/]")
        raise typer.Exit(exits.INTERRUPTED) from None
    again = search_command(choice.suite, declared.selection)
    made = searching.report_of_search(study, declared, finalists, Store(place.store), str(best), again, seconds)
    publish(made, best.parent, out)
    out.print(f"suite of the best trials: {best}", soft_wrap=True)
    if page := searching.dashboard(declared, place.store):
        out.print(f"in the browser: {page}", soft_wrap=True)
    if failed:
        raise typer.Exit(exits.FAILED_CELLS)


def _studied(declared: Declared, workspace: Workspace, out: Console, began: float) -> Study:
    """Run the trials, show each as it ends, and return the study."""
    from afrad_bench import search as searching
    from afrad_bench.cli.screen.progress import SearchProgress

    plan = plan_of(declared.selection, workspace, out)
    deadline = began + declared.search.timeout if declared.search.timeout else 0.0
    with SearchProgress(out, declared) as shown:
        return searching.search(declared, plan, workspace, shown.trial_finished, shown.watch, deadline)


def _best_written(study: Study, declared: Declared, folder: Path) -> Path:
    """Write the suite that measures the best trials again. Raises `UserError` if no trial can be recommended."""
    from afrad_bench import search as searching

    text = searching.best_suite(study, declared)
    if text is None:
        raise fail("no trial can be recommended", declared.study, searching.reasons(study, declared))
    folder.mkdir(parents=True, exist_ok=True)
    best = folder / "best.yaml"
    best.write_text(text, encoding="utf-8")
    return best
