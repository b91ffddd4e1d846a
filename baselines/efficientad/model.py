"""EfficientAD as a method: student and autoencoder trained together, an image per step. See the package's docstring."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical, seed_for
from afrad_bench.machine.copying import moved
from afrad_bench.methods.ahead import ahead
from afrad_bench.methods.fitting import Checkpoint, batches, draws_of, stepped, train_epochs
from afrad_bench.methods.inference import pixels_of, predict
from afrad_bench.methods.official import note
from afrad_bench.methods.textures import Textures, find
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.efficientad import Config, check, teacher_file
from afrad_bench_baselines.efficientad.jitter import jittered, natural
from afrad_bench_baselines.efficientad.networks import LARGEST_KERNEL, Network
from afrad_bench_baselines.efficientad.teacher import distil, load, spread

if TYPE_CHECKING:
    from afrad_bench.types import FloatArray

QUANTILES = (0.9, 0.995)
GREY = 0.3
"""Share of grey images of the penalty."""
LATE = 0.95
"""Share of the steps after which the rate is a tenth."""


class EfficientAd:
    """See the package's docstring."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        side = bench.image_size
        check(config, side)
        path = teacher_file(config)
        with draws_of(bench, "networks"):
            net = Network(config, side)
        notes = []
        if path is not None:
            load(net, path)
            notes.append(note(path, "teacher of the file"))
        elif config.teacher.weights == "random":
            notes.append("random weights: the teacher was never trained")
        if side < 32 * LARGEST_KERNEL:
            notes.append(f"the autoencoder's deepest convolution is {side // 32} wide instead of {LARGEST_KERNEL}")
        self.notes = tuple(notes)
        self.net = net.to(bench.device).to(memory_format=net.memory_format).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Distil the teacher if that is asked for, standardise it, train student and autoencoder (section 3), and find
        the quantiles of the maps."""
        config, bench, net = self.config.training, self.bench, self.net
        if len(train) < 2:
            raise fail("EfficientAD needs at least two training images: one to train on, one for its quantiles")
        shuffled = torch.randperm(len(train), generator=torch.Generator().manual_seed(bench.seeds.order)).tolist()
        kept, held = (train.subset(part) for part in np.split(shuffled, [int(0.9 * len(train))]))
        steps = config.epochs * len(kept) if config.steps is None else config.steps
        textures, notes = self._textures(train, steps)
        if self.config.teacher.weights == "distilled" and textures is not None:
            distil(self.config, bench, net, textures)
        self._standardise(kept)
        learned = [*net.student.parameters(), *net.autoencoder.parameters()]
        optimizer = torch.optim.Adam(learned, lr=config.lr, weight_decay=config.weight_decay)
        terms = [self.config.model_dump(mode="json"), notes, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        parts = {"student": net.student, "autoencoder": net.autoencoder, "optimizer": optimizer}

        def one_epoch(epoch: int) -> float:
            begun, losses = epoch * len(kept), []
            order = [int(one) for one in batches(bench, len(kept), 1, epoch)[: steps - begun]]
            shown = ahead(lambda place: self._shown(kept, place, epoch, textures), order, bench.device)
            with draws_of(bench, "dropout", epoch):
                for step, images in enumerate(shown, begun):
                    for group in optimizer.param_groups:
                        group["lr"] = config.lr * (0.1 if step >= int(LATE * steps) else 1.0)
                    losses.append(stepped(self._loss(*(moved(one, bench.device) for one in images)), optimizer))
            if bench.should_continue is not None:
                self._calibrate(held)
            return float(torch.stack(losses).mean())

        epochs = math.ceil(steps / len(kept))
        checkpoint = Checkpoint(bench.checkpoint, identity, parts)
        record = train_epochs(bench, checkpoint, epochs, len(kept), net, one_epoch, notes)
        self._calibrate(held)
        return replace(record, images_seen=min(record.images_seen, steps))

    def _textures(self, train: Images, steps: int) -> tuple[Textures | None, tuple[str, ...]]:
        """The images of the penalty and of a distilled teacher, if they are needed, and the notes of the result."""
        given = self.config.textures
        distilled = self.config.teacher.weights == "distilled"
        textures = find(given, train) if given.source != "none" and (steps or distilled) else None
        notes = list(self.notes)
        if distilled:
            weights = f"{self.config.teacher.backbone.name} ({self.config.teacher.backbone.weights})"
            notes.append(f"teacher: distilled from {weights} in {self.config.teacher.steps} steps")
        notes += ["no penalty on natural images"] if textures is None and steps else []
        notes += [textures.note] if textures is not None else []
        return textures, tuple(notes)

    def _shown(self, train: Images, place: int, epoch: int, textures: Textures | None) -> tuple[Tensor, ...]:
        """Image, changed image and, if there is a penalty, a natural image, each (1, 3, H, W)."""
        rng = np.random.default_rng(seed_for(self.bench.seeds.init, "jitter", epoch, place))
        image = train.subset([place]).array()[0]
        shown: list[FloatArray] = [image, jittered(rng, image)]
        if textures is not None:
            shown.append(natural(rng, textures, self.bench.image_size, GREY, crop=True))
        return tuple(torch.from_numpy(one)[None] for one in shown)

    def _loss(self, image: Tensor, changed: Tensor, penalty: Tensor | None = None) -> Tensor:
        """Hard student-teacher loss with the penalty, autoencoder-teacher loss and student-autoencoder loss."""
        net = self.net
        pixels = net.normalised(torch.cat([image, changed] if penalty is None else [image, changed, penalty]))
        imitated, predicted = net.student(pixels).split(net.channels, dim=1)
        target = net.target(pixels[:2])
        distance = (target[0] - imitated[0]).square().flatten()
        hardest = distance.numel() - math.ceil(self.config.training.hard * (distance.numel() - 1))
        reconstructed = net.autoencoder(pixels[1:2])
        loss = distance.topk(hardest, sorted=False).values.mean()
        loss = loss + (target[1:] - reconstructed).square().mean() + (reconstructed - predicted[1:2]).square().mean()
        return loss if penalty is None else loss + imitated[2].square().mean()

    def _standardise(self, train: Images) -> None:
        """Mean and deviation of the teacher's channels over these images."""
        net, moments = self.net, []
        with torch.no_grad():
            for batch in train.batches(self.config.eval_batch):
                maps = net.teacher(net.normalised(pixels_of(batch, self.bench.device)))
                moments.append(torch.stack(torch.var_mean(maps, (2, 3), correction=0), dim=1))
            variance, mean = spread(torch.cat(moments))
            net.mean.copy_(mean)
            net.std.copy_(variance.sqrt())

    def _calibrate(self, held: Images) -> None:
        """The quantiles of both distances over all positions of held-out images."""
        self.net.eval()
        with torch.no_grad():
            batches_ = (pixels_of(batch, self.bench.device) for batch in held.batches(self.config.eval_batch))
            found = [self.net.distances(batch).transpose(0, 1).flatten(1) for batch in batches_]
            distances = torch.cat(found, dim=1).cpu().numpy()
            self.net.calibrate(np.quantile(distances, QUANTILES, axis=1).T.tolist())

    def predict(self, images: Images) -> Prediction:
        """Score images by the scaled distances of both pairs of networks."""
        return predict(self.bench, self.net, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Teacher, student and autoencoder as one module in eval mode."""
        return self.net

    def modules(self) -> Mapping[str, nn.Module]:
        """The frozen teacher and the two networks that are trained."""
        return self.parts()

    def parts(self) -> Mapping[str, nn.Module]:
        """Parts with the paper's names, in order of execution; distances, scaling and enlarging count as the rest."""
        return {"student": self.net.student, "teacher": self.net.teacher, "autoencoder": self.net.autoencoder}

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds."""
        return self.net.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.net.load_state_dict(state)
