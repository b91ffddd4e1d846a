"""Latency by hand-worked times: what is timed, what is not counted, what the notes say, and what cannot be trusted."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.instruments import clock as _clock
from afrad_bench.instruments import timing as _timing
from afrad_bench.instruments.clock import (
    EventClock,
    WallClock,
    clock_for,
    device_clock_for,
    pinned_threads,
)
from afrad_bench.instruments.timing import Limits, Timing, timed
from afrad_bench.machine.load import Load, LoadWatch
from afrad_bench.measures import latency
from afrad_bench.types import Cell, Dataset, Loop, Prediction, Subject, TrainingRecord
from tests.busy import busy

TEST_PIXELS = np.linspace(0, 1, 2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8)


class Machine:
    """A load of this many other cores of two."""

    def __init__(self, others):
        self.others = others

    def load(self, wait=False):
        return Load(1.0, own=1.0, busy=1.0 + self.others, average=None, cores=2)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """The times of these tests are scripted, whatever else runs on the machine."""
    monkeypatch.setattr(_timing, "LoadWatch", lambda: Machine(0.0))


class Tiny(nn.Module):
    """A network that remembers how it was called."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        self.calls = []

    def forward(self, x):
        self.calls.append((x.clone(), torch.is_inference_mode_enabled(), torch.get_num_threads()))
        out = self.conv(x)[:, 0]
        return out, out.amax((1, 2))


class Method:
    def __init__(self):
        self.images = []

    def fit(self, train):
        return TrainingRecord()

    def predict(self, images):
        self.images.append(images)
        return Prediction(np.zeros(len(images)), None)


class WithNetwork(Method):
    def __init__(self):
        super().__init__()
        self.tiny = Tiny().eval()

    def network(self):
        return self.tiny


def subject(method, device="cpu", threads=1):
    test = ImageArray(TEST_PIXELS)
    cell = Cell("m", "{}", "d", "{}", "unified", None, 8, 0, "demo")
    return Subject(
        cell, method, Dataset("d", "1", (), (), ""), test, test, TrainingRecord(), 0.0, None, device, threads
    )


class Scripted:
    """A clock that makes the call and tells the next of the given times."""

    name = "scripted clock"

    def __init__(self, *times_ms):
        self.times = itertools.chain(times_ms, itertools.repeat(times_ms[-1]))
        self.calls = 0

    def time_ms(self, call):
        call()
        self.calls += 1
        return next(self.times)


class ScriptedBlock:
    name = "scripted events"

    def times_ms(self, call, count):
        for _ in range(count):
            call()
        return [2.0] * count


def measured(monkeypatch, method, clock, config=None, device_clock=None, **terms):
    monkeypatch.setattr(_clock, "clock_for", lambda device: clock)
    monkeypatch.setattr(_clock, "device_clock_for", lambda device: device_clock)
    found = list(latency.measure(subject(method, **terms), config or latency.Config(warmup_seconds=0)))
    assert sorted(row.metric for row in found) == sorted(latency.METRICS)
    assert all(row.unit == latency.METRICS[row.metric].unit for row in found)
    return {row.metric: row for row in found}


# ------------------------------------------------------------------------------------------------------------- clocks


def test_the_wall_clock_waits_for_the_device_on_both_sides():
    log = []
    ticks = iter([10.0, 10.25])
    clock = WallClock("c", lambda: log.append("wait"), lambda: (log.append("read"), next(ticks))[1])
    assert clock.time_ms(lambda: log.append("call")) == pytest.approx(250.0)
    assert log == ["wait", "read", "call", "wait", "read"]


def test_the_event_clock_queues_a_block_and_waits_once():
    log = []

    class Event:
        made = itertools.count()

        def __init__(self):
            self.number = next(self.made)

        def record(self, stream=None):
            log.append(f"{stream} {self.number}")

        def elapsed_time(self, end):
            assert log[-1] == "wait"  # an event that has not passed has no time
            return (end.number - self.number) + self.number / 10

    clock = EventClock("e", lambda: log.append("wait"), Event, lambda: "stream")
    assert clock.times_ms(lambda: log.append("call"), 2) == pytest.approx([1.0, 1.2])
    assert log == ["wait", "stream 0", "call", "stream 1", "stream 2", "call", "stream 3", "wait"]


def test_each_device_gets_its_own_clock_and_name(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(device))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla 9")
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    assert clock_for("cpu").name == "CPU wall clock"
    assert clock_for("cuda:1").name == "wall clock, CUDA synchronised, cuda:1 (Tesla 9)"
    assert clock_for("mps").name == "wall clock, MPS synchronised"
    for device in ("cpu", "cuda:1", "mps"):
        clock_for(device).time_ms(lambda: None)
    assert waited == ["cuda:1", "cuda:1", "mps", "mps"]
    assert device_clock_for("cpu") is None
    assert device_clock_for("mps") is None
    events = device_clock_for("cuda:1")
    assert events is not None
    assert events.name == "CUDA events, cuda:1 (Tesla 9)"
    with pytest.raises(UserError, match="no clock can wait for the device 'xpu'"):
        clock_for("xpu")


def test_the_cpu_clock_measures_time():
    clock = clock_for("cpu")
    product = torch.rand(200, 200)
    short = min(clock.time_ms(lambda: product @ product) for _ in range(5))
    assert 0 < short < min(clock.time_ms(lambda: [product @ product for _ in range(50)]) for _ in range(5))


def test_threads_are_pinned_and_restored():
    before = torch.get_num_threads()
    with pinned_threads(before + 2):
        assert torch.get_num_threads() == before + 2
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), pinned_threads(before + 2):
        _ = 1 / 0
    assert torch.get_num_threads() == before


# ---------------------------------------------------------------------------------------------------- warm-up, doubts


def test_warm_up_is_not_counted():
    clock = Scripted(*[1000.0] * 3, *range(1, 6))
    timing = timed(lambda: None, clock, Limits(warmup=3, warmup_seconds=0, repeats=5, seconds=60))
    assert timing == Timing((1, 2, 3, 4, 5), 3)


def test_warm_up_lasts_its_calls_and_its_seconds():
    few = timed(lambda: None, Scripted(100.0), Limits(warmup=2, warmup_seconds=0.5, repeats=10, seconds=60))
    assert few.warmup == 5
    slow = timed(lambda: None, Scripted(400.0), Limits(warmup=4, warmup_seconds=0.5, repeats=10, seconds=60))
    assert slow.warmup == 4


def test_a_slow_method_is_cut_short_and_says_so(monkeypatch):
    config = latency.Config(warmup=10, repeats=50, max_seconds=30)
    found = measured(monkeypatch, WithNetwork(), Scripted(10_000.0), config)
    assert found["latency_iterations"].value == 3
    assert "n=3 of 50, cut short by max_seconds after 3 warm-up calls" in found["latency_median"].note
    assert found["latency_median"].note.startswith("unreliable: only 3 timed calls")


@pytest.mark.parametrize(
    ("times", "doubt"),
    [
        ([10.0] * 30, None),
        ([10.0] * 15 + [10.9] * 15, None),
        ([10.0] * 15 + [11.1] * 15, "drifts, median of the first third 10 ms, of the last 11.1 ms"),
        ([11.1] * 15 + [10.0] * 15, "drifts, median of the first third 11.1 ms, of the last 10 ms"),
        ([10.0] * 27 + [12.5] * 3, "scatters, p95 is 1.25 times the median"),
        ([10.0] * 29 + [99.0], None),  # one in thirty lies beyond p95
        ([10.0] * 9, "only 9 timed calls"),
    ],
)
def test_unsteady_times_are_doubted(times, doubt):
    assert Timing(tuple(times), 0).doubts == ((doubt,) if doubt else ())


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60))
def test_percentiles_are_ordered_and_lie_among_the_times(times):
    timing = Timing(tuple(times), 0)
    low, middle, high = (timing.percentile(percent) for percent in (5, 50, 95))
    assert min(times) <= low <= middle <= high <= max(times)


# --------------------------------------------------------------------------------------------------------------- rows


def test_hand_worked_percentiles(monkeypatch):
    times = [float(n) for n in np.random.default_rng(0).permutation(np.arange(100, 121))]  # 100 ... 120 ms
    config = latency.Config(warmup=2, warmup_seconds=0, repeats=21)
    found = measured(monkeypatch, WithNetwork(), Scripted(9999.0, 9999.0, *times), config)
    assert found["latency_median"].value == pytest.approx(110)
    assert found["latency_p5"].value == pytest.approx(101)
    assert found["latency_p95"].value == pytest.approx(119)
    assert found["latency_iterations"].value == 21
    assert found["latency_median"].unit == "ms/image"
    for name in ("latency_median", "latency_p5", "latency_p95", "latency_iterations"):
        assert found[name].note == (
            "scripted clock; image tensor on the device -> pixel map and image score, on the device; "
            "batch 1, float32, 1 thread; n=21 after a warm-up of at least 2 calls and 0 s"
        )


def test_an_unsteady_run_is_marked_on_every_row(monkeypatch):
    config = latency.Config(warmup=1, warmup_seconds=0, repeats=10)
    found = measured(monkeypatch, WithNetwork(), Scripted(1.0, *[1.0] * 5, *[5.0] * 5), config)
    for name in ("latency_median", "latency_p5", "latency_p95"):
        assert found[name].note.startswith("unreliable: drifts")


LOADED = "other processes used 0.9 of 2 cores while this was timed"


def test_a_steady_load_is_marked_on_every_row_and_a_quiet_machine_is_not(monkeypatch):
    names = ("latency_median", "latency_p5", "latency_p95", "latency_device")
    with_events = {"device_clock": ScriptedBlock(), "device": "cuda:0"}
    found = measured(monkeypatch, Method(), Scripted(1.0), **with_events)
    assert not [name for name in names if "unreliable" in found[name].note]
    monkeypatch.setattr(_timing, "LoadWatch", lambda: Machine(0.9))
    found = measured(monkeypatch, Method(), Scripted(1.0), **with_events)
    assert all(found[name].note.startswith(f"unreliable: {LOADED}; scripted ") for name in names)
    unsteady = measured(monkeypatch, WithNetwork(), Scripted(*[1.0] * 35, 5.0))
    assert unsteady["latency_median"].note.startswith("unreliable: drifts, ")
    assert f", {LOADED}; scripted clock" in unsteady["latency_median"].note


def test_a_real_load_is_noticed(monkeypatch):
    monkeypatch.setattr(_timing, "LoadWatch", LoadWatch)
    with busy():
        found = list(latency.measure(subject(WithNetwork()), latency.Config(warmup_seconds=0.5, repeats=10)))
    assert re.search(r"^unreliable: .*other processes used \d+\.\d of \d+ cores? while this was timed; ", found[0].note)


def test_the_network_scores_one_test_image_in_inference_mode_with_the_stated_threads(monkeypatch):
    method = WithNetwork()
    threads = torch.get_num_threads() + 1
    found = measured(monkeypatch, method, Scripted(1.0), threads=threads)
    assert len(method.tiny.calls) == 60
    for image, inference, used in method.tiny.calls:
        assert torch.equal(image, torch.from_numpy(TEST_PIXELS[:1]))
        assert inference
        assert used == threads
    assert f"{threads} threads" in found["latency_median"].note
    assert torch.get_num_threads() == threads - 1
    assert method.images == []


def test_nothing_of_the_measure_leaks_to_who_reads_the_rows():
    before = torch.get_num_threads()
    for _ in latency.measure(subject(WithNetwork(), threads=before + 1), latency.Config(warmup_seconds=0, repeats=10)):
        assert torch.get_num_threads() == before
        assert not torch.is_inference_mode_enabled()


def test_a_method_without_network_is_timed_by_predict(monkeypatch):
    method = Method()
    found = measured(monkeypatch, method, Scripted(1.0))
    assert len(method.images) == 60
    assert all(isinstance(images, ImageArray) and len(images) == 1 for images in method.images)
    assert np.array_equal(method.images[0].array(), TEST_PIXELS[:1])
    assert "image in memory -> pixel map and image score, in memory" in found["latency_median"].note


def test_a_cpu_time_is_never_a_gpu_time():
    found = list(latency.measure(subject(WithNetwork()), latency.Config(warmup_seconds=0, repeats=10)))
    rows = {row.metric: row for row in found}
    assert 0 < rows["latency_p5"].value <= rows["latency_median"].value <= rows["latency_p95"].value
    assert re.search(r"^(unreliable: .*; )?CPU wall clock; ", rows["latency_median"].note)
    assert rows["latency_device"].value is None
    assert rows["latency_device"].note == "not measured: only CUDA devices time themselves, this is cpu"


def test_cuda_gives_both_times_and_its_settings(monkeypatch):
    method = Method()
    found = measured(monkeypatch, method, Scripted(3.0), device_clock=ScriptedBlock(), device="cuda:0")
    assert found["latency_median"].value == 3.0
    assert found["latency_device"].value == 2.0
    assert "scripted clock" in found["latency_median"].note
    assert found["latency_device"].note.startswith("scripted events; ")
    assert "n=50 after a warm-up of at least 10 calls and 0 s" in found["latency_device"].note
    assert re.search(
        r"TF32 convolutions (on|off), matmul precision \w+, cudnn.benchmark (on|off)", found["latency_device"].note
    )


def test_times_depend_on_device_and_threads():
    assert set(latency.TERMS) == {"device", "device_name", "threads"}
    assert "CPU" not in "".join(metric.title for metric in latency.METRICS.values())


# -------------------------------------------------------------------------------------------------------------- loops


class Looped(WithNetwork):
    """A network whose calls take as long as its turns say."""

    def __init__(self, turns):
        super().__init__()
        self.turns = turns
        self.called = []

    def network(self):
        return self._of(self.turns)

    def loop(self):
        return Loop(self.turns, self._of)

    def _of(self, turns):
        def remember(module, args):
            self.called.append(turns)

        network = Tiny().eval()
        network.register_forward_pre_hook(remember)
        return network


class ByTurns:
    """A clock by which a call takes 50 ms and 10 ms for each turn."""

    name = "scripted clock"

    def __init__(self, method):
        self.method = method

    def time_ms(self, call):
        call()
        return 50.0 + 10.0 * self.method.called[-1]

    def times_ms(self, call, count):
        return [self.time_ms(call) for _ in range(count)]


def test_a_long_loop_is_extrapolated_if_asked_for_and_every_row_says_so(monkeypatch):
    method = Looped(200)
    clock = ByTurns(method)
    config = latency.Config(warmup=2, warmup_seconds=0, repeats=12, extrapolate=True)
    found = measured(monkeypatch, method, clock, config, clock)
    assert set(method.called) == {1, 6}
    for name in ("latency_median", "latency_p5", "latency_p95", "latency_device"):
        assert found[name].value == pytest.approx(50 + 10 * 200)
        assert found[name].note.startswith(
            "unreliable: extrapolated to 200 turns of the loop from calls with 1 and 6; scripted clock"
        )


@pytest.mark.parametrize(("turns", "extrapolate"), [(200, False), (10, True)])
def test_whole_loops_are_timed_by_default_and_where_extrapolation_saves_little(monkeypatch, turns, extrapolate):
    method = Looped(turns)
    config = latency.Config(warmup=2, warmup_seconds=0, repeats=12, extrapolate=extrapolate)
    found = measured(monkeypatch, method, ByTurns(method), config)
    assert set(method.called) == {turns}
    assert found["latency_median"].value == 50 + 10 * turns
    assert "extrapolated" not in found["latency_median"].note


def test_the_time_of_a_loop_is_bounded_too(monkeypatch):
    method = Looped(200)
    config = latency.Config(warmup=1, warmup_seconds=0, repeats=50, max_seconds=0.3, extrapolate=True)
    found = measured(monkeypatch, method, ByTurns(method), config)
    assert found["latency_iterations"].value == 2  # of 60 + 110 ms each
