"""Normality guided integration block (paper section 3.6, Fig. 4), and the plain fusion that replaces it in Table 5."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from afrad_bench.methods.afrad.frm import TokenLinear, TokenMLP


class NGIB(nn.Module):
    """Eq. 11-13: F_c = Concat(decoders), FB = MLP(F_c), F_rec = Linear(FB); with `skip`, FB = MLP(F_c) + F_c.

    n maps (B, D, H, W) -> F_rec (B, C, H, W)."""

    def __init__(self, decoders: int, width: int, channels: int, expansion: float, skip: bool) -> None:
        super().__init__()
        joined = decoders * width
        self.skip = skip
        self.mlp = TokenMLP(joined, joined, round(expansion * joined))
        self.project = TokenLinear(joined, channels)

    def forward(self, decoded: list[Tensor]) -> Tensor:
        joined = torch.cat(decoded, dim=1)
        fused = self.mlp(joined)
        out: Tensor = self.project(fused + joined if self.skip else fused)
        return out


class PlainFusion(nn.Module):
    """Without NGIB (Table 5): the sum or the concatenation of the decoders' maps, then one linear layer to F_rec."""

    def __init__(self, decoders: int, width: int, channels: int, concat: bool) -> None:
        super().__init__()
        self.concat = concat
        self.project = TokenLinear(decoders * width if concat else width, channels)

    def forward(self, decoded: list[Tensor]) -> Tensor:
        joined = torch.cat(decoded, dim=1) if self.concat else torch.stack(decoded).sum(dim=0)
        out: Tensor = self.project(joined)
        return out
