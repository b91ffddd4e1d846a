"""How much memory is still free for a method, and whether the device still works."""

from __future__ import annotations

import gc

import psutil
import torch

from afrad_bench.errors import Problem, UserError


def free_bytes(device: str) -> int:
    """Free memory on a device now, in bytes; for the CPU and MPS (shared memory), that of the machine."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)  # the driver counts what torch keeps for reuse as taken
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(psutil.virtual_memory().available)


class DeviceFailed(UserError):
    """A device that the process cannot use any more; another process may."""


def must_answer(device: str) -> None:
    """Raise `DeviceFailed` if a CUDA device has failed for the rest of this process: after an illegal memory access,
    for instance, every later call fails, whatever it is."""
    if not device.startswith("cuda"):
        return
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        what = f"{device} has failed, and this process cannot use it any more: {str(error).splitlines()[0]}"
        hint = "what was measured is stored; run the command again to go on with the other cells"
        raise DeviceFailed(Problem(what, hint=hint)) from error


def give_back(device: str) -> None:
    """Return the memory of freed tensors to a CUDA device."""
    if device.startswith("cuda"):
        gc.collect()
        torch.cuda.empty_cache()
