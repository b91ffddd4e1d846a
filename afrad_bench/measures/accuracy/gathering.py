"""Preparation of pixel metrics: whether all masks are known, and where the pixel scores are stored."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from afrad_bench.instruments.metrics import PixelScores
from afrad_bench.types import Sample

if TYPE_CHECKING:
    from afrad_bench.measures.accuracy.config import Config


def allocate(pixels: int, config: Config) -> tuple[PixelScores, list[str]]:
    """Storage for this many pixel scores, in memory or in a temporary file, and notes on it for the result."""
    gib = pixels * np.dtype(np.float32).itemsize / 2**30
    if gib <= config.memory_gib:
        return PixelScores(pixels, config.connectivity), []
    scratch = Path(tempfile.gettempdir())
    note = f"pixel scores kept in a temporary file ({gib:.1f} GiB)"
    return PixelScores(pixels, config.connectivity, scratch=scratch), [note]


def missing_masks(samples: Sequence[Sample]) -> str:
    """Why the pixel ground truth of these samples is not known; empty if it is."""
    anomalous = [sample for sample in samples if sample.gt_label]
    without = sum(sample.mask is None for sample in anomalous)
    if without and without == len(anomalous):
        return "no masks"
    return f"{without} of {len(anomalous)} anomalous images have no mask" if without else ""
