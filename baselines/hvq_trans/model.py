"""HVQ-Trans as a method: transformer and codebooks, trained on features of a backbone; see the package's docstring."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import timm
import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.errors import fail
from afrad_bench.hashing import canonical
from afrad_bench.methods.fitting import Checkpoint, batches, draws_of, mean_loss, rate_factor, stepped, train_epochs
from afrad_bench.methods.frozen import feature_maps
from afrad_bench.methods.inference import gathered, pixels_of
from afrad_bench.methods.official import note
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.hvq_trans import Config, maps_of, must_fit, reads
from afrad_bench_baselines.hvq_trans.checkpoint import CATEGORIES, load_official
from afrad_bench_baselines.hvq_trans.networks import Network

MOMENTUM = 0.01
"""Of the batch norms of the official EfficientNets; timm's have 0.1."""


class HvqTrans:
    """See the package's docstring. The input's side must be a multiple of the grid and of every reduction."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        must_fit(config, bench.image_size)
        self.shared = maps_of(config, bench.image_size).extractor(bench)
        self.own = reads(config, bench.image_size) is None
        """Whether the backbone differs from the shared one, so that the shared cache does not hold its features."""
        self.notes: tuple[str, ...] = ()
        self.names: tuple[str, ...] = ("",)
        self.net = self._made()
        if config.start is not None:
            path = Path(config.start).expanduser()
            self.names = CATEGORIES
            self.net = self._made()
            load_official(self.net, path)
            self.notes = (note(path),)

    def _made(self) -> Network:
        """An untrained network for these categories."""
        tokens = self.bench.image_size // self.config.features.grid
        extractor = copy.deepcopy(self.shared) if self.own else self.shared
        if self.config.backbone_state == "official":
            prepared(extractor, self.config)
        with draws_of(self.bench, "transformer"):
            net = Network(extractor, (tokens, tokens), self.config, self.names)
        return net.to(self.bench.device).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Train transformer and codebooks to restore the features of normal images (section 3)."""
        config, bench = self.config.training, self.bench
        self._must_know(train)
        net, transformer = self.net, self.net.transformer
        optimizer = torch.optim.AdamW(transformer.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        which = self._indices(train.categories)
        self._see(train, which)
        terms = [self.config.model_dump(mode="json"), self.notes, self.shared.key, bench.image_size, len(train)]
        identity = canonical([*terms, self.names, bench.seeds.init, bench.seeds.order])
        parts = {"transformer": transformer, "optimizer": optimizer}
        if self.own:
            parts["backbone"] = net.extractor
        checkpoint = Checkpoint(bench.checkpoint, identity, parts)

        def one_epoch(epoch: int) -> float:
            for group in optimizer.param_groups:
                group["lr"] = config.lr * rate_factor(config.schedule, epoch, config.epochs)
            net.extractor.net.train(self.config.backbone_state == "official")
            with draws_of(bench, "dropout", epoch):
                return mean_loss(steps(epoch), len(train))

        def steps(epoch: int) -> Iterator[tuple[Tensor, int]]:
            for indices in batches(bench, len(train), config.batch_size, epoch):
                chosen = indices.tolist()
                features = self._features(train.subset(chosen))
                restored, commitment = transformer.learn(features, [which[i] for i in chosen])
                loss = F.mse_loss(restored, features) + config.commitment * commitment
                yield stepped(loss, optimizer, config.clip, set_to_none=False), len(chosen)

        record = train_epochs(bench, checkpoint, config.epochs, len(train), net, one_epoch, self.notes)
        if self.own and record.epochs > record.resumed_at:
            self._see(train, which)
        return TrainingRecord(
            record.epochs,
            record.images_seen,
            record.loss,
            record.resumed_at,
            (*record.notes, *self._about_categories(train, which)),
        )

    def _must_know(self, train: Images) -> None:
        """Codebooks for the categories of these images; `UserError` if the official checkpoint has none for one."""
        found = tuple(sorted(set(train.categories)))
        if self.config.start is None:
            if found != self.names:
                self.names = found
                self.net = self._made()
        elif strange := [name for name in found if name not in self.names]:
            raise fail(
                f"the official checkpoint has no codebooks for {', '.join(map(repr, strange))}",
                hint=f"its categories are those of MVTec AD: {', '.join(self.names)}; train without `start`",
            )

    def _indices(self, categories: Sequence[str]) -> list[int]:
        return [self.names.index(name) for name in categories] if len(self.names) > 1 else [0] * len(categories)

    def _features(self, images: Images) -> Tensor:
        """(B, C, h, w) of the backbone as it is now: from the shared cache if it is the shared one."""
        if not self.own:
            (features,) = feature_maps(self.bench, self.shared, images)
            return features
        with torch.no_grad():
            (features,) = self.net.extractor(pixels_of(images, self.bench.device))
        return features

    def _see(self, train: Images, which: Sequence[int]) -> None:
        """Set the mean of pooled features of each category, by which categories are predicted."""
        means = self.net.means
        if len(means) == 1:
            return
        counts = torch.bincount(torch.tensor(which), minlength=len(means)).to(means.device)
        sums, done = torch.zeros_like(means), 0
        for batch in train.batches(self.config.eval_batch):
            index = torch.tensor(which[done : done + len(batch)], device=means.device)
            sums.index_add_(0, index, self._features(batch).mean((2, 3)))
            done += len(batch)
            self.bench.watch(done, len(train), "class means")
        found = sums / counts.clamp_min(1)[:, None]
        means.copy_(found.masked_fill((counts == 0)[:, None], torch.inf))

    def _about_categories(self, train: Images, which: Sequence[int]) -> tuple[str, ...]:
        """A note on how the categories of test images are found; none if there is only one."""
        if len(self.names) == 1:
            return ()
        right = 0
        with torch.inference_mode():
            for batch in train.batches(self.config.eval_batch):
                found = self.net.predicted(self._features(batch)).tolist()
                right += sum(a == b for a, b in zip(found, which[: len(found)], strict=True))
                which = which[len(found) :]
        how = {
            "known": "the method is told the category of each test image, as in the official code",
            "predicted": "the category of each test image is predicted by the nearest class mean",
        }[self.config.category]
        return (f"{how}; the prediction is right for {100 * right / len(train):.1f} % of the training images",)

    def predict(self, images: Images) -> Prediction:
        """Score a batch by the distance of restored and original features and by the transport score."""
        with torch.inference_mode():
            return gathered(self._scored(batch) for batch in images.batches(self.config.eval_batch))

    def _scored(self, batch: Images) -> tuple[Tensor, Tensor]:
        features = self._features(batch)
        which = self.net.predicted(features)
        if self.config.category == "known" and len(self.names) > 1:
            told = [self._told(name) for name in batch.categories]
            given = torch.tensor([0 if one is None else one for one in told], device=which.device)
            missing = torch.tensor([one is None for one in told], device=which.device)
            which = torch.where(missing, which, given)
        return self.net.scored(features, which)

    def _told(self, name: str) -> int | None:
        """The position of a category; None for an image that comes without one. `UserError` for an unknown one."""
        if name and name not in self.names:
            raise fail(
                f"HVQ-Trans has no codebooks for the category {name!r}, only for {', '.join(self.names)}",
                hint="fit it on that category too, or set category: predicted",
            )
        return self.names.index(name) if name else None

    def network(self) -> nn.Module:
        """Backbone, transformer and scoring as one module in eval mode; it predicts the category."""
        return self.net

    def modules(self) -> Mapping[str, nn.Module]:
        """The backbone, which gets no gradient, and the transformer that is trained."""
        return {"backbone": self.net.extractor, "transformer": self.net.transformer}

    def parts(self) -> Mapping[str, nn.Module]:
        """Backbone, encoder, codebooks from the top to the finest level, and decoder; the rest is linear layers."""
        transformer = self.net.transformer
        levels = {f"codebooks {i}": transformer.levels[i] for i in reversed(range(len(transformer.levels)))}
        return {
            "backbone": self.net.extractor,
            "encoder": transformer.encoder,
            "codebooks, top": transformer.top,
            **levels,
            "decoder": transformer.decoder,
        }

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, including the backbone's weights and the names of the categories."""
        return self.net.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.names = tuple(bytes(state["names"].tolist()).decode().split("\n"))
        self.net = self._made()
        self.net.load_state_dict(state)


def prepared(extractor: Extractor, config: Config) -> None:
    """Give an EfficientNet the momentum and the drop connect that it has in the official code in training mode."""
    if config.backbone.padded_for is None:
        return
    for module in extractor.net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = MOMENTUM
    with torch.device("meta"):
        whole = timm.create_model(config.backbone.name, drop_path_rate=config.training.drop_connect)
    kept = dict(extractor.net.named_modules())
    for name, module in whole.named_modules():
        if isinstance(module, DropPath) and name in kept:
            outer, _, last = name.rpartition(".")
            setattr(kept[outer], last, DropPath(module.drop_prob))
