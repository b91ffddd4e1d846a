"""From reconstruction to scores (paper section 3.7, eq. 14)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from afrad_bench.methods.afrad.config import Score, Weigh
from afrad_bench.methods.postprocessing import box_mean
from afrad_bench.methods.precision import in_float32

FLOOR = 0.1
"""Added to a token's mean square before an error is divided by it; standardised features have a mean square of 1."""

POWERS: dict[Weigh, float] = {"channels": 1.0, "root": 0.5, "stages": 0.0}
"""Exponent of a stage's channel count in its weight."""


def stage_means(scales: Sequence[int]) -> Tensor:
    """(C, n) matrix that averages the C_1, C_2, ... channels of each of n backbone stages."""
    return torch.block_diag(*(torch.full((count, 1), 1 / count) for count in scales))


@in_float32
def stage_errors(reconstructed: Tensor, original: Tensor, means: Tensor) -> Tensor:
    """Mean squared error of each stage's channels, two (B, C, H, W) -> (B, n, H, W), `means` from `stage_means`."""
    return torch.einsum("bchw,cn->bnhw", (reconstructed - original).square(), means)


@in_float32
def stage_sizes(original: Tensor, means: Tensor) -> Tensor:
    """Mean square of each stage's channels, (B, C, H, W) -> (B, n, H, W)."""
    return torch.einsum("bchw,cn->bnhw", original.square(), means)


@in_float32
def relative_errors(errors: Tensor, sizes: Tensor | None, relative: float) -> Tensor:
    """`stage_errors`, each divided by (`stage_sizes` + FLOOR)^`relative`; 0: not divided, and no sizes needed."""
    if not relative:
        return errors
    assert sizes is not None
    return errors / (sizes + FLOOR) ** relative


def error_map(errors: Tensor, weights: Tensor) -> Tensor:
    """Eq. 14: M = sqrt(sum over channels of (F_rec - F_ori)²), from the stages' errors and `stage_weights`.

    (B, n, H, W) -> (B, H, W)."""
    return torch.einsum("bnhw,n->bhw", errors, weights).sqrt()


def stage_weights(scales: Sequence[int], weigh: Weigh) -> Tensor:
    """Weights (n,) of the stages' mean errors, C in total: as C_i (channels weigh the same), √C_i, or all equal."""
    shares = torch.tensor(scales, dtype=torch.float64) ** POWERS[weigh]
    return (sum(scales) * shares / shares.sum()).float()


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
