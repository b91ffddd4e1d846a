"""The trained networks of SimpleNet, their loss, and the score.

Axes: B images; N patches of all images of a batch; D values of a patch feature; (h, w) the grid of patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from afrad_bench.methods.patch_embedding import PatchEmbedding, rows
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench_baselines.simplenet import Config

PATCH = 3
"""Side of the neighbourhood that a patch feature averages."""


class Networks(nn.Module):
    """The feature adaptor G (section 3.2) and the discriminator D (section 3.4); (N, D) -> (N,), high for normal.

    Initial values as in the official code: weights Xavier-normal, biases and batch norm with torch's defaults."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.adaptor = nn.Linear(width, width)
        self.discriminator = nn.Sequential(
            nn.Linear(width, hidden),
            nn.BatchNorm1d(hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1, bias=False),
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)

    def forward(self, features: Tensor) -> Tensor:
        judged: Tensor = self.discriminator(self.adaptor(features))
        return judged[:, 0]

    def loss(self, features: Tensor, noise: Tensor, margin: float) -> Tensor:
        """Hinge loss of normal patches and of the same with noise added after the adaptor, both (N, D) (section 3.5).

        All 2N pass the discriminator together, so that its batch norm sees one distribution."""
        adapted = self.adaptor(features)
        normal, anomalous = self.discriminator(torch.cat([adapted, adapted + noise])).chunk(2)
        return (margin - normal).clamp(min=0).mean() + (margin + anomalous).clamp(min=0).mean()


def gaussian(like: Tensor, deviation: float) -> Tensor:
    """Gaussian noise with the shape of `like`, from torch's default generator of its device (section 3.3)."""
    return torch.randn_like(like) * deviation


class Head(nn.Module):
    """Feature maps -> (anomaly map (B, H, W), image score (B,)): everything after the backbone."""

    def __init__(self, channels: Sequence[int], grid: tuple[int, int], side: int, config: Config) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(channels, grid, PATCH, config.width, config.width)
        self.networks = Networks(config.width, config.hidden)
        self.pixels = PixelMap(grid, (side, side), config.score.sigma)
        self.of_map = config.score.image == "map"

    def features(self, maps: Sequence[Tensor]) -> Tensor:
        """(B h w, D): one row per patch, image by image."""
        return rows(self.embedding(maps))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        patches = -self.networks(self.features(maps)).view(-1, *self.embedding.grid)
        anomaly_map: Tensor = self.pixels(patches)
        return anomaly_map, (anomaly_map if self.of_map else patches).amax((1, 2))
