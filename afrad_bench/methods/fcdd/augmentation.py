"""FCDD's changes of training images: slightly other colours, a shifted crop, a mirror image and weak noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from torchvision.transforms import functional  # type: ignore[import-untyped]

AMOUNT = 0.01
PADDING = 4
NOISE = 0.001

_COLOURS = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


def augmented(rng: np.random.Generator, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(s, s, 3) uint8 -> (3, s, s), about [0, 1]: the official pipeline `aug1` before its normalisation."""
    side = len(image)
    picture = Image.fromarray(image)
    for i in rng.permutation(4):
        change = rng.uniform(-AMOUNT, AMOUNT)
        picture = _COLOURS[i](picture, change if i == 3 else 1 + change)
    padded = np.pad(np.asarray(picture), ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    top, left = rng.integers(2 * PADDING + 1, size=2)
    crop = padded[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    noise = rng.standard_normal((3, side, side), dtype=np.float32)
    return crop.transpose(2, 0, 1).astype(np.float32) / 255 + NOISE * noise
