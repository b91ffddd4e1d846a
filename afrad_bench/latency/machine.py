"""State of the machine during timing: clocks, power, temperature, load, or why a value cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from afrad_bench.machine.environment import device_type

CPUS = Path("/sys/devices/system/cpu")

Gauge = Callable[[], float]


class Readings:
    """Several readings of each gauge, as a range. A gauge that fails is shown with its reason and not read again."""

    def __init__(self, gauges: Mapping[str, tuple[Gauge, str]]) -> None:
        """Name -> (gauge, unit)."""
        self._gauges = dict(gauges)
        self._values: dict[str, list[float]] = {name: [] for name in gauges}
        self._unreadable: dict[str, str] = {}

    def read(self) -> None:
        """Read each gauge once; takes up to some milliseconds."""
        for name, (gauge, _) in self._gauges.items():
            if name in self._unreadable:
                continue
            try:
                self._values[name].append(float(gauge()))
            except Exception as error:  # noqa: BLE001 - a driver may refuse in any way; the reason is shown
                self._unreadable[name] = str(error).partition("\n")[0] or type(error).__name__

    def summary(self) -> dict[str, str]:
        """Name -> "1410–1980 MHz", or why it is not readable."""
        return {name: self._summary(name, unit) for name, (_, unit) in self._gauges.items()}

    def _summary(self, name: str, unit: str) -> str:
        if name in self._unreadable:
            return f"not readable: {self._unreadable[name]}"
        low, high = (f"{bound:.4g}" for bound in (min(self._values[name]), max(self._values[name])))
        return f"{low} {unit}" if low == high else f"{low}–{high} {unit}"


def gauges_for(device: str) -> dict[str, tuple[Gauge, str]]:
    """The gauges of the CPU, and on CUDA those of the card (by NVML, from the optional package nvidia-ml-py)."""
    found: dict[str, tuple[Gauge, str]] = {"CPU clock": (_cpu_clock, "MHz"), "CPU load": (_load, "processes")}
    if device_type(device) == "cuda":
        import torch

        found["GPU clock"] = (lambda: _nvml(torch.cuda.clock_rate, device), "MHz")
        found["GPU power"] = (lambda: _nvml(torch.cuda.power_draw, device) / 1e3, "W")
        found["GPU temperature"] = (lambda: _nvml(torch.cuda.temperature, device), "°C")
    return found


def settings(device: str) -> dict[str, str]:
    """Settings that do not change during a session: torch, precision, threads, cores, governor."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {
        "torch": torch.__version__,
        "CPU governor": governor(),
        "CPU cores allowed": str(cores),
        "inter-operator threads": str(torch.get_num_interop_threads()),
    }
    if torch.are_deterministic_algorithms_enabled():
        found["deterministic algorithms"] = "on"
    if device_type(device) == "cuda":
        found |= {
            "CUDA": str(torch.version.cuda),
            "cuDNN": str(torch.backends.cudnn.version()),
            "TF32 convolutions": _on(torch.backends.cudnn.allow_tf32),
            "TF32 matrix products": _on(torch.backends.cuda.matmul.allow_tf32),
            "float32 matrix products": torch.get_float32_matmul_precision(),
            "cudnn.benchmark": _on(torch.backends.cudnn.benchmark),
        }
    return found


def governor(cpus: Path = CPUS) -> str:
    """The frequency governors of Linux in use, e.g. "performance"; virtual machines often have none."""
    found = sorted({file.read_text().strip() for file in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")})
    return ", ".join(found) if found else "not readable"


def _nvml(read: Callable[[str], float], device: str) -> float:
    try:
        return read(device)
    except ModuleNotFoundError as error:
        raise RuntimeError("the package nvidia-ml-py is not installed") from error


def _cpu_clock() -> float:
    import psutil

    clock = psutil.cpu_freq()
    if clock is None:
        raise RuntimeError("the system does not report it")
    return float(clock.current)


def _load() -> float:
    """Average number of processes that ran or waited, over the last minute."""
    import psutil

    return float(psutil.getloadavg()[0])


def _on(flag: bool) -> str:
    return "on" if flag else "off"
