"""US: students regress a teacher's dense descriptors; their error and their disagreement are the anomaly.

Bergmann, Fauser, Sattlegger and Steger, "Uninformed Students: Student-Teacher Anomaly Detection with Discriminative
Latent Embeddings", CVPR 2020, arXiv:1911.02357. The authors published no code. D = denguir/student-teacher-anomaly-
detection, the most used implementation.

Defaults, from the paper, and D's where the paper is silent: receptive fields 17, 33 and 65, whose scores are averaged;
per field a teacher and three students of one small network without padding, evaluated at each pixel of the image with
zeros around; leaky ReLU with slope 0.005; pixels with mean and deviation 0.5. The teacher is distilled in each fit from
a ResNet-18 with torchvision's weights, on patches of ImageNet: side of the image drawn from 4 to 16 times that of the
patch, grey with probability 0.1, 50,000 steps of 64 patches, Adam at 2e-4 with weight decay 1e-5; the loss is the
squared distance of its decoded 512 values plus the squared correlations of its 128 descriptors (compactness). Dropout
of 0.2 while it is distilled: D. Students learn the 128 descriptors, standardised per channel over the training images:
Adam at 1e-4, weight decay 1e-5, one image per step, 100 passes, of which the last is scored. Error and predictive
variance are standardised by their mean and deviation over held-out normal images. The image score is the map's maximum:
neither paper nor D has one.

D's readings are fields: `decoded: true` (students learn the 512 decoded values), `held_out: 0` (standardises over the
training images), `training.epochs: 15`, `receptive_fields: [65]`, `textures: {source: training}` (its teacher learns
from patches of the training images, at one scale; users report poor results). D's compactness correlates patches, not
descriptors; its flips of training images and its teacher's rotations are left out here.

Paper and D fit one model per category. There is no published setting for several categories together (UniAD's table
gives results of one without a script), so the same defaults are used: one teacher per receptive field and three
students for all.

An image of 256 px costs 2,000 G: few parameters, long computing. `width` makes smaller networks for trying out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import BackboneConfig
from afrad_bench.errors import fail, unknown
from afrad_bench.methods import textures
from afrad_bench.methods.fields import EvalBatch
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small
from afrad_bench.methods.textures import NaturalImages

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.us.model import Us

VERSION = "1"
PAPER = (
    "Bergmann et al., Uninformed Students: Student-Teacher Anomaly Detection with Discriminative Latent Embeddings, "
    "CVPR 2020"
)

FIELDS = (17, 33, 65)
"""Receptive fields for which there is a network."""
DEEPEST = 32
"""Reduction of the map whose mean the teacher is distilled from."""

RECIPES = (
    Recipe("paper", image_size=256),
    *(Recipe(f"paper, receptive field {one}", {"receptive_fields": [one]}, image_size=256) for one in FIELDS),
    Recipe(
        "denguir, its default",
        {
            "receptive_fields": [65],
            "decoded": True,
            "held_out": 0,
            "textures": {"source": "training"},
            "training": {"epochs": 15},
        },
        image_size=256,
    ),
)
SMALL = Small(
    {
        "receptive_fields": [17, 33],
        "width": 4,
        "students": 2,
        "teacher": {"weights": "random"},
        "backbone": {"name": "mobilenetv3_small_050", "weights": "random"},
        "training": {"epochs": 2, "lr": 1e-3},
    }
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Backbone(BackboneConfig):
    """What the teachers are distilled from; by default the published one."""

    name: str = Field(
        "resnet18.tv_in1k", description="timm model with feature maps. The published one: resnet18.tv_in1k."
    )


class Teacher(_Part):
    """Where the teachers come from; all but the first field are for `distilled`."""

    weights: str = Field(
        "distilled", description="distilled, random, or folder:PATH with denguir's teacher_17_net.pt, and so on."
    )
    steps: int = Field(50_000, ge=1, description="Steps of the distillation of each teacher.")
    batch_size: int = Field(64, ge=2, description="Patches per step.")
    lr: float = Field(2e-4, gt=0, description="Learning rate of Adam.")
    compactness: float = Field(1.0, ge=0, description="Weight of the squared correlations of descriptors.")

    @field_validator("weights")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("distilled", "random") and not (value.startswith("folder:") and len(value) > len("folder:")):
            raise ValueError(str(unknown("kind of teacher", value, ["distilled", "random", "folder:PATH"])))
        return value


class Training(_Part):
    """Optimisation of the students."""

    epochs: int = Field(100, ge=0, description="Passes over the training images; the last one is scored.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of Adam.")
    weight_decay: float = Field(1e-5, ge=0, description="Weight decay of Adam, added to the gradient.")


class Config(_Part):
    """US with the defaults of the paper."""

    backbone: Backbone = Field(Backbone(), description="Network that teachers are distilled from.")
    receptive_fields: tuple[int, ...] = Field(FIELDS, description="Sides of the patches, of 17, 33 and 65.")
    width: int = Field(128, ge=1, description="Channels of the first convolution and of the descriptors.")
    students: int = Field(3, ge=2, description="Students per receptive field.")
    decoded: bool = Field(
        False, description="Whether students learn the teacher's 512 decoded values (denguir), not its descriptors."
    )
    teacher: Teacher = Field(Teacher(), description="The frozen teachers.")
    textures: NaturalImages = Field(NaturalImages(), description="Images whose patches the teachers are distilled on.")
    held_out: float = Field(
        0.1, ge=0, lt=1, description="Share of the images on which scores are standardised; 0: on the training images."
    )
    training: Training = Field(Training(), description="Optimisation of the students.")
    eval_batch: EvalBatch = 1

    @field_validator("receptive_fields")
    @classmethod
    def _offered(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or list(value) != sorted(set(value) & set(FIELDS)):
            raise ValueError(f"receptive_fields must be some of 17, 33 and 65, ascending, but got {list(value)}")
        return value


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image is smaller than a patch, or the backbone or its images are unusable."""
    if image_size < max(config.receptive_fields):
        raise fail(
            f"patches of {max(config.receptive_fields)} px do not fit into images of {image_size} px",
            hint="choose a larger image size or smaller receptive_fields",
        )
    if config.teacher.weights == "distilled":
        if config.textures.source == "none":
            raise fail("a distilled teacher needs images to learn from, but textures.source is none")
        needed(config.backbone.name, (DEEPEST,), DEEPEST)


def teacher_file(config: Config, field: int) -> Path | None:
    """The file of a teacher, None if it is not to be read. Raises `UserError` if it is not here."""
    if not config.teacher.weights.startswith("folder:"):
        return None
    path = Path(config.teacher.weights.removeprefix("folder:")).expanduser() / f"teacher_{field}_net.pt"
    if not path.is_file():
        raise fail(
            f"no such teacher: {path}",
            hint="name a folder with a file for each of receptive_fields, or teacher: {weights: distilled}",
        )
    return path


def must_be_here(config: Config) -> None:
    """Raise `UserError` if the file of a teacher, or the images to distil one, are not on this machine."""
    for field in config.receptive_fields:
        teacher_file(config, field)
    if config.teacher.weights == "distilled":
        textures.must_be_here(config.textures)


def build(config: Config, bench: Bench) -> Us:
    """An untrained US on `bench.device`; raises `UserError` if teachers, backbone or image size are unusable."""
    from afrad_bench_baselines.us.model import Us

    return Us(config, bench)
