"""Training AFRAD's reconstruction on cached features (paper sections 3.7 and 4.2).

Training is deterministic: image order and jitter of an epoch come from generators seeded with (seed, epoch). So an
epoch is the same in an uninterrupted and in a resumed fit, and a checkpoint at the end of an epoch is complete."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from afrad_bench.hashing import canonical, seed_for
from afrad_bench.methods.afrad.config import Training
from afrad_bench.methods.afrad.network import Scorer
from afrad_bench.methods.fitting import Checkpoint, batches, descend, jittered, rate_factor, train_epochs
from afrad_bench.types import Bench, TrainingRecord

Fetch = Callable[[Tensor], Tensor]
"""Indices of training images -> their features (B, C, h, w) on the device."""


def reconstruction_loss(reconstructed: Tensor, original: Tensor, scales: tuple[int, ...], kind: str) -> Tensor:
    """Mean squared error: one over all channels ("joint"), or a sum of one per backbone scale of C_1, C_2, ...
    channels."""
    if kind == "joint":
        return F.mse_loss(reconstructed, original)
    errors = (reconstructed - original).square()
    return torch.stack([part.mean() for part in torch.split(errors, list(scales), dim=1)]).sum()


def train(
    scorer: Scorer, fetch: Fetch, count: int, scales: tuple[int, ...], config: Training, bench: Bench
) -> TrainingRecord:
    """Train in place on `count` images; resumes from `bench.checkpoint` if it holds a state of the same fit."""
    net = scorer.reconstruction
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    identity = canonical([config.model_dump(mode="json"), list(scales), count, bench.seeds.init, bench.seeds.order])
    checkpoint = Checkpoint(bench.checkpoint, identity, {"net": net, "optimizer": optimizer})

    def one_epoch(epoch: int) -> float:
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate_factor(config.schedule, epoch, config.epochs)
        noise = torch.Generator().manual_seed(seed_for(bench.seeds.init, "jitter", epoch))
        total = 0.0
        for indices in batches(bench, count, config.batch_size, epoch):
            original = scorer.standardise(fetch(indices))
            source = jittered(original, config.jitter, noise) if config.jitter else original
            loss = reconstruction_loss(net(source), original, scales, config.loss)
            total += descend(loss, optimizer, config.clip) * len(indices)
        return total / count

    return train_epochs(bench, checkpoint, config.epochs, count, net, one_epoch)
