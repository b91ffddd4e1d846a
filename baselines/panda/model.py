"""PANDA as a method: adaptation of a pretrained network, bank of its features; see the package's docstring."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.errors import fail
from afrad_bench.hashing import canonical
from afrad_bench.methods.ahead import images_ahead
from afrad_bench.methods.fitting import Checkpoint, batches, mean_loss, stepped, train_epochs
from afrad_bench.methods.inference import everywhere, gathered, pixels_of
from afrad_bench.methods.neighbours import MemoryBank
from afrad_bench.methods.official import read, sha256
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.panda import DEEPEST, FROZEN_TO, Config, cropped, must_be_there


class Network(nn.Module):
    """Image (B, 3, H, W) in [0, 1] -> (its score at every pixel (B, H, W), score (B,))."""

    bank: MemoryBank | None
    """Features of the training images; None before the fit."""

    def __init__(self, extractor: Extractor, image_size: int, side: int, neighbours: int) -> None:
        super().__init__()
        self.extractor = extractor
        self.bank = None
        self.first = round((image_size - side) / 2)
        self.last = self.first + side
        self.neighbours = neighbours

    def embedded(self, images: Tensor) -> Tensor:
        """(B, D): pooled features of the centre of each image."""
        (maps,) = self.extractor(images[..., self.first : self.last, self.first : self.last])
        return maps.mean((2, 3))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        score = self.scored(self.embedded(images))
        return everywhere(score, images), score

    def scored(self, features: Tensor) -> Tensor:
        """(B,): sum of the squared distances to the nearest vectors of the bank."""
        if self.bank is None:
            raise RuntimeError("PANDA was not fitted yet")
        return self.bank.nearest(features, self.neighbours)[0].sum(1)


class Panda:
    """See the package's docstring."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        side = cropped(config, bench.image_size)
        shared = bench.features.extractor(config.backbone, (DEEPEST,), side, bench.device)
        self.key = shared.key
        extractor = copy.deepcopy(shared)
        release(extractor)
        self.net = Network(extractor, bench.image_size, side, config.neighbours).to(bench.device).eval()
        self.notes: tuple[str, ...] = ()
        self.fisher: dict[str, Tensor] = {}
        if config.ewc:
            self.fisher = self._fisher()

    def _fisher(self) -> dict[str, Tensor]:
        """The Fisher information of each weight that learns; `UserError` if the file has not all of it."""
        must_be_there(self.config)
        path = Path(str(self.config.fisher)).expanduser()
        loaded = read(path, "fisher")
        found, wrong = {}, []
        for name, weight in self._learning().items():
            tensor = loaded.get(name) if isinstance(loaded, dict) else None
            if not isinstance(tensor, Tensor) or tensor.shape != weight.shape:
                wrong.append(name)
            else:
                found[name] = tensor.to(weight)
        if wrong:
            raise fail(
                f"this Fisher information is not of {self.config.backbone.name}: {len(wrong)} weights that learn have "
                f"none of their shape, first {wrong[0]!r}",
                str(path),
                "the authors' file is for resnet152; for another backbone it must be computed anew",
            )
        self.notes = (f"Fisher information from {path.name}, sha256 {sha256(path)}",)
        return found

    def _learning(self) -> dict[str, nn.Parameter]:
        parameters = self.net.extractor.net.named_parameters()
        return {name: parameter for name, parameter in parameters if parameter.requires_grad}

    def fit(self, train: Images) -> TrainingRecord:
        """Draw the features of normal images towards their first centre, then fill the bank (sections 3.1 and 3.2)."""
        config, bench, net = self.config.training, self.bench, self.net
        if len(train) < self.config.neighbours:
            raise fail(
                f"PANDA needs at least as many training images as `neighbours` ({self.config.neighbours}), but got "
                f"{len(train)}"
            )
        learning = self._learning()
        pretrained = {name: weight.detach().clone() for name, weight in learning.items()} if self.config.ewc else {}
        centre = self._all(train).mean(0)
        optimizer = torch.optim.SGD(
            learning.values(), config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
        terms = [self.config.model_dump(mode="json"), self.notes, self.key, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        checkpoint = Checkpoint(bench.checkpoint, identity, {"backbone": net.extractor, "optimizer": optimizer})

        def one_epoch(epoch: int) -> float:
            loss = mean_loss(steps(epoch), len(train))
            if bench.should_continue is not None:  # which may score images
                net.bank = MemoryBank(self._all(train), self.config.search)
            return loss

        def steps(epoch: int) -> Iterator[tuple[Tensor, int]]:
            for images in images_ahead(train, batches(bench, len(train), config.batch_size, epoch), bench.device):
                loss = compactness(net.embedded(images), centre)
                for name, old in pretrained.items():
                    change = (self.fisher[name] * (learning[name] - old).square()).sum()
                    loss = loss + self.config.ewc_weight / 2 * change
                yield stepped(loss, optimizer, config.clip), len(images)

        record = train_epochs(bench, checkpoint, config.epochs, len(train), net, one_epoch, self.notes)
        net.bank = MemoryBank(self._all(train), self.config.search)
        return record

    def _all(self, images: Images) -> Tensor:
        """(N, D): the features of all images by the network as it is now."""
        parts, done = [], 0
        with torch.no_grad():
            for batch in images.batches(self.config.eval_batch):
                parts.append(self.net.embedded(pixels_of(batch, self.bench.device)))
                done += len(batch)
                self.bench.watch(done, len(images), "features of the bank")
        return torch.cat(parts)

    def predict(self, images: Images) -> Prediction:
        """Score a batch by the distances to the nearest training images; no map."""
        self._fitted()
        with torch.inference_mode():
            read = (pixels_of(one, self.bench.device) for one in images.batches(self.config.eval_batch))
            found = gathered(self.net(batch) for batch in read)
        return Prediction(found.pred_score, None)

    def network(self) -> nn.Module:
        """Adapted network and bank as one module in eval mode; the bank is a buffer, not a parameter."""
        return self._fitted()

    def _fitted(self) -> Network:
        if self.net.bank is None:
            raise RuntimeError("PANDA was not fitted yet")
        return self.net

    def modules(self) -> Mapping[str, nn.Module]:
        """The network, of which the last stages learn."""
        return self.parts()

    def parts(self) -> Mapping[str, nn.Module]:
        """The network; the search in the bank counts as the rest."""
        return {"backbone": self.net.extractor}

    def state(self) -> Mapping[str, Tensor]:
        """All of the adapted network, and the bank."""
        return self._fitted().state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self.net.bank = MemoryBank(
            torch.empty_like(state["bank.vectors"], device=self.bench.device), self.config.search
        )
        self.net.load_state_dict(state)


def release(extractor: Extractor) -> None:
    """Let everything after the map of reduction 8 learn. A net's parameters are in the order in which it computes."""
    info = extractor.net.feature_info
    (frozen,) = (one["module"] for one in info.info if one["reduction"] == FROZEN_TO)  # type: ignore[union-attr]
    names = [name for name, _ in extractor.net.named_parameters()]
    places = [i for i, name in enumerate(names) if name.startswith((f"{frozen}.", f"{frozen.replace('.', '_')}."))]
    for name in names[max(places) + 1 :]:
        extractor.net.get_parameter(name).requires_grad_(True)


def compactness(features: Tensor, centre: Tensor) -> Tensor:
    """Mean squared distance of features (B, D) to the centre (D,), divided by D."""
    return (features - centre).square().mean()
