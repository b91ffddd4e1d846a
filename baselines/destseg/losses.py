"""The losses of the two training stages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

GAMMA = 4


def cosine(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Sum over maps and images of the mean over positions of 1 - cos; maps (B, C_k, h_k, w_k) of unit length."""
    distances = [(1 - (theirs * ours).sum(1)).mean((1, 2)).sum() for theirs, ours in zip(teacher, student, strict=True)]
    return torch.stack(distances).sum()


def segmentation(probability: Tensor, mask: Tensor) -> Tensor:
    """Focal loss plus mean absolute error of probabilities (B, 1, h, w) against a mask (B, 1, H, W) of 0 and 1.

    The mask is resized to the map (bilinear, not antialiased) and set to 1 from 0.5 on."""
    resized = F.interpolate(mask, probability.shape[-2:], mode="bilinear", align_corners=False)
    truth = (resized >= 0.5).to(probability.dtype)
    error = (probability - truth).abs()
    focal = error**GAMMA * F.binary_cross_entropy(probability, truth, reduction="none")
    return focal.mean() + error.mean()
