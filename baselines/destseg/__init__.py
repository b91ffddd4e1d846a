"""DeSTSeg: a student restores a teacher's normal features from corrupted images; their differences are segmented.

Zhang, Li, Li, Huang, Shan and Chen, "DeSTSeg: Segmentation Guided Denoising Student-Teacher for Anomaly Detection",
CVPR 2023. Official code: apple/ml-destseg.

Defaults, all from the official code: ResNet-18 with torchvision's V1 weights as the teacher, its stages 1 to 3; a
student of the same architecture, untrained, with a decoder that mirrors it. For the first fifth of the steps the
student is trained (cosine distance, summed over the batch, averaged over positions). Then it is frozen, including its
batch norms, and the segmentation is trained on the products of normalised features (focal loss with gamma 4 plus mean
absolute error). SGD with momentum 0.9 and weight decay 1e-4 at constant rates: student 0.4, residual part 0.1, head
0.01; batches of 32, a partial one at the end of an epoch is left out; unchanged textures of DTD, blended into every
image where Perlin noise is high; the image score is the mean of the 100 largest values of the upsampled map.

The code counts steps: 5,000 for each category of MVTec AD. A category has 242 images on average, so these are 700
passes over it. `training.epochs` is therefore 700, and a larger set gets proportionally more steps: 79,100 for all
categories of MVTec AD together. `training.steps: 5000` gives the official count for a set of any size. The official
code has no unified setting; ADer's is `training: {epochs: 100, clip: 5}` (or 300 epochs) and `top: 1`.

Deviations: no rotation of the training images (official: a choice of three per category, which a model of all
categories cannot know; `rotation` offers them); a set smaller than a batch is one batch (official: an endless loop);
the ground truth of the metrics is the harness's. When scoring, the official network runs the teacher twice and computes
a second map for its ablation. Both are left out, so that an image costs 38.50 G instead of 40.34 G (30.67 G as fvcore
counts the official code: it cannot count one convolution of 9.66 G, whose padding is given by name).

Other teachers: any timm backbone with feature maps at reductions 4, 8, 16 and 32. A deviation that the result's notes
name: if a teacher's features may be negative, a 1 x 1 convolution ends each output of the student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from afrad_bench.backbone.maps import FeatureMaps
from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import BackboneConfig
from afrad_bench.errors import fail
from afrad_bench.methods.demands import multiple_of, square_maps
from afrad_bench.methods.fields import EvalBatch
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small
from afrad_bench.methods.textures import TextureConfig

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.destseg.model import Destseg

VERSION = "1"
PAPER = "Zhang et al., DeSTSeg: Segmentation Guided Denoising Student-Teacher for Anomaly Detection, CVPR 2023"

RECIPES = (
    Recipe("official code, the steps of a category of average size", image_size=256),
    Recipe("official code, 5000 steps", {"training": {"steps": 5000}}, image_size=256),
    *(
        Recipe(
            f"official code, 5000 steps, rotation {kind}",
            {"rotation": kind, "training": {"steps": 5000}},
            image_size=256,
        )
        for kind in ("slight", "turns")
    ),
    *(
        Recipe(f"ADer, {epochs} epochs", {"training": {"epochs": epochs, "clip": 5}, "top": 1}, image_size=256)
        for epochs in (100, 300)
    ),
)
SMALL = Small(
    {
        "backbone": {"name": "mobilenetv3_small_050", "weights": "random"},
        "segmentation_width": 8,
        "textures": {"source": "training"},
        "training": {"epochs": 3, "batch_size": 2, "student_share": 0.5},
    }
)
"""ADer reads its images as BGR but normalises them as RGB, and draws them with replacement: neither is a field here."""


REDUCTIONS = (4, 8, 16)
"""Reductions of the teacher's maps."""
DEEPEST = 32
"""Reduction of the map that the student's decoder starts from."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Backbone(BackboneConfig):
    """The teacher; by default the published one."""

    name: str = Field(
        "resnet18.tv_in1k", description="timm model with feature maps. The published one: resnet18.tv_in1k."
    )


class Training(_Part):
    """Optimisation, as in the official code."""

    epochs: int = Field(700, ge=0, description="Passes over the training images; the last one is scored.")
    steps: int | None = Field(
        None, ge=1, description="Steps in place of epochs, as the official code counts: 5000 per category."
    )
    batch_size: int = Field(32, ge=2, description="Images per step.")
    student_share: float = Field(
        0.2, ge=0, le=1, description="Share of the steps, from the first one, that train the student."
    )
    lr_student: float = Field(0.4, gt=0, description="Learning rate of the student.")
    lr_residual: float = Field(0.1, gt=0, description="Learning rate of the segmentation's residual part.")
    lr_head: float = Field(0.01, gt=0, description="Learning rate of the segmentation's head.")
    clip: float | None = Field(
        None,
        gt=0,
        description="Maximum gradient norm of the network that is trained; null: no clipping. ADer: 5.",
        exclude_if=lambda value: value is None,
    )


class Config(_Part):
    """DeSTSeg with the defaults of the official code."""

    backbone: Backbone = Field(Backbone(), description="Frozen teacher and where its weights come from.")
    segmentation_width: int = Field(256, ge=1, description="Channels of the segmentation network.")
    textures: TextureConfig = Field(TextureConfig(), description="Textures of the synthetic anomalies.")
    rotation: Literal["none", "slight", "turns"] = Field(
        "none",
        description="Rotation of training images. slight: up to 5 degrees (official for wood, zipper, cable). turns: "
        "by quarter turns as well (official for bottle, grid, hazelnut, leather, tile, carpet, screw).",
    )
    start: str | None = Field(
        None,
        description="Official checkpoint to start from instead of initial values; with training.epochs 0 it is scored "
        "as it is.",
    )
    training: Training = Field(Training(), description="Optimisation.")
    top: int = Field(100, ge=1, description="Number of largest map values whose mean is the image score.")
    eval_batch: EvalBatch = 16


def must_fit(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size is unusable, or smaller than `top` needs."""
    multiple_of(DEEPEST, image_size, "DeSTSeg")
    if config.top > image_size**2:
        raise fail(f"`top` asks for {config.top} pixels of a map of {image_size**2}", hint="lower `top`")


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size or the teacher is unusable."""
    must_fit(config, image_size)
    *maps, _ = needed(config.backbone.name, (*REDUCTIONS, DEEPEST), image_size)
    square_maps([one.shape for one in maps], REDUCTIONS, image_size, config.backbone.name, "DeSTSeg")


def reads(config: Config, image_size: int) -> FeatureMaps | None:
    """The feature maps of training images that the method reads; None if it rotates them."""
    rotated = config.rotation != "none"
    return None if rotated else FeatureMaps(config.backbone, REDUCTIONS, image_size, scored=False)


def build(config: Config, bench: Bench) -> Destseg:
    """An untrained DeSTSeg on `bench.device`; raises `UserError` if teacher, image size or checkpoint is unusable."""
    from afrad_bench_baselines.destseg.model import Destseg

    return Destseg(config, bench)
