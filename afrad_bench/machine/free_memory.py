"""How much memory is still free for a method."""

from __future__ import annotations

import psutil
import torch


def free_bytes(device: str) -> int:
    """Free memory on a device now, in bytes; for the CPU and MPS (shared memory), that of the machine."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)
