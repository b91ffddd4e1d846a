"""EfficientAD: a student imitates a small distilled teacher and an autoencoder; where they disagree is an anomaly.

Batzner, Heckler and König, "EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies", WACV 2024,
arXiv:2303.14535. The authors published no code. R = nelson1425/EfficientAD, the most used implementation, whose teacher
files anomalib takes over; A = anomalib 2.7.0.

Defaults, all from the paper, and R's where the paper is silent: size S (`size: M` is the larger one) with 384 channels;
ImageNet's mean and deviation; the teacher's channels standardised over the training part; nine tenths of the images to
train on, one tenth for the quantiles of the maps; batches of one image; Adam at 1e-4 with weight decay 1e-5 in the
gradient, a tenth of that after 95 % of the steps; the 0.1 % largest distances of an image as the hard loss; dropout of
0.2 in the autoencoder; the map with zeros around after its scaling, bilinear to the image's size; the image score is
its maximum. The last step is scored.

Paper and R count steps: 70,000 for each category. A category of MVTec AD has 242 images on average, of which 218 are
trained on, so these are 321 passes. `training.epochs` is therefore 321, and a larger set gets proportionally more
steps; `training.steps: 70000` gives the published count for a set of any size. There is no published setting for
several categories: one teacher, one standardisation and one set of quantiles then serve all of them.

The teacher comes from ImageNet, and without it there is no EfficientAD. `teacher.weights: published` is
teacher_small.pth or teacher_medium.pth in the folder that AFRAD_BENCH_EFFICIENTAD names (R's files, or anomalib's
pretrained_teacher_small.pth); `file:PATH` is any such file. `distilled` makes a teacher in each fit as the paper does,
from a backbone on natural images (R's script moves the backbone's batch norms once by an image of ones before it puts
it in eval mode, hence `teacher.batch_norm: official`). `random` is an untrained one. Notes name anything but
`published`.

The penalty keeps the student small on an image of ImageNet in each step (`textures`; a quarter-size crop, grey with
probability 0.3). The paper has it; R trains without it unless given a folder, A takes the ten classes of Imagenette.
`textures: {source: none}` is R's default.

Deviations: one of brightness, contrast and saturation is changed after resizing, as in A (R: before). R enlarges maps
to the size of the image's file, here to that of the input. Sides other than 256: the autoencoder's sizes are A's
formulas; below 256 px its deepest convolution is as large as its input instead of 8 x 8, which the notes name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import BackboneConfig
from afrad_bench.errors import fail, unknown
from afrad_bench.methods import textures
from afrad_bench.methods.demands import multiple_of
from afrad_bench.methods.fields import EvalBatch
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small
from afrad_bench.methods.textures import NaturalImages

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.efficientad.model import EfficientAd

VERSION = "1"
PAPER = "Batzner et al., EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies, WACV 2024"

ENVIRONMENT = "AFRAD_BENCH_EFFICIENTAD"
REDUCTIONS = (8, 16)
"""Reductions of the maps that a teacher is distilled from."""
STEP = 32
SMALLEST = 64

RECIPES = (
    Recipe("paper, size S, the steps of a category of average size", image_size=256),
    *(
        Recipe(
            f"{who}, size {size}, 70000 steps", {"size": size, **changes, "training": {"steps": 70_000}}, image_size=256
        )
        for size in ("S", "M")
        for who, changes in (
            ("paper", {}),
            ("nelson1425, its default", {"textures": {"source": "none"}}),
            ("anomalib", {"score": {"pad": "before"}}),
        )
    ),
)
SMALL = Small(
    {
        "width": 8,
        "channels": 8,
        "teacher": {"weights": "random"},
        "textures": {"source": "photographs"},
        "training": {"epochs": 2, "lr": 1e-3},
    }
)
"""anomalib's penalty takes Imagenette, a part of ImageNet."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Backbone(BackboneConfig):
    """What a teacher is distilled from; by default the published one."""

    name: str = Field(
        "wide_resnet101_2.tv_in1k",
        description="timm model with feature maps. The published one: wide_resnet101_2.tv_in1k.",
    )


class Teacher(_Part):
    """Where the teacher comes from; all but the first field are for `distilled`."""

    weights: str = Field("published", description="published, file:PATH, distilled or random")
    backbone: Backbone = Field(Backbone(), description="Network that is distilled, on images of twice the side.")
    batch_norm: Literal["official", "pretrained"] = Field(
        "official", description="official: the batch norms see an image of ones first. pretrained: as they come."
    )
    steps: int = Field(60_000, ge=1, description="Steps of the distillation.")
    batch_size: int = Field(16, ge=1, description="Images per step.")
    statistics: int = Field(10_000, ge=1, description="Images for the mean and deviation of the target's channels.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of Adam.")

    @field_validator("weights")
    @classmethod
    def _known(cls, value: str) -> str:
        kinds = ("published", "distilled", "random")
        if value not in kinds and not (value.startswith("file:") and len(value) > len("file:")):
            raise ValueError(str(unknown("kind of teacher", value, [*kinds, "file:PATH"])))
        return value


class Training(_Part):
    """Optimisation, as in paper and reference."""

    epochs: int = Field(321, ge=0, description="Passes over the training part; the last one is scored.")
    steps: int | None = Field(None, ge=1, description="Steps in place of epochs, as published: 70000 per category.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of Adam.")
    weight_decay: float = Field(1e-5, ge=0, description="Weight decay of Adam, added to the gradient.")
    hard: float = Field(0.999, ge=0, lt=1, description="Quantile of the distances above which they count as hard.")


class Score(_Part):
    """From distances to a map."""

    pad: Literal["after", "before"] = Field(
        "after",
        description="Zeros around the map after its scaling by quantiles (reference), or around and enlarged before "
        "that and before the quantiles are taken (anomalib).",
    )


class Config(_Part):
    """EfficientAD with the defaults of paper and reference."""

    size: Literal["S", "M"] = Field("S", description="Size of teacher and student.")
    width: int | None = Field(
        None, ge=1, description="Channels of the first convolution; null: the published 128 (S) or 256 (M)."
    )
    channels: int = Field(384, ge=1, description="Channels of the teacher and of the autoencoder.")
    teacher: Teacher = Field(Teacher(), description="The frozen teacher.")
    textures: NaturalImages = Field(NaturalImages(), description="Images of the penalty and of a distilled teacher.")
    training: Training = Field(Training(), description="Optimisation.")
    score: Score = Field(Score(), description="From distances to a map.")
    eval_batch: EvalBatch = 8

    @model_validator(mode="after")
    def _has_images(self) -> Config:
        if self.teacher.weights == "distilled" and self.textures.source == "none":
            raise ValueError("a distilled teacher needs images to learn from, but textures.source is none")
        return self


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size, the backbone or the images of the penalty are unusable."""
    multiple_of(STEP, image_size, "EfficientAD")
    if image_size < SMALLEST:
        raise fail(f"EfficientAD needs images of {SMALLEST} px or more, but got {image_size}")
    if config.textures.source == "training":
        raise fail(
            "EfficientAD's penalty on the training images would forbid the student to learn them",
            hint="textures: {source: photographs}, folder:PATH, imagenet, or none for no penalty",
        )
    if config.teacher.weights == "distilled":
        needed(config.teacher.backbone.name, REDUCTIONS, 2 * image_size)


def teacher_file(config: Config) -> Path | None:
    """The file that holds the teacher, None for a distilled or random one. Raises `UserError` if it is not here."""
    weights = config.teacher.weights
    if weights in ("distilled", "random"):
        return None
    size = {"S": "small", "M": "medium"}[config.size]
    hint = (
        f"set {ENVIRONMENT} to a folder with teacher_{size}.pth (github.com/nelson1425/EfficientAD, folder models)\n"
        "or name the file: teacher: {weights: file:PATH}\n"
        "or distil one, which the notes of the result then name: teacher: {weights: distilled} (random: untrained)"
    )
    if weights.startswith("file:"):
        path = Path(weights.removeprefix("file:")).expanduser()
        if not path.is_file():
            raise fail(f"no such teacher: {path}", hint=hint)
        return path
    folder = os.environ.get(ENVIRONMENT)
    if not folder:
        raise fail(f"EfficientAD's teacher of size {config.size} is not on this machine", hint=hint)
    names = (f"teacher_{size}.pth", f"pretrained_teacher_{size}.pth")
    for name in names:
        if (path := Path(folder).expanduser() / name).is_file():
            return path
    raise fail(f"{folder} holds neither {' nor '.join(names)}", hint=hint)


def must_be_here(config: Config) -> None:
    """Raise `UserError` if the teacher's file, or the images of the penalty or distillation, are not here."""
    teacher_file(config)
    if config.training.epochs or config.teacher.weights == "distilled":
        textures.must_be_here(config.textures)


def build(config: Config, bench: Bench) -> EfficientAd:
    """An untrained EfficientAD on `bench.device`; raises `UserError` if teacher or image size is unusable."""
    from afrad_bench_baselines.efficientad.model import EfficientAd

    return EfficientAd(config, bench)
