"""The three parallel decoders (paper sections 3.3-3.5, Fig. 3). Each takes the stages S'_1 ... S'_n of the M-FPN and
returns one map (B, D, h_1, w_1), the size of the largest stage. `OwnDecoder` holds one of another package."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.errors import fail
from afrad_bench.methods.afrad.config import Compensation, FocusedLocal, StageAdaptive
from afrad_bench.methods.afrad.frm import TokenLinear, TokenMLP
from afrad_bench.methods.afrad.mfpn import Refine


def upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear upsampling to (H, W), corners not aligned."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


class StageAdaptiveDecoder(nn.Module):
    """SAD, eq. 3-6: Ŝ_i = MLP(S'_i), applied N_i times; upsampled, concatenated, fused by a linear layer."""

    def __init__(
        self,
        widths: tuple[int, ...],
        sizes: list[tuple[int, int]],
        width: int,
        config: StageAdaptive,
        refine: Refine,
    ) -> None:
        super().__init__()
        self.stages = [stage - 1 for stage in config.stages]
        self.size = sizes[0]
        self.refinements = nn.ModuleList(refine(widths[i], config.repeats[i], sizes[i]) for i in self.stages)
        self.fuse = TokenLinear(sum(widths[i] for i in self.stages), width)

    def forward(self, stages: list[Tensor]) -> Tensor:
        refined = [refine(stages[i]) for i, refine in zip(self.stages, self.refinements, strict=True)]
        return self.fuse(torch.cat([upsampled(maps, self.size) for maps in refined], dim=1))


class LocalBranch(nn.Module):
    """Conv_p(DW_p(Conv_p(.))) of eq. 8: 1x1 convolution, depth-wise p x p, 1x1 convolution; keeps H x W."""

    def __init__(self, channels: int, width: int, kernel: int, activation: bool) -> None:
        super().__init__()

        def around() -> list[nn.Module]:
            return [nn.BatchNorm2d(width), nn.GELU()] if activation else []

        self.block = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            *around(),
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width),
            *around(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.block(maps)
        return out


class FocusedLocalDecoder(nn.Module):
    """FLD, eq. 7-10: the first stages concatenated at the size of the largest, one branch per kernel p, fused."""

    def __init__(self, widths: tuple[int, ...], sizes: list[tuple[int, int]], width: int, config: FocusedLocal) -> None:
        super().__init__()
        self.stages = [stage - 1 for stage in config.stages]
        self.size = sizes[0]
        channels = sum(widths[i] for i in self.stages)
        self.branches = nn.ModuleList(LocalBranch(channels, width, k, config.activation) for k in config.kernels)
        self.fuse = TokenLinear(width * len(config.kernels), width)

    def forward(self, stages: list[Tensor]) -> Tensor:
        joined = torch.cat([upsampled(stages[i], self.size) for i in self.stages], dim=1)
        return self.fuse(torch.cat([branch(joined) for branch in self.branches], dim=1))


class CompensationDecoder(nn.Module):
    """CD, section 3.5 and Fig. 3c: the chosen stages refined once more by Φ, decoded by an MLP, upsampled, fused."""

    def __init__(
        self,
        widths: tuple[int, ...],
        sizes: list[tuple[int, int]],
        width: int,
        config: Compensation,
        refine: Refine,
        expansion: float,
    ) -> None:
        super().__init__()
        self.stages = [stage - 1 for stage in config.stages]
        self.size = sizes[0]
        self.refinements = nn.ModuleList(refine(widths[i], 1, sizes[i]) for i in self.stages)
        self.decode = nn.ModuleList(TokenMLP(widths[i], width, round(expansion * widths[i])) for i in self.stages)
        self.fuse = TokenLinear(width * len(self.stages), width)

    def forward(self, stages: list[Tensor]) -> Tensor:
        decoded = [
            decode(refine(stages[i]))
            for i, refine, decode in zip(self.stages, self.refinements, self.decode, strict=True)
        ]
        return self.fuse(torch.cat([upsampled(maps, self.size) for maps in decoded], dim=1))


class OwnDecoder(nn.Module):
    """A decoder of an installed package: hands it the stages that it reads. Raises `UserError` if its map has another
    shape than (B, width, h_1, w_1)."""

    def __init__(
        self,
        name: str,
        build: Callable[[tuple[int, ...], list[tuple[int, int]], int, tuple[int, int]], nn.Module],
        stages: Sequence[int],
        widths: tuple[int, ...],
        sizes: list[tuple[int, int]],
        width: int,
    ) -> None:
        super().__init__()
        self.stages = [stage - 1 for stage in stages]
        seen = tuple(widths[i] for i in self.stages), [sizes[i] for i in self.stages]
        self.decoder = build(*seen, width, sizes[0])
        self.decoder.eval()
        with torch.no_grad():
            shape = tuple(self.decoder([torch.zeros(2, d, *size) for d, size in zip(*seen, strict=True)]).shape)
        self.decoder.train()
        if shape != (2, width, *sizes[0]):
            raise fail(
                f"the decoder {name} makes a map of shape {shape} of 2 images, but it must be {(2, width, *sizes[0])}",
                hint="(images, `width`, *`grid`), see CONTRIBUTING.md",
            )

    def forward(self, stages: list[Tensor]) -> Tensor:
        out: Tensor = self.decoder([stages[i] for i in self.stages])
        return out
