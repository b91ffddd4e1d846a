"""Collects the scores of batches into the `Prediction` of a whole image set."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from afrad_bench.types import Bench, Images, Prediction


def gathered(scored: Iterable[tuple[Tensor | None, Tensor]]) -> Prediction:
    """Concatenate the anomaly maps (B, H, W), if there are any, and image scores (B,) of all batches."""
    every_map, every_score = [], []
    for maps, scores in scored:
        every_score.append(scores.cpu().numpy())
        if maps is not None:
            every_map.append(maps.cpu().numpy())
    return Prediction(np.concatenate(every_score), np.concatenate(every_map) if every_map else None)


def predict(bench: Bench, network: nn.Module, images: Images, batch_size: int) -> Prediction:
    """Score these images with a whole network, image in [0, 1] -> (map, score), in batches of `batch_size`."""
    with torch.inference_mode():
        batches = (torch.from_numpy(batch.array()).to(bench.device) for batch in images.batches(batch_size))
        return gathered(network(batch) for batch in batches)
