"""Synthetic anomalies as in DRAEM and DeSTSeg: foreign textures blended into images where Perlin noise is high.

Zavrtanik, Kristan and Skocaj, "DRAEM", ICCV 2021, section 3.3. Axes: B images of 3 channels and `side` x `side` pixels.

All random numbers for an image are seeded with (seed, epoch, index in the training set), so a resumed fit sees the same
images as an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from afrad_bench.hashing import seed_for
from afrad_bench.methods.ahead import ahead
from afrad_bench.types import Bench, Images

if TYPE_CHECKING:
    from afrad_bench.types import BoolArray, FloatArray

LARGEST_LATTICE = 5
"""A lattice has 2^0 to 2^5 cells along each side; the two sides are drawn separately."""
THRESHOLD = 0.5
"""Noise value above which a pixel is anomalous."""
MOST_OF_THE_IMAGE = 0.8
"""Largest weight of the image in the blend with the texture."""


class Pair(NamedTuple):
    """A clean image and its corrupted copy, (3, side, side) in [0, 1], and where they differ, (side, side)."""

    clean: FloatArray
    corrupted: FloatArray
    mask: BoolArray


class Batch(NamedTuple):
    """Pairs as tensors on the CPU: `clean` and `corrupted` (B, 3, side, side), `mask` (B, 1, side, side) of 0 and 1."""

    indices: list[int]
    """Indices of the images in the training set."""
    clean: Tensor
    corrupted: Tensor
    mask: Tensor


def perlin(angles: FloatArray, side: int) -> FloatArray:
    """Perlin noise (side, side) of a lattice with gradient directions `angles` (rows + 1, columns + 1) in radians.

    `side` is a multiple of rows and of columns. Gradients have unit length, the fade is Perlin's second (degree 5), and
    the result is scaled by the square root of 2."""
    rows, columns = angles.shape[0] - 1, angles.shape[1] - 1
    down = (np.arange(side // rows) * rows / side)[:, None, None]  # within a cell; axes: rows, y, columns, x
    across = np.arange(side // columns) * columns / side
    slopes = np.cos(angles)[:, None, :, None], np.sin(angles)[:, None, :, None]

    def corner(i: int, j: int) -> FloatArray:
        of_y, of_x = (slope[i : i + rows, :, j : j + columns] for slope in slopes)
        return of_y * (down - i) + of_x * (across - j)

    along_y, along_x = _fade(down), _fade(across)
    left, right = (corner(0, j) + along_y * (corner(1, j) - corner(0, j)) for j in (0, 1))
    return np.sqrt(2) * (left + along_x * (right - left)).reshape(side, side)


def _fade(t: FloatArray) -> FloatArray:
    return t**3 * (t * (6 * t - 15) + 10)


def rotated(planes: FloatArray, degrees: float, fill: float = 0.0) -> FloatArray:
    """Planes (..., side, side) rotated about their centre, bilinear; pixels from outside are `fill`. float32."""
    flat = [
        Image.fromarray(plane).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=fill)
        for plane in planes.reshape(-1, *planes.shape[-2:]).astype(np.float32)
    ]
    return np.stack([np.asarray(plane) for plane in flat]).reshape(planes.shape)


def draw_mask(rng: np.random.Generator, side: int) -> BoolArray:
    """Mask (side, side) of the pixels to corrupt: rotated Perlin noise above the threshold. May be empty.

    `side` is a multiple of 2^LARGEST_LATTICE."""
    rows, columns = 2 ** rng.integers(0, LARGEST_LATTICE + 1, 2)
    noise = perlin(2 * np.pi * rng.random((rows + 1, columns + 1)), side)
    return rotated(noise, rng.uniform(-90, 90)) > THRESHOLD


def corrupt(rng: np.random.Generator, image: FloatArray, texture: FloatArray) -> Pair:
    """Blend a texture into an image, both (3, side, side) in [0, 1], inside a random mask."""
    mask = draw_mask(rng, image.shape[-1])
    share = rng.uniform(0, MOST_OF_THE_IMAGE)
    return Pair(image, np.where(mask, (1 - share) * texture + share * image, image).astype(np.float32), mask)


def pairs(
    bench: Bench,
    train: Images,
    batches: Iterable[Tensor],
    epoch: int,
    make: Callable[[np.random.Generator, FloatArray], Pair],
) -> Iterator[Batch]:
    """The batches of an epoch, given by their indices; `make` corrupts one image (3, side, side).

    Threads make the next batches while the current one is used (`ahead`)."""

    def batch(indices: Tensor) -> Batch:
        places = [int(i) for i in indices]
        seeds = (seed_for(bench.seeds.init, "synthesis", epoch, place) for place in places)
        made = [
            make(np.random.default_rng(seed), image)
            for seed, image in zip(seeds, train.subset(places).array(), strict=True)
        ]
        clean, corrupted, masks = (torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True))
        return Batch(places, clean, corrupted, masks[:, None].float())

    return ahead(batch, batches, bench.device)
