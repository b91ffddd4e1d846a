"""The ten changes of texture of which DRAEM draws three, on 8-bit RGB images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms, ImageEnhance, ImageOps

Picture = Image.Image
Change = Callable[[Picture, np.random.Generator], Picture]

SRGB, LAB = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
TO_LAB = ImageCms.buildTransform(SRGB, LAB, "RGB", "LAB")
FROM_LAB = ImageCms.buildTransform(LAB, SRGB, "LAB", "RGB")


def changed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Three different changes, one after the other."""
    for i in rng.choice(len(CHANGES), 3, replace=False):
        picture = CHANGES[i](picture, rng)
    return picture


def gamma(picture: Picture, rng: np.random.Generator) -> Picture:
    """Raise each channel to a random power in [0.5, 2]."""
    levels = np.arange(256) / 255
    table = np.concatenate([levels**exponent * 255 for exponent in rng.uniform(0.5, 2.0, 3)])
    return picture.point([int(value) for value in table])


def brightness(picture: Picture, rng: np.random.Generator) -> Picture:
    """Lightness in one of six colour spaces: times a factor in [0.8, 1.2] and plus -30 to 30, in either order.

    Luma is the same in YCrCb and YUV, lightness the same in Lab and Luv; the latter is changed in Lab."""
    factor, offset = rng.uniform(0.8, 1.2), int(rng.integers(-30, 31))
    first = rng.random() < 0.5
    table = [factor * level + offset if first else factor * (level + offset) for level in range(256)]
    space = ("YCbCr", "YCbCr", "HSV", "HLS", "LAB", "LAB")[rng.integers(6)]
    if space == "HLS":
        return _lightness(picture, np.asarray(table))
    apart = ImageCms.applyTransform(picture, TO_LAB) if space == "LAB" else picture.convert(space)
    bands = list(apart.split())
    place = 2 if space == "HSV" else 0
    bands[place] = bands[place].point([int(np.clip(round(value), 0, 255)) for value in table])
    merged = Image.merge(space, bands)
    return ImageCms.applyTransform(merged, FROM_LAB) if space == "LAB" else merged.convert("RGB")


def _lightness(picture: Picture, table: np.ndarray) -> Picture:
    """Apply `table` (256,) to the lightness of HLS, the mean of the largest and the smallest channel."""
    pixels = np.asarray(picture, dtype=np.float64)
    was = (pixels.max(2) + pixels.min(2)) / 2
    now = np.clip(np.interp(was, np.arange(256), table), 0, 255)
    room = 255 - np.abs(2 * was - 255)  # largest chroma at this lightness, of which saturation is a share
    gain = np.divide(255 - np.abs(2 * now - 255), room, out=np.zeros_like(room), where=room > 0)
    moved = now[:, :, None] + (pixels - was[:, :, None]) * gain[:, :, None]
    return Image.fromarray(np.rint(np.clip(moved, 0, 255)).astype(np.uint8))


def sharpness(picture: Picture, rng: np.random.Generator) -> Picture:
    """A factor in [0, 2]: from smoothed to sharpened."""
    return ImageEnhance.Sharpness(picture).enhance(rng.uniform(0.0, 2.0))


def hue_and_saturation(picture: Picture, rng: np.random.Generator) -> Picture:
    """Hue (on a circle of 256 levels) and saturation (0 to 255), each plus -50 to 50."""
    pixels = np.asarray(picture.convert("HSV"), dtype=np.int64)
    hue, saturation = rng.integers(-50, 51, 2)
    turned = (pixels[:, :, 0] + hue) % 256, np.clip(pixels[:, :, 1] + saturation, 0, 255), pixels[:, :, 2]
    bands = [Image.fromarray(band.astype(np.uint8)) for band in turned]
    return Image.merge("HSV", bands).convert("RGB")


def solarised(picture: Picture, rng: np.random.Generator) -> Picture:
    """With probability 0.5, values from a random threshold (32 to 128) on are inverted."""
    threshold = int(rng.integers(32, 129))
    return ImageOps.solarize(picture, threshold) if rng.random() < 0.5 else picture


def posterised(picture: Picture, rng: np.random.Generator) -> Picture:
    """Only the upper 1 to 8 bits."""
    return ImageOps.posterize(picture, int(rng.integers(1, 9)))


def inverted(picture: Picture, rng: np.random.Generator) -> Picture:
    """The negative."""
    return ImageOps.invert(picture)


def stretched(picture: Picture, rng: np.random.Generator) -> Picture:
    """Each channel stretched to the full range, with 0 to 20 % cut off at both ends."""
    return ImageOps.autocontrast(picture, int(rng.integers(0, 21)))


def equalised(picture: Picture, rng: np.random.Generator) -> Picture:
    """A flat histogram per channel."""
    return ImageOps.equalize(picture)


def turned(picture: Picture, rng: np.random.Generator) -> Picture:
    """Rotated by an angle in [-45, 45] degrees, black around."""
    return picture.rotate(rng.uniform(-45.0, 45.0), Image.Resampling.BILINEAR)


CHANGES: tuple[Change, ...] = (
    gamma,
    brightness,
    sharpness,
    hue_and_saturation,
    solarised,
    posterised,
    inverted,
    stretched,
    equalised,
    turned,
)
