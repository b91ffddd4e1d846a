"""DDAD: a diffusion model repairs an image while it is guided by that image; pixels and features are then compared.

Mousakhan, Brox and Tayyub, "Anomaly Detection with Conditioned Denoising Diffusion Models", arXiv:2305.15956, 2023.
Official code: arimousa/DDAD.

Defaults, all from the official configuration file, which is that of MVTec AD's screws: a guided-diffusion U-Net 64
channels wide (32.95 M parameters) with four heads; 1000 steps, linear from 1e-4 to 0.02; the squared error of the
estimated noise, summed over an image, at all steps; Adam at 3e-4 with a weight decay of 0.05 in the gradient, batches
of 32, the last partial one left out, 2000 epochs (the code trains 3000 and reads the file of the 2000th). An image gets
the noise of step 250 and is denoised in ten steps of 25 (DDIM with eta 1), each guided by the image itself with weight
`w` 2. Wide-ResNet-101-2 with torchvision's V1 weights is adapted to the data for four epochs: features of a repaired
image and of another one that guided it (with weight 3) are drawn together and held near those of the frozen network.
The map is the sum of the cosine distances of stages 2 and 3, averaged over 3 x 3 positions, plus `score.v` times the
mean absolute difference of the pixels, scaled to the same maximum; a Gaussian of 4 pixels smooths it. The image score
is its maximum in the central 224 of 256 pixels.

The published results are of one model per category, with `w`, the epochs of both networks and, for VisA, `score.v`
chosen per category on test images; `RECIPES` holds these choices, and none is used unless it is written into a suite.
The code has no setting for all categories together: the same defaults are used for one U-Net and one extractor.

Deviations: the code scales by the maxima of a whole test batch, so that the score of an image depends on the others;
here they are those of the image (`score.balance: image`, equal to the code with batches of one), or of the training
images after the fit (`training`). The map keeps its border; the code crops map and mask before its metrics. All images
are scored with the same noise, drawn once from the seed; the code draws anew for every batch. The fourth stage of the
extractor, which the code computes and discards, is left out. Levels with attention are named by their reduction. A set
smaller than a batch is one batch (the code would not train). Checkpoints of the official code are read with `start` and
`adaptation.start`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import BackboneConfig
from afrad_bench.methods.demands import multiple_of, square_maps
from afrad_bench.methods.diffusion import require
from afrad_bench.methods.diffusion.config import TIMESTEPS, UnetConfig
from afrad_bench.methods.fields import EvalBatch
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small
from afrad_bench_baselines.ddad.published import recipes

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.ddad.model import Ddad

VERSION = "1"
PAPER = "Mousakhan et al., Anomaly Detection with Conditioned Denoising Diffusion Models, arXiv 2305.15956, 2023"

RECIPES = (Recipe("official configuration file", image_size=256), *recipes())
SMALL = Small(
    {
        "unet": {"width": 32, "multipliers": [1, 1], "attention": [2], "blocks": 1},
        "backbone": {"name": "resnet18", "weights": "random"},
        "steps": 2,
        "training": {"epochs": 2, "batch_size": 4},
        "adaptation": {"epochs": 1, "batch_size": 4},
    },
    image_size=32,
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Backbone(BackboneConfig):
    """The feature extractor; by default the published one."""

    name: str = Field(
        "wide_resnet101_2.tv_in1k",
        description="timm model with feature maps. The published one: wide_resnet101_2.tv_in1k.",
    )


class Training(_Part):
    """Optimisation of the U-Net, as in the official code."""

    epochs: int = Field(2000, ge=0, description="Passes over the training images; the last one is scored.")
    batch_size: int = Field(32, ge=1, description="Images per step.")
    lr: float = Field(3e-4, gt=0, description="Learning rate of Adam.")
    weight_decay: float = Field(
        0.05, ge=0, description="Weight decay in Adam's gradient. The loss is a sum over pixels, so it weighs little."
    )


class Adaptation(_Part):
    """Adaptation of the feature extractor to the data, after the U-Net is trained."""

    epochs: int = Field(4, ge=0, description="Passes over the training images; 0: the pretrained extractor.")
    batch_size: int = Field(
        16, ge=2, multiple_of=2, description="Images per step; those of one half are guided by those of the other."
    )
    lr: float = Field(1e-4, gt=0, description="Learning rate of AdamW.")
    w: float = Field(3.0, ge=0, description="Weight of the guiding image.")
    keep: float = Field(0.1, ge=0, description="Weight of the distances to the frozen extractor; for VisA 0.01.")
    start: str | None = Field(
        None,
        description="Official file of an adapted extractor (feat4) to start from instead of the backbone's weights.",
    )


class Score(_Part):
    """From the repaired image to a map and a score."""

    v: float = Field(1.0, ge=0, description="Weight of the pixels' distance; official: 1, for VisA but cashew 7.")
    balance: Literal["image", "training"] = Field(
        "image",
        description="Whose maxima bring the pixels' distance to the range of the features': the image's own, or those "
        "of all training images.",
    )
    compared: tuple[int, ...] = Field((8, 16), min_length=1, description="Reductions whose features are compared.")
    sigma: float = Field(4.0, ge=0, description="Standard deviation of the map's Gaussian in pixels; 0: none.")
    crop: float = Field(
        0.875,
        gt=0,
        le=1,
        description="Share of the side, in the centre, in which the image score is sought: 224 of 256.",
    )


class Config(_Part):
    """DDAD with the defaults of the official configuration file."""

    unet: UnetConfig = Field(UnetConfig(), description="The network that estimates the noise.")
    backbone: Backbone = Field(Backbone(), description="The feature extractor and where its weights come from.")
    reductions: tuple[int, ...] = Field(
        (4, 8, 16), min_length=1, description="Stages of the extractor that are adapted."
    )
    level: int = Field(250, ge=1, lt=TIMESTEPS, description="Step of the diffusion whose noise an image gets.")
    steps: int = Field(10, ge=1, description="Denoising steps from there; they divide `level`.")
    eta: float = Field(1.0, ge=0, description="Share of new noise in each denoising step; 0: none.")
    w: float = Field(2.0, ge=0, description="Weight of the guiding image; 0: none.")
    start: str | None = Field(
        None,
        description="Official checkpoint of the U-Net to start from instead of initial values; with training.epochs 0 "
        "it is scored as it is.",
    )
    training: Training = Field(Training(), description="Optimisation of the U-Net.")
    adaptation: Adaptation = Field(Adaptation(), description="Adaptation of the feature extractor.")
    score: Score = Field(Score(), description="From the repaired image to a map and a score.")
    eval_batch: EvalBatch = 8

    @property
    def skip(self) -> int:
        """Steps of the diffusion between two denoising steps."""
        return self.level // self.steps

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.level % self.steps:
            raise ValueError(f"`steps` must divide `level`, but {self.steps} does not divide {self.level}")
        if TIMESTEPS // (TIMESTEPS // self.skip) != self.skip:
            raise ValueError(
                f"`level` / `steps` is {self.skip}, which no schedule of {TIMESTEPS} even steps has; try 25"
            )
        if strange := [one for one in self.score.compared if one not in self.reductions]:
            raise ValueError(f"score.compared asks for {strange}, but reductions are {list(self.reductions)}")
        return self


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size or the extractor is unusable."""
    multiple_of(max(config.unet.step, *config.reductions), image_size, "DDAD")
    maps = needed(config.backbone.name, config.reductions, image_size)
    square_maps([one.shape for one in maps], config.reductions, image_size, config.backbone.name, "DDAD")


def must_be_here(config: Config) -> None:
    """Raise `UserError` if diffusers is not installed."""
    require("DDAD")


def build(config: Config, bench: Bench) -> Ddad:
    """An untrained DDAD on `bench.device`; raises `UserError` if diffusers is missing, or extractor, image size or
    checkpoint are unusable."""
    must_be_here(config)
    from afrad_bench_baselines.ddad.model import Ddad

    return Ddad(config, bench)
