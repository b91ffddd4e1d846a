"""UniAD: a transformer that restores a frozen backbone's features and cannot copy them, for all categories at once.

You, Cui, Shen, Yang, Lu, Zheng and Le, "A Unified Model for Multi-class Anomaly Detection", NeurIPS 2022,
arXiv:2206.03687. Official code: zhiyuanyou/UniAD.

Defaults, all from the official code for MVTec-AD: TensorFlow's EfficientNet-B4 with its AutoAugment weights
(`tf_efficientnet_b4.aa_in1k`), the maps of its first four stages (24 + 32 + 56 + 160 = 272 channels) resized with
aligned corners to a sixteenth of the image; 4 encoder and 4 decoder layers of width 256 with 8 heads, a learned query
in every decoder layer, and attention that masks each token and its 7 x 7 neighbours; feature jitter of scale 20; AdamW
at 1e-4 with weight decay 1e-4, a tenth of that rate for the last fifth of 1000 epochs, gradients clipped to a norm of
0.1, batches of 8 (on one GPU, the better one of the two runs that it reports). The map is the distance between restored
and original features per position, upsampled with aligned corners; the image score is the maximum of its 16 x 16
average pooling. For CIFAR-10 the official code differs in `features: {reductions: [2, 4, 8, 16, 32]}`,
`training: {batch_size: 16}`, and the mean of the map as the image score: `score: {pool: 1, reduce: mean}`.

It converges slowly: ADer reports a mean I-AUROC of 92.5 on MVTec-AD after 100 epochs and 97.5 after 1000. ADer's setup,
the source of many published figures, is `transformer: {neighbours: 9}` and `training: {clip: 5}` at 256 px for 100 or
300 epochs. It drops the last partial batch, which is kept here.

The official image size is 224. Here it is the suite's, and 256 px means 256 tokens instead of 196 and 61,952 parameters
more. What matters is the number of tokens: far below 16 x 16 the masked neighbours are most of the grid (at 128 px use
`features: {grid: 8}`), and a grid on which a token would see no other token is refused.

Padding: the official EfficientNets pad as if every image had the size that the network was made for (380 for B4); timm
pads for the actual image size. This shifts the sampling of one of the convolutions that are used (the 5 x 5 one at the
start of B4's third stage), and so two of the four maps. The official checkpoints were trained on such maps, so B0 to B6
are padded in the official way here; other backbones are padded as in timm.

Deviations: the rate drops at the 801st epoch (official: the 802nd); the last epoch is scored (official: the one with
the best pixel AUROC on the test images); the masks are made once, not in each pass; the backbone stages that the
official code builds, computes and discards (15.7 M parameters, 0.77 G at 256 px) are left out; features come from the
shared cache. Metrics are the harness's own: the official evaluation replaces an AUROC below 0.5 by one minus it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from afrad_bench.backbone.maps import FeatureMaps
from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import FinestFirst, UniadBackbone
from afrad_bench.errors import fail
from afrad_bench.methods.demands import multiple_of
from afrad_bench.methods.fields import EvalBatch
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small
from afrad_bench.methods.training_step import Step, step_field

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.uniad.model import Uniad

VERSION = "1"
PAPER = "You et al., A Unified Model for Multi-class Anomaly Detection, NeurIPS 2022"

_ADER = {"transformer": {"neighbours": 9}, "training": {"clip": 5}}
RECIPES = (
    Recipe("official code, MVTec AD", image_size=224),
    Recipe(
        "official code, CIFAR-10",
        {
            "features": {"reductions": [2, 4, 8, 16, 32]},
            "training": {"batch_size": 16},
            "score": {"pool": 1, "reduce": "mean"},
        },
        datasets=("cifar10",),
        image_size=224,
    ),
    *(
        Recipe(f"ADer, {epochs} epochs", {**_ADER, "training": {**_ADER["training"], "epochs": epochs}}, image_size=256)
        for epochs in (100, 300, 1000)
    ),
)
SMALL = Small(
    {
        "backbone": {"name": "mobilenetv3_small_050", "weights": "random"},
        "features": {"grid": 8},
        "transformer": {
            "width": 16,
            "heads": 2,
            "hidden": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "neighbours": 3,
        },
        "training": {"epochs": 2, "batch_size": 4},
    }
)
"""ADer's timm pads the backbone in another way, and it leaves out the last partial batch: neither is a field here."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Features(_Part):
    """The features that are restored."""

    reductions: FinestFirst = Field(
        (2, 4, 8, 16),
        min_length=1,
        description="Backbone stages by reduction, finest first. 2,4,8,16: MVTec-AD; 2,4,8,16,32: CIFAR-10. For "
        "ResNets the official code advises 4,8,16 or 8,16.",
    )
    grid: Literal[4, 8, 16, 32] = Field(
        16,
        description="Resolution of the tokens as a reduction of the image. Use 8 or 4 for small images, so that there "
        "are about 16 x 16 tokens.",
    )


class Transformer(_Part):
    """The reconstruction (section 3.2)."""

    width: int = Field(256, ge=2, description="Channels of a token.")
    heads: int = Field(8, ge=1, description="Heads of each attention layer.")
    hidden: int = Field(1024, ge=1, description="Hidden width of each feed-forward network.")
    encoder_layers: int = Field(4, ge=0, description="Layers of the encoder.")
    decoder_layers: int = Field(4, ge=1, description="Layers of the decoder, each with a query of its own.")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Dropout of attention, feed-forward and residual branches in training."
    )
    neighbours: int = Field(
        7, ge=0, description="Side of the square around a token that its attention does not see (odd); 0: no mask."
    )

    @model_validator(mode="after")
    def _fits(self) -> Transformer:
        if self.neighbours and self.neighbours % 2 == 0:
            raise ValueError(
                f"neighbours must be odd or 0, but got {self.neighbours}; "
                f"the official code treats {self.neighbours} as {self.neighbours + 1}"
            )
        if self.width % self.heads or self.width % 2:
            raise ValueError(
                f"width must be even and a multiple of heads, but got width {self.width} and {self.heads} heads"
            )
        return self


class Training(_Part):
    """Optimisation, as in the official code."""

    epochs: int = Field(1000, ge=0, description="Passes over the training images; the last one is scored.")
    batch_size: int = Field(8, ge=1, description="Images per step. 8: MVTec-AD on one GPU; 16: CIFAR-10.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of AdamW.")
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay of AdamW, on every parameter.")
    schedule: Literal["step", "cosine", "constant"] = Field(
        "step",
        description="step: the rate is divided by 10 for the last fifth of the epochs (official); cosine; constant.",
    )
    clip: float | None = Field(0.1, gt=0, description="Maximum gradient norm; null: no clipping. ADer: 5.")
    jitter: float = Field(
        20.0,
        ge=0,
        description="Scale α of the feature jitter: noise with standard deviation α·|f|/C on a token f; 0: none.",
    )
    step: Step = step_field()


class Score(_Part):
    """From the map to a score per image."""

    pool: int = Field(16, ge=1, description="Side of the average pooling (stride 1) of the map in pixels; 1: none.")
    reduce: Literal["max", "mean"] = Field("max", description="Maximum (MVTec-AD), or mean (CIFAR-10, with pool 1).")


class Config(_Part):
    """UniAD with the defaults of the official code."""

    backbone: UniadBackbone = Field(UniadBackbone(), description="Frozen backbone and where its weights come from.")
    features: Features = Field(Features(), description="The features that are restored.")
    transformer: Transformer = Field(Transformer(), description="The reconstruction (section 3.2).")
    start: str | None = Field(
        None,
        description="Official checkpoint (ckpt.pth.tar) to start from instead of initial values; with training.epochs "
        "0 it is scored as it is.",
    )
    training: Training = Field(Training(), description="Optimisation.")
    score: Score = Field(Score(), description="From the map to a score per image.")
    eval_batch: EvalBatch = 16


def must_fit(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size does not divide into tokens, or into too few for the attention's mask."""
    features, neighbours = config.features, config.transformer.neighbours
    multiple_of(math.lcm(features.grid, *features.reductions), image_size, "UniAD")
    tokens = image_size // features.grid
    if neighbours and tokens <= neighbours:
        raise fail(
            f"at {image_size} px with features.grid {features.grid} there are {tokens} x {tokens} tokens, and with "
            f"transformer.neighbours {neighbours} some of them would see no other",
            hint="choose a finer features.grid, a larger image size or fewer transformer.neighbours",
        )


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size or the backbone is unusable."""
    must_fit(config, image_size)
    needed(config.backbone.name, config.features.reductions, image_size)


def reads(config: Config, image_size: int) -> FeatureMaps:
    """The feature maps that the method reads."""
    features, backbone = config.features, config.backbone
    return FeatureMaps(backbone, features.reductions, image_size, features.grid, "aligned", backbone.padded_for)


def build(config: Config, bench: Bench) -> Uniad:
    """An untrained UniAD on `bench.device`; raises `UserError` if backbone, image size or checkpoint is unusable."""
    from afrad_bench_baselines.uniad.model import Uniad

    return Uniad(config, bench)
