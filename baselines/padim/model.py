"""PaDiM as a method: embedding, Gaussians, map; see the package's docstring for sources and deviations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.errors import fail
from afrad_bench.machine.free_memory import free_bytes
from afrad_bench.methods.frozen import FrozenNetwork, feature_maps, predict
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench.types import Bench, Images, Prediction, TrainingRecord
from afrad_bench_baselines.padim import Config, reads
from afrad_bench_baselines.padim.gaussians import PatchGaussians, fit_gaussians, stored_values

BATCH = 16
GIB = 2**30


class Embedding(nn.Module):
    """Feature maps, finest first -> (B, D, h, w): the kept channels of all maps, on the first map's grid.

    Coarser maps are repeated (nearest), so that each patch of the fine grid carries the features of its surroundings
    (section III-A). Channels keep their order; the Mahalanobis distance does not depend on it."""

    def __init__(self, channels: Sequence[int], grid: tuple[int, int], kept: Tensor) -> None:
        super().__init__()
        self.grid = grid
        self.used: list[int] = []
        ends = np.cumsum(channels)
        for i, (width, end) in enumerate(zip(channels, ends, strict=True)):
            mine = kept[(kept >= end - width) & (kept < end)] - int(end - width)
            if len(mine):
                self.used.append(i)
                self.register_buffer(f"kept{i}", mine)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        parts = []
        for i in self.used:
            part = maps[i].index_select(1, self.get_buffer(f"kept{i}"))
            parts.append(part if i == 0 else F.interpolate(part, self.grid, mode="nearest"))
        return torch.cat(parts, 1)


class Head(nn.Module):
    """Feature maps -> (anomaly map (B, H, W), image score (B,)): everything after the backbone."""

    def __init__(self, embedding: Embedding, gaussians: PatchGaussians, pixels: PixelMap) -> None:
        super().__init__()
        self.embedding = embedding
        self.gaussians = gaussians
        self.pixels = pixels

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        anomaly_map: Tensor = self.pixels(self.gaussians(self.embedding(maps)))
        return anomaly_map, anomaly_map.amax((1, 2))


class Padim:
    """See the package's docstring. The fitted Gaussians belong to one input size."""

    def __init__(self, config: Config, bench: Bench) -> None:
        self.config = config
        self.bench = bench
        self.extractor = reads(config, bench.image_size).extractor(bench)
        total = sum(self.extractor.channels)
        self.channels = config.channels_of(total)
        generator = torch.Generator().manual_seed(bench.seeds.init)
        self.kept = torch.randperm(total, generator=generator)[: self.channels].sort().values
        """Indices of the kept channels among those of all maps, one after another."""
        self._head: Head | None = None

    def fit(self, train: Images) -> TrainingRecord:
        """Mean and covariance of each position over normal images, in one pass where memory allows (section III-B)."""
        if len(train) < 2:
            raise fail(f"PaDiM needs at least 2 training images for a covariance, but got {len(train)}")
        _, height, width = self.extractor.shapes[0]
        device = self.bench.device
        span = self._span(height * width)
        head = self._with(self.kept)
        passes = math.ceil(height * width / span)
        done = 0

        def embeddings() -> Iterator[Tensor]:
            nonlocal done
            for batch in train.batches(BATCH):
                yield head.embedding(feature_maps(self.bench, self.extractor, batch))
                done += len(batch)
                self.bench.watch(done, passes * len(train), "Gaussian statistics")

        with torch.inference_mode():
            fit_gaussians(head.gaussians, embeddings, self.config.epsilon, span, _float64_device(device))
        self._head = head
        notes = [f"{self.channels} of {sum(self.extractor.channels)} channels, drawn at random from the seed"]
        if passes > 1:
            notes.append(f"statistics taken in {passes} passes over the training features, for want of memory")
        return TrainingRecord(images_seen=done, notes=tuple(notes))

    def predict(self, images: Images) -> Prediction:
        """Score a batch by smoothed Mahalanobis distances, from its cached features."""
        return predict(self.bench, self.extractor, self._fitted(), images, BATCH)

    def network(self) -> nn.Module:
        """Backbone and head as one module in eval mode; the Gaussians are buffers, not parameters."""
        return FrozenNetwork(self.extractor, self._fitted())

    def state(self) -> Mapping[str, Tensor]:
        """Everything that `network()` holds, including the backbone's weights and which channels are kept."""
        return self.network().state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load a state that `state()` returned, with the channels that it keeps."""
        names = (f"head.embedding.kept{i}" for i in range(len(self.extractor.channels)))
        starts = np.cumsum([0, *self.extractor.channels[:-1]])
        parts = [state[name].cpu() + int(start) for name, start in zip(names, starts, strict=True) if name in state]
        self.kept = torch.cat(parts)
        self._head = self._with(self.kept)
        self.network().load_state_dict(state)

    def _with(self, kept: Tensor) -> Head:
        """The head of these channels, whose Gaussians are not fitted yet."""
        _, height, width = self.extractor.shapes[0]
        side = (self.bench.image_size, self.bench.image_size)
        embedding = Embedding(self.extractor.channels, (height, width), kept)
        gaussians = PatchGaussians(height * width, self.channels, self.bench.device)
        pixels = PixelMap((height, width), side, self.config.sigma)
        return Head(embedding, gaussians, pixels).to(self.bench.device).eval()

    def _fitted(self) -> Head:
        if self._head is None:
            raise RuntimeError("PaDiM was not fitted yet")
        return self._head

    def _span(self, positions: int) -> int:
        """Positions whose float64 sums fit into half of the memory that the fitted Gaussians leave free."""
        free = free_bytes(self.bench.device)
        state = 4 * stored_values(positions, self.channels)
        per_position = 8 * self.channels * (self.channels + 3 * BATCH)
        span = int((free - state) / 2 / per_position)
        if span < 1:
            raise fail(
                f"PaDiM's {positions} Gaussians of {self.channels} channels take {state / GIB:.2f} GiB, but "
                f"{free / GIB:.2f} GiB are free on {self.bench.device}",
                hint="keep fewer channels (`channels`), choose a smaller image size, or free some memory",
            )
        return min(span, positions)


def _float64_device(device: str) -> str:
    """Device for float64 sums: Apple's GPUs do not support this type."""
    return "cpu" if device.startswith("mps") else device
