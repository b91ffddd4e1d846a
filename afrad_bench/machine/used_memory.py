"""How much memory this process uses now, for a display: cheap, and without waiting for the device."""

from __future__ import annotations

GIBI = 2**30


def used(device: str) -> str:
    """ "1.2 GiB", with a card also "4.0 of 79 GiB on cuda:0" (what torch holds there)."""
    import psutil

    text = f"{psutil.Process().memory_info().rss / GIBI:.1f} GiB"
    if not device.startswith("cuda"):
        return text
    import torch

    held, whole = torch.cuda.memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
    return f"{text}, {held / GIBI:.1f} of {whole / GIBI:.0f} GiB on {device}"
