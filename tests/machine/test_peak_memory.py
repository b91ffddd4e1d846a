"""Peak memory: what is held for a while and freed again still counts."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from afrad_bench.errors import UserError
from afrad_bench.machine.peak_memory import PeakMemory, allocated

MEBI = 2**20


def test_memory_that_is_freed_again_counts():
    with PeakMemory("cpu", interval=0.005) as peak:
        block = np.ones(96 * MEBI, dtype=np.uint8)
        time.sleep(0.2)
        del block
    assert 90 * MEBI < peak.bytes < 300 * MEBI


def test_memory_freed_before_does_not_hide_what_is_needed():
    blocks = [np.ones(MEBI // 16, dtype=np.uint8) for _ in range(96 * 16)]  # small enough to be kept when freed
    del blocks
    with PeakMemory("cpu", interval=0.005) as peak:
        blocks = [np.ones(MEBI // 16, dtype=np.uint8) for _ in range(96 * 16)]
        time.sleep(0.1)
    assert len(blocks) == 96 * 16
    assert peak.bytes > 80 * MEBI


def test_memory_held_before_does_not_count():
    block = np.ones(96 * MEBI, dtype=np.uint8)
    with PeakMemory("cpu", interval=0.005) as peak:
        time.sleep(0.05)
    assert block[0] == 1
    assert peak.bytes < 48 * MEBI


def test_the_peak_survives_an_error_and_leaves_no_thread():
    with pytest.raises(ZeroDivisionError), PeakMemory("cpu") as peak:
        _ = 1 / 0
    assert peak.bytes >= 0
    assert not [thread for thread in threading.enumerate() if thread.name == "peak-memory"]


def test_it_can_be_used_again_and_is_not_known_before_the_end():
    peak = PeakMemory("cpu")
    for _ in range(2):
        with peak, pytest.raises(RuntimeError, match="has exited"):
            _ = peak.bytes
        assert peak.bytes >= 0


def test_mps_takes_the_increase_of_the_driver(monkeypatch):
    held = {"bytes": 100}
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: held["bytes"])
    with PeakMemory("mps", interval=0.002) as peak:
        held["bytes"] = 700
        time.sleep(0.1)
        held["bytes"] = 50
    assert peak.bytes == 600


def test_cuda_resets_and_reads_its_own_statistics(monkeypatch):
    log = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: log.append(("reset", device)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: log.append(("read", device)) or 12345)
    with PeakMemory("cuda:1") as peak:
        log.append("work")
    assert peak.bytes == 12345
    assert log == [("reset", "cuda:1"), "work", ("read", "cuda:1")]


def test_what_earlier_work_has_left_on_a_card_does_not_count(monkeypatch):
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: {"cuda:1": 2000}[device])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 12345)
    with PeakMemory("cuda:1", baseline=allocated("cuda:1")) as peak:
        pass
    assert peak.bytes == 10345
    assert allocated("cpu") == 0


def test_an_unknown_device_is_refused():
    with pytest.raises(UserError, match="'tpu:0'"):
        PeakMemory("tpu:0")
