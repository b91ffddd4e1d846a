"""RD4AD as a method: a student trained on cached features of a frozen teacher; see the package's docstring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical
from afrad_bench.methods.demands import multiple_of, square_maps
from afrad_bench.methods.fitting import Checkpoint, draws_of, mean_loss, prepared, stepped, train_epochs
from afrad_bench.methods.frozen import FrozenNetwork, TrainingMaps, predict
from afrad_bench.methods.official import note
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.rd4ad import Config, reads
from afrad_bench_baselines.rd4ad.checkpoint import load_official
from afrad_bench_baselines.rd4ad.scoring import Head, cosine_loss
from afrad_bench_baselines.rd4ad.student import MIRRORED, Student, design_for, halved


class Rd4ad:
    """See the package's docstring. The input's side must be a multiple of twice the coarsest reduction."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        side = bench.image_size
        multiple_of(config.step, side, "RD4AD")
        self.extractor = reads(config, bench.image_size).extractor(bench)
        teacher = config.backbone.name
        square_maps(self.extractor.shapes, config.reductions, side, teacher, "RD4AD")
        channels = self.extractor.channels
        self.design = design_for(teacher, channels)
        embedding = halved(self.design, teacher) if config.embedding == "half" else self.design
        with draws_of(bench, "student"):
            student = Student(channels, self.design, embedding)
        self.notes = self._notes()
        if config.start is not None:
            path = Path(config.start).expanduser()
            load_official(student, path)
            self.notes += (note(path),)
        head = Head(student, (side, side), config.score)
        self.head = head.to(bench.device).to(memory_format=head.memory_format).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Train the student to restore the teacher's maps of normal images (section 3.2)."""
        config, bench, student = self.config.training, self.bench, self.head.student
        alone = len(train) == 1 or config.batch_size == 1 or len(train) % config.batch_size == 1
        if config.epochs and alone and bench.image_size == self.config.step:
            raise fail(
                f"at {bench.image_size} px the embedding has one position, and batch norm cannot learn from a batch of "
                f"one image, which {len(train)} images in batches of {config.batch_size} leave",
                hint="choose another training.batch_size or a larger image size",
            )
        optimizer = torch.optim.Adam(student.parameters(), lr=config.lr, betas=config.betas)
        terms = [self.config.model_dump(mode="json"), self.notes, self.extractor.key, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        checkpoint = Checkpoint(bench.checkpoint, identity, {"student": student, "optimizer": optimizer})
        maps = TrainingMaps(bench, self.extractor, train)

        def loss(*teacher: Tensor) -> Tensor:
            return cosine_loss(teacher, student(teacher), config.loss)

        loss_of = prepared(student, loss, config.step, bench.device)

        def one_epoch(epoch: int) -> float:
            late = config.schedule == "step" and epoch >= 0.8 * config.epochs
            for group in optimizer.param_groups:
                group["lr"] = config.lr * (0.1 if late else 1.0)
            return mean_loss(map(step, maps.epoch(config.batch_size, epoch)), len(train))

        def step(taught: Sequence[Tensor]) -> tuple[Tensor, int]:
            teacher = [self.head.arranged(each) for each in taught]
            return stepped(loss_of(*teacher), optimizer, config.clip), len(teacher[0])

        return train_epochs(bench, checkpoint, config.epochs, len(train), student, one_epoch, self.notes)

    def predict(self, images: Images) -> Prediction:
        """Score a batch by smoothed sums of one minus the cosines, from its cached features."""
        return predict(self.bench, self.extractor, self.head, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Teacher, student and scoring as one module in eval mode."""
        return FrozenNetwork(self.extractor, self.head)

    def modules(self) -> Mapping[str, nn.Module]:
        """The frozen teacher and the student that is trained."""
        return {"teacher": self.extractor, "student": self.head.student}

    def parts(self) -> Mapping[str, nn.Module]:
        """Parts with the paper's names; cosines and smoothing count as the rest."""
        student = self.head.student
        return {
            "teacher": self.extractor,
            "MFF": student.fusion,
            "OCE": student.embedding,
            "decoder": student.decoder,
        }

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, including the teacher's weights."""
        return self.network().state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.network().load_state_dict(state)

    def _notes(self) -> tuple[str, ...]:
        name = self.config.backbone.name
        notes = []
        if name.partition(".")[0] not in MIRRORED:
            blocks = "ResNet-18's" if self.design.kind == "basic" else "ResNet-50's"
            notes.append(f"the official code has no student for {name}: one of {blocks} blocks on its channel counts")
        return tuple(notes)
