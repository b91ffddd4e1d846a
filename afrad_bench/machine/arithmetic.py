"""How torch computes where it leaves a choice: deterministic algorithms, TF32, cuDNN's search for the fastest kernel.

Settings of the process, set for a cell or a session and restored after it. They are a term of every result."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace

from afrad_bench.errors import UserError, fail

CUBLAS, WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""Without a workspace of fixed size, cuBLAS may add in another order; torch then refuses its products."""
_REFUSED = re.compile(r"(\S+) does not have a deterministic implementation")


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Settings of a run. None: as torch has it."""

    deterministic: bool = False
    tf32: bool | None = None
    cudnn_benchmark: bool | None = None

    @property
    def given(self) -> dict[str, bool]:
        """The settings that differ from torch's own, by name."""
        usual = Arithmetic()
        return {name: value for name, value in asdict(self).items() if value != getattr(usual, name)}

    def on(self, device: str) -> Arithmetic:
        """Those that change anything on this device."""
        return self if device.startswith("cuda") else replace(self, tf32=None, cudnn_benchmark=None)

    def idle(self, device: str) -> tuple[str, ...]:
        """Names of those that are given, but change nothing on this device."""
        return tuple(name for name in self.given if name not in self.on(device).given)

    def __str__(self) -> str:
        """ "deterministic, TF32 off, cudnn.benchmark on"; empty if all is as torch has it."""
        named = (("TF32", self.tf32), ("cudnn.benchmark", self.cudnn_benchmark))
        told = [f"{name} {'on' if value else 'off'}" for name, value in named if value is not None]
        return ", ".join([*(["deterministic"] if self.deterministic else []), *told])


@contextmanager
def applied(arithmetic: Arithmetic, device: str) -> Iterator[None]:
    """Inside, torch computes so on this device; afterwards, all settings are as they were."""
    wanted = arithmetic.on(device)
    if not wanted.given:
        yield
        return
    import torch

    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32),
        os.environ.get(CUBLAS),
    )
    try:
        if wanted.deterministic:
            os.environ.setdefault(CUBLAS, WORKSPACE)
            torch.use_deterministic_algorithms(True)
            cudnn.deterministic, cudnn.benchmark = True, False
        if wanted.cudnn_benchmark is not None:
            cudnn.benchmark = wanted.cudnn_benchmark
        if wanted.tf32 is not None:
            cudnn.allow_tf32 = products.allow_tf32 = wanted.tf32
        yield
    finally:
        enabled, warn_only, flags, workspace = before
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32 = flags
        if workspace is None:
            os.environ.pop(CUBLAS, None)
        else:
            os.environ[CUBLAS] = workspace


def without_tf32() -> AbstractContextManager[None]:
    """Inside, a card computes float32 in float32."""
    return applied(Arithmetic(tf32=False), "cuda")


def refused(error: Exception) -> UserError | None:
    """The error of an operator without a deterministic form, in words; None for another error."""
    found = _REFUSED.search(str(error)) if isinstance(error, RuntimeError) else None
    if found is None:
        return None
    return fail(
        f"the operator {found[1]} has no deterministic form on this device",
        hint="leave out --deterministic (`deterministic: true` of the profile) for methods that use it",
    )
