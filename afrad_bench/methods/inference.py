"""From batches that were scored to the `Prediction` of a whole set."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from afrad_bench.types import Bench, Images, Prediction


def gathered(scored: Iterable[tuple[Tensor, Tensor]]) -> Prediction:
    """What was said of each batch, anomaly maps (B, H, W) and image scores (B,), as one prediction."""
    maps, scores = zip(*((maps.cpu().numpy(), scores.cpu().numpy()) for maps, scores in scored), strict=True)
    return Prediction(np.concatenate(scores), np.concatenate(maps))


def predict(bench: Bench, network: nn.Module, images: Images, batch_size: int) -> Prediction:
    """What a whole network, image in [0, 1] to (map, score), says of these images, `batch_size` at a time."""
    with torch.inference_mode():
        batches = (torch.from_numpy(batch.array()).to(bench.device) for batch in images.batches(batch_size))
        return gathered(network(batch) for batch in batches)
