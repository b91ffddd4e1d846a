"""From single times to percentiles, and reasons not to trust them.

Scatter and drift show in the times themselves; a steady load of the machine does not, and is watched
(`afrad_bench.machine.load`)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from afrad_bench.machine.load import LoadWatch

FEWEST = 10
"""Fewest timed calls for which percentiles are meaningful."""


class Clock(Protocol):
    """Times one call."""

    def time_ms(self, call: Callable[[], object]) -> float: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of warm-up and timing. `seconds` bounds each of the two phases, whatever the counts are."""

    warmup: int
    warmup_seconds: float
    repeats: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of the calls after the warm-up."""

    times_ms: tuple[float, ...]
    warmup: int
    """Number of warm-up calls, which are not part of `times_ms`."""
    load: tuple[str, ...] = ()
    """What the load of the machine says against these times."""
    extrapolated: str = ""
    """How they were extrapolated; empty if they were measured."""

    def percentile(self, percent: float) -> float:
        """Milliseconds, linearly interpolated between the order statistics."""
        return float(np.percentile(self.times_ms, percent))

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons not to trust the percentiles; empty for a steady run on a quiet machine."""
        found = [self.extrapolated] if self.extrapolated else []
        if len(self.times_ms) < FEWEST:
            found.append(f"only {len(self.times_ms)} timed calls")
        first, last = _thirds(self.times_ms)
        if abs(first - last) > 0.1 * min(first, last):
            found.append(f"drifts, median of the first third {first:.3g} ms, of the last {last:.3g} ms")
        if (tail := self.percentile(95)) > 1.2 * (median := self.percentile(50)):
            found.append(f"scatters, p95 is {tail / median:.2f} times the median")
        return (*found, *self.load)


def _thirds(times: Sequence[float]) -> tuple[float, float]:
    third = max(1, len(times) // 3)
    return statistics.median(times[:third]), statistics.median(times[-third:])


def watched(time: Callable[[], Timing]) -> Timing:
    """The timing that `time` makes, with what the load of the machine says against it."""
    machine = LoadWatch()
    return replace(time(), load=machine.load(wait=True).doubts)


def warm_up(call: Callable[[], object], clock: Clock, limits: Limits) -> int:
    """Call at least `warmup` times and for `warmup_seconds`, unless `seconds` are over; returns the number of calls."""
    calls, spent = 0, 0.0
    while (calls < limits.warmup or spent < limits.warmup_seconds * 1e3) and spent < limits.seconds * 1e3:
        spent += clock.time_ms(call)
        calls += 1
    return calls


def timed(call: Callable[[], object], clock: Clock, limits: Limits) -> Timing:
    """Warm up, then time `repeats` calls one by one, or as many as start within `seconds`, at least one."""
    warmup = warm_up(call, clock, limits)
    times = [clock.time_ms(call)]
    spent = times[0]
    while len(times) < limits.repeats and spent < limits.seconds * 1e3:
        times.append(clock.time_ms(call))
        spent += times[-1]
    return Timing(tuple(times), warmup)


SHORT, LONG = 1, 6
"""Turns of a loop that are timed to extrapolate to all of its turns."""


def worth_extrapolating(turns: int) -> bool:
    """Whether the two timed calls are less than half the work of the whole loop."""
    return turns > 2 * (SHORT + LONG)


def extrapolated(short_ms: Sequence[float], long_ms: Sequence[float], turns: int, warmup: int) -> Timing:
    """Times of `turns` equal turns and what surrounds them, from pairs of times with `SHORT` and with `LONG` turns."""
    per_turn = ((long - short) / (LONG - SHORT) for short, long in zip(short_ms, long_ms, strict=True))
    times = tuple(short + (turns - SHORT) * each for short, each in zip(short_ms, per_turn, strict=True))
    how = f"extrapolated to {turns} turns of the loop from calls with {SHORT} and {LONG}"
    return Timing(times, warmup, extrapolated=how)


def timed_loop(
    short: Callable[[], object], long: Callable[[], object], turns: int, clock: Clock, limits: Limits
) -> Timing:
    """Warm up, then time both calls in turn, as `timed` does with one, and extrapolate to `turns`."""
    warmup = warm_up(short, clock, limits)
    pairs: list[tuple[float, float]] = []
    while not pairs or (len(pairs) < limits.repeats and sum(map(sum, pairs)) < limits.seconds * 1e3):
        pairs.append((clock.time_ms(short), clock.time_ms(long)))
    return extrapolated([first for first, _ in pairs], [second for _, second in pairs], turns, warmup)
