"""FCDD's network for CIFAR-10, its loss, and the map that is enlarged by its receptive field."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.methods.fcdd import JUMP

RECEPTIVE, SHIFT = 22, 1
"""Side of the receptive field of an output, and its first centre (1.5, of which the official code takes the floor)."""
TINY = 1e-31


class Hypersphere(nn.Module):
    """Normalised images (B, 3, s, s) -> distances to the centre (B, s / 4, s / 4): a pseudo-Huber norm.

    The official FCDD_CNN32_LW3K, with its names. The batch norm that it makes and never calls is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 128, 3, padding=1)
        self.bn2d1 = nn.BatchNorm2d(128, eps=1e-4)
        self.conv2 = nn.Conv2d(128, 256, 3, padding=1)
        self.bn2d2 = nn.BatchNorm2d(256, eps=1e-4)
        self.conv25 = nn.Conv2d(256, 256, 3, padding=1)
        self.bn2d25 = nn.BatchNorm2d(256, eps=1e-4)
        self.conv3 = nn.Conv2d(256, 128, 3, padding=1)
        self.conv_final = nn.Conv2d(128, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.max_pool2d(F.leaky_relu(self.bn2d1(self.conv1(images))), 2)
        maps = F.leaky_relu(self.bn2d2(self.conv2(maps)))
        maps = F.max_pool2d(F.leaky_relu(self.bn2d25(self.conv25(maps))), 2)
        out: Tensor = self.conv_final(self.conv3(maps))[:, 0]
        return (out.square() + 1).sqrt() - 1


class Network(nn.Module):
    """Image (B, 3, H, W) in [0, 1] -> (heat map (B, H, W), mean distance (B,))."""

    mean: Tensor
    std: Tensor
    kernel: Tensor

    def __init__(self, side: int, sigma: float) -> None:
        super().__init__()
        self.side = side
        self.sphere = Hypersphere()
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))
        self.register_buffer("kernel", torch.from_numpy(gaussian(RECEPTIVE, sigma)).float()[None, None])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        distances = self.sphere((averaged(images, self.side) - self.mean) / self.std)
        heat = self.heat(distances)
        if images.shape[-1] != self.side:
            heat = F.interpolate(heat[:, None], images.shape[-2:], mode="bilinear")[:, 0]
        return heat, distances.mean((1, 2))

    def heat(self, distances: Tensor) -> Tensor:
        """(B, s, s): each distance spread as a Gaussian over its receptive field."""
        last = self.side - (distances.shape[-1] - 1) * JUMP - 2  # of `output_padding`: one less for an even kernel
        spread = F.conv_transpose2d(distances[:, None], self.kernel, stride=JUMP, output_padding=last)[:, 0]
        first = (RECEPTIVE - 1) // 2 - SHIFT
        return spread[:, first : first + self.side, first : first + self.side]


def averaged(images: Tensor, side: int) -> Tensor:
    """Images whose side is a multiple of `side`, as means of squares: (B, 3, side, side)."""
    return F.avg_pool2d(images, images.shape[-1] // side) if images.shape[-1] != side else images


def gaussian(size: int, sigma: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(size, size), not normalised: a maximum of 1, or, for an even size, a quarter at the four central values."""
    odd = size - 1 + size % 2
    line = np.exp(-((np.arange(odd) - odd // 2) ** 2) / (2 * sigma**2))
    if size % 2 == 0:
        line = np.insert(line, odd // 2, line[odd // 2]) / 2
    return np.outer(line, line)


def objective(distances: Tensor, outliers: Tensor | None) -> Tensor:
    """Mean over images of the mean distance a of a normal one, and of -log(1 - exp(-a)) of an outlier (equation 2).

    `outliers`: (B,) bool; None if all images have one label: then, as in the official code, the mean distance."""
    mean = distances.mean((1, 2))
    if outliers is None:
        return mean.mean()
    return torch.where(outliers, -(1 - (-mean).exp() + TINY).log(), mean).mean()
