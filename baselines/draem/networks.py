"""DRAEM's two networks: one restores the normal image, one compares it with the input.

Axes: B images of `side` x `side` pixels, a multiple of 32; w is the width of the first layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.memory_format import Arranged
from afrad_bench_baselines.draem import Score


def convolutions(*channels: int) -> nn.Sequential:
    """3 x 3 convolutions with bias from each channel count to the next, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Up(nn.Module):
    """Upsampling by 2 (bilinear, corners aligned), one convolution, the encoder's map if any, two more convolutions."""

    def __init__(self, inputs: int, enlarged: int, skip: int, middle: int, outputs: int) -> None:
        """Channels: of the input, after the first convolution, of the encoder's map, of the last two convolutions."""
        super().__init__()
        self.enlarge = convolutions(inputs, enlarged)
        self.merge = convolutions(enlarged + skip, middle, outputs)

    def forward(self, maps: Tensor, skip: Tensor | None = None) -> Tensor:
        out = self.enlarge(F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True))
        return self.merge(out if skip is None else torch.cat([out, skip], dim=1))


class Net(nn.Module):
    """Encoder and decoder. Initial values: convolutions N(0, 0.02), biases as in torch; batch norms N(1, 0.02), biases
    0."""

    def __init__(self, inputs: int, encoder: Sequence[int], decoder: Sequence[Up], outputs: int) -> None:
        """`encoder`: channels of each level; each level has half the resolution of the one before."""
        super().__init__()
        self.encoder = nn.ModuleList(convolutions(a, b, b) for a, b in pairwise((inputs, *encoder)))
        self.decoder = nn.ModuleList(decoder)
        last = decoder[-1].merge[-2]
        assert isinstance(last, nn.BatchNorm2d)
        self.output = nn.Conv2d(last.num_features, outputs, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def encoded(self, images: Tensor) -> list[Tensor]:
        """The encoder's maps, finest first."""
        levels = [self.encoder[0](images)]
        for level in self.encoder[1:]:
            levels.append(level(F.max_pool2d(levels[-1], 2)))
        return levels


class Reconstruction(Net):
    """Image (B, 3, H, W) -> the normal image (B, 3, H, W), unbounded."""

    def __init__(self, w: int) -> None:
        decoder = [
            Up(8 * w, 8 * w, 0, 8 * w, 4 * w),
            Up(4 * w, 4 * w, 0, 4 * w, 2 * w),
            Up(2 * w, 2 * w, 0, 2 * w, w),
            Up(w, w, 0, w, w),
        ]
        super().__init__(3, [w, 2 * w, 4 * w, 8 * w, 8 * w], decoder, 3)

    def forward(self, images: Tensor) -> Tensor:
        out = self.encoded(images)[-1]
        for up in self.decoder:
            out = up(out)
        return self.output(out)


class Discrimination(Net):
    """Reconstruction and image (B, 6, H, W) -> logits of normal and anomalous (B, 2, H, W)."""

    def __init__(self, w: int) -> None:
        decoder = [
            Up(8 * w, 8 * w, 8 * w, 8 * w, 8 * w),
            Up(8 * w, 4 * w, 8 * w, 4 * w, 4 * w),
            Up(4 * w, 2 * w, 4 * w, 2 * w, 2 * w),
            Up(2 * w, w, 2 * w, w, w),
            Up(w, w, w, w, w),
        ]
        super().__init__(6, [w, 2 * w, 4 * w, 8 * w, 8 * w, 8 * w], decoder, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        *levels, out = self.encoded(pictures)
        for up, skip in zip(self.decoder, reversed(levels), strict=True):
            out = up(out, skip)
        return self.output(out)


class Network(Arranged):
    """Image (B, 3, H, W) in [0, 1] -> (anomaly map (B, H, W): probability of each pixel, image score (B,))."""

    def __init__(self, reconstruction: Reconstruction, discrimination: Discrimination, score: Score) -> None:
        super().__init__()
        self.reconstruction = reconstruction
        self.discrimination = discrimination
        self.window = score.window

    def compare(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstruction (B, 3, H, W), and the probabilities of normal and anomalous (B, 2, H, W)."""
        restored = self.reconstruction(images)
        return restored, torch.softmax(self.discrimination(torch.cat([restored, images], dim=1)), dim=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        anomalous = self.compare(self.arranged(images))[1][:, 1]
        means = F.avg_pool2d(anomalous[:, None], self.window, stride=1, padding=self.window // 2)
        return anomalous, means.amax((1, 2, 3))
