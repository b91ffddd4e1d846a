"""Kernels of a card: how long they take, whatever gaps the host leaves between them.

torch's profiler tells start and end of everything that a card does. It slows the host down while it records, and may go
on doing so until the process ends, because it leaves NVIDIA's library attached (pytorch #144455). So nothing must be
timed in a process after a recording. The kernels themselves take their usual time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile, record_function

MARK = "afrad_bench: one call"
CALLS = 5
"""Calls in one recording."""

Span = tuple[float, float]
"""Start and end in microseconds."""


class NotRecorded(Exception):
    """The profiler recorded nothing of the card; the text says why, as far as it is known."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a card does in one call."""

    ms: float
    """Milliseconds in which at least one kernel, copy or fill runs: kernels that run at the same time count once."""
    count: int
    """Kernels, copies and fills."""


def recorded(call: Callable[[], object], device: str, calls: int = CALLS) -> Kernels:
    """Record the kernels of a warm call on a CUDA device. Raises `NotRecorded`, and whatever the call or the profiler
    raises."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
        for _ in range(calls):
            with record_function(MARK):
                call()
                torch.cuda.synchronize(device)
    return kernels_of(record.events(), torch.device(device).index or 0)


def kernels_of(events: Iterable[Any], card: int) -> Kernels:
    """The kernels of the marked calls among a profiler's events (`torch.autograd.profiler_util.FunctionEvent`).

    The profiler may lose the first kernels of a recording (pytorch #192021). So the result is the median over those
    calls of which it has the most kernels."""
    marks: list[Span] = []
    work: list[Span] = []
    for event in events:
        span = event.time_range.start, event.time_range.end
        if event.device_type == DeviceType.CPU and event.name == MARK:
            marks.append(span)
        elif event.device_type == DeviceType.CUDA and event.device_index == card and not _is_range(event):
            work.append(span)
    of_calls = [[span for span in work if begin <= span[0] < end] for begin, end in marks]
    count = max(map(len, of_calls), default=0)
    if not count:
        raise NotRecorded(
            "torch's profiler recorded no kernel; it may lack the right to, or another profiler is attached"
        )
    return Kernels(statistics.median(_covered(spans) for spans in of_calls if len(spans) == count) / 1e3, count)


def _is_range(event: Any) -> bool:
    """Whether it is no work of the card, but a range of the program that the profiler also draws there."""
    return bool(getattr(event, "is_user_annotation", False)) or event.name == MARK


def _covered(spans: Iterable[Span]) -> float:
    """Length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
