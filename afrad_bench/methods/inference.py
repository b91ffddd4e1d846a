"""Collects the scores of batches into the `Prediction` of a whole image set."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from afrad_bench.types import Bench, Images, Prediction


def gathered(scored: Iterable[tuple[Tensor, Tensor]]) -> Prediction:
    """Concatenate the anomaly maps (B, H, W) and image scores (B,) of all batches into one prediction."""
    maps, scores = zip(*((maps.cpu().numpy(), scores.cpu().numpy()) for maps, scores in scored), strict=True)
    return Prediction(np.concatenate(scores), np.concatenate(maps))


def everywhere(score: Tensor, images: Tensor) -> Tensor:
    """(B, H, W): the score (B,) of each image (B, 3, H, W) at every pixel, for the network of a method without maps."""
    return score[:, None, None].expand(-1, *images.shape[-2:])


def predict(bench: Bench, network: nn.Module, images: Images, batch_size: int) -> Prediction:
    """Score these images with a whole network, image in [0, 1] -> (map, score), in batches of `batch_size`."""
    with torch.inference_mode():
        batches = (torch.from_numpy(batch.array()).to(bench.device) for batch in images.batches(batch_size))
        return gathered(network(batch) for batch in batches)
