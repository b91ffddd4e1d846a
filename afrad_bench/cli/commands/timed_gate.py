"""`gate --latency`: both sides measured in one interleaved session."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

import typer

from afrad_bench.cli.commands.latency import Fitted
from afrad_bench.cli.options import LIMIT_GIB, CacheOption, Sides, ThreadsOption, cache_folder
from afrad_bench.errors import fail

if TYPE_CHECKING:
    from rich.console import Console

    from afrad_bench.comparing import Side


@dataclass(frozen=True)
class OneSession:
    """Whether and how BASE and NEW are measured by the gate itself."""

    latency: Annotated[
        bool,
        typer.Option(
            "--latency",
            help="Measure the latency of BASE and NEW in one interleaved session. They are two kept models, or two "
            "checkouts with a Python environment each.",
        ),
    ] = False
    time: Annotated[
        list[str] | None,
        typer.Option(
            "--time", metavar="WHAT", help="What checkouts time: NAME, NAME:FIELD=VALUE,... or a model; repeatable."
        ),
    ] = None
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Timed rounds of --latency; default: 100.")] = (
        None
    )
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", min=0.01, help="Seconds after which no round starts; default: 600.")
    ] = None
    device: Annotated[str | None, typer.Option("--device", help="Default: auto, as for `latency`.")] = None
    threads: ThreadsOption = None
    cache: CacheOption = None

    def refuse(self, fitted: Fitted) -> None:
        """Raise `UserError` if an option was given that only --latency uses."""
        given = [each for each in fields(self) if each.name != "cache" and getattr(self, each.name)]
        given += [each for each in fields(fitted) if getattr(fitted, each.name) != each.default]
        if given:
            names = ", ".join(f"--{each.name.replace('_', '-')}" for each in given)
            raise fail(f"without --latency, the gate measures nothing: {names} has no effect", hint="add --latency")


def timed_sides(sides: Sides, how: OneSession, fitted: Fitted, screen: Console) -> tuple[Side, Side, tuple[str, ...]]:
    """Measure both sides, keep the session in the store, and return them with notes on the session."""
    from afrad_bench import latency as timing
    from afrad_bench.comparing.sessions import timed_side
    from afrad_bench.machine.environment import default_threads
    from afrad_bench.store import Store

    conditions = timing.Conditions(
        device=how.device or "auto",
        threads=how.threads or default_threads(),
        cache=cache_folder(how.cache),
        cache_limit=int(LIMIT_GIB * 2**30),
        image_size=fitted.image_size or 256,
        train=fitted.train,
        backbone=fitted.backbone,
        weights=fitted.weights,
    )
    default = timing.Length()
    length = timing.Length(rounds=how.rounds or default.rounds, seconds=how.max_seconds or default.seconds)
    found = timing.measure_sides(
        sides.base,
        sides.new,
        how.time or [],
        conditions,
        length,
        lambda what: screen.print(what, style="dim", markup=False),
    )
    session, notes = found.session, list(found.notes)
    if rows := timing.rows(session):
        Store(sides.store).append_latency(rows)
        notes.append(
            f"latency session {session.id[:8]} is kept in {sides.store}: afrad-bench latency --show {session.id[:8]}"
        )
    device = f"{session.device_name} ({session.device}), {session.threads} threads"

    def side(name: str, rows: tuple[timing.SideRow, ...]) -> Side:
        return timed_side(name, rows, session.id, device, session.doubts, timing.MODE, timing.BATCH)

    return side(sides.base, found.base), side(sides.new, found.new), tuple(notes)
