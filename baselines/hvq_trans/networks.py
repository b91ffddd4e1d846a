"""Encoder, codebooks for each category, decoder, and the whole inference path.

Axes: B images, N = h · w tokens, C channels of the features, D channels of a token, E entries, K categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.methods.attention import Attention, EncoderLayer, FeedForward, Layers, copies, positions
from afrad_bench.methods.postprocessing import box_mean, distances
from afrad_bench_baselines.hvq_trans import Config, Score, Transformer

SMOOTHING = 1e-5
"""Laplace smoothing of the counts of a codebook's entries."""


@dataclass(frozen=True)
class Doubled:
    """The decoder's layers: tokens of two levels joined."""

    width: int
    heads: int
    hidden: int
    dropout: float


class Codebooks(nn.Module):
    """A codebook for each category: (B, N, D), (B,) categories -> the products with all entries (B, N, E) and the
    nearest entries (B, N, D)."""

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, categories: int, entries: int, width: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        codes = torch.randn(categories, entries, width)
        self.register_buffer("codes", codes)
        self.register_buffer("counts", torch.zeros(categories, entries))
        self.register_buffer("sums", codes.clone())

    def forward(self, tokens: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        codes = self.codes[which]
        products = tokens @ codes.mT
        distance = tokens.square().sum(2, keepdim=True) - 2 * products + codes.square().sum(2)[:, None]
        nearest = distance.argmin(2)
        return products, codes.gather(1, nearest[:, :, None].expand_as(tokens))

    def transport(self, tokens: Tensor, products: Tensor, which: Tensor) -> Tensor:
        """(B, N): the mean cosine distance of a token to the entries, weighted by a softmax over products / E."""
        lengths = tokens.norm(dim=2, keepdim=True) * self.codes[which].norm(dim=2)[:, None]
        cosine = products / lengths.clamp_min(torch.finfo(products.dtype).tiny)
        return ((1 - cosine) * (products / products.shape[2]).softmax(2)).sum(2)

    def learn(self, tokens: Tensor, which: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Quantise image after image, and move the codebook of its category after each: quantised tokens (B, N, D) with
        the gradient of the tokens, and the commitment, the mean squared distance to the entries."""
        found = []
        with torch.no_grad():
            for image, category in zip(tokens.detach(), which, strict=True):
                codes = self.codes[category]
                distance = image.square().sum(1, keepdim=True) - 2 * image @ codes.T + codes.square().sum(1)
                nearest = distance.argmin(1)
                found.append(codes[nearest])
                self._move(category, image, F.one_hot(nearest, len(codes)).to(image.dtype))
        entries = torch.stack(found)
        return tokens + (entries - tokens).detach(), (entries - tokens).square().mean()

    def _move(self, category: int, image: Tensor, hits: Tensor) -> None:
        counts, sums = self.counts[category], self.sums[category]
        counts.mul_(self.decay).add_(hits.sum(0), alpha=1 - self.decay)
        sums.mul_(self.decay).add_(hits.T @ image, alpha=1 - self.decay)
        total = counts.sum()
        smoothed = (counts + SMOOTHING) / (total + len(counts) * SMOOTHING) * total
        self.codes[category] = sums / smoothed[:, None]


class Encoder(nn.Module):
    """Tokens (B, N, D) -> the tokens themselves and those after each layer, a list of L + 1 levels."""

    def __init__(self, config: Layers, layers: int) -> None:
        super().__init__()
        self.layers = copies(EncoderLayer(config), layers)

    def forward(self, tokens: Tensor, position: Tensor) -> list[Tensor]:
        levels = [tokens]
        for layer in self.layers:
            levels.append(layer(levels[-1], position, None))
        return levels


class DecoderLayer(nn.Module):
    """Tokens that attend to each other and then to a memory; positions are added to queries and keys."""

    def __init__(self, config: Layers) -> None:
        super().__init__()
        self.to_itself = Attention(config)
        self.to_memory = Attention(config)
        self.feed_forward = FeedForward(config)
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(3))

    def forward(self, tokens: Tensor, memory: Tensor, position: Tensor) -> Tensor:
        placed = tokens + position
        tokens = self.norms[0](tokens + self.to_itself(placed, placed, tokens, None))
        tokens = self.norms[1](tokens + self.to_memory(tokens + position, memory + position, memory, None))
        out: Tensor = self.norms[2](tokens + self.feed_forward(tokens))
        return out


class Decoder(nn.Module):
    """Quantised levels, the one to begin with first, each (B, N, 2D) -> (B, N, 2D)."""

    def __init__(self, config: Layers, layers: int) -> None:
        super().__init__()
        self.layers = copies(DecoderLayer(config), layers)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, memories: Sequence[Tensor], position: Tensor) -> Tensor:
        tokens = memories[0]
        for layer, memory in zip(self.layers, memories, strict=True):
            tokens = layer(tokens, memory, position)
        out: Tensor = self.norm(tokens)
        return out


class QuantisedTransformer(nn.Module):
    """Features (B, C, h, w) and categories of the images (B,) -> restored features, and the transport score (B, h, w).

    Initial values as in the official code: torch's for every layer, layers as copies of one, positions uniform in
    [0, 1), codebooks standard normal."""

    def __init__(self, channels: int, grid: tuple[int, int], config: Transformer, categories: int) -> None:
        super().__init__()
        self.grid = grid
        width, decay = config.width, config.decay
        double = Doubled(2 * width, config.heads, config.hidden, config.dropout)
        self.embed = nn.Linear(channels, width)
        self.rows = nn.Parameter(torch.rand(grid[0], width // 2))
        self.columns = nn.Parameter(torch.rand(grid[1], width // 2))
        self.encoder = Encoder(config, config.layers)
        self.top = Codebooks(categories, config.entries, width, decay)
        self.levels = nn.ModuleList(
            Codebooks(categories, config.entries, 2 * width, decay) for _ in range(config.layers)
        )
        self.decoder = Decoder(double, config.layers)
        self.heads = nn.ModuleList(nn.Linear(2 * width, channels) for _ in range(categories))

    def forward(self, features: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        position = positions(self.rows, self.columns)
        *levels, last = self.encoder(self.embed(features.flatten(2).mT), position)
        _, top = self.top(last, which)
        memories = []
        for codebooks, level in zip(reversed(self.levels), reversed(levels), strict=True):
            joined = torch.cat([level, top], dim=2)
            products, entries = codebooks(joined, which)
            memories.append(entries)
        transport = self.levels[0].transport(joined, products, which)  # type: ignore[operator]
        restored = self._headed(self.decoder(memories, torch.cat([position, position], dim=1)), which)
        return restored.mT.reshape(features.shape), transport.unflatten(1, self.grid)

    def _headed(self, tokens: Tensor, which: Tensor) -> Tensor:
        if len(self.heads) == 1:
            only: Tensor = self.heads[0](tokens)
            return only
        weights = torch.stack([head.weight for head in self.heads])[which]  # type: ignore[misc]
        biases = torch.stack([head.bias for head in self.heads])[which]  # type: ignore[misc]
        return tokens @ weights.mT + biases[:, None]

    def learn(self, features: Tensor, which: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Restored features and the sum of the commitments, for a step of training; moves the codebooks."""
        position = positions(self.rows, self.columns)
        *levels, last = self.encoder(self.embed(features.flatten(2).mT), position)
        top, commitment = self.top.learn(last, which)
        memories = []
        for codebooks, level in zip(reversed(self.levels), reversed(levels), strict=True):
            entries, more = codebooks.learn(torch.cat([level, top], dim=2), which)  # type: ignore[operator]
            memories.append(entries)
            commitment = commitment + more
        tokens = self.decoder(memories, torch.cat([position, position], dim=1))
        restored = torch.stack([self.heads[one](image) for one, image in zip(which, tokens, strict=True)])
        return restored.mT.reshape(features.shape), commitment


class Network(nn.Module):
    """Image (B, 3, H, W) in [0, 1] -> (anomaly map (B, H, W), image score (B,)), with predicted categories."""

    means: Tensor
    names: Tensor

    def __init__(self, extractor: Extractor, grid: tuple[int, int], config: Config, names: Sequence[str]) -> None:
        super().__init__()
        (channels,) = extractor.channels
        self.extractor = extractor
        self.transformer = QuantisedTransformer(channels, grid, config.transformer, len(names))
        self.head = Head(extractor.image_size, config.score)
        self.register_buffer("means", torch.zeros(len(names), channels))
        self.register_buffer("names", torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        (features,) = self.extractor(images)
        return self.scored(features, self.predicted(features))

    def scored(self, features: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Map and score of features (B, C, h, w) by the codebooks of these categories (B,)."""
        restored, transport = self.transformer(features, which)
        scored: tuple[Tensor, Tensor] = self.head(features, restored, transport)
        return scored

    def predicted(self, features: Tensor) -> Tensor:
        """(B,): the category whose mean of pooled training features is the nearest."""
        pooled = features.mean((2, 3))
        return (pooled[:, None] - self.means).square().sum(2).argmin(1)


class Head(nn.Module):
    """Original and restored features, and the transport score -> (anomaly map, image score)."""

    def __init__(self, side: int, config: Score) -> None:
        super().__init__()
        self.side = side
        self.config = config

    def forward(self, features: Tensor, restored: Tensor, transport: Tensor) -> tuple[Tensor, Tensor]:
        distance = distances(restored, features)
        if self.config.transport:
            distance = distance + self.config.transport * transport
        size = (self.side, self.side)
        anomaly_map = F.interpolate(distance[:, None], size, mode="bilinear", align_corners=True)[:, 0]
        window = min(self.config.pool, self.side)
        pooled = anomaly_map if window == 1 else box_mean(anomaly_map, (window, window))
        return anomaly_map, pooled.amax((1, 2)) if self.config.reduce == "max" else pooled.mean((1, 2))
