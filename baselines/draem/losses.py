"""The losses: reconstruction against the clean image, and probabilities against the mask."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 11
DEVIATION = 1.5
"""Standard deviation of the Gaussian window of SSIM, in pixels."""
SMOOTH = 1e-5
"""Added to the argument of the logarithm; the target is clamped to [SMOOTH, 1 - SMOOTH]."""


def loss(clean: Tensor, restored: Tensor, mask: Tensor, probabilities: Tensor) -> Tensor:
    """Mean squared error, one minus SSIM, and focal loss, of equal weight (eq. 1 and 4)."""
    return F.mse_loss(restored, clean) + (1 - ssim(restored, clean)) + focal(probabilities, mask)


def ssim(restored: Tensor, clean: Tensor) -> Tensor:
    """Mean structural similarity of images (B, 3, H, W) in a Gaussian window, with zeros around the images.

    Its constants depend on the range of the values, which is read from the reconstruction as in the official code: 1,
    plus 1 if a value is below -0.5; 255 instead of 1 if a value is above 128."""
    low, high = restored.detach().aminmax()

    def constant(share: float) -> Tensor:
        """The square of a share of the range, without waiting for the device to know the range."""
        of = {extent: restored.new_full((), (share * extent) ** 2) for extent in (1, 2, 255, 256)}
        return torch.where(high > 128, *(torch.where(low < -0.5, of[top + 1], of[top]) for top in (255, 1)))

    c1, c2 = constant(0.01), constant(0.03)
    stacked = torch.cat([restored, clean, restored * restored, clean * clean, restored * clean])
    mean_r, mean_c, square_r, square_c, product = _windowed(stacked).chunk(5)
    both = mean_r * mean_c
    squares = mean_r * mean_r + mean_c * mean_c
    similar = (2 * both + c1) * (2 * (product - both) + c2)
    return (similar / ((squares + c1) * (square_r + square_c - squares + c2))).mean()


def _windowed(images: Tensor) -> Tensor:
    """Gaussian means of each channel, in two passes: the window is separable."""
    at = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = torch.exp(-(at**2) / (2 * DEVIATION**2))
    weights = weights / weights.sum()
    planes = images.reshape(-1, 1, *images.shape[-2:])
    half = WINDOW // 2
    down = F.conv2d(planes, weights.view(1, 1, WINDOW, 1), padding=(half, 0))
    return F.conv2d(down, weights.view(1, 1, 1, WINDOW), padding=(0, half)).reshape(images.shape)


def focal(probabilities: Tensor, mask: Tensor) -> Tensor:
    """Focal loss with gamma 2 of probabilities (B, 2, H, W) against a mask (B, 1, H, W) of 0 and 1, averaged."""
    target = mask[:, 0].clamp(SMOOTH, 1 - SMOOTH)
    found = (1 - target) * probabilities[:, 0] + target * probabilities[:, 1] + SMOOTH
    return -((1 - found) ** 2 * found.log()).mean()
