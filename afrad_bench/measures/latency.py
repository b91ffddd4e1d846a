"""Latency: milliseconds from one image to its pixel map and score, batch 1, after a warm-up.

Times are wall-clock times; the device is synchronised before and after each call. On CUDA there are also times by
device events. The note of every row names the clock, so that a CPU time is never mistaken for a GPU time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from afrad_bench.types import HasLoop, Loop, Measurement, Metric, Subject

if TYPE_CHECKING:
    from afrad_bench.instruments.clock import EventClock
    from afrad_bench.instruments.timing import Clock, Limits, Timing
    from afrad_bench.measures._subject.scoring import Scoring

VERSION = "1"
ALONE = True
"""It is not measured while other workers of the run are at work, which would slow it down."""
TERMS: tuple[str, ...] = ("device", "device_name", "threads")
METRICS: Mapping[str, Metric] = {
    "latency_median": Metric(
        "ms/image (wall clock)", "ms/image", False, "median time from one image to its map and score, batch 1"
    ),
    "latency_p5": Metric(
        "ms/image, p5 (wall clock)", "ms/image", False, "5th percentile of the same times", headline=False
    ),
    "latency_p95": Metric(
        "ms/image, p95 (wall clock)", "ms/image", False, "95th percentile of the same times", headline=False
    ),
    "latency_iterations": Metric(
        "timed calls", "calls", True, "times that median and percentiles rest on", decimals=0, headline=False
    ),
    "latency_device": Metric(
        "ms/image (device events)",
        "ms/image",
        False,
        "median time between CUDA events around a call: in the device's stream, gaps in which it waits for the host "
        "included",
        headline=False,
    ),
}
NO_EVENTS = "not measured: only CUDA devices time themselves, this is {device}"


class Config(BaseModel):
    """Number and duration of the warm-up and of the timed calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    warmup: int = Field(default=10, ge=1, description="minimum number of warm-up calls")
    warmup_seconds: float = Field(default=0.5, ge=0, description="minimum duration of the warm-up in seconds")
    repeats: int = Field(default=50, ge=10, description="timed calls")
    max_seconds: float = Field(
        default=120.0,
        gt=0,
        description="seconds after which warm-up and timing each start no further call, for very slow methods",
    )
    extrapolate: bool = Field(
        default=False,
        exclude_if=lambda chosen: not chosen,  # so that options stored before there was this one stay equal
        description="time a few turns of a network that repeats a loop, such as denoising steps, and extrapolate to "
        "all of them; every row says so",
    )


def measure(subject: Subject, config: Config) -> Iterator[Measurement]:
    """Time the method's network on the first test image, on the device; `predict` if it has no network."""
    wall, device, terms = _times(subject, config)
    conditions = "; ".join([terms, _counts(wall, config)])
    note = "; ".join([*_unreliable(wall), conditions])
    for metric, percent in (("latency_median", 50), ("latency_p5", 5), ("latency_p95", 95)):
        yield Measurement(metric, wall.percentile(percent), METRICS[metric].unit, note=note)
    yield Measurement("latency_iterations", float(len(wall.times_ms)), "calls", note=conditions)
    if device is None:
        yield Measurement("latency_device", None, "ms/image", note=NO_EVENTS.format(device=subject.device))
    else:
        timing, terms = device
        note = "; ".join([*_unreliable(timing), terms, _counts(timing, config)])
        yield Measurement("latency_device", timing.percentile(50), "ms/image", note=note)


def _times(subject: Subject, config: Config) -> tuple[Timing, tuple[Timing, str] | None, str]:
    """Times by the wall clock and by the device's own clock, each with its terms. Nothing else runs in between."""
    from afrad_bench.instruments.clock import clock_for, device_clock_for, pinned_threads
    from afrad_bench.instruments.timing import Limits, watched, worth_extrapolating
    from afrad_bench.measures._subject.scoring import scoring

    clock, device_clock = clock_for(subject.device), device_clock_for(subject.device)
    limits = Limits(config.warmup, config.warmup_seconds, config.repeats, config.max_seconds)
    loop = subject.method.loop() if config.extrapolate and isinstance(subject.method, HasLoop) else None
    if loop is not None and worth_extrapolating(loop.turns):
        timed: _Whole | _Extrapolated = _Extrapolated(loop, subject)
    else:
        timed = _Whole(scoring(subject))
    subject.watch(0, 1, "latency")
    with pinned_threads(subject.threads):
        wall = watched(lambda: timed.by_clock(clock, limits))
        by_device = None
        if device_clock is not None:
            events = watched(lambda: timed.by_device(device_clock, wall))
            by_device = events, _terms(subject, device_clock.name, timed.inside)
    subject.watch(1, 1, "latency")
    return wall, by_device, _terms(subject, clock.name, timed.inside)


class _Whole:
    """Times of whole calls."""

    def __init__(self, work: Scoring) -> None:
        self.call = work.call
        self.inside = work.inside

    def by_clock(self, clock: Clock, limits: Limits) -> Timing:
        from afrad_bench.instruments.timing import timed

        return timed(self.call, clock, limits)

    def by_device(self, clock: EventClock, wall: Timing) -> Timing:
        from afrad_bench.instruments.timing import Timing

        count = len(wall.times_ms)
        return Timing(tuple(clock.times_ms(self.call, count)), wall.warmup + count)


class _Extrapolated:
    """Times of all turns of a loop, from calls with few turns."""

    def __init__(self, loop: Loop, subject: Subject) -> None:
        from afrad_bench.instruments.timing import LONG, SHORT
        from afrad_bench.measures._subject.scoring import scoring_by

        self.turns = loop.turns
        self.short, self.long = (scoring_by(loop.shortened(turns), subject) for turns in (SHORT, LONG))
        self.inside = self.short.inside

    def by_clock(self, clock: Clock, limits: Limits) -> Timing:
        from afrad_bench.instruments.timing import timed_loop

        return timed_loop(self.short.call, self.long.call, self.turns, clock, limits)

    def by_device(self, clock: EventClock, wall: Timing) -> Timing:
        from afrad_bench.instruments.timing import extrapolated

        count = len(wall.times_ms)
        short, long = (clock.times_ms(each.call, count) for each in (self.short, self.long))
        return extrapolated(short, long, self.turns, wall.warmup + count)


def _terms(subject: Subject, clock: str, inside: str) -> str:
    threads = f"{subject.threads} thread{'s' if subject.threads != 1 else ''}"
    return f"{clock}; {inside}; batch 1, float32{_precision(subject.device)}, {threads}"


def _precision(device: str) -> str:
    """CUDA's settings for float32, and deterministic algorithms, as text; empty for the CPU as it is."""
    import torch

    fixed = ", deterministic algorithms" if torch.are_deterministic_algorithms_enabled() else ""
    if torch.device(device).type != "cuda":
        return fixed
    convolutions = "on" if torch.backends.cudnn.allow_tf32 else "off"
    benchmark = "on" if torch.backends.cudnn.benchmark else "off"
    precision = torch.get_float32_matmul_precision()
    return f" (TF32 convolutions {convolutions}, matmul precision {precision}, cudnn.benchmark {benchmark}){fixed}"


def _counts(timing: Timing, config: Config) -> str:
    n = len(timing.times_ms)
    short = f" of {config.repeats}, cut short by max_seconds" if n < config.repeats else ""
    if timing.warmup < config.warmup:
        return f"n={n}{short} after {timing.warmup} warm-up calls"
    return f"n={n}{short} after a warm-up of at least {config.warmup} calls and {config.warmup_seconds:g} s"


def _unreliable(timing: Timing) -> list[str]:
    return [f"unreliable: {', '.join(timing.doubts)}"] if timing.doubts else []
