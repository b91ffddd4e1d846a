"""Hyper-parameter search with Optuna."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from afrad_bench import writing
from afrad_bench.cli import exits
from afrad_bench.cli.again import run_command
from afrad_bench.cli.commands.suites import DONE, run_shown
from afrad_bench.cli.folders import destination
from afrad_bench.cli.options import Output, SuiteChoice, WorkingPlace, chosen
from afrad_bench.cli.planning import plan_of, publish
from afrad_bench.errors import fail

if TYPE_CHECKING:
    from optuna.study import Study
    from rich.console import Console

    from afrad_bench.running.plan import Plan
    from afrad_bench.running.workspace import Workspace
    from afrad_bench.search import Declared, Verdict


def search(choice: SuiteChoice, place: WorkingPlace, output: Output) -> None:
    """Search for better parameters as the suite declares, measure the best again, and show the report.

    Run the same command again to continue: finished trials are kept, and interrupted trials are repeated."""
    from afrad_bench import search as searching
    from afrad_bench.cli.screen import console
    from afrad_bench.running.cell_run import RunOptions
    from afrad_bench.store import Store
    from afrad_bench.suite.suite import load

    workspace, loaded, out = place.workspace(), choice.load(), console.make()
    declared = searching.declared(loaded, chosen(loaded, choice.profile, choice.overrides, workspace))
    began = time.time()
    try:
        plan = plan_of(declared.selection, workspace, out)
        study = _studied(declared, plan, workspace, out, began)
        seconds, to = time.time() - began, destination(output.reports, plan)
        best = _best_written(study, declared, to.folder, searching.of_trials(study, declared))
        finalists = plan_of(load(best).select(), workspace, out)
        ended = run_shown(finalists, finalists.open, workspace, RunOptions(wait=True), out)
    except KeyboardInterrupt:
        out.print("[yellow]interrupted; finished trials are kept; run the same command again to continue[/]")
        raise typer.Exit(exits.INTERRUPTED) from None
    found = searching.of_finalists(declared, finalists, Store(place.store))
    if found != "unknown":
        _best_written(study, declared, to.folder, found)
    again = run_command(choice.suite, declared.selection, workspace, place, output.reports, "search")
    last = run_command(str(best), finalists.selection, workspace, place, output.reports)
    made = searching.report_of_search(study, declared, finalists, Store(place.store), last, again, seconds)
    publish(made, to, out, also=output.also)
    out.print(f"suite of the best trials: {best}", soft_wrap=True)
    if page := searching.dashboard(declared, place.store):
        out.print(f"in the browser: {page}", soft_wrap=True)
    if ended - DONE:
        raise typer.Exit(exits.FAILED_CELLS)


def _studied(declared: Declared, plan: Plan, workspace: Workspace, out: Console, began: float) -> Study:
    """Run the trials, show each as it ends, and return the study."""
    from afrad_bench import search as searching
    from afrad_bench.cli.screen import planned
    from afrad_bench.cli.screen.progress import SearchProgress

    deadline = began + declared.search.timeout if declared.search.timeout else 0.0
    planned.show_workers(out, plan, workspace)
    with SearchProgress(out, declared) as shown:
        return searching.search(declared, plan, workspace, shown.trial_finished, shown.watch, deadline)


def _best_written(study: Study, declared: Declared, folder: Path, found: Verdict) -> Path:
    """Write the suite that measures the best trials again, with what is found in its title. Raises `UserError` if no
    trial can be recommended."""
    from afrad_bench import search as searching

    text = searching.best_suite(study, declared, searching.IN_WORDS[found])
    if text is None:
        raise fail("no trial can be recommended", declared.study, searching.reasons(study, declared))
    best = folder / "best.yaml"
    with writing.replacing(best, writing.REPORTS) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return best
