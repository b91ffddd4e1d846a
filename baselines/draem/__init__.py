"""DRAEM: one network restores an image, another compares it with the result; trained on synthetic anomalies.

Zavrtanik, Kristan and Skocaj, "DRAEM: A discriminatively trained reconstruction embedding for surface anomaly
detection", ICCV 2021, arXiv:2108.07610. Official code: VitjanZ/DRAEM.

Defaults, all from the official code: networks 128 and 64 channels wide, nothing pretrained, all of it trained; squared
error, SSIM and focal loss with equal weight; Adam at 1e-4, multiplied by 0.2 from 80 % of the epochs and again from
90 %; batches of 8, the last one may be smaller; 700 epochs, the last one is scored; three images in ten are rotated by
up to 90 degrees, half of all images get no anomaly; DTD's textures, each changed in three of ten ways. The map is the
probability of being anomalous per pixel. The image score is the largest mean of the map in a window of 21 x 21 pixels,
with zeros around the map.

The code fits one model per category and has no setting for all categories together, so the same defaults are used. 700
epochs of the 3,629 images of MVTec AD are 318,000 steps of a network of 198 G; set a smaller number if that is too
many. ADer trains for 100 or 300 epochs, but its published configuration for DRAEM makes no anomalies (its results are
at chance level), so nothing is taken from it.

Deviations: images are RGB (the official code reads BGR; its checkpoints are converted when they are loaded); each image
is used once per epoch, in the order that all methods share (official: drawn with replacement); the rate drops at the
first epoch from 80 and 90 % on (official: exactly there, or never if that is not a whole number); of the ten changes of
texture, brightness in Luv is done in Lab, which has the same lightness; angles are drawn from the cell's seed (in the
official code all workers draw the same ones). Metrics are the harness's own: the official code keeps only those pixels
of a mask that stay fully white when it is resized."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from afrad_bench.methods.demands import multiple_of
from afrad_bench.methods.fields import EvalBatch, OddSide
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small
from afrad_bench.methods.textures import TextureConfig

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.draem.model import Draem

VERSION = "1"
PAPER = "Zavrtanik et al., DRAEM: A discriminatively trained reconstruction embedding, ICCV 2021"

RECIPES = (Recipe("official code", image_size=256),)
SMALL = Small(
    {
        "reconstruction_width": 8,
        "discrimination_width": 4,
        "textures": {"source": "training"},
        "training": {"epochs": 2, "batch_size": 4, "lr": 1e-3},
    }
)


STEP = 32
"""The deeper encoder halves the resolution five times."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Part):
    """Optimisation, as in the official code."""

    epochs: int = Field(700, ge=0, description="Passes over the training images; the last one is scored.")
    batch_size: int = Field(8, ge=1, description="Images per step.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of Adam.")
    milestones: tuple[float, ...] = Field(
        (0.8, 0.9), description="Shares of the epochs from which the rate is multiplied by `decay` again."
    )
    decay: float = Field(0.2, gt=0, le=1, description="Factor of the rate at each milestone.")

    @field_validator("milestones")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= share <= 1 for share in value):
            raise ValueError(f"milestones are shares of the epochs in [0, 1], but got {list(value)}")
        return value


class Synthesis(_Part):
    """How the networks' input differs from the training image."""

    anomalous: float = Field(0.5, ge=0, le=1, description="Share of the images that get an anomaly.")
    rotated: float = Field(0.3, ge=0, le=1, description="Share of the images first rotated by up to 90 degrees.")


class Score(_Part):
    """From the map to the image score."""

    window: OddSide = Field(21, description="Side in pixels (odd) of the window; its largest mean is the image score.")


class Config(_Part):
    """DRAEM with the defaults of the official code."""

    reconstruction_width: int = Field(128, ge=1, description="Channels of the reconstruction network's first layer.")
    discrimination_width: int = Field(64, ge=1, description="Channels of the discrimination network's first layer.")
    textures: TextureConfig = Field(TextureConfig(), description="Textures of the synthetic anomalies.")
    start: str | None = Field(
        None,
        description="Official checkpoint NAME.pckl, with NAME_seg.pckl in the same folder, to start from instead of "
        "initial values; with training.epochs 0 it is scored as it is.",
    )
    training: Training = Field(Training(), description="Optimisation.")
    synthesis: Synthesis = Field(Synthesis(), description="Corruption of the training images.")
    score: Score = Field(Score(), description="From the map to the image score.")
    eval_batch: EvalBatch = 8


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size is unusable."""
    multiple_of(STEP, image_size, "DRAEM")


def build(config: Config, bench: Bench) -> Draem:
    """An untrained DRAEM on `bench.device`; raises `UserError` if image size or checkpoint is unusable."""
    from afrad_bench_baselines.draem.model import Draem

    return Draem(config, bench)
