"""The transformer: restores the features of a grid of tokens; its attention masks each token's neighbourhood.

Axes: B images, N = h · w tokens, C channels of the features, D channels of a token inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from afrad_bench.methods.attention import Attention, EncoderLayer, FeedForward, copies, positions
from afrad_bench_baselines.uniad import Transformer


def hidden_neighbours(grid: tuple[int, int], size: int) -> Tensor:
    """(N, N) float: -inf where key token j lies in the `size` x `size` square around query token i, i itself included,
    else 0. The square is cut off at the border."""
    rows, columns = (torch.arange(side) for side in grid)
    near_rows = (rows[:, None] - rows).abs() <= size // 2
    near_columns = (columns[:, None] - columns).abs() <= size // 2
    near = near_rows[:, None, :, None] & near_columns[None, :, None, :]
    return torch.zeros(near.shape).masked_fill(near, float("-inf")).flatten(2).flatten(0, 1)


class DecoderLayer(nn.Module):
    """A learned query that attends to the encoder's output, then to the previous layer (layer-wise query, section 3.2).

    The previous layer's output has no residual connection: only the query is passed on."""

    def __init__(self, config: Transformer, tokens: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(tokens, config.width))
        self.to_memory = Attention(config)
        self.to_previous = Attention(config)
        self.feed_forward = FeedForward(config)
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(3))

    def forward(self, previous: Tensor, memory: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        query = self.query.expand_as(memory)
        query = self.norms[0](query + self.to_memory(query + position, memory + position, memory, mask))
        query = self.norms[1](query + self.to_previous(query + position, previous + position, previous, mask))
        out: Tensor = self.norms[2](query + self.feed_forward(query))
        return out


class Encoder(nn.Module):
    """Tokens -> memory, both (B, N, D)."""

    def __init__(self, config: Transformer) -> None:
        super().__init__()
        self.layers = copies(EncoderLayer(config), config.encoder_layers)

    def forward(self, tokens: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            tokens = layer(tokens, position, mask)
        return tokens


class Decoder(nn.Module):
    """Memory -> restored tokens, both (B, N, D); for the first layer, the previous layer is the memory itself."""

    def __init__(self, config: Transformer, tokens: int) -> None:
        super().__init__()
        self.layers = copies(DecoderLayer(config, tokens), config.decoder_layers)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, memory: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        restored = memory
        for layer in self.layers:
            restored = layer(restored, memory, position, mask)
        out: Tensor = self.norm(restored)
        return out


class Reconstruction(nn.Module):
    """(B, C, h, w) -> (B, C, h, w).

    Initial values as in the official code: linear layers Xavier-uniform without bias, positions uniform in [0, 1),
    queries standard normal. All layers are copies of one, so queries and the attentions' input projections start
    equal."""

    mask: Tensor | None

    def __init__(self, channels: int, grid: tuple[int, int], config: Transformer) -> None:
        super().__init__()
        self.grid = grid
        self.embed = nn.Linear(channels, config.width)
        self.rows = nn.Parameter(torch.rand(grid[0], config.width // 2))
        self.columns = nn.Parameter(torch.rand(grid[1], config.width // 2))
        self.encoder = Encoder(config)
        self.decoder = Decoder(config, grid[0] * grid[1])
        self.restore = nn.Linear(config.width, channels)
        mask = hidden_neighbours(grid, config.neighbours) if config.neighbours else None
        self.register_buffer("mask", mask, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.embed(features.flatten(2).mT)
        position = self.position()
        memory = self.encoder(tokens, position, self.mask)
        restored: Tensor = self.restore(self.decoder(memory, position, self.mask))
        return restored.mT.reshape(features.shape)

    def position(self) -> Tensor:
        """(N, D): for each token the learned values of its column, then those of its row."""
        return positions(self.rows, self.columns)
