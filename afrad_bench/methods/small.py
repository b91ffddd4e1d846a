"""A small configuration of a method, with which it is tried in seconds: by the contract's tests, and on a device by
`afrad-bench doctor --check-device`.

A method module declares it as `SMALL`. It needs no file of its own: its weights are random, its textures come from an
installed package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afrad_bench.images.sets import ImageArray


@dataclass(frozen=True)
class Small:
    """A configuration that is fitted to a few images within seconds on a CPU."""

    params: Mapping[str, Any] = field(default_factory=dict)
    """As in `params:` of a suite."""
    image_size: int = 64
    """Side in pixels."""


def small_of(module: Any) -> Small | None:
    """The small configuration that a method module declares; None if it declares none."""
    declared: Small | None = getattr(module, "SMALL", None)
    return declared


def small_images(count: int, side: int, seed: int) -> ImageArray:
    """Images (count, 3, side, side) in [0, 1]: random sine waves in each channel plus a little noise, from a seed."""
    import numpy as np

    from afrad_bench.images.sets import ImageArray

    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    pixels = np.empty((count, 3, side, side), dtype=np.float32)
    for image in pixels:
        for channel in image:
            down, across, phase = rng.uniform(1, 6), rng.uniform(1, 6), rng.uniform(0, 2 * np.pi)
            channel[:] = 0.5 + 0.35 * np.sin(2 * np.pi * (down * rows + across * columns) + phase)
    return ImageArray(np.clip(pixels + rng.normal(0, 0.03, pixels.shape).astype(np.float32), 0, 1))
