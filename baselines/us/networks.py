"""The descriptor network, teacher and students of one receptive field, and the whole inference path.

Axes: B images; C descriptors (or decoded values), H x W pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.memory_format import Arranged
from afrad_bench_baselines.us import Config

SLOPE = 5e-3
DROPOUT = 0.2
DECODED = 512
POOL = "pool"
LAYERS: dict[int, tuple[tuple[int, int] | str, ...]] = {
    17: ((6, 1), (5, 2), (5, 2), (4, 1)),
    33: ((5, 1), POOL, (5, 2), POOL, (2, 2), (4, 1)),
    65: ((5, 1), POOL, (5, 1), POOL, (5, 2), POOL, (4, 2), (1, 1)),
}
"""Receptive field -> side of each convolution's kernel and its channels over the width, and poolings that halve."""


class Describer(nn.Module):
    """Descriptors of patches, one by one or of the patch around each pixel of an image."""

    def __init__(self, field: int, width: int, decodes: bool) -> None:
        super().__init__()
        self.field = field
        self.layers = LAYERS[field]
        self.convolutions = nn.ModuleList()
        inputs = 3
        for layer in self.layers:
            if not isinstance(layer, str):
                self.convolutions.append(nn.Conv2d(inputs, layer[1] * width, layer[0]))
                inputs = layer[1] * width
        self.decode = nn.Conv2d(inputs, DECODED, 1) if decodes else None

    def dense(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W): poolings keep each position, and what follows them is dilated instead."""
        out, dilation, count = F.pad(pixels, [self.field // 2] * 4), 1, iter(self.convolutions)
        for layer in self.layers:
            if layer == POOL:
                out = F.max_pool2d(out, 2, stride=1, dilation=dilation)
                dilation *= 2
            else:
                one = next(count)
                out = F.leaky_relu(F.conv2d(out, one.weight, one.bias, dilation=dilation), SLOPE)
        out = out[..., : pixels.shape[-2], : pixels.shape[-1]]
        return out if self.decode is None else F.leaky_relu(self.decode(out), SLOPE)

    def patches(self, pixels: Tensor) -> Tensor:
        """(B, 3, p, p) -> (B, C) descriptors."""
        out, count = pixels, iter(self.convolutions)
        for layer in self.layers:
            out = F.max_pool2d(out, 2) if layer == POOL else F.leaky_relu(next(count)(out), SLOPE)
        return out.flatten(1)

    forward = dense


class Scale(nn.Module):
    """Teacher and students of one receptive field: normalised pixels (B, 3, H, W) -> (B, H, W)."""

    mean: Tensor
    std: Tensor
    moments: Tensor

    def __init__(self, field: int, config: Config) -> None:
        super().__init__()
        self.teacher = Describer(field, config.width, config.decoded).requires_grad_(False)
        students = (Describer(field, config.width, config.decoded) for _ in range(config.students))
        self.students = nn.ModuleList(students)
        outputs = DECODED if config.decoded else config.width
        self.register_buffer("mean", torch.zeros(1, outputs, 1, 1))
        self.register_buffer("std", torch.ones(1, outputs, 1, 1))
        self.register_buffer("moments", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))

    def target(self, pixels: Tensor) -> Tensor:
        """The teacher's descriptors, standardised."""
        with torch.no_grad():
            return (self.teacher(pixels) - self.mean) / self.std

    def loss(self, pixels: Tensor, target: Tensor, student: int) -> Tensor:
        """Mean over pixels of the squared distance of a student's descriptors."""
        return (self.students[student](pixels) - target).square().sum(1).mean()

    def signs(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Regression error of the students' mean, and their variance, (B, H, W) each (section 3.3)."""
        guesses = torch.stack([student(pixels) for student in self.students])
        mean = guesses.mean(0)
        error = (mean - self.target(pixels)).square().sum(1)
        return error, (guesses - mean).square().sum(2).mean(0)

    def forward(self, pixels: Tensor) -> Tensor:
        pairs = zip(self.signs(pixels), self.moments.unbind(), strict=True)
        return torch.stack([(values - moments[0]) / moments[1] for values, moments in pairs]).sum(0)


class Network(Arranged):
    """Image (B, 3, H, W) in [0, 1] -> (anomaly map (B, H, W), image score (B,))."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.scales = nn.ModuleDict({str(field): Scale(field, config) for field in config.receptive_fields})

    def pixels(self, images: Tensor) -> Tensor:
        """With mean and deviation 0.5."""
        return self.arranged(2 * images - 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = self.pixels(images)
        anomaly_map = torch.stack([scale(pixels) for scale in self.scales.values()]).mean(0)
        return anomaly_map, anomaly_map.amax((1, 2))
