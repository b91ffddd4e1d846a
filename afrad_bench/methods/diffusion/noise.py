"""Noise and other random numbers of the diffusion methods.

What training draws comes from `fitting.noise_of`, on the device. The noise of scoring is drawn on the CPU, so that it
is the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from afrad_bench.hashing import seed_for
from afrad_bench.types import Bench


def generator(bench: Bench, *names: object) -> torch.Generator:
    """A generator on the CPU, seeded with `bench.seeds.init` and these names."""
    return torch.Generator().manual_seed(seed_for(bench.seeds.init, *names))


def gaussian(shape: tuple[int, ...], source: torch.Generator, device: str = "cpu") -> Tensor:
    """Independent values from N(0, 1), float32."""
    return torch.randn(shape, generator=source, device=device)


def steps(count: int, below: int, source: torch.Generator, device: str = "cpu") -> Tensor:
    """A step of the diffusion for each of `count` images, uniform on 0 ... `below` - 1."""
    return torch.randint(below, (count,), generator=source, device=device)


def noised(kept: Tensor, images: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """√ᾱ_t x + √(1 - ᾱ_t) n of images and noise (B, C, H, W) at steps t (B,); `kept`: ᾱ of every step."""
    share = kept[t].view(-1, 1, 1, 1)
    return share.sqrt() * images + (1 - share).sqrt() * noise
