"""The student, how far it is from the teacher, and maps from gradients.

Axes: B images; taps k = 2..5 behind the poolings of VGG-16, (B, C_k, H / 2^k, W / 2^k)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.backbone.memory_format import Arranged
from afrad_bench.methods.inference import everywhere
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench.methods.precision import in_float32
from afrad_bench_baselines.mkd import Config, is_vgg

DEPTHS = (2, 2, 3, 3, 3)
"""Convolutions per stage."""
WIDTHS = (64, 128, 256, 512, 512)
"""Of VGG-16's stages."""
NARROW = 16
SIGMA = 4.0
"""Standard deviation of the maps' Gaussian smoothing in pixels."""
PERCENTILE = 0.99
"""Of a map's values, that which becomes 1."""
COPIES = 50
NOISE = 0.05
"""Noisy copies of an image for `smooth`; their deviation is the square of this over the range of the image."""


class Student(nn.Module):
    """Pixels (B, 3, H, W) -> its four taps. Laid out as the official code's, so that its checkpoints fit."""

    def __init__(self, channels: Sequence[int], equal: bool, bias: bool, signed: bool) -> None:
        """`channels`: of the teacher's taps. `signed`: no ReLU before the poolings."""
        super().__init__()
        layers: list[nn.Module] = []
        inputs, ends = 3, (WIDTHS[0] if equal else NARROW, *channels)
        for depth, width, end in zip(DEPTHS, WIDTHS, ends, strict=True):
            for outputs in [width if equal else NARROW] * (depth - 1):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
            layers += [nn.Conv2d(inputs, end, 3, padding=1, bias=bias), nn.Identity() if signed else nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            inputs = end
        self.features = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, pixels: Tensor, guided: bool = False) -> list[Tensor]:
        """With `guided`, gradients that arrive before a ReLU are clipped at 0 (guided back-propagation)."""
        out, taps = pixels, []
        for layer in self.features:
            if guided and isinstance(layer, nn.ReLU):
                out.register_hook(partial(torch.clamp, min=0))
            out = layer(out)
            if isinstance(layer, nn.MaxPool2d):
                taps.append(out)
        return taps[1:]


@in_float32
def apart(theirs: Tensor, ours: Tensor, balance: float) -> Tensor:
    """(B,): one minus the cosine of two whole maps, plus `balance` times their mean squared difference."""
    a, b = (maps.permute(0, 2, 3, 1).flatten(1) for maps in (theirs, ours))  # channels last: no copy is needed
    return 1 - F.cosine_similarity(a, b, dim=1) + balance * (a - b).square().mean(1)


class Network(Arranged):
    """Image (B, 3, H, W) in [0, 1] -> (anomaly map (B, H, W), image score (B,)); without `localisation` the map
    is the score at every pixel."""

    def __init__(self, config: Config, teacher: Extractor, student: Student, seed: int) -> None:
        """`seed`: of the noise of `smooth`."""
        super().__init__()
        self.teacher = teacher
        self.student = student
        self.config = config
        self.pooled = is_vgg(config.backbone.name)
        self.seed = seed
        side = teacher.image_size
        self.smoothing = None if config.localisation == "none" else PixelMap((side, side), (side, side), SIGMA)

    def pixels(self, images: Tensor) -> Tensor:
        """What both networks see."""
        seen = images if self.config.pixels == "raw" else (images - self.teacher.mean) / self.teacher.std
        return self.arranged(seen)

    def taps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The teacher's taps from the maps of its backbone."""
        planes = [self.arranged(each) for each in maps]
        return [F.max_pool2d(each, 2) for each in planes] if self.pooled else planes

    def teach(self, pixels: Tensor) -> list[Tensor]:
        """The teacher's taps of such pixels; the backbone normalises its input itself, which is undone here."""
        return self.taps(self.teacher(pixels * self.teacher.std + self.teacher.mean))

    def score(self, pixels: Tensor, guided: bool = False) -> Tensor:
        """(B,): distance of the last three taps."""
        pairs = list(zip(self.teach(pixels), self.student(pixels, guided), strict=True))[1:]
        return torch.stack([apart(theirs, ours, self.config.balance) for theirs, ours in pairs]).sum(0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if self.smoothing is None:
            score = self.score(self.pixels(images))
            return everywhere(score, images), score
        with torch.inference_mode(False):
            pixels = self.pixels(images.clone())
            if self.config.localisation == "smooth":
                map_, score = self._of_noisy_copies(pixels), self.score(pixels.detach())
            else:
                map_, score = self._salience(pixels)
            if self.config.localisation != "gradients":
                low, high = (f(map_.flatten(1), dim=1).view(-1, 1, 1) for f in (torch.amin, torch.amax))
                map_ = (map_ - low) / (high - low).clamp_min(torch.finfo(map_.dtype).tiny)
            return self.smoothing(map_), score.detach()

    def _salience(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Size of the score's gradient at each pixel, scaled to [0, 1] for each image by its minimum and its 99th
        percentile; and the score."""
        with torch.enable_grad():
            given = pixels.detach().requires_grad_(True)
            score = self.score(given, self.config.localisation == "guided")
            (gradient,) = torch.autograd.grad(score.sum(), given)
        size = gradient.abs().sum(1)
        low = size.flatten(1).amin(1).view(-1, 1, 1)
        high = torch.quantile(size.flatten(1), PERCENTILE, dim=1).view(-1, 1, 1)
        return ((size - low) / (high - low).clamp_min(torch.finfo(size.dtype).tiny)).clamp(0, 1), score

    def _of_noisy_copies(self, pixels: Tensor) -> Tensor:
        """Mean over copies of an image with noise; the noise is the same for all images, but for its deviation."""
        flat = pixels.flatten(1)
        deviation = (NOISE / (flat.amax(1) - flat.amin(1)).clamp_min(1e-6)).square().view(-1, 1, 1, 1)
        noise = torch.Generator().manual_seed(self.seed)
        total = torch.zeros_like(pixels[:, 0])
        for _ in range(COPIES):
            drawn = torch.randn(pixels.shape[1:], generator=noise).to(pixels)
            total += self._salience(pixels + deviation * drawn)[0]
        return total / COPIES
