"""MKD as a method: a student trained on the taps of a frozen teacher; see the package's docstring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from afrad_bench.hashing import canonical, seed_for
from afrad_bench.methods.ahead import images_ahead
from afrad_bench.methods.fitting import Checkpoint, batches, draws_of, mean_loss, stepped, train_epochs
from afrad_bench.methods.frozen import feature_maps
from afrad_bench.methods.inference import predict
from afrad_bench.methods.official import load_into, note, read_state
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.mkd import Config, check, reductions
from afrad_bench_baselines.mkd.networks import Network, Student, apart


class Mkd:
    """See the package's docstring. The input's side must be a multiple of 32."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        side, name = bench.image_size, config.backbone.name
        check(config, side)
        teacher = bench.features.extractor(config.backbone, reductions(name), side, bench.device)
        with draws_of(bench, "student"):
            probe = torch.rand(1, 3, side, side).to(bench.device)
            with torch.inference_mode():
                signed = any(bool((maps < 0).any()) for maps in teacher(probe))
            student = Student(teacher.channels, config.student == "equal", config.use_bias, signed)
        notes = [f"no ReLU before the student's poolings, since {name}'s features have signs"] if signed else []
        if config.start is not None:
            path = Path(config.start).expanduser()
            state = read_state(path, "`start` names a student of the official code", "MKD's official code", _our_name)
            load_into(student, "student", state, path, "set `student`, `use_bias` and `backbone` as it was trained")
            notes.append(note(path))
        self.notes = tuple(notes)
        network = Network(config, teacher, student, seed_for(bench.seeds.init, "smooth"))
        self.net = network.to(bench.device).to(memory_format=network.memory_format).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Train the student to give the teacher's taps of normal images (section 3.1)."""
        config, bench, net = self.config.training, self.bench, self.net
        optimizer = torch.optim.Adam(net.student.parameters(), lr=config.lr)
        terms = [self.config.model_dump(mode="json"), self.notes, net.teacher.key, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        checkpoint = Checkpoint(bench.checkpoint, identity, {"student": net.student, "optimizer": optimizer})

        def one_epoch(epoch: int) -> float:
            return mean_loss(steps(epoch), len(train))

        def steps(epoch: int) -> Iterator[tuple[Tensor, int]]:
            order = batches(bench, len(train), config.batch_size, epoch)
            for indices, pixels in zip(order, images_ahead(train, order, bench.device), strict=True):
                yield stepped(self._loss(train.subset(indices.tolist()), pixels), optimizer), len(indices)

        return train_epochs(bench, checkpoint, config.epochs, len(train), net, one_epoch, self.notes)

    def _loss(self, images: Images, pixels: Tensor) -> Tensor:
        """The loss of a batch, `pixels` of which are on the device; the teacher's maps are cached if it sees what the
        cache's features are of."""
        net = self.net
        pixels = net.pixels(pixels)
        if self.config.pixels == "imagenet":
            taught = net.taps(feature_maps(self.bench, net.teacher, images))
        else:
            with torch.no_grad():
                taught = net.teach(pixels)
        pairs = zip(taught, net.student(pixels), strict=True)
        return torch.stack([apart(theirs, ours, self.config.balance).mean() for theirs, ours in pairs]).sum()

    def predict(self, images: Images) -> Prediction:
        """Score images by the distance of the last three taps; maps only if they are asked for."""
        found = predict(self.bench, self.net, images, self.config.eval_batch)
        return found if self.config.localisation != "none" else Prediction(found.pred_score, None)

    def network(self) -> nn.Module:
        """Teacher and student as one module in eval mode."""
        return self.net

    def modules(self) -> Mapping[str, nn.Module]:
        """The frozen teacher and the student that is trained."""
        return self.parts()

    def parts(self) -> Mapping[str, nn.Module]:
        """Parts with the paper's names; the distances count as the rest."""
        return {"source": self.net.teacher, "cloner": self.net.student}

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, including the teacher's weights."""
        return self.net.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.net.load_state_dict(state)


def _our_name(name: str) -> str:
    """The student is laid out as the official one; raises `KeyError` for a name that is not of its layout."""
    if not name.startswith("features."):
        raise KeyError(name)
    return name
