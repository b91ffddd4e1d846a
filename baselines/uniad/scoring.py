"""Distance between restored and original features: as a map, as a score."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.methods.postprocessing import box_mean, distances
from afrad_bench_baselines.uniad import Score
from afrad_bench_baselines.uniad.reconstruction import Reconstruction


class Head(nn.Module):
    """Features, a sequence of one (B, C, h, w) -> (anomaly map (B, H, W), image score (B,)).

    A map smaller than the pooling window is pooled as a whole."""

    def __init__(self, reconstruction: Reconstruction, image: tuple[int, int], config: Score) -> None:
        super().__init__()
        self.reconstruction = reconstruction
        self.image = image
        self.window = (min(config.pool, image[0]), min(config.pool, image[1]))
        self.reduce = config.reduce

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        (features,) = maps
        distance = distances(self.reconstruction(features), features)[:, None]
        anomaly_map = F.interpolate(distance, self.image, mode="bilinear", align_corners=True)[:, 0]
        pooled = anomaly_map if self.window == (1, 1) else box_mean(anomaly_map, self.window)
        return anomaly_map, pooled.amax((1, 2)) if self.reduce == "max" else pooled.mean((1, 2))
