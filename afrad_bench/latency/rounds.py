"""Interleaved timing: warm up each call, then time A B C A B C ... until all rounds are done or the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from afrad_bench.instruments.timing import Clock, Limits, warm_up

Call = Callable[[], object]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Length:
    """Length of the warm-up and of the timing."""

    rounds: int = 100
    warmup: int = 10
    """Minimum number of calls of each before the first round."""
    warmup_seconds: float = 0.5
    """Minimum time of these calls of each, in seconds."""
    seconds: float = 600.0
    """Seconds after which no further round starts; the warm-up of one call ends after a tenth of them."""


@dataclass
class Turns(Generic[Key]):
    """The measured times."""

    warmups: dict[Key, int] = field(default_factory=dict)
    """Calls before the first round."""
    times: dict[Key, list[float]] = field(default_factory=dict)
    """Milliseconds of each complete round; the same number for all."""
    failed: dict[Key, Exception] = field(default_factory=dict)
    """Calls that raised, with the exception; they are not called again."""


def take_turns(
    calls: Mapping[Key, Call],
    clock: Clock,
    length: Length,
    before: Callable[[int], object] = lambda done: None,
    now: Callable[[], float] = time.perf_counter,
) -> Turns[Key]:
    """Warm up, then time every call once a round, in the order given. `before(done)` is called before each round, and
    is not timed. At least one round is made."""
    turns: Turns[Key] = Turns()
    limits = Limits(length.warmup, length.warmup_seconds, 1, length.seconds / 10)
    for key, call in calls.items():
        try:
            turns.warmups[key] = warm_up(call, clock, limits)
        except Exception as error:  # noqa: BLE001 - a method may fail in any way; its row holds the error
            turns.failed[key] = error
    turns.times = {key: [] for key in calls if key not in turns.failed}
    began, done = now(), 0
    while turns.times and done < length.rounds and (done == 0 or now() - began < length.seconds):
        before(done)
        for key in list(turns.times):
            try:
                turns.times[key].append(clock.time_ms(calls[key]))
            except Exception as error:  # noqa: BLE001 - as above
                turns.failed[key] = error
                del turns.times[key]
        done += 1
    return turns
