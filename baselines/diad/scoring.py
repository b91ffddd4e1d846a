"""From an image to its reconstruction, map and score: encoding, the DDIM loop, decoding, comparison of features."""

from __future__ import annotations

import copy

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.methods.postprocessing import PixelMap, box_mean
from afrad_bench_baselines.diad import REDUCTIONS, TIMES
from afrad_bench_baselines.diad.networks import Denoising

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet. Autoencoder and hint get images normalised by these, not in [-1, 1] as Stable Diffusion does."""
SCALE = 0.18215
"""By which latents are multiplied; Stable Diffusion's."""
SIGMA = 5.0
"""Deviation of the Gaussian over the map in pixels."""
FILTERS, SIDE = 8, 8
"""Number and side of the mean filters before the image score."""


def schedule() -> DDIMScheduler:
    """Noise levels and DDIM grid of Stable Diffusion, as the official code uses them."""
    return DDIMScheduler(
        num_train_timesteps=TIMES,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


class Network(nn.Module):
    """Image (B, 3, H, W) in [0, 1] -> (anomaly map (B, H, W), score (B,))."""

    largest_batch = 63
    """Of exported files: from 64 images on, diffusers lays out its upsampling in another way."""
    mean: Tensor
    std: Tensor
    context: Tensor
    noise: Tensor

    def __init__(
        self,
        autoencoder: AutoencoderKL,
        denoising: Denoising,
        extractor: Extractor,
        context: Tensor,
        noise: Tensor,
        side: int,
        steps: int,
    ) -> None:
        """`context` (1, 77, D): the text tower's vectors. `noise` (2, C, h, w): that of the posterior's sample and that
        of the start, the same for every image. `side`: that of the images."""
        super().__init__()
        self.autoencoder = autoencoder
        self.denoising = denoising
        self.extractor = extractor
        self.pixels = nn.ModuleList(
            PixelMap((side // r, side // r), (side, side), SIGMA, align_corners=True) for r in REDUCTIONS
        )
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("context", context)
        self.register_buffer("noise", noise)
        self.schedule = schedule()
        self.schedule.set_timesteps(steps)
        self.times: tuple[int, ...] = tuple(self.schedule.timesteps.tolist())

    def shortened(self, turns: int) -> Network:
        """The same network, sharing all modules, that stops after so many steps."""
        short = copy.copy(self)
        short.times = self.times[:turns]
        return short

    def normalised(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the autoencoder, the hint and the backbone get them."""
        return (images - self.mean) / self.std

    def latents(self, hints: Tensor, noise: Tensor) -> Tensor:
        """(B, C, h, w): a sample of the posterior of normalised images, given standard normal noise."""
        posterior = self.autoencoder.encode(hints).latent_dist
        sample: Tensor = SCALE * (posterior.mean + posterior.std * noise)
        return sample

    def noised(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Latents with the noise of these times."""
        noisy: Tensor = self.schedule.add_noise(latents, noise, times)
        return noisy

    def denoised(self, latents: Tensor, hints: Tensor) -> Tensor:
        """DDIM without noise (eta 0) from noisy latents to clean ones: the network runs once per step."""
        for time in self.times:
            noise = self.denoising(latents, torch.full((), time, device=latents.device), self.context, hints)
            latents = self.schedule.step(noise, time, latents, return_dict=False)[0]
        return latents

    def restored(self, hints: Tensor) -> Tensor:
        """The reconstruction (B, 3, H, W) of normalised images, normalised as well."""
        of_posterior, of_start = self.noise.unsqueeze(1)
        latents = self.latents(hints, of_posterior)
        start = torch.full((1,), TIMES - 1, device=hints.device)
        noisy = self.noised(latents, of_start.expand_as(latents), start)
        decoded: Tensor = self.autoencoder.decode(self.denoised(noisy, hints) / SCALE, return_dict=False)[0]
        return decoded

    def compared(self, images: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
        """Map and score of images in [0, 1] and their reconstructions, which are normalised."""
        both, count = torch.cat([images, restored * self.std + self.mean]), images.shape[0]
        found = torch.zeros_like(images[:, 0])
        for maps, pixels in zip(self.extractor(both), self.pixels, strict=True):
            found = found + pixels(1 - F.cosine_similarity(maps[:count], maps[count:], dim=1))
        smooth = found
        for _ in range(FILTERS):
            smooth = box_mean(smooth, (SIDE, SIDE))
        return found, smooth.amax((1, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.compared(images, self.restored(self.normalised(images)))
