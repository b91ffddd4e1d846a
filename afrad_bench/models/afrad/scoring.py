"""From reconstruction to scores (paper section 3.7, eq. 14)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from afrad_bench.models.afrad.config import Score
from afrad_bench.postprocessing import box_mean


def error_map(reconstructed: Tensor, original: Tensor, weights: Tensor | None = None) -> Tensor:
    """Eq. 14: M = sqrt(sum over channels of (F_rec - F_ori)²). Two (B, C, H, W) -> (B, H, W).

    `weights` (C,), with mean 1, weigh the channels in the sum; None: all the same."""
    errors = (reconstructed - original).square()
    if weights is None:
        return errors.sum(dim=1).sqrt()
    return torch.einsum("bchw,c->bhw", errors, weights).sqrt()


def stage_weights(scales: Sequence[int]) -> Tensor:
    """Weights (C,) that give backbone stages of C_1, C_2, ... channels the same say: C / (n · C_i), with mean 1."""
    total = sum(scales)
    return torch.cat([torch.full((count,), total / (len(scales) * count)) for count in scales])


def pixel_map(errors: Tensor, size: tuple[int, int]) -> Tensor:
    """The error map, upsampled bilinearly to the image's (H, W)."""
    return F.interpolate(errors[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def image_score(errors: Tensor, pixels: Tensor, config: Score) -> Tensor:
    """(B,): average pooling with stride 1, then the maximum (or the mean), of the pixel map or of the error map.

    A map smaller than the pooling window is pooled as a whole."""
    source = pixels if config.on == "upsampled" else errors
    window = (min(config.pool, source.shape[-2]), min(config.pool, source.shape[-1]))
    pooled = box_mean(source, window) if config.pool > 1 else source
    return pooled.amax(dim=(1, 2)) if config.reduce == "max" else pooled.mean(dim=(1, 2))
