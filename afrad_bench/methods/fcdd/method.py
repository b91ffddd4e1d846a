"""FCDD and FCDD+OE as a method: normal images near the centre of a sphere, outliers, if there are any, away from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical, seed_for
from afrad_bench.machine.copying import moved
from afrad_bench.methods.fcdd import FcddConfig, must_fit
from afrad_bench.methods.fcdd.augmentation import augmented
from afrad_bench.methods.fcdd.networks import Network, averaged, objective
from afrad_bench.methods.fcdd.outliers import Outliers
from afrad_bench.methods.fitting import Checkpoint, batches, draws_of, mean_loss, stepped, train_epochs
from afrad_bench.methods.inference import predict
from afrad_bench.methods.official import load_into, note, read
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord

if TYPE_CHECKING:
    from afrad_bench.types import ByteArray

REPLACED = 0.5
"""Probability that an outlier takes the place of a training image."""
BATCH = 256


class Fcdd:
    """FCDD, or with outliers FCDD+OE; `name` is the method's in errors."""

    def __init__(self, config: FcddConfig, bench: Bench, name: str, outliers: Outliers | None = None) -> None:
        self.config = config
        self.bench = bench
        self.outliers = outliers
        must_fit(config, bench.image_size, name)
        with draws_of(bench, "network"):
            self.net = Network(config.side, config.sigma)
        self.notes: tuple[str, ...] = () if outliers is None else (outliers.note,)
        if bench.image_size != config.side:
            self.notes += (f"images are averaged from {bench.image_size} to {config.side} px",)
        if config.start is not None:
            path = Path(config.start).expanduser()
            self._load(path)
            self.notes += (note(path),)
        self.net = self.net.to(bench.device).eval()

    def _load(self, path: Path) -> None:
        loaded = read(path, "`start` names a snapshot of the official code, snapshot.pt")
        state = loaded.get("net") if isinstance(loaded, dict) else None
        if not isinstance(state, dict):
            raise fail("not a snapshot of FCDD's official code: it holds no `net`", str(path))
        called = {name: tensor for name, tensor in state.items() if not name.startswith("bn2d3.")}
        load_into(self.net.sphere, "network", called, path, "it must be of FCDD_CNN32_LW3K")

    def fit(self, train: Images) -> TrainingRecord:
        """Train on augmented normal images, each of which an outlier may replace (section 3)."""
        config, bench, net = self.config.training, self.bench, self.net
        pictures = self._pictures(train)
        scaled = pictures.reshape(-1, 3).astype(np.float32) / 255
        net.mean.copy_(torch.from_numpy(scaled.mean(0, dtype=np.float64)).view(3, 1, 1))
        net.std.copy_(torch.from_numpy(scaled.std(0, dtype=np.float64)).clamp_min(1 / 255).view(3, 1, 1))
        optimizer = torch.optim.Adam(net.sphere.parameters(), config.lr, weight_decay=config.weight_decay)
        terms = [self.config.model_dump(mode="json"), self.notes, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        checkpoint = Checkpoint(bench.checkpoint, identity, {"network": net, "optimizer": optimizer})

        def one_epoch(epoch: int) -> float:
            passed = sum(epoch >= round(share * config.epochs) for share in config.milestones)
            for group in optimizer.param_groups:
                group["lr"] = config.lr * 0.1**passed
            return mean_loss(steps(epoch), len(train))

        def steps(epoch: int) -> Iterator[tuple[Tensor, int]]:
            for indices in batches(bench, len(train), config.batch_size, epoch):
                images, labels = self._shown(pictures, indices.tolist(), epoch)
                normalised = (moved(images, bench.device) - net.mean) / net.std
                mixed = bool(labels.any()) and not bool(labels.all())
                loss = objective(net.sphere(normalised), moved(labels, bench.device) if mixed else None)
                yield stepped(loss, optimizer), len(indices)

        return train_epochs(bench, checkpoint, config.epochs, len(train), net, one_epoch, self.notes)

    def _pictures(self, train: Images) -> ByteArray:
        """(N, s, s, 3): all training images, small, as bytes."""
        parts, done = [], 0
        for batch in train.batches(BATCH):
            small = averaged(torch.from_numpy(batch.array()), self.config.side)
            parts.append((small * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
            done += len(batch)
            self.bench.watch(done, len(train), "small images")
        return np.concatenate(parts)

    def _shown(self, pictures: ByteArray, indices: list[int], epoch: int) -> tuple[Tensor, Tensor]:
        """Augmented images (B, 3, s, s), and which are outliers (B,), on the CPU. Seeded by (seed, epoch, index)."""
        images, labels = [], []
        for index in indices:
            rng = np.random.default_rng(seed_for(self.bench.seeds.init, "image", epoch, index))
            other = self.outliers is not None and rng.random() < REPLACED
            if other and self.outliers is not None:
                images.append(augmented(rng, self.outliers.draw(rng, self.config.side)))
            else:
                images.append(augmented(rng, pictures[index]))
            labels.append(other)
        return torch.from_numpy(np.stack(images)), torch.tensor(labels)

    def predict(self, images: Images) -> Prediction:
        """Predict the heat map, and the mean distance to the centre."""
        return predict(self.bench, self.net, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """The network with normalisation and heat map, in eval mode."""
        return self.net

    def modules(self) -> Mapping[str, nn.Module]:
        """The network; all of it is trained."""
        return self.parts()

    def parts(self) -> Mapping[str, nn.Module]:
        """The network; the heat map counts as the rest."""
        return {"network": self.net.sphere}

    def state(self) -> Mapping[str, Tensor]:
        """Weights and the mean and deviation of the training images."""
        return self.net.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.net.load_state_dict(state)
