"""The two stages of the training: the autoencoder on the images, then SGN and decoder on their latents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from afrad_bench.hashing import canonical
from afrad_bench.methods.diffusion.noise import gaussian, generator, steps
from afrad_bench.methods.fitting import Checkpoint, batches, beforehand, train_epochs
from afrad_bench.types import Bench, Images, TrainingRecord
from afrad_bench_baselines.diad import TIMES, StageA, Training
from afrad_bench_baselines.diad.perceptual import Lpips
from afrad_bench_baselines.diad.scoring import Network


def one_pass(
    bench: Bench,
    optimizer: torch.optim.Optimizer,
    count: int,
    epoch: int,
    config: StageA | Training,
    loss_of: Callable[[list[int]], Tensor],
) -> float:
    """An epoch over `count` images in batches, with a step for every `accumulate` of them on the sum of their losses
    over `accumulate`. The last step may have fewer batches, and is divided by the same number, as in Lightning."""
    shares = batches(bench, count, config.batch_size, epoch)
    total = torch.zeros((), device=bench.device)
    for first in range(0, len(shares), config.accumulate):
        optimizer.zero_grad()
        for share in shares[first : first + config.accumulate]:
            loss = loss_of(share.tolist())
            (loss / config.accumulate).backward()
            total += loss.detach() * len(share)
        optimizer.step()
    return float(total) / count


def shown(bench: Bench, net: Network, images: Images) -> Tensor:
    """These images, normalised, on the device."""
    return net.normalised(torch.from_numpy(images.array()).to(bench.device))


def autoencoder_loss(net: Network, hints: Tensor, noise: Tensor, kl: float, lpips: Lpips | None) -> Tensor:
    """L1 and LPIPS, summed over pixels and channels, and `kl` times the KL divergence: means over the batch."""
    posterior = net.autoencoder.encode(hints).latent_dist
    restored = net.autoencoder.decode(posterior.mean + posterior.std * noise, return_dict=False)[0]
    errors = (hints - restored).abs()
    if lpips is not None:
        errors = errors + lpips(hints, restored).view(-1, 1, 1, 1)
    loss: Tensor = errors.sum() / len(hints) + kl * posterior.kl().sum() / len(hints)
    return loss


def tune_autoencoder(
    config: StageA, bench: Bench, net: Network, train: Images, identity: str, at: Path | None
) -> TrainingRecord:
    """Stage A. `identity`: description of the fit; `at`: folder of LPIPS, None for L1 alone."""
    own = beforehand(bench, "autoencoder")
    lpips = Lpips(at).to(bench.device) if at is not None else None
    net.autoencoder.requires_grad_(True)
    optimizer = torch.optim.Adam(net.autoencoder.parameters(), lr=config.lr, betas=(0.5, 0.9))
    parts = {"autoencoder": net.autoencoder, "optimizer": optimizer}

    def one_epoch(epoch: int) -> float:
        source = generator(bench, "autoencoder", epoch)

        def loss_of(indices: list[int]) -> Tensor:
            noise = gaussian((len(indices), *net.noise.shape[1:]), source).to(bench.device)
            return autoencoder_loss(net, shown(bench, net, train.subset(indices)), noise, config.kl, lpips)

        return one_pass(own, optimizer, len(train), epoch, config, loss_of)

    checkpoint = Checkpoint(own.checkpoint, identity, parts)
    return train_epochs(own, checkpoint, config.epochs, len(train), net.autoencoder, one_epoch)


def denoising_loss(net: Network, hints: Tensor, of_posterior: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Mean squared error of the noise that is found in the noisy latents of normalised images (eq. 5)."""
    with torch.no_grad():
        latents = net.latents(hints, of_posterior)
    found = net.denoising(net.noised(latents, noise, times), times, net.context, hints)
    return F.mse_loss(found, noise)


def train_denoising(
    config: Training, bench: Bench, net: Network, train: Images, identity: str, notes: tuple[str, ...]
) -> TrainingRecord:
    """Stage B. `identity`: description of the fit."""
    learned = [parameter for parameter in net.denoising.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=config.lr, weight_decay=config.weight_decay)
    parts = {"guidance": net.denoising.guidance, "unet": net.denoising.unet, "optimizer": optimizer}

    def one_epoch(epoch: int) -> float:
        source = generator(bench, "denoising", epoch)

        def loss_of(indices: list[int]) -> Tensor:
            of_posterior, noise = gaussian((2, len(indices), *net.noise.shape[1:]), source).to(bench.device)
            times = steps(len(indices), TIMES, source).to(bench.device)
            hints = shown(bench, net, train.subset(indices))
            return denoising_loss(net, hints, of_posterior, noise, times)

        return one_pass(bench, optimizer, len(train), epoch, config, loss_of)

    checkpoint = Checkpoint(bench.checkpoint, identity, parts)
    return train_epochs(bench, checkpoint, config.epochs, len(train), net.denoising, one_epoch, notes)


def identity_of(bench: Bench, *terms: object) -> str:
    """A canonical description of a fit with these terms."""
    return canonical([*terms, bench.image_size, bench.seeds.init, bench.seeds.order])
