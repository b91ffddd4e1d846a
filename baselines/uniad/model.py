"""UniAD as a method: a reconstruction trained on cached features of a frozen backbone; see the package's docstring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.hashing import canonical
from afrad_bench.methods.fitting import (
    Checkpoint,
    adamw,
    draws_of,
    jittered,
    mean_loss,
    noise_of,
    prepared,
    rate_factor,
    stepped,
    train_epochs,
)
from afrad_bench.methods.frozen import FrozenNetwork, TrainingMaps, predict
from afrad_bench.methods.official import note
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.uniad import Config, must_fit, reads
from afrad_bench_baselines.uniad.checkpoint import load_official
from afrad_bench_baselines.uniad.reconstruction import Reconstruction
from afrad_bench_baselines.uniad.scoring import Head


class Uniad:
    """See the package's docstring. The input's side must be a multiple of the grid and of every reduction."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        side, features = bench.image_size, config.features
        must_fit(config, side)
        tokens = side // features.grid
        self.extractor = reads(config, side).extractor(bench)
        (channels,) = self.extractor.channels
        with draws_of(bench, "reconstruction"):
            reconstruction = Reconstruction(channels, (tokens, tokens), config.transformer)
        self.notes: tuple[str, ...] = ()
        if config.start is not None:
            path = Path(config.start).expanduser()
            found = load_official(reconstruction, self.extractor, path)
            self.notes = (note(path), *found)
        self.head = Head(reconstruction, (side, side), config.score).to(bench.device).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Train the reconstruction to restore the features of normal images from jittered ones (section 3.3)."""
        config, bench, reconstruction = self.config.training, self.bench, self.head.reconstruction
        optimizer = adamw(reconstruction.parameters(), config.lr, config.weight_decay)
        maps = TrainingMaps(bench, self.extractor, train)
        terms = [self.config.model_dump(mode="json"), self.notes, self.extractor.key, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        checkpoint = Checkpoint(bench.checkpoint, identity, {"reconstruction": reconstruction, "optimizer": optimizer})

        def loss(source: Tensor, original: Tensor) -> Tensor:
            return F.mse_loss(reconstruction(source), original)  # against features without jitter

        loss_of = prepared(reconstruction, loss, config.step, bench.device)

        def one_epoch(epoch: int) -> float:
            for group in optimizer.param_groups:
                group["lr"] = config.lr * rate_factor(config.schedule, epoch, config.epochs)
            with draws_of(bench, "dropout", epoch):
                return mean_loss(steps(epoch), len(train))

        def steps(epoch: int) -> Iterator[tuple[Tensor, int]]:
            noise = noise_of(bench, "jitter", epoch)
            for (original,) in maps.epoch(config.batch_size, epoch):
                source = jittered(original, config.jitter, noise) if config.jitter else original
                yield stepped(loss_of(source, original), optimizer, config.clip), len(original)

        return train_epochs(bench, checkpoint, config.epochs, len(train), reconstruction, one_epoch, self.notes)

    def predict(self, images: Images) -> Prediction:
        """Score a batch by the distance between restored and original features, from its cached features."""
        return predict(self.bench, self.extractor, self.head, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Backbone, reconstruction and scoring as one module in eval mode."""
        return FrozenNetwork(self.extractor, self.head)

    def modules(self) -> Mapping[str, nn.Module]:
        """The frozen backbone and the reconstruction that is trained."""
        return {"backbone": self.extractor, "reconstruction": self.head.reconstruction}

    def parts(self) -> Mapping[str, nn.Module]:
        """Backbone, encoder and decoder; the other linear layers, positions and scoring count as the rest."""
        reconstruction = self.head.reconstruction
        return {"backbone": self.extractor, "encoder": reconstruction.encoder, "decoder": reconstruction.decoder}

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, including the backbone's weights."""
        return self.network().state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.network().load_state_dict(state)
