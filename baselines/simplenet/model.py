"""SimpleNet as a method: two small networks trained on cached features of a frozen backbone; see the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from afrad_bench.hashing import canonical
from afrad_bench.methods.fitting import Checkpoint, draws_of, mean_loss, prepared, train_epochs
from afrad_bench.methods.frozen import FrozenNetwork, TrainingMaps, predict
from afrad_bench.methods.official import note
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.simplenet import Config, must_be_maps, reads
from afrad_bench_baselines.simplenet.checkpoint import load_official
from afrad_bench_baselines.simplenet.network import Head, gaussian


class SimpleNet:
    """See the package's docstring. Any image size works: the grid is that of the first feature map."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        self.extractor = reads(config, bench.image_size).extractor(bench)
        shapes, channels = self.extractor.shapes, self.extractor.channels
        must_be_maps(config.backbone.name, shapes, channels)
        _, height, width = shapes[0]
        with draws_of(bench, "adaptor and discriminator"):
            head = Head(channels, (height, width), bench.image_size, config)
        self.notes: tuple[str, ...] = ()
        if config.start is not None:
            path = Path(config.start).expanduser()
            load_official(head.networks, path)
            self.notes = (note(path),)
        self.head = head.to(bench.device).eval()

    def fit(self, train: Images) -> TrainingRecord:
        """Train both networks to distinguish patches of normal images from the same with noise (section 3.5)."""
        config, bench, networks = self.config.training, self.bench, self.head.networks
        optimizers = {
            "adaptor_optimizer": torch.optim.AdamW(
                networks.adaptor.parameters(), lr=config.adaptor_lr, weight_decay=config.adaptor_weight_decay
            ),
            "discriminator_optimizer": torch.optim.Adam(
                networks.discriminator.parameters(), lr=config.lr, weight_decay=config.weight_decay
            ),
        }
        terms = [self.config.model_dump(mode="json"), self.notes, self.extractor.key, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        checkpoint = Checkpoint(bench.checkpoint, identity, {"networks": networks, **optimizers})
        maps = TrainingMaps(bench, self.extractor, train)

        def loss(features: Tensor, noise: Tensor) -> Tensor:
            return networks.loss(features, noise, config.margin)

        loss_of = prepared(networks, loss, config.step, bench.device)

        def one_epoch(epoch: int) -> float:
            with draws_of(bench, "noise", epoch):
                steps = (
                    self._step(tuple(optimizers.values()), loss_of, each)
                    for each in maps.epoch(config.batch_size, epoch)
                )
                return mean_loss(steps, len(train))

        return train_epochs(bench, checkpoint, config.epochs, len(train), networks, one_epoch, self.notes)

    def _step(
        self, optimizers: tuple[torch.optim.Optimizer, ...], loss_of: Callable[..., Tensor], maps: list[Tensor]
    ) -> tuple[Tensor, int]:
        """One step of both optimisers on a batch; returns its loss, and the number of its images."""
        config, networks = self.config.training, self.head.networks
        with torch.no_grad():
            features = self.head.features(maps)
        loss = loss_of(features, gaussian(features, config.noise))
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip is not None:
            for network in (networks.adaptor, networks.discriminator):
                torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        for optimizer in optimizers:
            optimizer.step()
        return loss.detach(), len(maps[0])

    def predict(self, images: Images) -> Prediction:
        """Score a batch with the discriminator, from its cached features."""
        return predict(self.bench, self.extractor, self.head, images, self.config.eval_batch)

    def network(self) -> nn.Module:
        """Backbone, patch features, adaptor, discriminator and smoothing as one module in eval mode."""
        return FrozenNetwork(self.extractor, self.head)

    def modules(self) -> Mapping[str, nn.Module]:
        """The frozen backbone and the two networks that are trained."""
        networks = self.head.networks
        return {"backbone": self.extractor, "adaptor": networks.adaptor, "discriminator": networks.discriminator}

    def parts(self) -> Mapping[str, nn.Module]:
        """Parts in the order in which they compute; smoothing counts as the rest."""
        networks = self.head.networks
        return {
            "backbone": self.extractor,
            "patch features": self.head.embedding,
            "adaptor": networks.adaptor,
            "discriminator": networks.discriminator,
        }

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, including the backbone's weights."""
        return self.network().state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.network().load_state_dict(state)
