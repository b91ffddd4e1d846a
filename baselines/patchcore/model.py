"""PatchCore as a method: embedding, coreset, bank, map; see the package's docstring for sources and deviations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from afrad_bench.methods.coreset import memory_bank, must_fit, share
from afrad_bench.methods.frozen import FrozenNetwork, feature_maps, predict
from afrad_bench.methods.neighbours import MemoryBank
from afrad_bench.methods.patch_embedding import PatchEmbedding, rows
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.patchcore import Config, reads

BATCH = 4


class Head(nn.Module):
    """Feature maps -> (anomaly map (B, H, W), image score (B,)): everything after the backbone."""

    def __init__(self, embedding: PatchEmbedding, bank: MemoryBank, pixels: PixelMap, config: Config) -> None:
        super().__init__()
        self.embedding = embedding
        self.bank = bank
        self.pixels = pixels
        self.config = config

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        positions = self.embedding.grid[0] * self.embedding.grid[1]
        patches = rows(self.embedding(maps))
        squared, index = self.bank.nearest(patches, self.config.neighbours)
        scores = squared.mean(1).unflatten(0, (-1, positions))
        anomaly_map = self.pixels(scores.unflatten(1, self.embedding.grid))
        if self.config.image_score == "official":
            return anomaly_map, scores.amax(1)
        worst = squared[:, 0].unflatten(0, (-1, positions)).argmax(1, keepdim=True)
        nearest = index[:, 0].unflatten(0, (-1, positions)).gather(1, worst)[:, 0]
        patch = patches.unflatten(0, (-1, positions)).take_along_dim(worst[:, :, None], 1)[:, 0]
        return anomaly_map, self.bank.reweighted(patch, nearest, self.config.support)


class Patchcore:
    """See the package's docstring."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        self.extractor = reads(config, bench.image_size).extractor(bench)
        _, height, width = self.extractor.shapes[0]
        self.grid = (height, width)
        embedding = PatchEmbedding(self.extractor.channels, self.grid, config.patch, config.stage_width, config.width)
        self.embedding = embedding.to(bench.device)
        self._head: Head | None = None

    def fit(self, train: Images) -> TrainingRecord:
        """Choose the coreset of all patches of normal images, and keep its embeddings (section 3.2).

        Two passes over the features: one projects every patch, one embeds the chosen patches."""
        total = len(train) * self.grid[0] * self.grid[1]
        kept = share("PatchCore", self.config.fraction, total, len(train))
        config, device = self.config, self.bench.device
        hint = f"lower `fraction` (now {config.fraction:g}), the image size or the number of training images"
        must_fit("PatchCore", kept, total, config.width, config.projection, device, config.max_bank_bytes, hint)
        with torch.inference_mode():
            vectors = memory_bank(
                lambda what: self._patches(train, what),
                lambda total: kept,
                config.width,
                config.projection,
                config.starts,
                self.bench.seeds.init,
                device,
                self.bench.watch,
            )
        self._head = self._with(vectors)
        return TrainingRecord(images_seen=2 * len(train), notes=self._notes(kept, total))

    def predict(self, images: Images) -> Prediction:
        """Score a batch by its distances to the bank, from its cached features."""
        return predict(self.bench, self.extractor, self._fitted(), images, BATCH)

    def network(self) -> nn.Module:
        """Backbone and head as one module in eval mode; the bank is a buffer, not a parameter."""
        return FrozenNetwork(self.extractor, self._fitted())

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, including the backbone's weights."""
        return self.network().state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self._head = self._with(torch.zeros_like(state["head.bank.vectors"], device=self.bench.device))
        self.network().load_state_dict(state)

    def _with(self, vectors: Tensor) -> Head:
        """The head with a bank of these vectors."""
        side = (self.bench.image_size, self.bench.image_size)
        pixels = PixelMap(self.grid, side, self.config.sigma)
        bank = MemoryBank(vectors, self.config.search)
        return Head(self.embedding, bank, pixels, self.config).to(self.bench.device).eval()

    def _fitted(self) -> Head:
        if self._head is None:
            raise RuntimeError("PatchCore was not fitted yet")
        return self._head

    def _patches(self, train: Images, what: str) -> Iterator[Tensor]:
        """The embeddings (rows, D) of each batch of images."""
        done = 0
        for batch in train.batches(BATCH):
            yield rows(self.embedding(feature_maps(self.bench, self.extractor, batch)))
            done += len(batch)
            self.bench.watch(done, len(train), what)

    def _notes(self, kept: int, total: int) -> tuple[str, ...]:
        size = 4 * kept * self.config.width / 2**20
        return (f"bank of {kept} of {total} patches, {size:.1f} MiB",)
