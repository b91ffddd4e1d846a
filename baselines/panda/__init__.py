"""PANDA: a pretrained network is drawn together around normal images; neighbours in its pooled features score an image.

Reiss, Cohen, Bergman and Hoshen, "PANDA: Adapting Pretrained Features for Anomaly Detection and Segmentation", CVPR
2021, arXiv:2010.05903. Official code: talreiss/PANDA, for research only; this is our own.

Defaults, all from the official script: ResNet-152 with torchvision's V1 weights (`resnet152.tv_in1k`), of which the
two last stages learn; the centre of the normal images is found once, before training, and stays; the loss is the mean
squared distance to it, divided by the number of features; SGD at 1e-2 with momentum 0.9 and weight decay 5e-5, 15
epochs in batches of 32 with the smaller last one. Score: sum of the squared distances to the 2 nearest training
images.

What the official script does and the paper does not say:
- The gradients are clipped to a norm of 1e-3 in every step (`training.clip`), which decides the length of a step much
  more than the rate. The paper's text has no momentum; the script has 0.9.
- The network is in eval mode from the beginning: batch norms use their stored statistics, which do not move; their
  affine values in the last two stages learn. So is it here, always.
- An image is resized to 256 and its centre of 224 is used, so that a sixteenth of the side is lost at each edge,
  CIFAR-10's pictures of 32 pixels included: `crop: 0.875` of the suite's image size, which should be 256.
- The script prints the AUROC on the test images after each epoch. The last epoch is scored here.

`ewc: true` holds the weights near the pretrained ones (elastic weight consolidation; the official 50 epochs). It needs
the diagonal of the Fisher information of these weights, which the authors offer for ResNet-152 as a file: `fisher:
FILE`. Their code for it was not published.

Deviations: a last batch of one image is used (official: its features lose an axis, and the loss is another one or an
error); distances are computed exactly (official: by faiss, in single precision). The official code is for one normal
class. In the unified setting all classes have one centre and one bank, which is how UniAD's table must have been made;
no configuration of it is published. There is no pixel map: `network()` gives the image's score at every pixel, since a
network must give a map, and `predict` gives none. Left out: the variant with outlier exposure, and k-means of the
bank.

Other backbones: every timm network with feature maps of reductions 8 and 32; what comes after the map of reduction 8
learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import BackboneConfig
from afrad_bench.errors import fail
from afrad_bench.methods.fields import EvalBatch
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.searching import Search, must_search, search_field
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.panda.model import Panda

VERSION = "2"
PAPER = "Reiss et al., PANDA: Adapting Pretrained Features for Anomaly Detection and Segmentation, CVPR 2021"

RECIPES = (
    Recipe("official code, 15 epochs", image_size=256),
    Recipe("official code, elastic weight consolidation", {"ewc": True, "training": {"epochs": 50}}, image_size=256),
)
SMALL = Small(
    {
        "backbone": {"name": "mobilenetv3_small_050", "weights": "random"},
        "training": {"epochs": 2, "batch_size": 4},
    }
)

FROZEN_TO, DEEPEST = 8, 32
"""Reductions of the last map that does not learn, and of the map that is pooled."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Backbone(BackboneConfig):
    """The network that is adapted; by default the published one."""

    name: str = Field(
        "resnet152.tv_in1k", description="timm model with feature maps. The published one: resnet152.tv_in1k."
    )


class Training(_Part):
    """Optimisation, as in the official code."""

    epochs: int = Field(15, ge=0, description="Passes over the training images; the last one is scored. 50 with `ewc`.")
    batch_size: int = Field(32, ge=1, description="Images per step.")
    lr: float = Field(1e-2, gt=0, description="Learning rate of SGD.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD. The paper's text has none.")
    weight_decay: float = Field(5e-5, ge=0, description="Weight decay of SGD.")
    clip: float | None = Field(1e-3, gt=0, description="Maximum gradient norm; null: no clipping.")


class Config(_Part):
    """PANDA with the defaults of the official code."""

    backbone: Backbone = Field(Backbone(), description="The network that is adapted, and where its weights come from.")
    crop: float = Field(
        0.875, gt=0, le=1, description="Side of the centre that is used, of the image's. 0.875: 224 of 256 (official)."
    )
    neighbours: int = Field(2, ge=1, description="Nearest training images whose squared distances are summed.")
    search: Search = search_field()
    ewc: bool = Field(False, description="Elastic weight consolidation; needs `fisher`.")
    fisher: str | None = Field(
        None,
        description="File of the diagonal Fisher information (fisher_diagonal.pth): names of weights -> tensors. Its "
        "hash is in the result's notes.",
    )
    ewc_weight: float = Field(1e4, ge=0, description="Weight of the elastic weight consolidation in the loss.")
    training: Training = Field(Training(), description="Optimisation.")
    eval_batch: EvalBatch = 16


def cropped(config: Config, image_size: int) -> int:
    """Side of the centre that is used, in pixels."""
    return max(1, round(config.crop * image_size))


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the backbone is unusable, or if the file of the Fisher information is missing."""
    must_search("PANDA", config.search)
    needed(config.backbone.name, (FROZEN_TO, DEEPEST), cropped(config, image_size))
    if config.ewc:
        must_be_there(config)


def must_be_there(config: Config) -> None:
    """Raise `UserError` unless the file of the Fisher information is there."""
    from pathlib import Path

    hint = (
        "give the authors' fisher_diagonal.pth (for ResNet-152; the link is in the README of talreiss/PANDA), or, for "
        "another backbone, save a dictionary: name of a weight -> mean squared gradient of the cross-entropy on "
        "ImageNet; or set ewc: false"
    )
    if config.fisher is None:
        raise fail("`ewc` needs `fisher`, a file of the diagonal Fisher information", hint=hint)
    if not Path(config.fisher).expanduser().is_file():
        raise fail(f"no such file: {config.fisher}", "fisher", hint)


def build(config: Config, bench: Bench) -> Panda:
    """A PANDA that has not been adapted; raises `UserError` if backbone or Fisher information is unusable."""
    from afrad_bench_baselines.panda.model import Panda

    must_search("PANDA", config.search, bench.device)
    return Panda(config, bench)
