"""M-FPN (paper section 3.2): a pyramid of stages, each a patch embedding with its own kernel, refined by Φ."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from afrad_bench.methods.afrad.config import Pyramid
from afrad_bench.methods.afrad.frm import maps_of, tokens_of

Refine = Callable[[int, int, tuple[int, int]], nn.Module]
"""(channels, number of applications of Φ, (H, W) of the map) -> a refinement that keeps the shape."""


class PatchEmbedding(nn.Module):
    """PE_i of eq. 1: an overlapping k x k convolution of stride s and a LayerNorm.

    (B, C_in, H, W) -> (B, d, ceil(H/s), ceil(W/s))."""

    def __init__(self, channels_in: int, width: int, kernel: int, stride: int, separable: bool) -> None:
        super().__init__()
        padding = kernel // 2
        if separable:
            self.conv: nn.Module = nn.Sequential(
                nn.Conv2d(channels_in, channels_in, kernel, stride, padding, groups=channels_in),
                nn.Conv2d(channels_in, width, 1),
            )
        else:
            self.conv = nn.Conv2d(channels_in, width, kernel, stride, padding)
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Tensor) -> Tensor:
        return maps_of(self.norm(tokens_of(self.conv(maps))))


class MFPN(nn.Module):
    """Eq. 1-2: H'_i = PE_i(S_i), S'_i = Φ_i(H'_i) + H'_i.

    F_ori (B, C, H, W) -> [S'_1, ..., S'_n], S'_i (B, d_i, h_i, w_i). In a cascade S_(i+1) = S'_i. In parallel every
    S_i = F_ori, and the strides are multiplied up, so that the stages have the same sizes as in the cascade. Only the
    first n stages are built: no decoder uses later ones."""

    def __init__(
        self, channels: int, size: tuple[int, int], config: Pyramid, stages: int, depth: int, refine: Refine
    ) -> None:
        super().__init__()
        self.cascade = config.topology == "cascade"
        self.embeddings = nn.ModuleList()
        self.refinements = nn.ModuleList()
        self.sizes: list[tuple[int, int]] = []
        """(h_i, w_i) of each stage."""
        total = 1
        channels_in = channels
        made = zip(config.widths[:stages], config.kernels, config.strides, strict=False)
        for width, kernel, stride in made:
            size = (-(-size[0] // stride), -(-size[1] // stride))
            total *= stride
            separable = config.embedding == "separable"
            step = stride if self.cascade else total
            self.embeddings.append(PatchEmbedding(channels_in, width, kernel, step, separable))
            self.refinements.append(refine(width, depth, size))
            self.sizes.append(size)
            if self.cascade:
                channels_in = width

    def forward(self, features: Tensor) -> list[Tensor]:
        stages: list[Tensor] = []
        source = features
        for embed, refine in zip(self.embeddings, self.refinements, strict=True):
            refined = refine(embed(source))
            stages.append(refined)
            if self.cascade:
                source = refined
        return stages
