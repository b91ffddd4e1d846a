"""Latency of several methods, timed in interleaved rounds."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afrad_bench.cli import exits
from afrad_bench.cli.folders import Destination, named
from afrad_bench.cli.options import (
    JsonOption,
    MeasuringPlace,
    Output,
    ProfileChoice,
    check_data,
    load_suite,
    suite_folders,
)
from afrad_bench.cli.planning import plan_of, publish
from afrad_bench.errors import fail
from afrad_bench.machine.arithmetic import Arithmetic, applied

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from afrad_bench.latency import Session
    from afrad_bench.running.plan import Plan
    from afrad_bench.running.workspace import Workspace
    from afrad_bench.suite.selection import Selection
    from afrad_bench.suite.suite import Suite


@dataclass(frozen=True)
class Fitted:
    """What the methods are fitted on, and with which backbone."""

    image_size: Annotated[
        int | None, typer.Option("--image-size", min=16, max=4096, help="Default: 256; for a suite, its own.")
    ] = None
    train: Annotated[int, typer.Option("--train", min=1, help="Number of noise images to fit a NAME on.")] = 16
    backbone: Annotated[str | None, typer.Option("--backbone", help="Backbone of every method that has one.")] = None
    weights: Annotated[
        str | None, typer.Option("--weights", help="Its weights: timm, packaged, file:PATH, random.")
    ] = None

    def overrides(self) -> list[str]:
        """These options as overrides of a suite."""
        given = {
            "image_size": self.image_size,
            "shared.backbone.name": self.backbone,
            "shared.backbone.weights": self.weights,
        }
        return [f"{field}={value}" for field, value in given.items() if value]


@dataclass(frozen=True)
class Schedule:
    """What is timed, and how often."""

    mode: Annotated[
        list[str] | None,
        typer.Option(
            "--mode",
            help="eager (default), fp16, bf16, channels_last, contiguous, compile, cuda_graphs; bf16+compile, ...",
        ),
    ] = None
    batch: Annotated[list[int] | None, typer.Option("--batch", min=1, help="Images per call; repeatable.")] = None
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Number of timed rounds.")] = 100
    warmup: Annotated[int, typer.Option("--warmup", min=1, help="Minimum number of warm-up calls of each row.")] = 10
    warmup_seconds: Annotated[float, typer.Option("--warmup-seconds", min=0, help="Minimum time of these calls.")] = 0.5
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", min=0.01, help="Seconds after which no further round starts.")
    ] = 600.0


def latency(
    choice: ProfileChoice,
    place: MeasuringPlace,
    fitted: Fitted,
    schedule: Schedule,
    output: Output,
    method: Annotated[
        list[str] | None,
        typer.Argument(metavar="METHOD...", help="NAME, NAME:FIELD=VALUE,... or a suite (all its rows)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", file_okay=False, help="Folder for the report; default for suites: REPORTS/SUITE/latency."
        ),
    ] = None,
    show: Annotated[
        list[str] | None,
        typer.Option("--show", metavar="SESSION", help="Show a stored session again, or `last`."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time methods in interleaved rounds (A B C A B C ...), in several modes and batch sizes, with ratio intervals."""
    from afrad_bench import latency as timing
    from afrad_bench.cli.screen import console
    from afrad_bench.store import Store

    if bool(method) == bool(show):
        raise fail("name methods to time, or sessions to --show", "METHOD", "e.g. afrad-bench latency afrad padim")
    workspace, store = place.workspace(), Store(place.store)
    screen = console.make(stderr=as_json)
    if show:
        frame = store.read("latency")
        console.show_cautions(screen, store.faults)
        sessions = timing.find(list(timing.stored(frame)), show, str(place.store))
    else:
        sessions = (_measured(method or [], choice, fitted, schedule, workspace, screen),)
        if rows := timing.rows(sessions[0]):
            store.append_latency(rows)
    _show(sessions, out, output, screen, as_json)
    if not show and any(one.error for one in sessions[0].timed):
        raise typer.Exit(exits.FAILED_CELLS)


def _measured(
    methods: list[str],
    choice: ProfileChoice,
    fitted: Fitted,
    schedule: Schedule,
    workspace: Workspace,
    screen: Console,
) -> Session:
    """A new session with these methods and with the rows of these suites."""
    from afrad_bench import latency as timing
    from afrad_bench.backbone.features import FeatureCache
    from afrad_bench.cli.screen.console import QUIET
    from afrad_bench.cli.screen.steps import PhaseLines
    from afrad_bench.machine.devices import made_current
    from afrad_bench.machine.environment import current

    _check_given(methods, choice, workspace)
    plans: dict[str, Plan] = {}
    loaded: list[tuple[Suite, Selection]] = []
    overrides = [*choice.overrides, *fitted.overrides()]

    def planned(suite: str) -> Plan:
        read = load_suite(suite)
        loaded.append((read, read.select(choice.profile, overrides)))
        plans[suite] = plan_of(loaded[-1][1], workspace, screen)
        return plans[suite]

    suites = sorted({path.stem for folder in suite_folders() for path in folder.glob("*.yaml")})
    options = timing.EntrantOptions(fitted.image_size or 256, fitted.train, fitted.backbone, fitted.weights)
    entrants, absent = timing.entrants(methods, planned, suites, options, workspace)
    if loaded:
        check_data(loaded, workspace)
    phases = PhaseLines(screen, QUIET)
    threads = workspace.threads or next((plan.environment.threads for plan in plans.values()), None)
    arithmetic = _arithmetic(choice, plans)
    environment = current(workspace.device, threads, arithmetic)
    modes = timing.parse_modes(schedule.mode or ["eager"], environment.device)
    with made_current(environment.device), applied(arithmetic, environment.device):
        return timing.measure(
            entrants,
            modes,
            sorted(set(schedule.batch or [1])),
            environment,
            FeatureCache(workspace.cache, workspace.cache_limit, phases.watch),
            timing.Length(schedule.rounds, schedule.warmup, schedule.warmup_seconds, schedule.max_seconds),
            {
                "command": ["afrad-bench", *sys.argv[1:]],
                "suites": [plan.selection.suite for plan in plans.values()],
                "profiles": list(dict.fromkeys(one.cell.profile for one in entrants)),
                "absent": list(absent),
                "overrides": overrides if plans else [],
            },
            phases.begin,
            phases.watch,
        )


def _arithmetic(choice: ProfileChoice, plans: Mapping[str, Plan]) -> Arithmetic:
    """How torch is to compute in the session: as the suites say, which must say the same."""
    said = {name: plan.selection.arithmetic for name, plan in plans.items()}
    if len(set(said.values())) > 1:
        told = ", ".join(f"{name}: {str(each) or 'as torch has it'}" for name, each in said.items())
        raise fail(f"one session has one arithmetic, but {told}", "METHOD", "time the suites one after the other")
    return next(iter(said.values()), Arithmetic(deterministic=choice.deterministic))


def _check_given(methods: list[str], choice: ProfileChoice, workspace: Workspace) -> None:
    """Raise `UserError` for options that only suites use if there is none among the methods."""
    from afrad_bench import registry

    known = registry.entries("method")
    given = {
        "--set": choice.override,
        "--on": choice.on,
        "--only": choice.only,
        "--profile": choice.profile,
        "--data": workspace.roots,
    }
    unused = [option for option, value in given.items() if value]
    if unused and all(text.partition(":")[0] in known for text in methods):
        hint = "write NAME:FIELD=VALUE for a method; methods by name are fitted on noise"
        raise fail("used by suites only, and no suite is named", ", ".join(unused), hint)


def _show(sessions: tuple[Session, ...], out: Path | None, output: Output, screen: Console, as_json: bool) -> None:
    """Show the report or its JSON, and write it to a folder if one is given or the sessions belong to one suite."""
    from afrad_bench import latency as timing
    from afrad_bench.cli.screen import console
    from afrad_bench.report import to_terminal
    from afrad_bench.suite.file import LATENCY

    records = timing.records(sessions)
    suites = {suite for one in sessions for suite in one.terms["suites"]}
    overrides = [text for one in sessions for text in one.terms.get("overrides", ())]
    folder = out or (output.reports / next(iter(suites)) / named(LATENCY, overrides) if len(suites) == 1 else None)
    made = timing.latency_report(sessions, pictured=folder is not None)
    if folder:
        files = {"report.csv": timing.to_csv(sessions), "report.json": console.to_json(records)}
        publish(made, Destination(folder), screen, more=files, also=output.also)
    elif not as_json:
        to_terminal(made, screen)
    if as_json:
        console.show_json(records)
    output.need_folder(folder)  # last: the session is measured and kept
