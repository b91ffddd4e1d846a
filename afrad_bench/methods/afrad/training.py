"""Training AFRAD's reconstruction on cached features (paper sections 3.7 and 4.2).

Training is deterministic: image order, jitter and masks of an epoch come from generators seeded with (seed, epoch). So
an epoch is the same in an uninterrupted and in a resumed fit, and a checkpoint at the end of an epoch is complete."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from afrad_bench.hashing import canonical
from afrad_bench.methods.afrad.config import Training
from afrad_bench.methods.afrad.network import Scorer
from afrad_bench.methods.fitting import (
    Checkpoint,
    adamw,
    jittered,
    mean_loss,
    noise_of,
    prepared,
    rate_factor,
    stepped,
    train_epochs,
)
from afrad_bench.methods.frozen import TrainingMaps
from afrad_bench.types import Bench, TrainingRecord


def reconstruction_loss(reconstructed: Tensor, original: Tensor, scales: tuple[int, ...], kind: str) -> Tensor:
    """Mean squared error: one over all channels ("joint"), or a sum of one per backbone scale of C_1, C_2, ...
    channels."""
    if kind == "joint":
        return F.mse_loss(reconstructed, original)
    errors = (reconstructed - original).square()
    return torch.stack([part.mean() for part in torch.split(errors, list(scales), dim=1)]).sum()


def masked(features: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """(B, C, h, w) with each token set to zero with probability `share`, so that it must be reconstructed from the
    tokens around it; zero is the mean of standardised features."""
    batch, _, *grid = features.shape
    kept = torch.rand((batch, 1, *grid), generator=generator, device=features.device) >= share
    return features * kept


def train(
    scorer: Scorer, maps: TrainingMaps, scales: tuple[int, ...], config: Training, bench: Bench
) -> TrainingRecord:
    """Train in place on these features; resumes from `bench.checkpoint` if it holds a state of the same fit."""
    net, count = scorer.reconstruction, len(maps)
    optimizer = adamw(net.parameters(), config.lr, config.weight_decay)
    identity = canonical([config.model_dump(mode="json"), list(scales), count, bench.seeds.init, bench.seeds.order])
    checkpoint = Checkpoint(bench.checkpoint, identity, {"net": net, "optimizer": optimizer})

    def loss(source: Tensor, original: Tensor) -> Tensor:
        return reconstruction_loss(net(source), original, scales, config.loss)

    loss_of = prepared(net, loss, config.step, bench.device)

    def one_epoch(epoch: int) -> float:
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate_factor(config.schedule, epoch, config.epochs)
        return mean_loss(steps(epoch), count)

    def steps(epoch: int) -> Iterator[tuple[Tensor, int]]:
        noise = noise_of(bench, "jitter", epoch)
        for (features,) in maps.epoch(config.batch_size, epoch):
            original = scorer.standardise(scorer.arranged(features))
            source = jittered(original, config.jitter, noise) if config.jitter else original
            source = masked(source, config.mask, noise) if config.mask else source
            yield stepped(loss_of(source, original), optimizer, config.clip), len(features)

    return train_epochs(bench, checkpoint, config.epochs, count, net, one_epoch)
