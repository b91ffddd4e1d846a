"""DeSTSeg as a method: student, then segmentation, trained on corrupted images; see the package's docstring."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical
from afrad_bench.machine.copying import moved
from afrad_bench.methods.demands import square_maps
from afrad_bench.methods.fitting import Checkpoint, batches, draws_of, mean_loss, stepped, train_epochs
from afrad_bench.methods.frozen import feature_maps
from afrad_bench.methods.inference import predict
from afrad_bench.methods.official import note
from afrad_bench.methods.synthesis import Batch, Pair, corrupt, pairs, rotated
from afrad_bench.methods.textures import Textures, find
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.destseg import REDUCTIONS, Config, must_fit
from afrad_bench_baselines.destseg.checkpoint import load_official
from afrad_bench_baselines.destseg.losses import cosine, segmentation
from afrad_bench_baselines.destseg.networks import Network, Segmentation, Student, normalised

GREY = 114 / 255
"""Fill value around a rotated image."""

Floats = npt.NDArray[np.floating]


class Destseg:
    """See the package's docstring. The input's side must be a multiple of 32."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        side = bench.image_size
        must_fit(config, side)
        teacher = bench.features.extractor(config.backbone, REDUCTIONS, side, bench.device)
        square_maps(teacher.shapes, REDUCTIONS, side, config.backbone.name, "DeSTSeg")
        with draws_of(bench, "networks"):
            probe = torch.rand(1, 3, side, side).to(bench.device)
            with torch.inference_mode():
                signed = any(bool((maps < 0).any()) for maps in teacher(probe))
            student = Student(config.backbone.name, teacher.channels, signed)
            segmentation = Segmentation(sum(teacher.channels), config.segmentation_width)
        network = Network(teacher, student, segmentation, config.top)
        self.notes: tuple[str, ...] = ()
        if signed:
            self.notes += (
                f"a 1 x 1 convolution ends the student's outputs, since {config.backbone.name}'s have signs",
            )
        if config.start is not None:
            path = Path(config.start).expanduser()
            load_official(network, path)
            self.notes += (note(path),)
        self.net = network.to(bench.device).to(memory_format=network.memory_format).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Train the student, then the segmentation, on corrupted copies of normal images (section 3)."""
        config, bench, net = self.config.training, self.bench, self.net
        size = min(config.batch_size, len(train))
        per_epoch = len(train) // size
        steps = config.epochs * per_epoch if config.steps is None else config.steps
        if not steps:
            return TrainingRecord(notes=self.notes)
        if size == 1:
            raise fail("DeSTSeg cannot learn from one image: batch norm needs at least two per step")
        textures = find(self.config.textures, train)
        notes = (*self.notes, textures.note, *self._of_a_small_set(len(train)))
        common = {"momentum": 0.9, "weight_decay": 1e-4}
        of_student = torch.optim.SGD(net.student.parameters(), config.lr_student, **common)
        groups = [
            {"params": net.segmentation.residual.parameters(), "lr": config.lr_residual},
            {"params": net.segmentation.head.parameters(), "lr": config.lr_head},
        ]
        of_segmentation = torch.optim.SGD(groups, config.lr_head, **common)
        terms = [self.config.model_dump(mode="json"), notes, net.teacher.key, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        parts = {"student": net.student, "segmentation": net.segmentation}
        optimizers = {"of_student": of_student, "of_segmentation": of_segmentation}
        checkpoint = Checkpoint(bench.checkpoint, identity, {**parts, **optimizers})
        first_stage = round(config.student_share * steps)

        def one_epoch(epoch: int) -> float:
            begun = epoch * per_epoch
            order = batches(bench, len(train), size, epoch)[: min(per_epoch, steps - begun)]
            shown = pairs(bench, train, order, epoch, lambda rng, image: self._corrupted(rng, image, textures))
            losses = (
                self._student_step(of_student, batch, train)
                if step < first_stage
                else self._segmentation_step(of_segmentation, batch)
                for step, batch in enumerate(shown, begun)
            )
            return mean_loss(((each, 1) for each in losses), len(order))

        epochs = math.ceil(steps / per_epoch)
        record = train_epochs(bench, checkpoint, epochs, per_epoch * size, net, one_epoch, notes)
        return replace(record, images_seen=min(record.images_seen, steps * size))

    def _of_a_small_set(self, count: int) -> tuple[str, ...]:
        wanted = self.config.training.batch_size
        return (f"batches of {count} images, all there are, instead of {wanted}",) if count < wanted else ()

    def _corrupted(self, rng: np.random.Generator, image: Floats, textures: Textures) -> Pair:
        """An image, rotated if configured, and its copy with an anomaly."""
        if self.config.rotation == "turns":
            image = rotated(image, 90 * int(rng.integers(4)), GREY)
        if self.config.rotation != "none":
            image = rotated(image, rng.uniform(-5, 5), GREY)
        texture = textures.draw(rng, image.shape[-1])
        return corrupt(rng, image, texture.transpose(2, 0, 1).astype(np.float32) / 255)

    def _student_step(self, optimizer: torch.optim.Optimizer, batch: Batch, train: Images) -> Tensor:
        """One training step of the student; returns its loss. Without rotation the teacher's maps are cached."""
        net = self.net
        net.student.train()
        if self.config.rotation == "none":
            maps = feature_maps(self.bench, net.teacher, train.subset(batch.indices))
        else:
            with torch.no_grad():
                maps = list(net.teacher(moved(batch.clean, self.bench.device)))
        restored = net.restored(moved(batch.corrupted, self.bench.device))
        loss = cosine([normalised(one) for one in maps], restored)
        return stepped(loss, optimizer, self.config.training.clip)

    def _segmentation_step(self, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
        """One training step of the segmentation with the student frozen; returns its loss."""
        net = self.net
        net.student.eval()
        net.segmentation.train()
        with torch.no_grad():
            products = net.products(moved(batch.corrupted, self.bench.device))
        loss = segmentation(net.segmentation(products), moved(batch.mask, self.bench.device))
        return stepped(loss, optimizer, self.config.training.clip)

    def predict(self, images: Images) -> Prediction:
        """Predict the upsampled segmentation, and the mean of its largest values."""
        return predict(self.bench, self.net, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Teacher, student and segmentation as one module in eval mode."""
        return self.net

    def modules(self) -> Mapping[str, nn.Module]:
        """The frozen teacher and the two networks that are trained."""
        return self.parts()

    def parts(self) -> Mapping[str, nn.Module]:
        """Parts with the paper's names; normalisation and products count as the rest."""
        return {"teacher": self.net.teacher, "student": self.net.student, "segmentation": self.net.segmentation}

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, including the teacher's weights."""
        return self.net.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.net.load_state_dict(state)
