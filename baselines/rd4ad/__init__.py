"""RD4AD: reverse distillation, a decoder that restores a frozen teacher's features from a one-class embedding.

Deng and Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022, arXiv:2201.10703.
Official code: hq-deng/RD4AD.

Defaults, all from the official code: Wide-ResNet-50-2 with torchvision's V1 weights as the teacher, its stages 1 to 3;
multi-scale fusion and one-class embedding; a decoder that mirrors the teacher; Adam at 0.005 with betas 0.5 and 0.999,
constant; batches of 16, the last one may be smaller; 200 epochs, the last one is scored. The loss is one minus the
cosine of two whole feature maps per stage, not the cosine per position of the paper's equation
(`training.loss: per_position`), which users of that code found worse. The map is the sum of one minus the cosines per
position, upsampled with aligned corners and smoothed by a Gaussian with standard deviation 4; the image score is its
maximum.

The code fits one model per category, and its author says that the method was meant for this. It has no setting for all
categories together, so the same defaults are used. ADer's multi-class setup, the source of many published figures, is
`embedding: half` (80.6 M parameters, 28.4 G), `training: {schedule: step, clip: 5}` and other weights of the teacher
(`wide_resnet50_2.racm_in1k`). It drops the last partial batch, which is kept here.

Other teachers: resnet18, 34, 50, 101 and 152 and wide_resnet101_2 are mirrored as in the official code (whose resnet101
fails because the embedding lacks the right block; here it gets resnet50's). Any other timm backbone with three stages
whose reductions double can be used too, unlike in the official code. This is a deviation that the result's notes name:
such a student is built from the teacher's channel counts, with ResNet-18's blocks (ResNet-50's if the last stage has
more than 512 channels). Each of its stages ends in a 1 x 1 convolution, because such teachers' features may be negative
while a ResNet's are not.

Other deviations: the 1 x 1 convolution with batch norm that the official embedding holds but never calls
(8.4 M parameters) is left out, and so is the teacher's last stage, which the official code computes and discards
(2.9 G, 44 M parameters with its classifier). The teacher's features come from the shared cache. Metrics are the
harness's own: the official script computes AUPRO per image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from afrad_bench.backbone.maps import FeatureMaps
from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import WideResNet50
from afrad_bench.methods.demands import multiple_of, square_maps
from afrad_bench.methods.fields import EvalBatch, Smoothing
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small
from afrad_bench.methods.training_step import Step, step_field

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.rd4ad.model import Rd4ad

VERSION = "1"
PAPER = "Deng and Li, Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022"

RECIPES = (
    Recipe("official code", image_size=256),
    *(
        Recipe(
            f"ADer, {epochs} epochs",
            {
                "backbone": {"name": "wide_resnet50_2.racm_in1k"},
                "embedding": "half",
                "training": {"epochs": epochs, "schedule": "step", "clip": 5},
            },
            image_size=256,
        )
        for epochs in (100, 300)
    ),
)
SMALL = Small(
    {
        "backbone": {"name": "mobilenetv3_small_050", "weights": "random"},
        "training": {"epochs": 2, "batch_size": 4},
    }
)
"""ADer leaves out the last partial batch, which is no field here."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Part):
    """Optimisation, as in the official code."""

    epochs: int = Field(200, ge=0, description="Passes over the training images; the last one is scored.")
    batch_size: int = Field(16, ge=1, description="Images per step.")
    lr: float = Field(0.005, gt=0, description="Learning rate of Adam.")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Betas of Adam.")
    schedule: Literal["constant", "step"] = Field(
        "constant",
        description="constant: official. step: the rate is divided by 10 for the last fifth of the epochs (ADer).",
    )
    clip: float | None = Field(None, gt=0, description="Maximum gradient norm; null: no clipping. ADer: 5.")
    loss: Literal["whole_map", "per_position"] = Field(
        "whole_map",
        description="What the cosine compares: whole feature maps (official code), or the channels of each position, "
        "averaged (the paper's equation).",
    )
    step: Step = step_field()

    @field_validator("betas")
    @classmethod
    def _below_one(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError(f"betas must lie in [0, 1), but got {list(value)}")
        return value


class Score(_Part):
    """From cosines to a map and a score."""

    combine: Literal["sum", "product"] = Field(
        "sum", description="How the maps of the stages are combined; the official evaluation uses the sum."
    )
    sigma: Smoothing = 4.0


class Config(_Part):
    """RD4AD with the defaults of the official code."""

    backbone: WideResNet50 = Field(WideResNet50(), description="Frozen teacher and where its weights come from.")
    reductions: tuple[int, ...] = Field(
        (4, 8, 16), description="Three stages of the teacher by reduction, each twice the one before."
    )
    embedding: Literal["official", "half"] = Field(
        "official",
        description="Width of the one-class embedding's 3 x 3 convolutions on wide teachers: 1024 (official) or 512 "
        "(ADer's variant of 80.6 M parameters).",
    )
    start: str | None = Field(
        None,
        description="Official checkpoint (state dicts `bn` and `decoder`) to start from instead of initial values; "
        "with training.epochs 0 it is scored as it is.",
    )
    training: Training = Field(Training(), description="Optimisation.")
    score: Score = Field(Score(), description="From cosines to a map and a score.")
    eval_batch: EvalBatch = 16

    @property
    def step(self) -> int:
        """The side of the image must be a multiple of this: the embedding halves the coarsest map."""
        return 2 * self.reductions[-1]

    @field_validator("reductions")
    @classmethod
    def _three_that_double(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(value) != 3 or value[0] < 1 or value[1] != 2 * value[0] or value[2] != 2 * value[1]:
            raise ValueError(f"reductions must be three, each twice the one before, but got {list(value)}")
        return value


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size or the teacher is unusable."""
    multiple_of(config.step, image_size, "RD4AD")
    maps = needed(config.backbone.name, config.reductions, image_size)
    square_maps([one.shape for one in maps], config.reductions, image_size, config.backbone.name, "RD4AD")
    if config.embedding == "half":
        from afrad_bench_baselines.rd4ad.student import design_for, halved

        halved(design_for(config.backbone.name, [one.channels for one in maps]), config.backbone.name)


def reads(config: Config, image_size: int) -> FeatureMaps:
    """The feature maps that the method reads."""
    return FeatureMaps(config.backbone, config.reductions, image_size)


def build(config: Config, bench: Bench) -> Rd4ad:
    """An untrained RD4AD on `bench.device`; raises `UserError` if teacher, image size or checkpoint is unusable."""
    from afrad_bench_baselines.rd4ad.model import Rd4ad

    return Rd4ad(config, bench)
