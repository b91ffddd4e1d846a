"""Commands on suites: run, plan, check, report, failures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afrad_bench.cli import exits
from afrad_bench.cli.again import run_command
from afrad_bench.cli.folders import Destination, destination
from afrad_bench.cli.options import (
    Formats,
    JsonOption,
    MeasuringPlace,
    Output,
    Place,
    StoredChoice,
    SuiteChoice,
    WorkingPlace,
    chosen,
)
from afrad_bench.cli.planning import plan_of, publish, timed_plan_of
from afrad_bench.errors import fail
from afrad_bench.writing import must_be_writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from afrad_bench.cli.following import Follower
    from afrad_bench.running.cell_run import RunOptions
    from afrad_bench.running.plan import Plan, PlannedCell
    from afrad_bench.running.workspace import Workspace

STARTED = time.perf_counter()
"""When the program started, to measure the time before the first cell."""
DONE = frozenset({"ok", "done"})
"""Ways in which a cell ends well."""


def run(
    choice: SuiteChoice,
    place: WorkingPlace,
    output: Output,
    force: Annotated[bool, typer.Option("--force", help="Measure again what is already done.")] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep each fitted model as a file in STORE/models, for `export`.")
    ] = False,
    keep_maps: Annotated[
        bool, typer.Option("--keep-maps", help="Keep each anomaly map in STORE/maps, for `metrics recompute`.")
    ] = False,
    log_json: Annotated[
        str | None,
        typer.Option("--log-json", metavar="FILE", help="Append a JSON object per event; - for standard error."),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", metavar="FOLDER", file_okay=False, help="Write TensorBoard events.")
    ] = None,
) -> None:
    """Measure what is not measured yet, and show the report."""
    from afrad_bench.cli.following import followers
    from afrad_bench.cli.screen import console, models, planned
    from afrad_bench.report.from_plan import report_of
    from afrad_bench.running.cell_run import RunOptions
    from afrad_bench.running.foreseen import must_build
    from afrad_bench.running.foreseen_features import sizes
    from afrad_bench.store import Store

    workspace, out = place.workspace(), console.make()
    selection = choice.selection(workspace)
    plan, seconds = timed_plan_of(selection, workspace, out, fresh=force)
    todo = plan.cells if force else plan.open
    must_build(plan, todo)
    planned.show_head(out, plan, force)
    planned.show_features(out, sizes(plan, todo, workspace))
    planned.show_workers(out, plan, workspace)
    startup = {"startup": time.perf_counter() - STARTED - seconds, "data": seconds}
    options = RunOptions(force=force, keep_models=keep_models, keep_maps=keep_maps, startup=startup)
    interrupted, ended = False, frozenset[str]()
    if todo:
        must_be_writable(place.store, "--store")
        must_be_writable(output.reports, "--reports")
    try:
        with followers(plan, len(todo), log_json, tensorboard) as more:
            if todo:
                ended = run_shown(plan, todo, workspace, options, out, more)
    except KeyboardInterrupt:
        interrupted = True
    if todo:
        plan = plan_of(selection, workspace, out, told=plan.cautions)
    again = run_command(choice.suite, selection, workspace, place, output.reports)
    publish(report_of(plan, Store(place.store), again), destination(output.reports, plan), out, also=output.also)
    if keep_models:
        models.show_models(out, plan, place.store)
    if keep_maps:
        models.show_maps(out, plan, place.store)
    if interrupted:
        out.print("[yellow]interrupted; finished results are kept; run the same command again to continue[/]")
        raise typer.Exit(exits.INTERRUPTED)
    if "busy" in ended:
        out.print("[yellow]other processes measure some cells[/]; run the same command again when they have ended")
    if "failed" in ended:
        out.print("[red]some cells failed[/]; the report lists them, `afrad-bench why CELL` shows details")
    if ended - DONE:
        raise typer.Exit(exits.FAILED_CELLS)


def run_shown(
    plan: Plan,
    cells: Sequence[PlannedCell],
    workspace: Workspace,
    options: RunOptions,
    out: Console,
    more: Sequence[Follower] = (),
) -> frozenset[str]:
    """Run these cells with their progress on the screen; returns in which ways they ended (`Done.status`).

    `more`: further followers of the run."""
    from contextlib import closing
    from dataclasses import replace
    from functools import partial

    from afrad_bench.cli.following import OfWorkers, Together
    from afrad_bench.cli.screen.progress import RunProgress, WorkersProgress
    from afrad_bench.machine.used_memory import used
    from afrad_bench.running.run import run_suite
    from afrad_bench.running.workers import names_of, run_on

    ended = set()
    shown: RunProgress
    every: Together | OfWorkers
    if workspace.devices:
        shown = several = WorkersProgress(out, cells, list(names_of(workspace.devices)))
        every = OfWorkers(several, more)
        outcomes = run_on(workspace.devices, plan, cells, workspace, options, every)
    else:
        shown = RunProgress(out, cells, partial(used, plan.environment.device))
        every = Together(shown, more)
        options = replace(options, watch=every.watch, started=every.started)
        outcomes = run_suite(plan, cells, workspace, options)
    with shown, closing(outcomes):
        for done in outcomes:
            every.finished(done)
            ended.add(done.status)
    return frozenset(ended)


def plan(choice: SuiteChoice, place: MeasuringPlace, as_json: JsonOption = False) -> None:
    """Print the cells of a suite, which are done, and what the rest would cost. Trains and measures nothing."""
    from afrad_bench.cli.screen import console, planned
    from afrad_bench.running.foreseen import must_build
    from afrad_bench.running.foreseen_features import sizes

    workspace = place.workspace()
    found = plan_of(choice.selection(workspace), workspace, console.make(stderr=as_json))
    must_build(found, found.open)
    if as_json:
        console.show_json(planned.plan_rows(found))
    else:
        planned.show_plan(console.make(), found, sizes(found, found.open, workspace))


def check(choice: SuiteChoice, place: Place) -> None:
    """Read a suite, check all its names and values, and verify the data and weights of one profile. Runs nothing."""
    from rich.text import Text

    from afrad_bench.cli.screen import console
    from afrad_bench.running.foreseen import must_build_all

    workspace, loaded, out = place.workspace(), choice.load(), console.make()
    selection = chosen(loaded, choice.profile, choice.overrides, workspace)
    if selection.search is not None:
        from afrad_bench.search import declared

        plan_of(declared(loaded, selection).selection, workspace, out)
    found = plan_of(selection, workspace, out)
    must_build_all(loaded, selection)
    text = (
        f" {choice.suite}: every profile is valid; {selection.profile} has {len(found.cells)} cells "
        f"({len(selection.rows)} rows, {len(selection.seeds)} seeds), its data and weights are available"
    )
    out.print(Text("ok", style="green").append(text, style="default"))
    console.show_cautions(out, (f"{data.name}: {note}" for data in found.datasets for note in data.cautions))


def report(
    choice: StoredChoice,
    place: Place,
    output: Output,
    timing: Annotated[bool, typer.Option("--timing", help="Show the time of each cell by phase.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Render the results of a suite again: terminal, Markdown, CSV and HTML. Measures nothing.

    Without --set and --data, with those of the newest run."""
    from afrad_bench.cli.screen import console
    from afrad_bench.report import to_data
    from afrad_bench.report.from_plan import report_of
    from afrad_bench.store import Store

    out = console.make(stderr=as_json)
    selection, workspace = choice.measured(place, out)
    found = plan_of(selection, workspace, out)
    again = run_command(choice.suite, selection, workspace, place, output.reports)
    made = report_of(found, Store(place.store), again)
    publish(made, destination(output.reports, found), out, timing, also=output.also)
    if as_json:
        console.show_json(to_data(made))


def failures(
    choice: StoredChoice,
    place: Place,
    formats: Formats,
    top: Annotated[int, typer.Option("--top", min=1, help="Images of each kind of error and category.")] = 3,
    fpr: Annotated[
        float | None,
        typer.Option("--fpr", min=0, max=1, help="Allowed false-positive rate; default: the threshold of the best F1."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", file_okay=False, help="Folder for a report with the stored pictures.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the worst errors of each method: missed defects and false alarms. Measures nothing.

    Without --set and --data, with those of the newest run."""
    from afrad_bench.cli.screen import console
    from afrad_bench.report import to_terminal
    from afrad_bench.report.from_plan import failures_of
    from afrad_bench.store import Store

    formats.need_folder(out)
    screen = console.make(stderr=as_json)
    selection, workspace = choice.measured(place, screen)
    found = plan_of(selection, workspace, screen)
    again = run_command(choice.suite, selection, workspace, place)
    made, wrong = failures_of(found, Store(place.store), again, top, fpr, pictures=out is not None)
    if not made.sections:
        hint = f"`afrad-bench run {choice.suite}` measures them"
        raise fail("the store has no image scores of this suite", str(place.store), hint)
    if out is not None:
        publish(made, Destination(out), screen, also=formats.also)
    elif not as_json:
        to_terminal(made, screen)
    if as_json:
        console.show_json(wrong)
