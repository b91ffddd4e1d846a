"""DDAD as a method: a U-Net is trained, then an extractor adapted to what it repairs; see the package's docstring."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.errors import fail
from afrad_bench.hashing import canonical
from afrad_bench.methods.diffusion.checkpoint import load_official
from afrad_bench.methods.diffusion.noise import gaussian, generator, noised, steps
from afrad_bench.methods.diffusion.unet import Unet
from afrad_bench.methods.fitting import (
    Checkpoint,
    adamw,
    batches,
    beforehand,
    draws_of,
    noise_of,
    stepped,
    train_epochs,
)
from afrad_bench.methods.inference import pixels_of, predict
from afrad_bench.methods.official import load_into, note, read
from afrad_bench.types import Bench, Images, Loop, Prediction, TrainingRecord
from afrad_bench_baselines.ddad import Config, check
from afrad_bench_baselines.ddad.networks import COLOURS, TIMESTEPS, Network, adaptation_loss

CODE = "DDAD's official code"
WEIGHT_DECAY = 0.01
"""Of the adaptation: AdamW's default, which the official code leaves."""


class Ddad:
    """See the package's docstring. The input's side must be a multiple of 2 per level of the U-Net below the first."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        side = bench.image_size
        check(config, side)
        self.frozen: Extractor = bench.features.extractor(config.backbone, config.reductions, side, bench.device)
        own = config.adaptation.epochs or config.adaptation.start is not None
        extractor = copy.deepcopy(self.frozen) if own else self.frozen
        with draws_of(bench, "network"):
            unet = Unet(config.unet, side)
        self.notes: tuple[str, ...] = ()
        if config.start is not None:
            path = Path(config.start).expanduser()
            loaded = read(path, "`start` names a file of the official code, e.g. checkpoints/MVTec/screw/2000")
            load_official(unet, config.unet, loaded, path, CODE)
            self.notes += (note(path),)
        if config.adaptation.start is not None:
            path = Path(config.adaptation.start).expanduser()
            _load_extractor(extractor, path)
            self.notes += (note(path, "the extractor starts from the official checkpoint"),)
        extractor.requires_grad_(config.adaptation.epochs > 0)
        self.net = Network(config, unet, extractor, side, generator(bench, "scoring")).to(bench.device).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Train the U-Net on normal images, then adapt the extractor."""
        record = self._train(train)
        if self.config.adaptation.epochs:
            record = self._adapt(train, record)
        if self.config.score.balance == "training":
            self._find_largest(train)
        return record

    def _identity(self, train: Images) -> str:
        terms = [self.config.model_dump(mode="json"), self.notes, self.frozen.key, self.bench.image_size, len(train)]
        return canonical([*terms, self.bench.seeds.init, self.bench.seeds.order])

    def _train(self, train: Images) -> TrainingRecord:
        config, bench, unet = self.config.training, self.bench, self.net.unet
        optimizer = torch.optim.Adam(unet.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        checkpoint = Checkpoint(bench.checkpoint, self._identity(train), {"unet": unet, "optimizer": optimizer})
        size = min(config.batch_size, len(train))
        per_epoch = len(train) // size

        def one_epoch(epoch: int) -> float:
            source = noise_of(bench, "training", epoch)
            losses = []
            with draws_of(bench, "dropout", epoch):
                for indices in batches(bench, len(train), size, epoch)[:per_epoch]:
                    x = self._pixels(train.subset(indices.tolist()))
                    t = steps(len(x), TIMESTEPS, source, bench.device)
                    losses.append(stepped(self.loss(x, t, gaussian(tuple(x.shape), source, bench.device)), optimizer))
            return float(torch.stack(losses).mean())

        notes = (*self.notes, *_of_a_small_set(size, config.batch_size))
        return train_epochs(bench, checkpoint, config.epochs, per_epoch * size, unet, one_epoch, notes)

    def loss(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Squared error of the noise that is estimated in images x (B, 3, H, W) in [-1, 1] at their steps t (B,),
        summed over each image and averaged over the images."""
        estimate = self.net.unet(noised(self.net.kept, x, noise, t), t)
        return (noise - estimate).square().sum((1, 2, 3)).mean()

    def _adapt(self, train: Images, record: TrainingRecord) -> TrainingRecord:
        config, bench, extractor = self.config.adaptation, self.bench, self.net.extractor
        if len(train) < 2:
            raise fail("DDAD's adaptation needs two images, one to repair and one to guide it, but there is one")
        optimizer = adamw(extractor.parameters(), config.lr, WEIGHT_DECAY)
        size = min(config.batch_size, len(train) // 2 * 2)
        per_epoch = len(train) // size
        mine = beforehand(bench, "adaptation")
        checkpoint = Checkpoint(mine.checkpoint, self._identity(train), {"net": extractor, "optimizer": optimizer})

        def one_epoch(epoch: int) -> float:
            source = noise_of(bench, "adaptation", epoch)
            extractor.net.train()  # an extractor itself stays in eval mode
            losses = []
            for indices in batches(bench, len(train), size, epoch)[:per_epoch]:
                target, x = self._pixels(train.subset(indices.tolist())).chunk(2)
                shape = (self.config.steps, len(x), COLOURS, *x.shape[-2:])
                losses.append(
                    stepped(self.adaptation_loss(x, target, gaussian(shape, source, bench.device)), optimizer)
                )
            extractor.net.eval()
            return float(torch.stack(losses).mean())

        found = train_epochs(mine, checkpoint, config.epochs, per_epoch * size, extractor.net, one_epoch)
        told = f"extractor adapted in {found.epochs} epochs, loss {found.loss[0]:.4g} to {found.loss[-1]:.4g}"
        notes = (*record.notes, told, *_of_a_small_set(size, config.batch_size))
        return replace(record, images_seen=record.images_seen + found.images_seen, notes=notes)

    def adaptation_loss(self, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        """Loss of the extractor on images x that are repaired under the guidance of `target`, both (B, 3, H, W) in
        [-1, 1]; `noise` (T, B, 3, H, W)."""
        config = self.config.adaptation
        with torch.no_grad():
            repaired = (self.net.repaired(x, target, config.w, noise) + 1) / 2
            target = (target + 1) / 2
            target_frozen, repaired_frozen = self.frozen(target), self.frozen(repaired)
        extractor = self.net.extractor
        return adaptation_loss(extractor(repaired), extractor(target), target_frozen, repaired_frozen, config.keep)

    def _find_largest(self, train: Images) -> None:
        """The largest distances of features and pixels on the training images."""
        largest = self.net.largest.zero_()
        with torch.inference_mode():
            for batch in train.batches(self.config.eval_batch):
                found = self.net.measured(pixels_of(batch, self.bench.device))
                largest.copy_(largest.maximum(torch.stack([values.amax() for values in found])))

    def _pixels(self, images: Images) -> Tensor:
        return 2 * pixels_of(images, self.bench.device) - 1

    def predict(self, images: Images) -> Prediction:
        """Score images by how pixels and features of the repaired image differ."""
        return predict(self.bench, self.net, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Noise, all denoising steps, extractor and distances as one module in eval mode."""
        return self.net

    def loop(self) -> Loop:
        """The denoising steps, each with one call of the U-Net."""
        return Loop(self.config.steps, self.net.shortened)

    def modules(self) -> Mapping[str, nn.Module]:
        """The U-Net, the extractor, and the frozen one that its adaptation needs."""
        frozen = {"frozen extractor": self.frozen} if self.config.adaptation.epochs else {}
        return {**self.parts(), **frozen}

    def parts(self) -> Mapping[str, nn.Module]:
        """U-Net and extractor; noise, distances and smoothing count as the rest."""
        return {"U-Net": self.net.unet, "extractor": self.net.extractor}

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, noise and extractor included."""
        return self.net.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.net.load_state_dict(state)


def _of_a_small_set(size: int, wanted: int) -> tuple[str, ...]:
    return (f"batches of {size} images instead of {wanted}: there are no more",) if size < wanted else ()


def _load_extractor(extractor: Extractor, path: Path) -> None:
    """Load an official file of an adapted extractor, torchvision's ResNet in a parallel module, without the layers
    after the last stage that is read; raises `UserError` for anything else."""
    loaded = read(path, "`adaptation.start` names a file of the official code, e.g. checkpoints/MVTec/screw/feat4")
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise fail(f"not a checkpoint of {CODE}: it holds no state dict", str(path))
    wanted = extractor.net.state_dict()
    state = {name.removeprefix("module."): tensor for name, tensor in loaded.items()}
    later = ("layer4.", "fc.")
    state = {name: tensor for name, tensor in state.items() if name in wanted or not name.startswith(later)}
    load_into(extractor.net, "extractor", state, path, "set `backbone` as it was adapted")
