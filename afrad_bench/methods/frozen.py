"""Shared code of methods with a frozen backbone: read its feature maps, score them, build the inference network.

Such a method has an `Extractor` (shared, cached) and its own head: a module that maps a sequence of feature maps
(B, C_i, H_i, W_i) to (anomaly map (B, H, W), image score (B,)). The same head scores cached maps and, in the whole
network, images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.methods.inference import gathered
from afrad_bench.types import Bench, Images, Prediction


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
    maps = bench.features.read(extractor, images)
    return [torch.from_numpy(np.ascontiguousarray(values)).to(bench.device) for values in maps]


def predict(bench: Bench, extractor: Extractor, head: nn.Module, images: Images, batch_size: int) -> Prediction:
    """Score these images with the head, from their cached features, in batches of `batch_size`."""
    with torch.inference_mode():
        return gathered(head(feature_maps(bench, extractor, batch)) for batch in images.batches(batch_size))
