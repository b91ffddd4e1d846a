"""Shared code of methods with a frozen backbone: read its feature maps, score them, build the inference network.

Such a method has an `Extractor` (shared, cached) and its own head: a module that maps a sequence of feature maps
(B, C_i, H_i, W_i) to (anomaly map (B, H, W), image score (B,)). The same head scores cached maps and, in the whole
network, images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.machine.copying import moved
from afrad_bench.machine.free_memory import free_bytes
from afrad_bench.methods.fitting import batches
from afrad_bench.methods.inference import gathered
from afrad_bench.types import Bench, Images, Prediction

if TYPE_CHECKING:
    from afrad_bench.types import FloatArray

CHUNK = 64
"""Images whose maps are copied to a graphics card at once, when all are to stay there."""
STEPS_AHEAD = 2
"""Steps that the host may be ahead of a card: the batches of all of them are in memory. A step of few launches, as a
graph is, would let it run ahead through the whole epoch."""


class FrozenNetwork(nn.Module):
    """The inference path: image (B, 3, H, W) in [0, 1] -> (anomaly map (B, H, W), image score (B,))."""

    def __init__(self, extractor: Extractor, head: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor
        self.head = head
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scored: tuple[Tensor, Tensor] = self.head(self.extractor(images))
        return scored


def feature_maps(bench: Bench, extractor: Extractor, images: Images) -> list[Tensor]:
    """Feature maps of these images on the bench's device: one (N, C_i, H_i, W_i) per output of the extractor."""
    return list(bench.features.tensors(extractor, images))


def _finished(bench: Bench, extractor: Extractor, parts: Sequence[FloatArray]) -> list[Tensor]:
    return list(extractor.finished([moved(_tensor(values), bench.device) for values in parts]))


def _tensor(values: FloatArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


class TrainingMaps:
    """The feature maps of training images, batch by batch in the order of each epoch.

    On a CUDA device, if they take at most half of its free memory, they stay there, and a step copies nothing. Else
    each batch is read from the cache, or computed where there is none; on a CUDA device on a stream of its own, so that
    it is copied while the card still computes with the batch before."""

    def __init__(self, bench: Bench, extractor: Extractor, images: Images, *, in_memory: bool = False) -> None:
        """`in_memory`: hold what the cache keeps of all images in memory where the maps do not stay on the card."""
        self._bench, self._extractor, self._images = bench, extractor, images
        half = extractor.precision == "float16" and extractor.grid is None  # resized maps are no longer rounded
        self._dtype = torch.float16 if half else torch.float32
        on_card = bench.device.startswith("cuda") and self._bytes() <= free_bytes(bench.device) // 2
        self._held: list[Tensor] | None = self._copied() if on_card else None
        self._read = bench.features.parts(extractor, images) if in_memory and not on_card else None
        self._copies = torch.cuda.Stream(bench.device) if bench.device.startswith("cuda") and not on_card else None
        if self._copies is not None:
            self._copies.wait_stream(torch.cuda.current_stream(bench.device))  # for the backbone's weights
        self._told: deque[torch.cuda.Event] = deque()
        """What marks, for the last steps, the work that was told before them."""

    def __len__(self) -> int:
        return len(self._images)

    def chunks(self) -> Iterator[list[Tensor]]:
        """The maps of all images in their order, on the device: lists of (n, C_i, H_i, W_i)."""
        if self._held is not None:
            for parts in zip(*(maps.split(CHUNK) for maps in self._held), strict=True):
                yield [part.permute(0, 3, 1, 2).float() for part in parts]
        else:
            for indices in torch.arange(len(self)).split(CHUNK):
                yield self._maps(indices)

    def epoch(self, size: int, epoch: int) -> Iterator[list[Tensor]]:
        """The maps of `size` images at a time, in the order of this epoch; of the last ones there may be fewer."""
        order = torch.cat(batches(self._bench, len(self), len(self), epoch))
        if self._held is not None:
            order = moved(order, self._bench.device)
        make = self._maps if self._copies is None else partial(self._beside, self._copies)
        return map(make, order.split(size))

    def _beside(self, copies: torch.cuda.Stream, indices: Tensor) -> list[Tensor]:
        """`_maps`, made on the stream for copies; the card, not the host, waits for it."""
        computing = torch.cuda.current_stream(self._bench.device)
        self._told.append(torch.cuda.Event(blocking=True))
        self._told[-1].record(computing)
        if len(self._told) > STEPS_AHEAD:
            self._told.popleft().synchronize()
        with torch.cuda.stream(copies):
            maps = self._maps(indices)
        computing.wait_stream(copies)
        for each in maps:
            each.record_stream(computing)  # else its memory could be used anew before it is read
        return maps

    def _maps(self, indices: Tensor) -> list[Tensor]:
        if self._held is not None:
            return [maps[indices].permute(0, 3, 1, 2).float() for maps in self._held]
        if self._read is not None:
            return _finished(self._bench, self._extractor, [part[indices.numpy()] for part in self._read])
        return feature_maps(self._bench, self._extractor, self._images.subset(indices.tolist()))

    def _bytes(self) -> int:
        return sum(self._dtype.itemsize * len(self) * c * h * w for c, h, w in self._extractor.shapes)

    def _copied(self) -> list[Tensor]:
        """The maps of all images, (N, H_i, W_i, C_i), on the device: in the layout in which convolutions are fast."""
        shapes = self._extractor.shapes
        held = [torch.empty(len(self), h, w, c, dtype=self._dtype, device=self._bench.device) for c, h, w in shapes]
        for indices in torch.arange(len(self)).split(CHUNK):
            part = self._images.subset(indices.tolist())
            for whole, maps in zip(held, feature_maps(self._bench, self._extractor, part), strict=True):
                whole[int(indices[0]) : int(indices[-1]) + 1] = maps.permute(0, 2, 3, 1)
        return held


def predict(bench: Bench, extractor: Extractor, head: nn.Module, images: Images, batch_size: int) -> Prediction:
    """Score these images with the head, from their cached features, in batches of `batch_size`."""
    with torch.inference_mode():
        return gathered(head(feature_maps(bench, extractor, batch)) for batch in images.batches(batch_size))
