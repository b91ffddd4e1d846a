"""Kernels of a card, from what a profiler records: what counts, what counts once, what was lost."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from afrad_bench.instruments import kernels
from afrad_bench.instruments.kernels import MARK, Kernels, NotRecorded, kernels_of


def event(start, end, name="kernel", device=DeviceType.CUDA, card=0, annotation=False):
    span = SimpleNamespace(start=start, end=end)
    return SimpleNamespace(
        name=name, device_type=device, device_index=card, time_range=span, is_user_annotation=annotation
    )


def call(start, end):
    """The mark of a call, as the profiler draws it on the host and once more on the card."""
    return [
        event(start, end, MARK, DeviceType.CPU, annotation=True),
        event(start + 1, end - 1, MARK, annotation=True),
    ]


def test_kernels_at_the_same_time_count_once_and_gaps_do_not_count():
    spans = [(10, 30), (20, 40), (22, 25), (40, 45), (60, 61)]
    events = [*call(0, 1000), *(event(*span) for span in reversed(spans))]
    assert kernels_of(events, 0) == Kernels(ms=0.036, count=5)


def test_what_is_of_the_host_of_another_card_or_of_no_call_is_left_out():
    events = [
        *call(100, 200),
        event(110, 120),
        event(130, 140, card=1),
        event(150, 160, "aten::mm", DeviceType.CPU),
        event(160, 199, "Torch-Compiled Region", annotation=True),
        event(50, 60),
        event(-1e14, -1e14 + 5),  # a record in another clock
        event(250, 260),
    ]
    assert kernels_of(events, 0) == Kernels(0.010, 1)
    assert kernels_of(events, 1) == Kernels(0.010, 1)


def test_a_call_of_which_kernels_were_lost_does_not_count():
    events = [*call(0, 100), *call(100, 200), *call(200, 300), *call(300, 400)]
    events += [event(start, start + 10) for start in (50, 110, 150, 210, 310, 350)]  # one lost of the first, the third
    events[-1].time_range.end = 364
    assert kernels_of(events, 0) == Kernels(0.022, 2)


def test_a_profiler_that_records_nothing_of_the_card_is_no_idle_card():
    with pytest.raises(NotRecorded, match="recorded no kernel"):
        kernels_of([*call(0, 100), event(10, 20, "aten::mm", DeviceType.CPU)], 0)
    with pytest.raises(NotRecorded):
        kernels_of([], 0)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=12))
def test_the_union_is_what_counting_microseconds_gives(spans):
    covered = {tick for start, length in spans for tick in range(start, start + length)}
    found = kernels_of([*call(0, 100), *(event(start, start + length) for start, length in spans)], 0)
    assert found == Kernels(pytest.approx(len(covered) / 1e3), len(spans))


def test_events_of_torch_are_read():
    """Operators of the CPU stand in for kernels: their names and times are those of torch's own events."""
    product = torch.rand(64, 64)
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(3):
            with record_function(MARK):
                product.mm(product)
                product.mm(product)
    events = list(record.events())
    products = [each for each in events if each.name == "aten::mm"]
    for each in products:
        each.device_type, each.device_index = DeviceType.CUDA, 0
    found = kernels_of(events, 0)
    assert found.count == 2
    assert 0 < found.ms <= max(each.time_range.elapsed_us() for each in events if each.name == MARK) / 1e3


def test_every_call_is_waited_for_inside_its_mark(monkeypatch):
    log = []

    @contextmanager
    def marked(name):
        log.append("begin")
        yield
        log.append("end")

    @contextmanager
    def recording(activities):
        assert set(activities) == {ProfilerActivity.CPU, ProfilerActivity.CUDA}
        yield SimpleNamespace(events=lambda: [*call(0, 100), event(10, 20, card=1)])

    monkeypatch.setattr(kernels, "profile", recording)
    monkeypatch.setattr(kernels, "record_function", marked)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append(f"wait for {device}"))
    assert kernels.recorded(lambda: log.append("call"), "cuda:1", 2) == Kernels(0.010, 1)
    assert log == ["begin", "call", "wait for cuda:1", "end"] * 2
