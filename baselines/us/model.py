"""US as a method: an ensemble of students per receptive field; see the package's docstring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical
from afrad_bench.methods.ahead import images_ahead
from afrad_bench.methods.fitting import Checkpoint, batches, draws_of, stepped, train_epochs
from afrad_bench.methods.inference import pixels_of, predict
from afrad_bench.methods.official import note
from afrad_bench.methods.textures import find
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.us import Config, check, teacher_file
from afrad_bench_baselines.us.networks import Network, Scale
from afrad_bench_baselines.us.teacher import distil, load


class Us:
    """See the package's docstring."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        check(config, bench.image_size)
        paths = {field: teacher_file(config, field) for field in config.receptive_fields}
        with draws_of(bench, "networks"):
            net = Network(config)
        notes = ["random weights: the teachers were never trained"] if config.teacher.weights == "random" else []
        for field, path in paths.items():
            if path is not None:
                load(net.scales[str(field)].teacher, path)
                notes.append(note(path, "teacher of the file"))
        self.notes = tuple(notes)
        self.net = net.to(bench.device).to(memory_format=net.memory_format).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Distil the teachers if that is asked for, standardise them, train the students (section 3.2), and find the
        moments of their error and variance."""
        config, bench, net = self.config.training, self.bench, self.net
        kept, held = self._parted(train)
        notes = self.notes
        if self.config.teacher.weights == "distilled":
            textures = find(self.config.textures, train)
            backbone, steps = self.config.backbone, self.config.teacher.steps
            notes = (*notes, f"teachers: distilled from {backbone.name} in {steps} steps", textures.note)
            for field in self.config.receptive_fields:
                distil(self.config, bench, net, textures, field)
        self._standardise(kept)
        students = {
            f"{field}.{i}": student for field, scale in net.scales.items() for i, student in enumerate(scale.students)
        }
        optimizers = {
            f"optimizer {name}": torch.optim.Adam(one.parameters(), lr=config.lr, weight_decay=config.weight_decay)
            for name, one in students.items()
        }
        terms = [self.config.model_dump(mode="json"), notes, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])

        def one_epoch(epoch: int) -> float:
            losses = []
            for images in images_ahead(kept, batches(bench, len(kept), 1, epoch), bench.device):
                pixels = net.pixels(images)
                for field, scale in net.scales.items():
                    target = scale.target(pixels)
                    for i in range(len(scale.students)):
                        losses.append(stepped(scale.loss(pixels, target, i), optimizers[f"optimizer {field}.{i}"]))
            if bench.should_continue is not None:
                self._calibrate(held)
            return float(torch.stack(losses).mean())

        checkpoint = Checkpoint(bench.checkpoint, identity, {**students, **optimizers})
        record = train_epochs(bench, checkpoint, config.epochs, len(kept), net, one_epoch, notes)
        self._calibrate(held)
        return record

    def _parted(self, train: Images) -> tuple[Images, Images]:
        """The images to train on, and those on which scores are standardised."""
        if not self.config.held_out:
            return train, train
        count = max(1, round(self.config.held_out * len(train)))
        if count == len(train):
            raise fail(f"of {len(train)} images none is left to train on", hint="held_out: 0, or more images")
        shuffled = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.bench.seeds.order))
        kept, held = np.split(shuffled.numpy(), [len(train) - count])
        return train.subset(kept.tolist()), train.subset(held.tolist())

    def _pixels(self, images: Images) -> Tensor:
        return self.net.pixels(pixels_of(images, self.bench.device))

    def _shown(self, images: Images) -> Iterator[tuple[Scale, Tensor]]:
        """Each scale with each batch of pixels, in inference."""
        with torch.no_grad():
            for scale in self.net.scales.values():
                for batch in images.batches(self.config.eval_batch):
                    yield scale, self._pixels(batch)

    def _standardise(self, train: Images) -> None:
        """Mean and deviation of each teacher's channels over these images."""
        found: dict[Scale, list[Tensor]] = {}
        for scale, pixels in self._shown(train):
            maps = scale.teacher(pixels)
            found.setdefault(scale, []).append(torch.stack(torch.var_mean(maps, (2, 3), correction=0), dim=1))
        for scale, moments in found.items():
            variance, mean = _pooled(torch.cat(moments))
            scale.mean.copy_(mean.view_as(scale.mean))
            scale.std.copy_(variance.sqrt().view_as(scale.std))

    def _calibrate(self, held: Images) -> None:
        """Mean and deviation of error and variance over all pixels of these images, for each scale."""
        self.net.eval()
        found: dict[Scale, list[Tensor]] = {}
        for scale, pixels in self._shown(held):
            signs = torch.stack(scale.signs(pixels), dim=1)
            found.setdefault(scale, []).append(torch.stack(torch.var_mean(signs, (2, 3), correction=0), dim=1))
        for scale, moments in found.items():
            variance, mean = _pooled(torch.cat(moments))
            scale.moments.copy_(torch.stack([mean, variance.sqrt().clamp_min(1e-12)], dim=1))

    def predict(self, images: Images) -> Prediction:
        """Score images by standardised error and variance, averaged over the receptive fields."""
        return predict(self.bench, self.net, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Teachers and students as one module in eval mode."""
        return self.net

    def modules(self) -> Mapping[str, nn.Module]:
        """Teachers, which are frozen when the students learn, and students."""
        return self.parts()

    def parts(self) -> Mapping[str, nn.Module]:
        """Students and teacher of each receptive field; error, variance and their standardisation are the rest."""
        found: dict[str, nn.Module] = {}
        for field, scale in self.net.scales.items():
            found |= {f"students {field}": scale.students, f"teacher {field}": scale.teacher}
        return found

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds."""
        return self.net.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.net.load_state_dict(state)


def _pooled(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean (C,) of all pixels, from those of each image (N, 2, C)."""
    variance, mean = moments.unbind(1)
    whole = mean.mean(0)
    return (variance + (mean - whole).square()).mean(0), whole
