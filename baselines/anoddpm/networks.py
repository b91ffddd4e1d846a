"""The inference path: partial noise, denoising steps, squared difference.

Axes: B images of 3 colours, x (B, 3, H, W) in [-1, 1]; T denoising steps t = T - 1 ... 0; ᾱ_t is the share of an
image's variance that step t keeps."""

from __future__ import annotations

import copy

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from afrad_bench.methods.diffusion.config import LINEAR
from afrad_bench.methods.diffusion.unet import Unet
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench_baselines.anoddpm import Config
from afrad_bench_baselines.anoddpm.simplex import Octaves, Simplex, permutations

COLOURS = 3


class Network(nn.Module):
    """Image (B, 3, H, W) in [0, 1] -> (anomaly map (B, H, W), image score (B,))."""

    chance: Tensor
    """(T + 1, 3, 256): the permutations behind the noise of the image and of every step, the same for all images."""
    kept: Tensor
    """ᾱ of every step."""

    def __init__(self, config: Config, unet: Unet, side: int, source: torch.Generator) -> None:
        super().__init__()
        self.unet = unet
        self.turns = config.steps
        self.simplex = Simplex(Octaves(config.noise.octaves, config.noise.persistence, config.noise.frequency))
        drawn = permutations((config.steps + 1) * COLOURS, source)
        self.register_buffer("chance", drawn.unflatten(0, (-1, COLOURS)))
        self.map, self.score = (
            PixelMap((side, side), (side, side), sigma) if sigma else nn.Identity()
            for sigma in (config.score.sigma, config.score.image_sigma)
        )
        self.scheduler = DDPMScheduler(**LINEAR, variance_type="fixed_large", clip_sample=True)
        self.register_buffer("kept", self.scheduler.alphas_cumprod, persistent=False)
        self.shares: list[float] = self.scheduler.alphas_cumprod.tolist()
        self.betas: list[float] = self.scheduler.betas.tolist()

    def noise(self, drawn: int, t: int, size: tuple[int, int]) -> Tensor:
        """(1, 3, H, W): the field of each colour at the step t, from the permutations number `drawn`."""
        found: Tensor = self.simplex(self.chance[drawn], float(t), size)
        return found[None]

    def denoised(self, x: Tensor, t: int, noise: Tensor | None) -> Tensor:
        """One step of the reverse process, from x_t to x_{t-1} (Ho et al. 2020, eq. 7) with the given noise, of
        variance β_t. The estimate of the image is clamped to [-1, 1].

        `DDPMScheduler.step` is the same with noise that it draws itself."""
        kept, before, beta = self.shares[t], self.shares[t - 1] if t else 1.0, self.betas[t]
        estimate = self.unet(x, torch.full((1,), t, device=x.device))
        image = ((x - (1 - kept) ** 0.5 * estimate) / kept**0.5).clamp(-1, 1)
        mean = (before**0.5 * beta * image + (1 - beta) ** 0.5 * (1 - before) * x) / (1 - kept)
        return mean if noise is None else mean + beta**0.5 * noise

    def repaired(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] after partial diffusion and all denoising steps."""
        size = (x.shape[-2], x.shape[-1])
        if not self.turns:
            return x
        last = self.turns - 1
        x = self.shares[last] ** 0.5 * x + (1 - self.shares[last]) ** 0.5 * self.noise(0, last, size)
        for t in reversed(range(self.turns)):
            x = self.denoised(x, t, self.noise(t, t, size) if t else None)
        return x

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = 2 * images - 1
        error = (x - self.repaired(x)).square().mean(1)
        return self.map(error), self.score(error).amax((1, 2))

    def shortened(self, turns: int) -> Network:
        """This network with so many denoising steps, from less noise."""
        short = copy.copy(self)
        short.turns = turns
        return short
