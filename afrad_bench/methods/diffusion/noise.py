"""Random numbers of the diffusion methods: each purpose has its own generator, on the CPU, so that a draw depends
neither on the device nor on torch's default generators."""

from __future__ import annotations

import torch
from torch import Tensor

from afrad_bench.hashing import seed_for
from afrad_bench.types import Bench


def generator(bench: Bench, *names: object) -> torch.Generator:
    """A generator seeded with `bench.seeds.init` and these names (a purpose, an epoch, a step)."""
    return torch.Generator().manual_seed(seed_for(bench.seeds.init, *names))


def gaussian(shape: tuple[int, ...], source: torch.Generator) -> Tensor:
    """Independent values from N(0, 1), float32."""
    return torch.randn(shape, generator=source)


def steps(count: int, below: int, source: torch.Generator) -> Tensor:
    """A step of the diffusion for each of `count` images, uniform on 0 ... `below` - 1."""
    return torch.randint(below, (count,), generator=source)
