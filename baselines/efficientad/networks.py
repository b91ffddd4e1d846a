"""Teacher, student and autoencoder, and the whole inference path.

Axes: B images; C channels of the teacher; h = H/4 - 8, the side of the maps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.memory_format import Arranged
from afrad_bench_baselines.efficientad import Config

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MARGIN = 4
"""Cells of zeros around the map: the border that convolutions without padding lose."""
LARGEST_KERNEL = 8
"""Side of the autoencoder's deepest convolution at 256 px and above."""
PADDED = {0: 3, 2: 1, 3: 3, 5: 1}
"""Place in a patch description network -> zeros around its input, while a teacher is distilled; the 3 x 3: 1."""


def describer(size: str, width: int, channels: int) -> nn.Sequential:
    """Patch description network: (B, 3, H, W) normalised -> (B, channels, h, w); each position sees 33 x 33 pixels."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4), nn.ReLU(inplace=True), nn.AvgPool2d(2)]
    layers += [nn.Conv2d(width, 2 * width, 4), nn.ReLU(inplace=True), nn.AvgPool2d(2)]
    if size == "M":
        layers += [nn.Conv2d(2 * width, 2 * width, 1), nn.ReLU(inplace=True)]
    layers += [nn.Conv2d(2 * width, 2 * width, 3), nn.ReLU(inplace=True), nn.Conv2d(2 * width, channels, 4)]
    if size == "M":
        layers += [nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1)]
    return nn.Sequential(*layers)


def padded(net: nn.Sequential) -> nn.Sequential:
    """The same layers, with the same weights, padded so that (B, 3, H, W) becomes (B, C, H/4, W/4)."""
    layers: list[nn.Module] = []
    for place, layer in enumerate(net):
        if margin := PADDED.get(place, 1 if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3) else 0):
            layers.append(nn.ZeroPad2d(margin))
        layers.append(layer)
    return nn.Sequential(*layers)


class Autoencoder(nn.Sequential):
    """(B, 3, H, W) normalised -> (B, channels, h, w), through one position."""

    def __init__(self, side: int, channels: int) -> None:
        encoder: list[nn.Module] = []
        for inputs, outputs in pairwise((3, 32, 32, 64, 64, 64)):
            encoder += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
        encoder.append(nn.Conv2d(64, 64, min(LARGEST_KERNEL, side // 32)))
        decoder: list[nn.Module] = []
        for size in (side // 64 - 1, side // 32, side // 16 - 1, side // 8, side // 4 - 1, side // 2 - 1):
            decoder += [nn.Upsample(max(1, size), mode="bilinear"), nn.Conv2d(64, 64, 4, padding=2)]
            decoder += [nn.ReLU(inplace=True), nn.Dropout(0.2)]
        decoder += [nn.Upsample(side // 4 - 2 * MARGIN, mode="bilinear"), nn.Conv2d(64, 64, 3, padding=1)]
        super().__init__(*encoder, *decoder, nn.ReLU(inplace=True), nn.Conv2d(64, channels, 3, padding=1))


class Network(Arranged):
    """Image (B, 3, H, W) in [0, 1] -> (anomaly map (B, H, W), image score (B,))."""

    pixel_mean: Tensor
    pixel_std: Tensor
    mean: Tensor
    std: Tensor
    start: Tensor
    span: Tensor

    def __init__(self, config: Config, side: int) -> None:
        super().__init__()
        width = config.width or {"S": 128, "M": 256}[config.size]
        self.channels = config.channels
        self.side = side
        self.pad_first = config.score.pad == "before"
        self.teacher = describer(config.size, width, config.channels).requires_grad_(False)
        self.student = describer(config.size, width, 2 * config.channels)
        self.autoencoder = Autoencoder(side, config.channels)
        self.register_buffer("pixel_mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("mean", torch.zeros(1, config.channels, 1, 1))
        self.register_buffer("std", torch.ones(1, config.channels, 1, 1))
        self.register_buffer("start", torch.zeros(1, 2, 1, 1))
        self.register_buffer("span", torch.full((1, 2, 1, 1), 0.1))

    def normalised(self, images: Tensor) -> Tensor:
        """Pixels with ImageNet's mean and deviation."""
        return self.arranged((images - self.pixel_mean) / self.pixel_std)

    def target(self, pixels: Tensor) -> Tensor:
        """The teacher's maps of normalised pixels, standardised."""
        with torch.no_grad():
            return (self.teacher(pixels) - self.mean) / self.std

    def distances(self, images: Tensor) -> Tensor:
        """(B, 2, h, w): mean squared difference of student and teacher, and of student and autoencoder. With
        `score.pad: before` they are enlarged to (B, 2, H, W)."""
        pixels = self.normalised(images)
        imitated, predicted = self.student(pixels).split(self.channels, dim=1)
        apart = [
            (self.target(pixels) - imitated).square().mean(1),
            (self.autoencoder(pixels) - predicted).square().mean(1),
        ]
        maps = torch.stack(apart, dim=1)
        return self.enlarged(maps) if self.pad_first else maps

    def enlarged(self, maps: Tensor) -> Tensor:
        """With zeros around, at the image's size."""
        return F.interpolate(F.pad(maps, [MARGIN] * 4), (self.side, self.side), mode="bilinear")

    def calibrate(self, quantiles: Sequence[Sequence[float]]) -> None:
        """Set the 90 % and 99.5 % quantiles of both distances, which become 0 and 0.1."""
        low, high = (
            torch.tensor(values, dtype=self.start.dtype).view(1, 2, 1, 1) for values in zip(*quantiles, strict=True)
        )
        self.start.copy_(low)
        self.span.copy_((high - low).clamp_min(torch.finfo(torch.float32).tiny))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scaled = 0.1 * (self.distances(images) - self.start) / self.span
        combined = scaled.mean(1, keepdim=True)
        anomaly_map = (combined if self.pad_first else self.enlarged(combined))[:, 0]
        return anomaly_map, anomaly_map.amax((1, 2))
