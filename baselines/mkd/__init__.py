"""MKD: a small student imitates four maps of a frozen VGG-16; the image score is how far three of them are off.

Salehi, Sadjadi, Baselizadeh, Rohban and Rabiee, "Multiresolution Knowledge Distillation for Anomaly Detection", CVPR
2021, arXiv:2011.11108. Official code: rohban-lab/Knowledge_Distillation_AD.

Defaults, all from the official code, whose configuration is that of CIFAR-10: VGG-16 with torchvision's weights up to
its last pooling as the teacher; a student with the layout of VGG-16, mostly 16 channels wide, without biases, with
batch norms where no pooling follows, Xavier's initial values (`student: equal` has VGG-16's widths); ImageNet's mean
and deviation. The loss is a sum over the maps behind the second to the fifth pooling of one minus the cosine of whole
flattened maps, plus lambda (`balance`) times the mean squared difference; the code weighs the difference, the paper
prints the weight on the cosine. Adam at 1e-3, constant; batches of 64, the last one may be smaller. The image score is
the same sum over the last three maps: the first of the four only teaches. `balance: 0` is the code's
`direction_loss_only`.

The script trains for 202 passes, scores the test set after every tenth (the last time after the 201st, so `epochs` is
201) and saves every fiftieth, so that the checkpoint that its test configuration names, 201, never exists. Here the
last pass is scored. Official for MVTec AD: 601 passes, `balance: 0.5`, images of 128 px, and pixels in [0, 1] without
mean and deviation (`pixels: raw`): only CIFAR-10 is normalised.

Maps come from gradients of the score with respect to the pixels, and only if they are asked for, as in the official
code: `localisation: guided` (its default for MVTec AD), `gradients`, or `smooth`. Maps are scaled to [0, 1] for each
image by itself, which is official, so pixels of different images are not on one scale. Without maps a result has no
metrics of pixels. The official code computes its P-AUROC after a morphological opening and over anomalous images only,
which is not done here: metrics are the harness's own.

The code fits one model per class. There is no published setting for several classes together (UniAD's table gives
results of one without a script), so the same defaults are used: one student for all.

Deviations: the teacher is in eval mode and without gradients while the student learns (official: gradients are computed
and discarded); CIFAR-10 is not cropped to 224 of 256 px. Other teachers: any timm backbone with maps at reductions 4,
8, 16 and 32; a student's last convolution of each stage then has the teacher's channels, and, if the teacher's
features may be negative, no ReLU behind it, which the result's notes name."""

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

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.mkd.model import Mkd

VERSION = "1"
PAPER = "Salehi et al., Multiresolution Knowledge Distillation for Anomaly Detection, CVPR 2021"

STEP = 32

RECIPES = (
    Recipe("official code, CIFAR-10"),
    *(
        Recipe(
            f"official code, MVTec AD, {kind}",
            {"pixels": "raw", "balance": 0.5, "localisation": kind, "training": {"epochs": 601}},
            image_size=128,
        )
        for kind in ("guided", "none", "gradients", "smooth")
    ),
)
SMALL = Small(
    {
        "backbone": {"name": "mobilenetv3_small_050", "weights": "random"},
        "training": {"epochs": 2, "batch_size": 4},
    }
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Backbone(BackboneConfig):
    """The teacher; by default the published one."""

    name: str = Field("vgg16.tv_in1k", description="timm model with feature maps. The published one: vgg16.tv_in1k.")


class Training(_Part):
    """Optimisation, as in the official code."""

    epochs: int = Field(201, ge=0, description="Passes over the training images; the last one is scored.")
    batch_size: int = Field(64, ge=1, description="Images per step.")
    lr: float = Field(1e-3, gt=0, description="Learning rate of Adam.")


class Config(_Part):
    """MKD with the defaults of the official code."""

    backbone: Backbone = Field(Backbone(), description="Frozen teacher and where its weights come from.")
    student: Literal["small", "equal"] = Field(
        "small", description="Widths of the student: 16 inside the stages (official default), or VGG-16's."
    )
    use_bias: bool = Field(False, description="Whether the student's convolutions have biases.")
    pixels: Literal["imagenet", "raw"] = Field(
        "imagenet",
        description="What both networks see: normalised with the teacher's mean and deviation (official for CIFAR-10), "
        "or values in [0, 1] (official for all else).",
    )
    balance: float = Field(
        0.01, ge=0, description="Weight of the squared differences; official for MVTec AD: 0.5. 0: cosines alone."
    )
    localisation: Literal["none", "guided", "gradients", "smooth"] = Field(
        "none", description="Anomaly maps from gradients; guided is the official default for MVTec AD."
    )
    start: str | None = Field(
        None,
        description="Official checkpoint of a student (Cloner_*.pth) to start from instead of initial values; with "
        "training.epochs 0 it is scored as it is.",
    )
    training: Training = Field(Training(), description="Optimisation.")
    eval_batch: EvalBatch = 16


def is_vgg(name: str) -> bool:
    """Whether timm gives this backbone's maps before the poolings that the official taps are behind."""
    return name.startswith("vgg")


def reductions(name: str) -> tuple[int, ...]:
    """Reductions of the teacher's maps that are read: VGG's are pooled afterwards."""
    return (2, 4, 8, 16) if is_vgg(name) else (4, 8, 16, 32)


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size or the teacher is unusable."""
    multiple_of(STEP, image_size, "MKD")
    name = config.backbone.name
    maps = needed(name, reductions(name), image_size)
    square_maps([one.shape for one in maps], reductions(name), image_size, name, "MKD")
    if config.student == "equal" and not is_vgg(name):
        raise fail(f"a student of equal size exists for VGG alone, but the teacher is {name}", hint="student: small")


def reads(config: Config, image_size: int) -> FeatureMaps | None:
    """The feature maps of training images that the method reads; None if its images have another scale."""
    if config.pixels != "imagenet":
        return None
    return FeatureMaps(config.backbone, reductions(config.backbone.name), image_size, scored=False)


def build(config: Config, bench: Bench) -> Mkd:
    """An untrained MKD on `bench.device`; raises `UserError` if teacher, image size or checkpoint is unusable."""
    from afrad_bench_baselines.mkd.model import Mkd

    return Mkd(config, bench)
