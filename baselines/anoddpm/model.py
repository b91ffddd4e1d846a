"""AnoDDPM as a method: a U-Net trained to estimate simplex noise; see the package's docstring."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical
from afrad_bench.methods.ahead import images_ahead
from afrad_bench.methods.diffusion.noise import generator, noised, steps
from afrad_bench.methods.diffusion.unet import Unet
from afrad_bench.methods.fitting import Checkpoint, adamw, batches, draws_of, noise_of, stepped, train_epochs
from afrad_bench.methods.inference import predict
from afrad_bench.methods.official import note
from afrad_bench.types import Bench, Images, Loop, Prediction, TrainingRecord
from afrad_bench_baselines.anoddpm import Config, Training, check
from afrad_bench_baselines.anoddpm.checkpoint import load
from afrad_bench_baselines.anoddpm.networks import COLOURS, Network
from afrad_bench_baselines.anoddpm.simplex import permutations


class Anoddpm:
    """See the package's docstring. The input's side must be a multiple of 2 per level of the U-Net below the first."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        check(config, bench.image_size)
        with draws_of(bench, "network"):
            self.unet = Unet(config.unet, bench.image_size)
        self.notes: tuple[str, ...] = ()
        if config.start is not None:
            path = Path(config.start).expanduser()
            load(self.unet, config.unet, path)
            self.notes += (note(path),)
        self.unet.to(bench.device).eval()
        averaged = copy.deepcopy(self.unet).requires_grad_(False)
        self.net = Network(config, averaged, bench.image_size, generator(bench, "scoring")).to(bench.device).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Train the U-Net to estimate the noise of normal images, and average its weights (section 3)."""
        config, bench, unet = self.config.training, self.bench, self.unet
        if len(train) < config.batch_size:
            raise fail(
                f"AnoDDPM cannot draw batches of {config.batch_size} from {len(train)} images",
                hint="lower training.batch_size",
            )
        optimizer = adamw(unet.parameters(), config.lr, config.weight_decay)
        terms = [self.config.model_dump(mode="json"), self.notes, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        parts = {"unet": unet, "averaged": self.net.unet, "optimizer": optimizer}
        checkpoint = Checkpoint(bench.checkpoint, identity, parts)

        def one_epoch(epoch: int) -> float:
            source = noise_of(bench, "training", epoch)
            losses = []
            with draws_of(bench, "dropout", epoch):
                for images in images_ahead(train, self._order(len(train), epoch), bench.device):
                    t = steps(len(images), config.below, source, bench.device)
                    drawn = permutations(len(images) * COLOURS, source, bench.device).unflatten(0, (-1, COLOURS))
                    loss = self.loss(2 * images - 1, t, drawn)
                    losses.append(stepped(loss, optimizer, config.clip))
                    follow(self.net.unet, unet, config.average)
            return float(torch.stack(losses).mean())

        shown = config.iterations * config.batch_size
        return train_epochs(bench, checkpoint, config.epochs, shown, unet, one_epoch, self.notes)

    def _order(self, images: int, epoch: int) -> Iterator[Tensor]:
        """The batches of an epoch: those of whole passes over the images, which go on where the last epoch ended."""
        config: Training = self.config.training
        per_pass = images // config.batch_size
        begun = epoch * config.iterations
        for step in range(begun, begun + config.iterations):
            yield batches(self.bench, images, config.batch_size, step // per_pass)[step % per_pass]

    def loss(self, x: Tensor, t: Tensor, drawn: Tensor) -> Tensor:
        """Mean squared error of the noise that is estimated in images x (B, 3, H, W) in [-1, 1] at their steps t (B,);
        `drawn` (B, 3, 256): the permutations behind the noise."""
        size = (x.shape[-2], x.shape[-1])
        noise = torch.stack([self.net.simplex(chance, at, size) for chance, at in zip(drawn, t, strict=True)])
        estimate = self.unet(noised(self.net.kept, x, noise, t), t)
        return (estimate - noise).square().mean()

    def predict(self, images: Images) -> Prediction:
        """Score images by what the diffusion model changes in them."""
        return predict(self.bench, self.net, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Noise, all denoising steps and the difference as one module in eval mode."""
        return self.net

    def loop(self) -> Loop:
        """The denoising steps, each with one call of the U-Net and a field of noise per colour."""
        return Loop(self.config.steps, self.net.shortened)

    def modules(self) -> Mapping[str, nn.Module]:
        """The U-Net that is trained, and the one with its averaged weights, which is scored."""
        return {"U-Net": self.unet, "averaged U-Net": self.net.unet}

    def parts(self) -> Mapping[str, nn.Module]:
        """The U-Net; noise, differences and smoothing count as the rest."""
        return {"U-Net": self.net.unet}

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, the chance of its noise included."""
        return self.net.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.net.load_state_dict(state)


def follow(averaged: nn.Module, trained: nn.Module, share: float) -> None:
    """One step of the average: averaged = share · averaged + (1 - share) · trained."""
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(trained.parameters()), 1 - share)
