"""Locally aware patch features of PatchCore and SimpleNet, as one grouped convolution per feature map.

Roth et al., CVPR 2022, section 3.1; Liu et al., CVPR 2023, section 3.1. At each position both official codes unfold the
patch (C x p x p values, channel by channel, zeros beyond the border), average it to S values by 1-D adaptive pooling,
concatenate the stages, and average again to D values; coarser stages are first resized bilinearly to the finest grid.
All of this is linear. Pooling acts on channels and resizing on positions, so they commute, and the two poolings of one
stage are one p x p convolution with fixed weights. Adaptive pooling repeats its windows with the greatest common
divisor of channels and outputs, so the convolution is grouped: on Wide-ResNet-50-2 at PatchCore's widths it has 512
groups, of one channel for stage 2 and of two for stage 3."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F


def pooling(values: int, outputs: int) -> sparse.csr_matrix:
    """(outputs, values) matrix of 1-D adaptive average pooling: row j averages floor(j v/o) .. ceil((j+1) v/o) - 1."""
    rows = np.arange(outputs)
    first = rows * values // outputs
    width = -(-(rows + 1) * values // outputs) - first
    ends = np.cumsum(width)
    columns = np.arange(ends[-1]) + np.repeat(first - (ends - width), width)
    return sparse.csr_matrix((np.repeat(1.0 / width, width), columns, np.append(0, ends)), shape=(outputs, values))


def grouped(matrix: sparse.csr_matrix, channels: int, patch: int) -> tuple[Tensor, int]:
    """A matrix as a convolution: weights (rows, C / g, p, p) and the largest possible number of groups g.

    The matrix is (rows, C p p); with g groups it is block-diagonal."""
    entries = matrix.tocoo()
    rows = matrix.shape[0]
    channel = entries.col // patch**2
    common = math.gcd(rows, channels)
    groups = next(
        g
        for g in range(common, 0, -1)
        if common % g == 0 and bool(np.all(entries.row * g // rows == channel * g // channels))
    )
    weights = np.zeros((rows, channels // groups * patch**2))
    weights[entries.row, entries.col % weights.shape[1]] = entries.data
    return torch.from_numpy(weights).float().unflatten(1, (channels // groups, patch, patch)), groups


class PatchEmbedding(nn.Module):
    """Feature maps (B, C_i, h_i, w_i), finest first -> (B, D, h, w) embeddings on the first map's grid."""

    def __init__(
        self, channels: Sequence[int], grid: tuple[int, int], patch: int, stage_width: int, width: int
    ) -> None:
        super().__init__()
        self.grid = grid
        self.padding = patch // 2
        self.groups: list[int] = []
        self.margins: list[tuple[int, int]] = []
        """For each stage, the channels of the embedding before and after those that it contributes to."""
        join = pooling(len(channels) * stage_width, width).tocsc()
        for i, count in enumerate(channels):
            stage = join[:, i * stage_width : (i + 1) * stage_width].tocsr() @ pooling(count * patch**2, stage_width)
            touched = np.flatnonzero(np.diff(stage.indptr))
            first, end = int(touched[0]), int(touched[-1]) + 1
            weights, groups = grouped(stage[first:end], count, patch)
            self.register_buffer(f"weights{i}", weights)
            self.groups.append(groups)
            self.margins.append((first, width - end))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        parts = []
        for i, (groups, margins) in enumerate(zip(self.groups, self.margins, strict=True)):
            planes = maps[i].contiguous()  # this convolution is several times slower on channels-last maps
            part = F.conv2d(planes, self.get_buffer(f"weights{i}"), padding=self.padding, groups=groups)
            if i:
                part = F.interpolate(part, self.grid, mode="bilinear", align_corners=False)
            parts.append(F.pad(part, (0, 0, 0, 0, *margins)))
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def rows(embeddings: Tensor) -> Tensor:
    """(B, D, h, w) -> (B h w, D): one row per patch, image by image."""
    return embeddings.flatten(2).transpose(1, 2).flatten(0, 1)
