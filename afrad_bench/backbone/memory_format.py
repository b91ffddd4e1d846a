"""The order of a network's maps and weights in memory: channels innermost (`channels_last`, NHWC) or `contiguous`.

Values are equal to rounding; times are not: which format is faster depends on device, kernels and precision. A method
chooses one for each of its networks, and `afrad-bench latency` also times the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Arranged(nn.Module):
    """A network that brings its input into a memory format of its own, which its convolutions then keep."""

    memory_format: torch.memory_format = torch.channels_last

    def arranged(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) in the network's format; a copy only if it is not."""
        return maps.contiguous(memory_format=self.memory_format)


def arrange(network: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """Bring a network, its weights and the input of its parts, into a memory format, in place."""
    for part in network.modules():
        if isinstance(part, Arranged):
            part.memory_format = memory_format
    return network.to(memory_format=memory_format)
