"""Feature refinement module Φ (paper section 3.1): an MLP over the channels of each token, with a skip (eq. 2).

Maps are (B, C, H, W); linear layers see them as tokens (B, H, W, C), which needs no copy in channels-last memory."""

from __future__ import annotations

from torch import Tensor, nn


def tokens_of(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C)."""
    return maps.permute(0, 2, 3, 1)


def maps_of(tokens: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W)."""
    return tokens.permute(0, 3, 1, 2)


class TokenLinear(nn.Module):
    """One linear layer on the channels of each token: (B, C_in, H, W) -> (B, C_out, H, W)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels_in, channels_out)

    def forward(self, maps: Tensor) -> Tensor:
        return maps_of(self.linear(tokens_of(maps)))


class TokenMLP(nn.Module):
    """LayerNorm, Linear, GELU, Linear on the channels of each token: (B, C_in, H, W) -> (B, C_out, H, W)."""

    def __init__(self, channels_in: int, channels_out: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels_in)
        self.expand = nn.Linear(channels_in, hidden)
        self.act = nn.GELU()
        self.project = nn.Linear(hidden, channels_out)

    def forward(self, maps: Tensor) -> Tensor:
        return maps_of(self.project(self.act(self.expand(self.norm(tokens_of(maps))))))


class PositionMixing(nn.Module):
    """Mixes the tokens of a map by an MLP over its P = H·W positions, the same for each channel; keeps the shape."""

    def __init__(self, channels: int, positions: int, expansion: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(positions, max(1, round(expansion * positions)))
        self.act = nn.GELU()
        self.project = nn.Linear(self.expand.out_features, positions)

    def forward(self, maps: Tensor) -> Tensor:
        positions = maps_of(self.norm(tokens_of(maps))).flatten(2)
        return self.project(self.act(self.expand(positions))).view(maps.shape)


class FeatureRefinement(nn.Module):
    """Eq. 2, `depth` times: x <- Φ(x) + x, or x <- Φ(x) without `skip`. Φ is an MLP on the channels, preceded by one on
    the positions if given.

    Shape (B, C, H, W) -> (B, C, H, W). `depth` 0 is the identity."""

    def __init__(
        self, channels: int, expansion: float, depth: int = 1, positions: int | None = None, skip: bool = True
    ) -> None:
        super().__init__()
        self.skip = skip
        hidden = max(1, round(expansion * channels))
        steps: list[nn.Module] = []
        for _ in range(depth):
            if positions is not None:
                steps.append(PositionMixing(channels, positions, expansion=0.5))
            steps.append(TokenMLP(channels, channels, hidden))
        self.steps = nn.ModuleList(steps)

    def forward(self, maps: Tensor) -> Tensor:
        for refine in self.steps:
            maps = refine(maps) + maps if self.skip else refine(maps)
        return maps
