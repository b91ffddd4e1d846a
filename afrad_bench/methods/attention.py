"""Layers of transformers on a grid of tokens, as UniAD has them and as HVQ-Trans took them over.

Axes: B images, N = h · w tokens, D channels of a token."""

from __future__ import annotations

import copy
from typing import Protocol

import torch
from torch import Tensor, nn


class Layers(Protocol):
    """The fields of a configuration that describe such a transformer."""

    @property
    def width(self) -> int: ...

    @property
    def heads(self) -> int: ...

    @property
    def hidden(self) -> int: ...

    @property
    def dropout(self) -> float: ...


class Attention(nn.Module):
    """Multi-head attention of queries (B, N, D) to keys and values (B, N, D), with dropout -> (B, N, D).

    `mask`: (N, N), added to the logits; None sees everything."""

    def __init__(self, config: Layers) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(config.width, config.heads, config.dropout, batch_first=True)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        found, _ = self.inner(query, key, value, attn_mask=mask, need_weights=False)
        dropped: Tensor = self.drop(found)
        return dropped


class FeedForward(nn.Sequential):
    """(B, N, D) -> (B, N, D), each token by itself."""

    def __init__(self, config: Layers) -> None:
        super().__init__(
            nn.Linear(config.width, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.width),
            nn.Dropout(config.dropout),
        )


class EncoderLayer(nn.Module):
    """Tokens and their positions -> tokens; positions are added to queries and keys, not to values."""

    def __init__(self, config: Layers) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(2))

    def forward(self, tokens: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        placed = tokens + position
        tokens = self.norms[0](tokens + self.attention(placed, placed, tokens, mask))
        out: Tensor = self.norms[1](tokens + self.feed_forward(tokens))
        return out


def copies(layer: nn.Module, count: int) -> nn.ModuleList:
    """This many copies of a layer: all start with the same values, as in both official codes."""
    return nn.ModuleList(copy.deepcopy(layer) for _ in range(count))


def positions(rows: Tensor, columns: Tensor) -> Tensor:
    """(h · w, D): for each token the learned values of its column (w, D / 2), then those of its row (h, D / 2)."""
    height, width = len(rows), len(columns)
    return torch.cat([columns.expand(height, -1, -1), rows[:, None].expand(-1, width, -1)], dim=-1).flatten(0, 1)
