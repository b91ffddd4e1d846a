"""The values that metrics have, or the reason why they have none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from afrad_bench.types import FloatArray

    IntArray = npt.NDArray[np.signedinteger[Any]]


class Undefined(Exception):
    """The metric has no value on these data; `reason` says why, e.g. "no normal image"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PixelMetrics:
    """The pixel metrics of one category, each in [0, 1]."""

    auroc: float
    ap: float
    f1_max: float
    aupro: float

    @property
    def iou_max(self) -> float:
        """Largest intersection over union; reached at the threshold of `f1_max`, of which it is a function."""
        return self.f1_max / (2.0 - self.f1_max)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A polyline of non-decreasing coordinates in [0, 1]."""

    x: FloatArray
    y: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PixelCurves:
    """The curves whose areas are P-AUROC and (after division by the limit) P-AUPRO, fit for drawing.

    Each goes through points of the exact curve, and the area under it differs by less than 0.001 of the exact one's
    square (for PRO: the rectangle up to the limit)."""

    roc: Line
    """False positive rate -> true positive rate, from (0, 0) to (1, 1)."""
    pro: Line
    """False positive rate -> mean overlap per region, from (0, 0) to the limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Above:
    """What lies strictly above each of T thresholds."""

    alarms: IntArray
    """(T,) background pixels."""
    hits: IntArray
    """(T,) defective pixels."""
    overlap: FloatArray
    """(T,) the part of a defective region, on average over the regions."""
    negatives: int
    """Background pixels in all."""
    positives: int
    """Defective pixels in all."""
