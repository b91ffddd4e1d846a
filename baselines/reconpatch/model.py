"""ReConPatch as a method: a representation trained on cached features, then a bank of it; see the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from timm.optim import AdamP
from torch import Tensor, nn

from afrad_bench.hashing import canonical, seed_for
from afrad_bench.machine.copying import moved
from afrad_bench.methods.coreset import memory_bank, must_fit, share
from afrad_bench.methods.fitting import Checkpoint, batches, draws_of, rate_factor, train_epochs
from afrad_bench.methods.frozen import FrozenNetwork, feature_maps, predict
from afrad_bench.methods.neighbours import MemoryBank
from afrad_bench.methods.patch_embedding import PatchEmbedding, rows
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.reconpatch import Config, Training, reads
from afrad_bench_baselines.reconpatch.network import Head, Networks

BATCH = 4


class ReConPatch:
    """See the package's docstring. Any image size works: the grid is that of the first feature map."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        self.extractor = reads(config, bench.image_size).extractor(bench)
        _, height, width = self.extractor.shapes[0]
        grid = (height, width)
        embedding = PatchEmbedding(self.extractor.channels, grid, config.patch, config.width, config.width)
        self.embedding = embedding.to(bench.device).eval()
        with draws_of(bench, "representation and projection"):
            networks = Networks(config.width, config.representation, config.projected)
        self.networks = networks.to(bench.device).eval()
        self._train: Images | None = None
        self._head: Head | None = None

    def fit(self, train: Images) -> TrainingRecord:
        """Train the representation (section 3.2), then keep a coreset of all represented patches (section 3.3)."""
        config, bench = self.config.training, self.bench
        kept, total = self._kept(train)
        hint = f"lower `fraction` (now {self.config.fraction:g}), the image size or the number of training images"
        width, limit = self.config.representation, self.config.max_bank_bytes
        must_fit("ReConPatch", kept, total, width, self.config.projection, bench.device, limit, hint)
        self._train, self._head = train, None
        optimizer = AdamP(self.networks.trained(), lr=config.lr, weight_decay=config.weight_decay)
        terms = [self.config.model_dump(mode="json"), self.extractor.key, bench.image_size, len(train)]
        identity = canonical([*terms, bench.seeds.init, bench.seeds.order])
        checkpoint = Checkpoint(bench.checkpoint, identity, {"networks": self.networks, "optimizer": optimizer})

        def one_epoch(epoch: int) -> float:
            self._head = None  # a bank of earlier weights
            for group in optimizer.param_groups:
                group["lr"] = config.lr * rate_factor(config.schedule, epoch, config.epochs)
            sums = torch.zeros((), device=bench.device)
            for patches in self._mixed(train, epoch):
                sums += step(self.networks, optimizer, patches, config) * len(patches)
            return float(sums) / total

        note = f"bank of {kept} of {total} patches, {4 * kept * width / 2**20:.1f} MiB"
        record = train_epochs(bench, checkpoint, config.epochs, len(train), self.networks, one_epoch, (note,))
        self._fitted()
        self._train = None
        return record

    def predict(self, images: Images) -> Prediction:
        """Score a batch by its distances to the bank, from its cached features."""
        return predict(self.bench, self.extractor, self._fitted(), images, BATCH)

    def network(self) -> nn.Module:
        """Backbone, patch features, representation, bank and smoothing as one module in eval mode."""
        return FrozenNetwork(self.extractor, self._fitted())

    def modules(self) -> Mapping[str, nn.Module]:
        """The frozen backbone, and all that is trained."""
        return {"backbone": self.extractor, "representation and projection": self.networks}

    def parts(self) -> Mapping[str, nn.Module]:
        """Parts in the order in which they compute; the smoothing counts as the rest."""
        head = self._fitted()
        return {
            "backbone": self.extractor,
            "patch features": head.embedding,
            "representation": head.representation,
            "bank": head.bank,
        }

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, including the backbone's weights."""
        return self.network().state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self._head = self._with(torch.zeros_like(state["head.bank.vectors"], device=self.bench.device))
        self.network().load_state_dict(state)

    def _fitted(self) -> Head:
        """The head with a bank of the present weights; also between two epochs of a fit."""
        if self._head is None:
            if self._train is None:
                raise RuntimeError("ReConPatch was not fitted yet")
            self._head = self._with(self._bank(self._train))
        return self._head

    def _with(self, vectors: Tensor) -> Head:
        bank = MemoryBank(vectors, self.config.search)
        head = Head(self.embedding, self.networks.representation, bank, self.bench.image_size, self.config)
        return head.to(self.bench.device).eval()

    def _kept(self, train: Images) -> tuple[int, int]:
        """Patches that the bank keeps, and all."""
        total = len(train) * self.embedding.grid[0] * self.embedding.grid[1]
        kept = share("ReConPatch", self.config.fraction, total, len(train))
        return kept, total

    @torch.inference_mode()
    def _bank(self, train: Images) -> Tensor:
        """The vectors of the coreset."""
        config, bench = self.config, self.bench
        kept, _ = self._kept(train)
        return memory_bank(
            lambda what: self._represented(train, what),
            lambda total: kept,
            config.representation,
            config.projection,
            config.starts,
            bench.seeds.init,
            bench.device,
            bench.watch,
        )

    def _represented(self, train: Images, what: str) -> Iterator[Tensor]:
        """The represented patches of each batch of images."""
        done = 0
        for batch in train.batches(BATCH):
            yield self.networks.representation(self._patches(batch))
            done += len(batch)
            self.bench.watch(done, len(train), what)

    def _patches(self, images: Images) -> Tensor:
        """(B h w, D) patch features of some images."""
        return rows(self.embedding(feature_maps(self.bench, self.extractor, images)))

    def _mixed(self, train: Images, epoch: int) -> Iterator[Tensor]:
        """The patch features of an epoch, mixed among some images at a time, batch by batch."""
        config = self.config.training
        chance = torch.Generator().manual_seed(seed_for(self.bench.seeds.order, "patches", epoch))
        for indices in batches(self.bench, len(train), config.images, epoch):
            with torch.no_grad():
                patches = torch.cat([self._patches(train.subset(part.tolist())) for part in indices.split(BATCH)])
            order = moved(torch.randperm(len(patches), generator=chance), str(patches.device))
            for part in order.split(config.batch_size):
                yield patches[part]


def step(networks: Networks, optimizer: torch.optim.Optimizer, patches: Tensor, config: Training) -> Tensor:
    """One step on a batch of patch features (N, D); returns its loss, on its device."""
    optimizer.zero_grad(set_to_none=True)
    loss = networks.loss(patches, config)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    networks.follow(config.momentum)
    return loss.detach()
