"""The convention of an evaluation: size at which pixels are compared, resizing of masks, source of image scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from afrad_bench.images.sets import resized_mask

if TYPE_CHECKING:
    from afrad_bench.measures.accuracy.config import Config
    from afrad_bench.types import BoolArray, FloatArray, Prediction, Sample

MASKS = {"bilinear": "masks by bilinear > 0.5", "any": "masks by any marked pixel"}


def pixel_terms(config: Config) -> Iterator[str]:
    """How the pixel evaluation differs from the default, as text."""
    if config.resolution == "original":
        yield "at the size of each mask, maps resized bilinearly"
    if config.mask_rule != "nearest":
        yield MASKS[config.mask_rule]


def image_terms(config: Config) -> str:
    """Source of the image score as text; empty for the method itself."""
    return {
        "method": "",
        "max": "image score: maximum of the map",
        "pool": f"image score: maximum of the map after {config.pool}x{config.pool} average pooling",
        "top": f"image score: mean of the highest {config.top_share:.2%} of the map",
    }[config.image_score]


def image_scores(prediction: Prediction, config: Config) -> FloatArray:
    """(B,) float64 scores of a batch, from the method or from its maps.

    Raises `ValueError` if maps are needed and missing, or smaller than the pooling window."""
    if config.image_score == "method":
        return np.asarray(prediction.pred_score, np.float64)
    if prediction.anomaly_map is None:
        raise ValueError(f"image_score is {config.image_score!r}, but the method gives no anomaly map")
    return np.array([score_of_map(one, config) for one in prediction.anomaly_map])


def score_of_map(scores: FloatArray, config: Config) -> float:
    """The image score of a map (H, W), in float64."""
    scores = np.asarray(scores, np.float64)
    if config.image_score == "max":
        return float(scores.max())
    if config.image_score == "top":
        count = max(1, round(config.top_share * scores.size))
        return float(np.partition(scores, scores.size - count, axis=None)[-count:].mean())
    side = config.pool
    if side > min(scores.shape):
        raise ValueError(f"pooling by {side}x{side} needs maps of at least that size, not {scores.shape}")
    means = ndimage.uniform_filter(scores, side)
    inside = tuple(slice(side // 2, size - side + side // 2 + 1) for size in scores.shape)
    return float(means[inside].max())


def sizes(samples: Sequence[Sample], side: int, config: Config) -> list[tuple[int, int]]:
    """(H, W) at which the pixels of each image are compared. Original sizes are read from the files."""
    if config.resolution == "input":
        return [(side, side)] * len(samples)
    return [_original(sample) for sample in samples]


def compared(
    maps: FloatArray, samples: Sequence[Sample], side: int, config: Config
) -> Iterator[tuple[FloatArray, BoolArray]]:
    """Maps (B, H, W) of a batch and their bool masks at the size of the comparison: all together, or one by one at the
    original resolution."""
    if config.resolution == "input":
        yield maps, np.stack([resized_mask(sample, side, config.mask_rule) for sample in samples])
        return
    for scores, sample in zip(maps, samples, strict=True):
        height, width = _original(sample)
        mask = np.zeros((height, width), bool) if sample.mask is None else sample.mask.read() > 0
        picture = Image.fromarray(np.asarray(scores, np.float32))
        yield np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))[None], mask[None]


def _original(sample: Sample) -> tuple[int, int]:
    height, width = (sample.mask or sample.image).read().shape[:2]
    return int(height), int(width)
