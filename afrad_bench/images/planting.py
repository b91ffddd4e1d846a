"""Synthetic defects planted on photographs of textures, with exact masks.

A defect changes every pixel inside its mask by at least `VISIBLE` grey levels and no pixel outside it. Random numbers
come from numpy's legacy generator, whose stream is the same in all numpy versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from afrad_bench.types import BoolArray, ByteArray, FloatArray

    Draw = tuple[BoolArray, FloatArray]
    """Mask of the defect, and the grey values wanted inside it; both (H, W)."""

VERSION = "1"
VISIBLE = 8
"""Minimum difference of a planted pixel from the photograph, in grey levels of 255."""


def plant(kind: str, clean: ByteArray, donor: ByteArray, seed: int) -> tuple[ByteArray, BoolArray]:
    """The photograph (H, W) uint8 with one defect of this kind, and its mask (H, W). `donor` has the same shape."""
    import numpy as np

    rng = np.random.RandomState(seed)
    mask, wanted = KINDS[kind](clean.astype(np.float64), donor.astype(np.float64), rng)
    was = clean.astype(np.int64)
    change = np.clip(np.rint(wanted), 0, 255).astype(np.int64) - was
    least = np.where(change < 0, -VISIBLE, VISIBLE)
    change = np.where(np.abs(change) < VISIBLE, least, change)
    outside = (was + change < 0) | (was + change > 255)  # happens only where the change was enlarged
    change = np.where(outside, -change, change)
    return np.where(mask, was + change, was).astype(np.uint8), mask


def crack(clean: FloatArray, donor: FloatArray, rng: np.random.RandomState) -> Draw:
    """A dark, jagged line with branches: a random walk that becomes thinner towards its end."""
    import numpy as np

    side = min(clean.shape)
    angle = rng.uniform(0, 2 * np.pi)
    start = _centre(clean, rng, 0.25) - 0.2 * side * np.array([np.sin(angle), np.cos(angle)])
    trunk = _walk(start, angle, int(side * rng.uniform(0.35, 0.6)), 0.35, rng)
    bold = _boldness(clean)
    width = rng.uniform(0.9, 1.6) * bold**0.7
    cover = _stroke(clean, trunk, width * np.linspace(1.3, 0.5, len(trunk)))
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(len(trunk) // 4, 3 * len(trunk) // 4)
        branch = _walk(trunk[at], angle + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1), int(0.2 * side), 0.35, rng)
        cover = np.maximum(cover, _stroke(clean, branch, width * np.linspace(0.8, 0.4, len(branch))))
    return cover > 0.35, clean * (1 - cover * min(bold, 1.0) * rng.uniform(0.65, 0.85))


def scratch(clean: FloatArray, donor: FloatArray, rng: np.random.RandomState) -> Draw:
    """A thin, slightly curved line, lighter than the surface, like the mark of a tool; sometimes two lines."""
    import numpy as np

    side = min(clean.shape)
    angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-0.9, 0.9) / side
    length, centre = int(side * rng.uniform(0.35, 0.7)), _centre(clean, rng, 0.3)
    along = np.arange(length) - length / 2
    heading = angle + bend * along
    path = centre + np.stack([np.cumsum(np.sin(heading)), np.cumsum(np.cos(heading))], axis=1)
    path -= path.mean(axis=0) - centre
    profile = np.sin(np.linspace(0.15, np.pi - 0.15, length)) ** 0.5
    bold = _boldness(clean)
    width = rng.uniform(0.7, 1.3) * bold**0.7
    cover = _stroke(clean, path, width * profile)
    if rng.rand() < 0.5:
        aside = rng.uniform(3, 6) * bold * np.array([np.cos(angle), -np.sin(angle)])
        cover = np.maximum(cover, _stroke(clean, path[length // 4 :] + aside, 0.7 * width * profile[length // 4 :]))
    return cover > 0.35, clean + cover * min(rng.uniform(0.45, 0.7) * bold, 0.95) * (240 - clean)


def stain(clean: FloatArray, donor: FloatArray, rng: np.random.RandomState) -> Draw:
    """A spot with smooth edges, in which the texture stays visible: darker (like oil) or lighter (like bleach)."""
    import numpy as np

    bold = _boldness(clean)
    cover = _blob(clean, rng, _scaled((0.09, 0.17), bold), 0.25, softness=0.02)
    gain = (rng.uniform(0.5, 0.68) if rng.rand() < 0.6 else rng.uniform(1.35, 1.6)) ** bold
    blotches = 1 + 0.15 * _smooth_noise(clean.shape, 6, rng)
    return cover > 0.3, clean * (1 + (gain - 1) * np.clip(cover * blotches, 0, 1))


def hole(clean: FloatArray, donor: FloatArray, rng: np.random.RandomState) -> Draw:
    """A pit: dark inside, darkest on the side of the light source, lighter on the opposite side."""
    import numpy as np

    rows, columns = np.mgrid[: clean.shape[0], : clean.shape[1]]
    bold = _boldness(clean)
    cover = _blob(clean, rng, _scaled((0.045, 0.085), bold), 0.3, softness=0.006)
    light = rng.uniform(0, 2 * np.pi)
    slope = rows * np.sin(light) + columns * np.cos(light)
    inside = cover > 0.5
    slope = (slope - slope[inside].mean()) / max(slope[inside].std(), 1e-9)
    depth = np.clip(0.22 + 0.1 * slope, 0.05, 0.5)
    pit = depth * clean.mean() + 6 * rng.standard_normal(clean.shape)
    return cover > 0.4, clean + cover * min(bold, 1.0) * (pit - clean)


def patch(clean: FloatArray, donor: FloatArray, rng: np.random.RandomState) -> Draw:
    """A piece of another texture, with brightness and contrast adapted to the place where it is inserted."""
    import numpy as np

    cover = _blob(clean, rng, _scaled((0.1, 0.17), _boldness(clean)), 0.3, softness=0.008)
    inside = cover > 0.5
    gain = np.clip(clean[inside].std() / max(donor[inside].std(), 1.0), 0.5, 1.5)
    offset = rng.choice([-1, 1]) * rng.uniform(5, 20)
    foreign = (donor - donor[inside].mean()) * (0.5 + 0.5 * gain) + clean[inside].mean() + offset
    return cover > 0.4, clean + cover * (foreign - clean)


KINDS: dict[str, Callable[[FloatArray, FloatArray, np.random.RandomState], Draw]] = {
    "crack": crack,
    "hole": hole,
    "patch": patch,
    "scratch": scratch,
    "stain": stain,
}


def _boldness(clean: FloatArray) -> float:
    """How strong and large a defect must be to be visible: from 0.6 (low contrast) to 1.7 (high contrast)."""
    import numpy as np

    return float(np.clip((clean.std() / 30) ** 2, 0.6, 1.7))


def _scaled(radius: tuple[float, float], bold: float) -> tuple[float, float]:
    """The range of radii for this boldness. Boldness scales the area, so radii scale with its square root."""
    return (radius[0] * bold**0.5, radius[1] * bold**0.5)


def _centre(clean: FloatArray, rng: np.random.RandomState, margin: float) -> FloatArray:
    """A random (row, column), at least `margin` times the side away from the border."""
    import numpy as np

    return np.array([rng.uniform(margin, 1 - margin) * extent for extent in clean.shape])


def _walk(start: FloatArray, angle: float, steps: int, jitter: float, rng: np.random.RandomState) -> FloatArray:
    """(steps, 2) rows and columns: unit steps in the direction `angle` plus a random deviation per step (radians)."""
    import numpy as np

    stray = np.repeat(rng.normal(0, 2 * jitter, steps // 4 + 1), 4)[:steps] + rng.normal(0, jitter, steps)
    return start + np.cumsum(np.stack([np.sin(angle + stray), np.cos(angle + stray)], axis=1), axis=0)


def _stroke(clean: FloatArray, path: FloatArray, radius: FloatArray) -> FloatArray:
    """(H, W) in [0, 1]: coverage of each pixel by discs along a path (P, 2), with soft edges of one pixel."""
    import numpy as np

    rows, columns = (np.arange(extent, dtype=np.float64) for extent in clean.shape)
    cover = np.zeros(clean.shape)
    for (row, column), reach in zip(path, radius, strict=True):
        distance = np.hypot(rows[:, None] - row, columns[None, :] - column)
        np.maximum(cover, np.clip(reach - distance + 0.5, 0, 1), out=cover)
    return cover


def _blob(
    clean: FloatArray, rng: np.random.RandomState, radius: tuple[float, float], margin: float, softness: float
) -> FloatArray:
    """(H, W) in [0, 1]: an irregular round spot. Radius, margin and softness of the edge are fractions of the side."""
    import numpy as np

    side = min(clean.shape)
    centre, mean = _centre(clean, rng, margin), rng.uniform(*radius) * side
    rows, columns = np.mgrid[: clean.shape[0], : clean.shape[1]]
    dy, dx = rows - centre[0], columns - centre[1]
    squeeze, turn = rng.uniform(0.65, 1.0), rng.uniform(0, np.pi)
    u = dx * np.cos(turn) + dy * np.sin(turn)
    v = (dy * np.cos(turn) - dx * np.sin(turn)) / squeeze
    around = np.arctan2(v, u)
    edge = np.ones(clean.shape)
    for order in range(2, 7):
        edge += rng.normal(0, 0.22 / order) * np.cos(order * around + rng.uniform(0, 2 * np.pi))
    return 1 / (1 + np.exp(np.clip((np.hypot(u, v) - mean * edge) / (softness * side), -60, 60)))


def _smooth_noise(shape: tuple[int, ...], cells: int, rng: np.random.RandomState) -> FloatArray:
    """(H, W): normally distributed values on a coarse grid, interpolated (bicubic)."""
    import numpy as np
    from PIL import Image

    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float64)
