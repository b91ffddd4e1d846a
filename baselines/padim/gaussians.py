"""One Gaussian per patch position: fitted in float64 from a stream of batches, applied in float32.

Axes: P positions of the grid, B images of a batch, D channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from afrad_bench.errors import fail
from afrad_bench.methods.precision import in_float32

BLOCKS = 4
"""Column blocks of the triangular factor. Four blocks hold 62.5 % of the full matrix. On one CPU core, one image, they
take 6.6 ms where the full matrix takes 10 ms (D = 100, P = 4096), and 45 ms instead of 61 ms (D = 550, P = 1024); more
blocks are not faster."""

FACTORISED_BYTES = 2**27
"""Bytes of float64 covariances that are factorised at a time."""


def block_edges(channels: int) -> list[tuple[int, int]]:
    """Start (included) and end (excluded) row of each block of the factor; fewer blocks than `BLOCKS` for a tiny D."""
    edges = [channels * i // BLOCKS for i in range(BLOCKS + 1)]
    return [(start, end) for start, end in pairwise(edges) if end > start]


def stored_values(positions: int, channels: int) -> int:
    """Float32 numbers that fitted Gaussians hold: means and factors."""
    return positions * (channels + sum(end * (end - start) for start, end in block_edges(channels)))


class PatchGaussians(nn.Module):
    """(B, D, h, w) embeddings -> (B, h, w) Mahalanobis distances to the Gaussian of each position; PaDiM, eq. 2.

    With Sigma = L L^T (Cholesky) and delta the difference from the mean, the distance is |L^-1 delta|. Rows s..e of
    L^-1 are zero right of column e, so each block multiplies the first e channels only."""

    mean: Tensor

    def __init__(self, positions: int, channels: int, device: str) -> None:
        super().__init__()
        self.edges = block_edges(channels)
        self.register_buffer("mean", torch.zeros(positions, 1, channels, device=device))
        for i, (start, end) in enumerate(self.edges):
            self.register_buffer(f"factor{i}", torch.zeros(positions, end, end - start, device=device))

    def blocks(self) -> list[Tensor]:
        """The factor's blocks, (P, e, e - s) each: rows s..e of L^-1, transposed."""
        return [self.get_buffer(f"factor{i}") for i in range(len(self.edges))]

    def set(self, at: slice, mean: Tensor, covariance: Tensor) -> None:
        """Set the Gaussians of the positions `at` from float64 means (P', D) and covariances (P', D, D).

        Raises `UserError` if a covariance has no Cholesky factor."""
        self.mean[at, 0] = mean.float().to(self.mean.device)
        identity = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)
        step = max(1, FACTORISED_BYTES // (8 * mean.shape[1] ** 2))
        for start in range(0, len(mean), step):
            part = covariance[start : start + step]
            factor, failed = torch.linalg.cholesky_ex(part)
            if bool(failed.any()):
                raise fail(
                    f"PaDiM: {int((failed > 0).sum())} covariances of {len(part)} have no Cholesky factor; the "
                    f"features' variances reach {float(part.diagonal(dim1=1, dim2=2).max()):.3g}",
                    hint="raise `epsilon`, or check the backbone's weights: its features may overflow",
                )
            inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
            first = at.start + start
            for block, (top, end) in zip(self.blocks(), self.edges, strict=True):
                block[first : first + len(part)] = inverse[:, top:end, :end].transpose(1, 2).float().to(block.device)

    @in_float32
    def forward(self, embeddings: Tensor) -> Tensor:
        rows = embeddings.flatten(2).permute(2, 0, 1).contiguous()  # else the products below are six times slower
        delta = rows - self.mean
        squares = [
            torch.bmm(delta[..., :end], block).square().sum(2)
            for block, (_, end) in zip(self.blocks(), self.edges, strict=True)
        ]
        distances = torch.stack(squares).sum(0).sqrt()
        maps: Tensor = distances.T.unflatten(1, embeddings.shape[-2:])
        return maps


class Moments:
    """First and second moments of (P, B, D) batches in float64, relative to the first batch's mean.

    The shift keeps the difference of the two large sums exact enough for features with a large mean."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, rows: Tensor) -> None:
        """Add a batch (P, B, D)."""
        if not self.count:
            positions, _, channels = rows.shape
            self._shift = rows.mean(1, keepdim=True)
            self._sum = rows.new_zeros(positions, channels)
            self._square = rows.new_zeros(positions, channels, channels)
        centred = rows - self._shift
        self._sum += centred.sum(1)
        self._square.baddbmm_(centred.transpose(1, 2), centred)
        self.count += rows.shape[1]

    def gaussians(self, epsilon: float) -> tuple[Tensor, Tensor]:
        """Means (P, D) and unbiased covariances (P, D, D), with `epsilon` on the diagonal (eq. 1). Overwrites the
        sums."""
        covariance = self._square
        covariance.baddbmm_(self._sum[:, :, None], self._sum[:, None, :], alpha=-1.0 / self.count)
        covariance.div_(self.count - 1)
        covariance.diagonal(dim1=1, dim2=2).add_(epsilon)
        return self._shift[:, 0] + self._sum / self.count, covariance


def fit_gaussians(
    gaussians: PatchGaussians, batches: Callable[[], Iterable[Tensor]], epsilon: float, span: int, device: str
) -> None:
    """Fit from embeddings (B, D, h, w), which `batches()` streams once for each `span` positions.

    The sums are computed on `device`, which must support float64."""
    positions = gaussians.mean.shape[0]
    for first in range(0, positions, span):
        at = slice(first, min(first + span, positions))
        moments = Moments()
        for embeddings in batches():
            rows = embeddings.flatten(2)[:, :, at].permute(2, 0, 1)
            moments.add(rows.to(device).double().contiguous())
        gaussians.set(at, *moments.gaussians(epsilon))
