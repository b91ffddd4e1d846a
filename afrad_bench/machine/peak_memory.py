"""Peak memory of a block of code: on CUDA the maximum that torch allocated above a baseline, elsewhere the sampled
increase."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol

from afrad_bench.errors import fail
from afrad_bench.machine.environment import device_type

INTERVAL_SECONDS = 0.02

MEASURED: Mapping[str, str] = {
    "cpu": "peak increase of the process's resident memory, sampled every 20 ms; pages of mapped files count",
    "cuda": "peak memory allocated by torch on the device, the model included, less what was allocated before the "
    "method was built; neither torch's cache nor the CUDA context",
    "mps": "peak increase of the memory that the Metal driver allocated, sampled every 20 ms",
}
"""What `PeakMemory.bytes` means, by type of device."""


class PeakMemory:
    """Context manager; `bytes` is the peak after the context has exited, also if the code inside raised.

    Contexts on the same CUDA device must not be nested: each resets the statistics of the device."""

    def __init__(self, device: str, interval: float = INTERVAL_SECONDS, baseline: int = 0) -> None:
        """`device` as in `Bench.device`; `interval` in seconds; `baseline`: bytes on a CUDA device that do not count,
        from `allocated`. Raises `UserError` for devices other than these."""
        self._gauge = _gauge(device, interval, baseline)
        self._bytes: int | None = None

    @property
    def bytes(self) -> int:
        if self._bytes is None:
            raise RuntimeError("the peak is known only after the context has exited")
        return self._bytes

    def __enter__(self) -> PeakMemory:
        self._bytes = None
        self._gauge.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bytes = self._gauge.stop()


class _Gauge(Protocol):
    def start(self) -> None: ...

    def stop(self) -> int:
        """The peak in bytes since `start`."""


class _Allocated:
    """Read from torch's statistics, which record the peak on CUDA."""

    def __init__(self, device: str, baseline: int) -> None:
        self._device = device
        self._baseline = baseline

    def start(self) -> None:
        import torch

        torch.cuda.reset_peak_memory_stats(self._device)

    def stop(self) -> int:
        import torch

        return int(torch.cuda.max_memory_allocated(self._device)) - self._baseline


class _Sampled:
    """The largest of many readings, taken by a thread, minus the first one. A peak shorter than the interval may be
    missed."""

    def __init__(self, read: Callable[[], int], interval: float) -> None:
        self._read = read
        self._interval = interval

    def start(self) -> None:
        _give_back_free_memory()
        self._first = self._most = self._read()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return max(self._most, self._read()) - self._first

    def _watch(self) -> None:
        while not self._done.wait(self._interval):
            self._most = max(self._most, self._read())


def allocated(device: str) -> int:
    """Bytes that torch has allocated on a CUDA device now; 0 for other devices, whose peak is an increase anyway."""
    if device_type(device) != "cuda":
        return 0
    import torch

    return int(torch.cuda.memory_allocated(device))


def _gauge(device: str, interval: float, baseline: int) -> _Gauge:
    match device_type(device):
        case "cuda":
            return _Allocated(device, baseline)
        case "cpu":
            return _Sampled(_resident_memory(), interval)
        case "mps":
            return _Sampled(_driver_memory(), interval)
        case _:
            raise fail(f"no way to read the memory of the device {device!r}", hint=f"known: {', '.join(MEASURED)}")


def _give_back_free_memory() -> None:
    """Return freed memory to the system (glibc only). Memory kept by the process would hide later allocations."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # missing in other C libraries
        if trim is not None:
            trim(0)


def _resident_memory() -> Callable[[], int]:
    import psutil

    process = psutil.Process()
    return lambda: int(process.memory_info().rss)


def _driver_memory() -> Callable[[], int]:
    import torch

    return lambda: int(torch.mps.driver_allocated_memory())
