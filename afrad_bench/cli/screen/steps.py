"""Where a long step is: the time that is left, and lines for output that goes to no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from rich.console import Console

SECONDS_BETWEEN = 1.0
"""Lines about the tenths of one step are at least so far apart."""
Clock = Callable[[], float]


class Step:
    """One step of the work, such as "training", and how fast it goes."""

    def __init__(self, what: str, done: int, clock: Clock = time.monotonic) -> None:
        self.what = what
        self._clock = clock
        self._first, self._began = done, clock()
        self._done, self._at = done, self._began

    def goes_on(self, what: str, done: int) -> bool:
        """Whether this is more of the same step, and not another one of that name: the second training of a fit."""
        return what == self.what and done >= self._done

    def at(self, done: int) -> None:
        """Take note that so much is done by now."""
        if done != self._done:
            self._done, self._at = done, self._clock()

    def left(self, total: int) -> float | None:
        """Seconds that are left at the pace of the step so far; None before its first part is done."""
        if self._done <= self._first or total <= 0:
            return None
        pace = (self._at - self._began) / (self._done - self._first)
        return max(0.0, pace * (total - self._done) - (self._clock() - self._at))


class StepLines:
    """A `Watch` that prints a line at the begin of each step and for each tenth of it, with the time since the start.

    `quiet`: seconds before anything is printed, for work that is mostly short."""

    def __init__(self, out: Console, quiet: float = 0.0, clock: Clock = time.monotonic) -> None:
        self._out, self._clock = out, clock
        self._began = clock()
        self._quiet_until = self._began + quiet
        self._step: Step | None = None
        self._name = ""
        self._tenth, self._printed = 0, 0.0

    def watch(self, done: int, total: int, what: str, loss: float | None = None, name: str = "") -> None:
        """`name`: what the step belongs to; a `total` of 0 is unknown."""
        now = self._clock()
        if self._step is None or name != self._name or not self._step.goes_on(what, done):
            self._step, self._name = Step(what, done, self._clock), name
            self._tenth = 10 * done // total if total else 0
            self._print(now, f"{what} {done}/{total}" if total else what)
            return
        self._step.at(done)
        tenth = 10 * done // total if total else 0
        if tenth > self._tenth and now - self._printed >= SECONDS_BETWEEN:
            self._tenth = tenth
            left = self._step.left(total)
            ending = "" if left is None or done >= total else f", about {span(left)} left"
            self._print(now, f"{what} {done}/{total}{'' if loss is None else f', loss {loss:.4g}'}{ending}")

    def _print(self, now: float, text: str) -> None:
        if now < self._quiet_until:
            return
        self._printed = now
        place = f"{self._name}: " if self._name else ""
        self._out.print(f"{span(now - self._began)}  {place}{text}", soft_wrap=True, markup=False, style="dim")


class PhaseLines:
    """A line for each phase, and for the steps in it if they take longer than `quiet` seconds."""

    def __init__(self, out: Console, quiet: float, clock: Clock = time.monotonic) -> None:
        self._out, self._quiet, self._clock = out, quiet, clock
        self._steps = StepLines(out, quiet, clock)

    def begin(self, phase: str) -> None:
        """Print the name of the phase that begins."""
        self._out.print(phase, style="dim", markup=False, soft_wrap=True)
        self._steps = StepLines(self._out, self._quiet, self._clock)

    def watch(self, done: int, total: int, what: str, loss: float | None = None) -> None:
        """A `Watch`."""
        self._steps.watch(done, total, what, loss)


def span(seconds: float) -> str:
    """ "0:01:07" """
    return str(timedelta(seconds=round(seconds)))
