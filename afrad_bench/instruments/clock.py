"""Clocks: how long one call takes for the caller and for the device.

A device computes asynchronously to Python, so a wall clock must wait for it before and after the call. CUDA also has
events in the device's stream. The time between two of them holds the gaps in which the device waits for the host to
launch the next kernel: for a small network at batch 1 it is about the host's time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from afrad_bench.errors import fail

Call = Callable[[], object]


class Event(Protocol):
    """A marker in the stream of a device, like `torch.cuda.Event(enable_timing=True)`."""

    def record(self, stream: Any = None) -> None: ...

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds from this event to `end_event`, after both have completed."""


@dataclass(frozen=True, slots=True)
class WallClock:
    """Synchronise, call, synchronise: the latency that a caller sees."""

    name: str
    synchronise: Callable[[], object]
    """Waits until the device is idle."""
    now: Callable[[], float] = time.perf_counter
    """Seconds."""

    def time_ms(self, call: Call) -> float:
        """Milliseconds of one call until its result is complete. The result is freed after the clock is read."""
        self.synchronise()
        start = self.now()
        result = call()
        self.synchronise()
        elapsed = self.now() - start
        del result
        return elapsed * 1e3


@dataclass(frozen=True, slots=True)
class EventClock:
    """Time in the device's stream: a pair of events around each call of a block, and one wait at its end."""

    name: str
    synchronise: Callable[[], object]
    event: Callable[[], Event]
    stream: Callable[[], object]
    """The stream in which the calls run."""

    def times_ms(self, call: Call, count: int) -> list[float]:
        """Milliseconds of each of `count` calls, which are queued without a wait between them."""
        pairs = [(self.event(), self.event()) for _ in range(count)]
        self.synchronise()
        for start, end in pairs:
            start.record(self.stream())
            call()
            end.record(self.stream())
        self.synchronise()
        return [start.elapsed_time(end) for start, end in pairs]


def clock_for(device: str) -> WallClock:
    """The wall clock of "cpu", "cuda:0" or "mps", named after the device. Raises `UserError` for other devices."""
    match torch.device(device).type:
        case "cpu":
            return WallClock("CPU wall clock", _nothing)
        case "cuda":
            return WallClock(f"wall clock, CUDA synchronised, {_cuda(device)}", partial(torch.cuda.synchronize, device))
        case "mps":
            return WallClock("wall clock, MPS synchronised", torch.mps.synchronize)
        case _:
            raise fail(f"no clock can wait for the device {device!r}", hint="known: cpu, cuda, mps")


def device_clock_for(device: str) -> EventClock | None:
    """The event clock of a CUDA device; None for other devices."""
    if torch.device(device).type != "cuda":
        return None
    return EventClock(
        f"CUDA events, {_cuda(device)}",
        synchronise=partial(torch.cuda.synchronize, device),
        event=partial(torch.cuda.Event, enable_timing=True),
        stream=partial(torch.cuda.current_stream, device),
    )


@contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """Use this many threads in torch and in the BLAS and OpenMP of numpy and scipy; restored at the end.

    torch's inter-operator pool cannot be changed after its first use and is left alone."""
    before = torch.get_num_threads()
    with threadpool_limits(limits=threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _nothing() -> None:
    """The CPU has finished when the call returns."""


def _cuda(device: str) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})"
