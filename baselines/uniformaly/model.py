"""Uniformaly as a method: masked tokens, coreset, bank, map; see the package's docstring for sources and deviations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.methods.coreset import memory_bank, must_fit, share
from afrad_bench.methods.frozen import FrozenNetwork, feature_maps, predict
from afrad_bench.methods.neighbours import MemoryBank
from afrad_bench.methods.patch_embedding import rows
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines import uniformaly
from afrad_bench_baselines.uniformaly import Config
from afrad_bench_baselines.uniformaly.backbone import Tokens, plain

BATCH = 4


def foreground(attention: Tensor, config: Config) -> Tensor:
    """(B, 1, h, w) attention -> (B, h w) mask of the patches that are not background (back patch masking)."""
    if not config.mask:
        return torch.ones_like(attention, dtype=torch.bool).flatten(1)
    pooled = F.avg_pool2d(attention, config.pooling, stride=1, padding=config.pooling // 2).flatten(1)
    return pooled > config.threshold * pooled.amax(1, keepdim=True)


class Head(nn.Module):
    """Tokens and attention -> (anomaly map (B, H, W), image score (B,)): everything after the backbone."""

    def __init__(self, bank: MemoryBank, grid: int, side: int, config: Config) -> None:
        super().__init__()
        self.bank = bank
        self.grid = (grid, grid)
        self.pixels = PixelMap(self.grid, (side, side), config.sigma)
        self.config = config
        self.top = max(1, round(config.top * grid**2))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        tokens, attention = maps
        squared, _ = self.bank.nearest(rows(tokens), self.config.neighbours)
        scores = squared.mean(1).view(-1, self.grid[0] * self.grid[1])
        inside = scores * foreground(attention, self.config)
        shown = inside if self.config.masked_map else scores
        return self.pixels(shown.view(-1, *self.grid)), inside.topk(self.top, 1).values.mean(1)


class Uniformaly:
    """See the package's docstring."""

    def __init__(self, config: Config, bench: Bench) -> None:
        uniformaly.must_fit(config, bench.image_size, *plain(config.backbone.name))
        self.config = config
        self.bench = bench
        weights = bench.features.weights(config.backbone)
        self.extractor = Tokens(config.backbone, weights, config.layers, bench.image_size).to(bench.device)
        self._head: Head | None = None

    @torch.inference_mode()
    def fit(self, train: Images) -> TrainingRecord:
        """Choose the coreset of the masked patch tokens of normal images; two passes over the features."""
        config, bench = self.config, self.bench
        width = self.extractor.map_channels[0]
        sizes: list[tuple[int, int]] = []

        def kept(total: int) -> int:
            count = share("Uniformaly", config.fraction, total, len(train))
            hint = f"lower `fraction` (now {config.fraction:g}), the image size or the number of training images"
            must_fit("Uniformaly", count, total, width, config.projection, bench.device, config.max_bank_bytes, hint)
            sizes.append((count, total))
            return count

        vectors = memory_bank(
            lambda what: self._masked(train, what),
            kept,
            width,
            config.projection,
            config.starts,
            bench.seeds.init,
            bench.device,
            bench.watch,
        )
        self._head = self._with(vectors)
        (count, total), every = sizes[0], len(train) * self.extractor.side**2
        size = 4 * count * width / 2**20
        note = f"bank of {count} of {total} patches in the mask, of {every} patches, {size:.1f} MiB"
        return TrainingRecord(images_seen=2 * len(train), notes=(note,))

    def predict(self, images: Images) -> Prediction:
        """Score a batch by its distances to the bank, from its cached features."""
        return predict(self.bench, self.extractor, self._fitted(), images, BATCH)

    def network(self) -> nn.Module:
        """Backbone and head as one module in eval mode; the bank is a buffer, not a parameter."""
        return FrozenNetwork(self.extractor, self._fitted())

    def modules(self) -> Mapping[str, nn.Module]:
        """The frozen backbone is all that has parameters."""
        return {"backbone": self.extractor}

    def parts(self) -> Mapping[str, nn.Module]:
        """Parts in the order in which they compute; mask and smoothing count as the rest."""
        return {"backbone": self.extractor, "bank": self._fitted().bank}

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, including the backbone's weights."""
        return self.network().state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned."""
        self._head = self._with(torch.zeros_like(state["head.bank.vectors"], device=self.bench.device))
        self.network().load_state_dict(state)

    def _fitted(self) -> Head:
        if self._head is None:
            raise RuntimeError("Uniformaly was not fitted yet")
        return self._head

    def _with(self, vectors: Tensor) -> Head:
        head = Head(MemoryBank(vectors, self.config.search), self.extractor.side, self.bench.image_size, self.config)
        return head.to(self.bench.device).eval()

    def _masked(self, train: Images, what: str) -> Iterator[Tensor]:
        """The tokens (rows, D) in the mask of each batch of images."""
        done = 0
        for batch in train.batches(BATCH):
            tokens, attention = feature_maps(self.bench, self.extractor, batch)
            yield rows(tokens)[foreground(attention, self.config).flatten()]
            done += len(batch)
            self.bench.watch(done, len(train), what)
