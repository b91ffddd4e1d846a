"""Copies to a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def moved(tensor: Tensor, device: str) -> Tensor:
    """Copied to the device. To a CUDA device from pinned memory: a copy from other memory would make the host wait for
    all that the card was told before, so that the card would have nothing to do until the host has told it more."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else tensor.to(device)
