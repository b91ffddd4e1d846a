"""What FCDD and FCDD+OE share: configuration here, without torch; network, augmentation, outliers and training beside.

Liznerski, Ruff, Vandermeulen, Franks, Kloft and Mueller, ICLR 2021, arXiv:2007.01760. Official code: liznerski/fcdd."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from afrad_bench.errors import fail
from afrad_bench.methods.demands import multiple_of
from afrad_bench.methods.fields import EvalBatch

JUMP = 4
"""Pixels between two positions of the network's output."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FcddTraining(_Part):
    """Optimisation, as in the official code for CIFAR-10."""

    epochs: int = Field(600, ge=0, description="Passes over the training images; the last one is scored.")
    batch_size: int = Field(200, ge=2, description="Images per step (official: 10 loads of 20, joined).")
    lr: float = Field(1e-3, gt=0, description="Learning rate of Adam.")
    weight_decay: float = Field(1e-6, ge=0, description="Weight decay of Adam.")
    milestones: tuple[float, ...] = Field(
        (400 / 600, 500 / 600),
        description="Shares of the epochs after which the rate is divided by 10. Official: after 400 and 500 of 600.",
    )


class FcddConfig(_Part):
    """The fields of both methods."""

    side: int = Field(
        32, ge=16, description="Side to which images are averaged, and for which the network is made: 32 (official)."
    )
    sigma: float = Field(1.2, gt=0, description="Standard deviation of the Gaussian that enlarges the map, in pixels.")
    start: str | None = Field(
        None,
        description="Snapshot of the official code (snapshot.pt) to start from instead of initial values; with "
        "training.epochs 0 it is scored as it is.",
    )
    training: FcddTraining = Field(FcddTraining(), description="Optimisation.")
    eval_batch: EvalBatch = 64

    @field_validator("side")
    @classmethod
    def _divides(cls, value: int) -> int:
        if value % JUMP:
            raise ValueError(f"the network halves the side twice, so it must be a multiple of {JUMP}, but got {value}")
        return value


def must_fit(config: FcddConfig, image_size: int, method: str) -> None:
    """Raise `UserError` unless images of this size can be averaged to the network's."""
    if image_size < config.side:
        raise fail(
            f"{method} needs images of at least {config.side} px, but got {image_size}",
            hint="choose a larger image size or a smaller `side`",
        )
    multiple_of(config.side, image_size, method)
