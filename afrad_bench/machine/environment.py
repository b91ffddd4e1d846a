"""Where a number was measured: device, threads, versions, revision. Imports torch only where it is needed."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import afrad_bench
from afrad_bench.errors import fail
from afrad_bench.machine.arithmetic import Arithmetic, applied

USUAL = Arithmetic()
PACKAGES = ("torch", "torchvision", "timm", "fvcore", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "pillow")
"""Packages whose versions go into every row."""
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Device files of the drivers of NVIDIA, of Windows' Linux, and of AMD."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine and the software of a run."""

    device: str
    """"cpu", "cuda:0", "mps"."""
    device_name: str
    threads: int
    precision: str
    code_version: str
    git_revision: str
    git_dirty: bool | None
    """None if the code is not in a git work tree."""
    packages: dict[str, str]
    python: str
    platform: str

    def term(self, name: str) -> object:
        """A field as a condition of a result. Of the device this is its type: which of several equal cards it was,
        changes nothing."""
        value = getattr(self, name)
        return device_type(value) if name == "device" else value


def device_type(device: str) -> str:
    """ "cpu", "cuda" or "mps" of "cpu", "cuda:0", ..."""
    return device.partition(":")[0]


def current(device: str = "auto", threads: int | None = None, arithmetic: Arithmetic = USUAL) -> Environment:
    """The environment of a run started now; `device` "auto" selects CUDA, then MPS, then the CPU."""
    device = resolve_device(device)
    revision, dirty = _git()
    return Environment(
        device=device,
        device_name=name_of(device),
        threads=threads or default_threads(),
        precision=_precision(device, arithmetic),
        code_version=afrad_bench.__version__,
        git_revision=revision,
        git_dirty=dirty,
        packages={**{name: _version(name) for name in PACKAGES}, **_of_cuda(device)},
        python=platform.python_version(),
        platform=platform.platform(),
    )


def resolve_device(wanted: str, option: str = "--device") -> str:
    """The device to use. Raises `UserError` if it does not exist. "auto" imports torch only if a driver is there."""
    if wanted == "cpu":
        return "cpu"
    if wanted == "auto" and not _accelerator_possible():
        return "cpu"
    import torch

    if wanted == "auto":
        return "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = wanted.partition(":")
    if kind == "cuda" and torch.cuda.is_available():
        if not index or (index.isascii() and index.isdigit() and int(index) < torch.cuda.device_count()):
            return f"cuda:{int(index or 0)}"
    elif wanted == "mps" and torch.backends.mps.is_available():
        return "mps"
    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    found += ["mps"] if torch.backends.mps.is_available() else []
    raise fail(f"no device {wanted!r} on this machine", option, f"found: {', '.join(['cpu', *found])}")


def why_auto() -> str:
    """Why `resolve_device("auto")` chooses what it chooses."""
    if not _accelerator_possible():
        return f"auto: no driver of an accelerator is here (none of {', '.join(DRIVERS)}, no libcuda.so.1)"
    import torch

    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return "auto: the only card" if count == 1 else f"auto: the first of {count} cards; --devices auto uses all"
    if torch.backends.mps.is_available():
        return "auto: Metal"
    if not torch.backends.cuda.is_built():
        return f"auto: the CPU, since torch {torch.__version__} is built without CUDA, although a driver is here"
    return "auto: the CPU, since torch finds no card: its driver may be too old, or CUDA_VISIBLE_DEVICES hides it"


def cards() -> dict[str, str]:
    """Each CUDA card and what it is: name, memory, versions of driver, CUDA and cuDNN. Empty without a card."""
    if not _accelerator_possible():
        return {}
    import torch

    found = {}
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = f"cuda:{i}"
        try:
            free, total = torch.cuda.mem_get_info(device)
            memory = f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} free"
        except RuntimeError as error:  # it is full, or another process has it for itself
            memory = f"cannot be used now: {str(error).splitlines()[0]}"
        versions = [f"{name} {value}" for name, value in _of_cuda(device).items()]
        found[device] = ", ".join([name_of(device), memory, *versions])
    return found


def _accelerator_possible() -> bool:
    """False only if no driver of an accelerator is installed."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return bool(ctypes.util.find_library("nvcuda"))
    return any(Path(device).exists() for device in DRIVERS) or _loads("libcuda.so.1")


def _loads(library: str) -> bool:
    """Whether the loader finds a library. `find_library` asks a compiler or ldconfig, which slim images lack."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def default_threads() -> int:
    """Physical cores that this process may use."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def name_of(device: str) -> str:
    """The name of the card, or of the processor."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return _cpu_name()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _precision(device: str, arithmetic: Arithmetic) -> str:
    """float32, and on CUDA whether convolutions and matrix products may use TF32."""
    if not device.startswith("cuda"):
        return "float32"
    import torch

    with applied(arithmetic, device):
        allowed = [
            name
            for name, on in (
                ("convolutions", torch.backends.cudnn.allow_tf32),
                ("matrix products", torch.backends.cuda.matmul.allow_tf32),
            )
            if on
        ]
    return f"float32 (TF32 in {' and '.join(allowed)})" if allowed else "float32"


def _of_cuda(device: str) -> dict[str, str]:
    """Versions of CUDA, cuDNN and the driver; empty on other devices."""
    if not device.startswith("cuda"):
        return {}
    import torch

    driver = Path("/proc/driver/nvidia/version")
    words = driver.read_text("utf-8", errors="replace").split() if driver.is_file() else []
    found = {
        "cuda": torch.version.cuda or torch.version.hip,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "nvidia driver": next((word for word in words if word[0].isdigit() and word.count(".") >= 1), None),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git() -> tuple[str, bool | None]:
    """Revision of the code's work tree, and whether anything but reports was changed; ("", None) outside of git."""
    folder = Path(afrad_bench.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    tracked = git("ls-files", "--error-unmatch", "__init__.py")
    revision = git("rev-parse", "HEAD") if tracked else None
    if revision is None:
        return "", None
    changed = git("status", "--porcelain", "--", ":/", ":!/reports")
    return revision, bool(changed) if changed is not None else None
