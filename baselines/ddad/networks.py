"""The inference path: conditioned denoising, then distances of pixels and features.

Axes: B images of 3 colours, x (B, 3, H, W) in [-1, 1]; T denoising steps; ᾱ_t is the share of an image's variance that
step t keeps."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.methods.diffusion.config import LINEAR, TIMESTEPS
from afrad_bench.methods.diffusion.noise import gaussian
from afrad_bench.methods.diffusion.unet import Unet
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench_baselines.ddad import Config

COLOURS = 3
TINY = 1e-12
"""Smallest maximum of a distance of pixels that is divided by."""


class Network(nn.Module):
    """Image (B, 3, H, W) in [0, 1] -> (anomaly map (B, H, W), image score (B,))."""

    noise: Tensor
    """(T, 3, H, W): the noise of the image, then that of each step but the last, which has none; for all images."""
    largest: Tensor
    """(2,): largest distance of features and of pixels on the training images, if `score.balance` asks for it."""
    kept: Tensor
    """ᾱ of every step."""

    def __init__(self, config: Config, unet: Unet, extractor: Extractor, side: int, source: torch.Generator) -> None:
        super().__init__()
        self.unet = unet
        self.extractor = extractor
        self.config = config
        self.turns = config.steps
        self.compared = [config.reductions.index(one) for one in config.score.compared]
        self.scheduler = DDIMScheduler(**LINEAR, clip_sample=False, set_alpha_to_one=True, timestep_spacing="leading")
        self.scheduler.set_timesteps(TIMESTEPS // config.skip)
        self.register_buffer("kept", self.scheduler.alphas_cumprod, persistent=False)
        self.shares: list[float] = self.scheduler.alphas_cumprod.tolist()
        self.register_buffer("noise", gaussian((config.steps, COLOURS, side, side), source))
        self.register_buffer("largest", torch.ones(2))
        inside = round(config.score.crop * side)
        first = round((side - inside) / 2)
        self.centre = slice(first, first + inside)
        sigma = config.score.sigma
        self.smooth = PixelMap((side, side), (side, side), sigma, "mirror") if sigma else nn.Identity()

    def repaired(self, x: Tensor, target: Tensor, w: float, noise: Sequence[Tensor] | Tensor) -> Tensor:
        """Images x after partial diffusion and conditioned denoising towards `target` with weight `w`.

        `noise` (T, ...): that of the image and of every step but the last."""
        level = self.shares[self.turns * self.config.skip]
        x = level**0.5 * x + (1 - level) ** 0.5 * noise[0]
        for turn in range(self.turns):
            t = (self.turns - 1 - turn) * self.config.skip
            fresh = noise[turn + 1] if t else noise[0]  # its share in the last step is 0
            x = self.denoised(x, target, t, w, fresh)
        return x

    def denoised(self, x: Tensor, target: Tensor, t: int, w: float, noise: Tensor) -> Tensor:
        """One step from x_t to the next x: the estimate of the noise is moved towards `target`, then DDIM."""
        kept = self.shares[t]
        estimate = self.unet(x, torch.full((1,), t, device=x.device))
        y = kept**0.5 * target + (1 - kept) ** 0.5 * estimate
        guided = estimate - w * (1 - kept) ** 0.5 * (y - x)
        fresh = noise.expand_as(x)
        stepped = self.scheduler.step(guided, t, x, eta=self.config.eta, variance_noise=fresh, return_dict=False)
        following: Tensor = stepped[0]
        return following

    def distances(self, x: Tensor, repaired: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of features and of pixels, (B, H, W) each."""
        theirs, ours = (self.extractor((images + 1) / 2) for images in (x, repaired))
        features = []
        for i in self.compared:
            a, b = (F.avg_pool2d(maps[i], 3, 1, 1) for maps in (theirs, ours))
            distance = 1 - F.cosine_similarity(a, b)
            features.append(F.interpolate(distance[:, None], x.shape[-2:], mode="bilinear", align_corners=True)[:, 0])
        return torch.stack(features).sum(0), (repaired - x).abs().mean(1)

    def measured(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of features and of pixels for images (B, 3, H, W) in [0, 1]."""
        x = 2 * images - 1
        return self.distances(x, self.repaired(x, x, self.config.w, self.noise))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, pixels = self.measured(images)
        if self.config.score.balance == "training":
            ratio = self.largest[0] / self.largest[1].clamp(min=TINY)
        else:
            ratio = (features.amax((1, 2)) / pixels.amax((1, 2)).clamp(min=TINY))[:, None, None]
        anomaly_map: Tensor = self.smooth(features + self.config.score.v * ratio * pixels)
        return anomaly_map, anomaly_map[:, self.centre, self.centre].amax((1, 2))

    def shortened(self, turns: int) -> Network:
        """This network with so many denoising steps, from less noise."""
        short = copy.copy(self)
        short.turns = turns
        return short


def adaptation_loss(
    repaired: Sequence[Tensor],
    target: Sequence[Tensor],
    target_frozen: Sequence[Tensor],
    repaired_frozen: Sequence[Tensor],
    keep: float,
) -> Tensor:
    """Sum over stages of one minus the cosines of whole maps, those to the frozen extractor times `keep`."""

    def apart(a: Tensor, b: Tensor) -> Tensor:
        return (1 - F.cosine_similarity(a.flatten(1), b.flatten(1))).mean()

    stages = zip(repaired, target, target_frozen, repaired_frozen, strict=True)
    return torch.stack([apart(a, b) + keep * (apart(b, c) + apart(a, d)) for a, b, c, d in stages]).sum()
