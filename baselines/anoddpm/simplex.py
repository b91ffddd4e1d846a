"""Simplex noise: three-dimensional OpenSimplex noise in octaves, on the grid of the pixels, for any device.

OpenSimplex sums, over the points of a lattice within a radius of √2, a bell times the projection on a gradient that a
permutation of 256 numbers assigns to the point. The package `opensimplex` does this value by value, with a branch for
each part of a cell; without numba that takes minutes for one image, and it has neither batches nor devices. Here all
pixels and all 26 lattice points that can be near enough are computed at once. The result is that of `opensimplex` to
1e-4: in small parts of a cell its branches leave out a point whose weight is almost 0."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

SQUISH = 1 / 3
STRETCH = -1 / 6
NORM = 103.0
"""Divisor that brings the values into [-1, 1]."""


def _near() -> list[tuple[int, int, int]]:
    """Lattice points, counted from a cell's corner, that lie within √2 of some point of the cell."""
    corners = [(x, y, z) for x, y, z in product((0, 1), repeat=3)]
    beside = [(2, 0, 0), (2, 1, 0), (2, 0, 1)]
    turned = {(p[i], p[(i + 1) % 3], p[(i + 2) % 3]) for p in beside for i in range(3)}
    return [*corners, *sorted(turned), *sorted((1 - x, 1 - y, 1 - z) for x, y, z in turned)]


OFFSETS = torch.tensor(_near(), dtype=torch.float32)
NEAREST = 8
"""At most so many lattice points lie within √2 of any place."""
GRADIENTS = torch.tensor(
    [
        [sign * (11 if i == axis else 4) for i, sign in enumerate((x, y, z))]
        for z in (1, -1)
        for y in (1, -1)
        for x in (-1, 1)
        for axis in range(3)
    ],
    dtype=torch.float32,
)
"""(24, 3): towards the corners of a cube, stretched along one axis; in the order of the package."""


@dataclass(frozen=True)
class Octaves:
    """How octaves add up: Σ_k persistence^k · S(x / f_k, y / f_k, t / f_k) with f_k = frequency / 2^k."""

    count: int
    persistence: float
    frequency: float


def permutations(count: int, source: torch.Generator, device: str = "cpu") -> Tensor:
    """(count, 256) uint8: the whole chance of `count` independent fields."""
    return torch.rand(count, 256, generator=source, device=device).argsort(1).to(torch.uint8)


class Simplex(nn.Module):
    """Permutations (N, 256) and a third coordinate t -> a field of noise for each permutation, (N, H, W)."""

    offsets: Tensor
    places: Tensor
    """(26, 3): the lattice points near a cell, in the lattice and as seen from the cell's corner."""
    gradients: Tensor

    def __init__(self, octaves: Octaves) -> None:
        super().__init__()
        self.octaves = octaves
        self.register_buffer("offsets", OFFSETS, persistent=False)
        self.register_buffer("places", OFFSETS + SQUISH * OFFSETS.sum(1, keepdim=True), persistent=False)
        self.register_buffer("gradients", GRADIENTS, persistent=False)

    def forward(self, chance: Tensor, t: float | Tensor, size: tuple[int, int]) -> Tensor:
        rows, columns = (torch.arange(n, device=chance.device, dtype=torch.float32) for n in size)
        depth = t if isinstance(t, Tensor) else torch.full((), t, device=chance.device)
        grid = torch.broadcast_tensors(columns[None, :], rows[:, None], depth.float())
        points = torch.stack(grid, dim=-1).flatten(0, 1)  # (H * W, 3)
        table = chance.long()
        total = torch.zeros(len(chance), len(points), device=chance.device)
        for k in range(self.octaves.count):
            frequency = self.octaves.frequency / 2**k
            total += self.octaves.persistence**k * self.octave(table, points / frequency)
        return total.unflatten(1, size)

    def octave(self, table: Tensor, points: Tensor) -> Tensor:
        """(N, P): noise at points (P, 3) for each of N permutations (N, 256) int64."""
        corner = torch.floor(points + STRETCH * points.sum(1, keepdim=True))
        inside = points - corner - SQUISH * corner.sum(1, keepdim=True)
        axes = zip(inside.unbind(1), self.places.unbind(1), strict=True)
        squared = torch.stack([(ours[:, None] - theirs).square() for ours, theirs in axes]).sum(0)  # (P, 26)
        closeness, near = (2 - squared).topk(NEAREST, dim=1, sorted=False)  # (P, NEAREST)
        bell = closeness.clamp(min=0).pow(4) / NORM
        away = inside[:, None] - self.places[near]
        i, j, k = (corner[:, None] + self.offsets[near]).long().unbind(2)
        found = []
        for one in table:
            index = one[(one[(one[i & 255] + j) & 255] + k) & 255] % len(self.gradients)
            found.append((bell * (self.gradients[index] * away).sum(2)).sum(1))
        return torch.stack(found)
