"""Collects the scores of batches into the `Prediction` of a whole image set."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from afrad_bench.machine.copying import moved
from afrad_bench.types import Bench, Images, Prediction


def gathered(scored: Iterable[tuple[Tensor, Tensor]]) -> Prediction:
    """Concatenate the anomaly maps (B, H, W) and image scores (B,) of all batches into one prediction."""
    maps, scores = zip(*((maps.cpu().numpy(), scores.cpu().numpy()) for maps, scores in scored), strict=True)
    return Prediction(np.concatenate(scores), np.concatenate(maps))


def pixels_of(images: Images, device: str) -> Tensor:
    """These images, (N, 3, H, W) in [0, 1], on the device; the host does not wait for a card (`moved`)."""
    return moved(torch.from_numpy(images.array()), device)


def everywhere(score: Tensor, images: Tensor) -> Tensor:
    """(B, H, W): the score (B,) of each image (B, 3, H, W) at every pixel, for the network of a method without maps."""
    return score[:, None, None].expand(-1, *images.shape[-2:])


def predict(bench: Bench, network: nn.Module, images: Images, batch_size: int) -> Prediction:
    """Score these images with a whole network, image in [0, 1] -> (map, score), in batches of `batch_size`."""
    with torch.inference_mode():
        return gathered(network(pixels_of(batch, bench.device)) for batch in images.batches(batch_size))
