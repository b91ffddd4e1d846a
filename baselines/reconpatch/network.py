"""The trained representation of ReConPatch, its relaxed contrastive loss, and the score.

Axes: N patches of a batch; D values of a patch feature; B images; (h, w) the grid of patches."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from afrad_bench.methods.neighbours import MemoryBank
from afrad_bench.methods.patch_embedding import PatchEmbedding, rows
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench_baselines.reconpatch import Config, Training

TINY = 1e-9
"""Added to a squared distance before its root, whose slope at zero is infinite."""


class Networks(nn.Module):
    """Representation f and projection g, and their averaged copies, which get no gradients (section 3.2)."""

    def __init__(self, width: int, representation: int, projected: int) -> None:
        super().__init__()
        self.representation = nn.Linear(width, representation)
        self.projection = nn.Linear(representation, projected)
        for layer in (self.representation, self.projection):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.averaged = nn.Sequential(copy.deepcopy(self.representation), copy.deepcopy(self.projection))
        self.averaged.requires_grad_(False)

    def trained(self) -> list[nn.Parameter]:
        return [*self.representation.parameters(), *self.projection.parameters()]

    def loss(self, features: Tensor, config: Training) -> Tensor:
        """The relaxed contrastive loss of a batch (N, D) (eq. 8)."""
        with torch.no_grad():
            similarity = similarities(self.averaged(features), config)
        projected = self.projection(self.representation(features))
        return contrastive(projected, similarity, config.margin)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the averaged copies towards the trained layers (eq. 9)."""
        for average, trained in zip(self.averaged.parameters(), self.trained(), strict=True):
            average.mul_(momentum).add_(trained, alpha=1 - momentum)


def squared_distances(z: Tensor) -> Tensor:
    """(N, N) squared distances of (N, D) to each other; zeros on the diagonal."""
    centred = z - z.mean(0)  # the distances stay the same; shorter vectors lose fewer digits
    norms = centred.square().sum(1)
    squared = torch.addmm(norms[:, None] + norms, centred, centred.T, alpha=-2).clamp(min=0)
    return squared * (1 - torch.eye(len(z), dtype=z.dtype, device=z.device))


def exact_squared_distances(z: Tensor) -> Tensor:
    """The same from differences, without gradients: equal distances come out equal, and ties count as neighbours."""
    return torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist").square()


def similarities(z: Tensor, config: Training) -> Tensor:
    """(N, N) similarities in [0, 1] of averaged projections (N, D), symmetric (eq. 2 to 7)."""
    squared = exact_squared_distances(z)
    pairwise = (-squared / config.sigma).exp()
    return config.pairwise * pairwise + (1 - config.pairwise) * contextual(squared, config.neighbours)


def contextual(squared: Tensor, count: int) -> Tensor:
    """Similarity of neighbourhoods from squared distances (N, N) (eq. 3 to 5).

    First, for each of the k nearest j of i, itself included, the share of i's neighbours that are also j's. Then its
    mean over the patches that are mutually among the nearest k/2 of i, and the mean of both directions."""
    nearest = squared.topk(min(count, len(squared)), 1, largest=False).values
    near = (squared <= nearest[:, -1:]).to(squared.dtype)  # ties count
    shared = near @ near.T / near.sum(1, keepdim=True) * near
    half = max(1, count // 2)
    close = (squared <= nearest[:, :half].amax(1, keepdim=True)).to(squared.dtype)
    mutual = close * close.T
    expanded = mutual @ shared / mutual.sum(1, keepdim=True)
    return (expanded + expanded.T) / 2


def contrastive(z: Tensor, similarity: Tensor, margin: float) -> Tensor:
    """Similar patches attract, others repel up to the margin, by distances relative to each patch's mean (eq. 6, 8)."""
    distances = (squared_distances(z) + TINY).sqrt()
    relative = distances / distances.mean(1, keepdim=True)
    attracted = similarity * relative.square()
    repelled = (1 - similarity) * (margin - relative).clamp(min=0).square()
    return (attracted + repelled).sum() / len(z)


class Head(nn.Module):
    """Feature maps -> (anomaly map (B, H, W), image score (B,)): everything after the backbone."""

    def __init__(
        self, embedding: PatchEmbedding, representation: nn.Linear, bank: MemoryBank, side: int, config: Config
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.representation = representation
        self.bank = bank
        self.pixels = PixelMap(embedding.grid, (side, side), config.sigma)
        self.support = config.support if config.image_score == "paper" else None

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        height, width = self.embedding.grid
        patches = self.representation(rows(self.embedding(maps)))
        squared, index = self.bank.nearest(patches, 1)
        distances = squared[:, 0].sqrt().view(-1, height * width)
        anomaly_map = self.pixels(distances.view(-1, height, width))
        if self.support is None:
            return anomaly_map, distances.amax(1)
        worst = distances.argmax(1, keepdim=True)
        places = worst[:, :, None].expand(-1, 1, patches.shape[1])
        patch = patches.view(-1, height * width, patches.shape[1]).gather(1, places)[:, 0]
        nearest = index[:, 0].view(-1, height * width).gather(1, worst)[:, 0]
        return anomaly_map, self.bank.reweighted(patch, nearest, self.support)
