"""Random changes of images: what the autoencoder sees, and the images of the penalty. All in [0, 1], (3, H, W)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from afrad_bench.methods.textures import Textures

if TYPE_CHECKING:
    from afrad_bench.types import FloatArray

LUMA = np.array([0.2989, 0.587, 0.114], dtype=np.float32)
"""Shares of red, green and blue in grey."""


def grey(image: FloatArray) -> FloatArray:
    """(1, H, W)."""
    return np.tensordot(LUMA, image, 1)[None]


def blended(image: FloatArray, kind: int, factor: float) -> FloatArray:
    """`factor` of the image, the rest of something else: 0 black (brightness), 1 its mean grey (contrast), 2 the grey
    image (saturation)."""
    other = (np.float32(0), grey(image).mean(), grey(image))[kind]
    return np.clip(factor * image + (1 - factor) * other, 0, 1).astype(np.float32)


def jittered(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """The image with one of brightness, contrast and saturation changed by up to a fifth."""
    return blended(image, int(rng.integers(3)), rng.uniform(0.8, 1.2))


def natural(rng: np.random.Generator, textures: Textures, side: int, share_grey: float, crop: bool) -> FloatArray:
    """A natural image of this side, sometimes grey; with `crop`, the middle of one of twice the side."""
    drawn = Image.fromarray(textures.draw(rng, 2 * side if crop else side))
    if rng.random() < share_grey:
        drawn = drawn.convert("L").convert("RGB")
    if crop:
        drawn = drawn.crop((side // 2, side // 2, side // 2 + side, side // 2 + side))
    return np.asarray(drawn, dtype=np.float32).transpose(2, 0, 1) / 255
