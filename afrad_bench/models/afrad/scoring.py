"""From reconstruction to scores (paper section 3.7, eq. 14)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from afrad_bench.models.afrad.config import Score


def error_map(reconstructed: Tensor, original: Tensor) -> Tensor:
    """Eq. 14: M = sqrt(sum over channels of (F_rec - F_ori)²). Two (B, C, H, W) -> (B, H, W)."""
    return (reconstructed - original).square().sum(dim=1).sqrt()


def pixel_map(errors: Tensor, size: tuple[int, int]) -> Tensor:
    """The error map, upsampled bilinearly to the image's (H, W)."""
    return F.interpolate(errors[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def image_score(errors: Tensor, pixels: Tensor, config: Score) -> Tensor:
    """(B,): average pooling with stride 1, then the maximum (or the mean), of the pixel map or of the error map.

    A map smaller than the pooling window is pooled as a whole."""
    source = pixels if config.on == "upsampled" else errors
    window = (min(config.pool, source.shape[-2]), min(config.pool, source.shape[-1]))
    pooled = F.avg_pool2d(source[:, None], window, stride=1) if config.pool > 1 else source[:, None]
    return pooled.amax(dim=(1, 2, 3)) if config.reduce == "max" else pooled.mean(dim=(1, 2, 3))
