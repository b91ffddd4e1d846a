"""How much memory a method may still take."""

from __future__ import annotations

import psutil
import torch


def free_bytes(device: str) -> int:
    """Memory that is free on a device now; the machine's for the CPU and for MPS, which shares it."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)
