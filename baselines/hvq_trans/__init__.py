"""HVQ-Trans: a transformer restores features from quantised tokens, with codebooks of its own for each category.

Lu, Wu, Tian, Wang, Chen, Liu and Hu, "Hierarchical Vector Quantized Transformer for Multi-class Unsupervised Anomaly
Detection", NeurIPS 2023, arXiv:2310.14228. Official code: RuiyingLu/HVQ-Trans, which builds on UniAD's.

Defaults, all from the official code: UniAD's backbone and grid (`tf_efficientnet_b4.aa_in1k`, four stages, 272
channels, a sixteenth of the image); 4 encoder layers of width 256 without masks; five codebooks of 512 entries for
each category, one for the last layer's tokens and four for the other levels joined with it; 4 decoder layers of width
512 that attend to the quantised levels, the last one first; an output layer for each category. Loss: mean squared
error plus 0.25 times the commitment of all levels. Codebooks move by exponential averages of 0.99, image after image.
AdamW at 1e-4 with weight decay 1e-4, a tenth of that rate for the last fifth of 1000 epochs, gradients clipped to 0.1,
batches of 16 with the smaller last one. The map is the distance of restored and original features plus 80 times the
transport score, the mean cosine distance of a token to the entries of the finest codebook, weighted by their
probability. The image score is the maximum of its 16 x 16 average pooling. The official training script leaves the
transport score out (`transport: 0`); its authors say that the paper's results are with it.

What the official scripts do and the paper does not say, as fields:
- The backbone gets no gradient, but is in training mode while the transformer is trained: batch statistics, running
  averages that move (momentum 0.01), drop connect (0.2 at the deepest block). So the features that are scored come
  from averages that have moved towards the training images. `backbone_state: frozen` trains on the features of eval
  mode.
- The true category of every test image is read from its folder and picks codebooks and output layer (`category:
  known`). The paper speaks of a predicted one, which the released code has not; `category: predicted` takes the
  nearest class mean of the pooled features, which is ours. `network()`, and so exported models and latencies, always
  predict, because an image alone carries no category. The result's notes say which it was, and how often the
  prediction is right on the training images.

Deviations: the rate drops at the 801st epoch (official: the 802nd); the last epoch is scored (official: the one with
the best image AUROC on the test images, of every tenth); the layer that the official code makes and never calls is
left out, and so are the backbone's unused stages; softmax does not overflow (official: NaN maps while unused entries
are very large, which is so for the first epochs). The official code on several GPUs mixes the statistics of codebooks
of different categories; this is its arithmetic on one. It has no setting for other data: where images have one
category (CIFAR-10), there is one set of codebooks.

Know before use: an entry that is not used by its category's first image is divided by about 1e-5, and so very far away
for the first few hundred images of that category. A short training stays in that phase."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from afrad_bench.backbone.maps import FeatureMaps
from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import FinestFirst, UniadBackbone
from afrad_bench.methods.demands import multiple_of
from afrad_bench.methods.fields import EvalBatch
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.hvq_trans.model import HvqTrans

VERSION = "1"
PAPER = (
    "Lu et al., Hierarchical Vector Quantized Transformer for Multi-class Unsupervised Anomaly Detection, NeurIPS 2023"
)

RECIPES = (
    Recipe("official code, MVTec AD, with the transport score", image_size=224),
    Recipe("official training script, without the transport score", {"score": {"transport": 0}}, image_size=224),
)
SMALL = Small(
    {
        "backbone": {"name": "mobilenetv3_small_050", "weights": "random"},
        "features": {"grid": 8},
        "transformer": {"width": 16, "heads": 2, "hidden": 32, "layers": 2, "entries": 8},
        "training": {"epochs": 2, "batch_size": 4},
    }
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Features(_Part):
    """The features that are restored."""

    reductions: FinestFirst = Field(
        (2, 4, 8, 16), min_length=1, description="Backbone stages by reduction, finest first."
    )
    grid: Literal[4, 8, 16, 32] = Field(
        16, description="Resolution of the tokens as a reduction of the image. Use 8 or 4 for small images."
    )


class Transformer(_Part):
    """Encoder, codebooks and decoder (section 3)."""

    width: int = Field(256, ge=2, description="Channels of a token in the encoder; the decoder has twice as many.")
    heads: int = Field(8, ge=1, description="Heads of each attention layer.")
    hidden: int = Field(1024, ge=1, description="Hidden width of each feed-forward network.")
    layers: int = Field(4, ge=1, description="Layers of the encoder, and of the decoder: one for each level.")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Dropout of attention, feed-forward and residual branches in training."
    )
    entries: int = Field(512, ge=2, description="Entries of each codebook.")
    decay: float = Field(0.99, ge=0, lt=1, description="Weight of the past in the codebooks' moving averages.")

    @model_validator(mode="after")
    def _fits(self) -> Transformer:
        if self.width % self.heads or self.width % 2:
            raise ValueError(
                f"width must be even and a multiple of heads, but got width {self.width} and {self.heads} heads"
            )
        return self


class Training(_Part):
    """Optimisation, as in the official code."""

    epochs: int = Field(1000, ge=0, description="Passes over the training images; the last one is scored.")
    batch_size: int = Field(16, ge=1, description="Images per step.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of AdamW.")
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay of AdamW, on every parameter.")
    schedule: Literal["step", "cosine", "constant"] = Field(
        "step",
        description="step: the rate is divided by 10 for the last fifth of the epochs (official); cosine; constant.",
    )
    clip: float | None = Field(0.1, gt=0, description="Maximum gradient norm; null: no clipping.")
    commitment: float = Field(0.25, ge=0, description="Weight of the commitment, summed over the levels, in the loss.")
    drop_connect: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="Drop connect of the backbone's deepest block, less in the others. Only with `backbone_state: "
        "official`, and only for the EfficientNets B0 to B6.",
    )


class Score(_Part):
    """From restored features to a map, and from the map to a score per image."""

    transport: float = Field(
        80.0, ge=0, description="Weight of the transport score in the map. 80: the paper's results; 0: without it."
    )
    pool: int = Field(16, ge=1, description="Side of the average pooling (stride 1) of the map in pixels; 1: none.")
    reduce: Literal["max", "mean"] = Field("max", description="Maximum (official), or mean, as UniAD has on CIFAR-10.")


class Config(_Part):
    """HVQ-Trans with the defaults of the official code."""

    backbone: UniadBackbone = Field(UniadBackbone(), description="Backbone and where its weights come from.")
    backbone_state: Literal["official", "frozen"] = Field(
        "official",
        description="official: without gradient, but in training mode while the transformer is trained, so that its "
        "batch statistics and drop connect are active and its running averages move. frozen: in eval mode.",
    )
    category: Literal["known", "predicted"] = Field(
        "known",
        description="Which codebooks score an image. known: those of its true category, as in the official code; "
        "predicted for an image that comes without one. predicted: those of the nearest class mean, for every image.",
    )
    features: Features = Field(Features(), description="The features that are restored.")
    transformer: Transformer = Field(Transformer(), description="Encoder, codebooks and decoder.")
    start: str | None = Field(
        None,
        description="Official checkpoint (ckpt.pth.tar) to start from instead of initial values; its backbone is used, "
        "too. With training.epochs 0 it is scored as it is. It knows the categories of MVTec AD.",
    )
    training: Training = Field(Training(), description="Optimisation.")
    score: Score = Field(Score(), description="From restored features to a map, and to a score per image.")
    eval_batch: EvalBatch = 16


def must_fit(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size does not divide into tokens."""
    multiple_of(math.lcm(config.features.grid, *config.features.reductions), image_size, "HVQ-Trans")


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size or the backbone is unusable."""
    must_fit(config, image_size)
    needed(config.backbone.name, config.features.reductions, image_size)


def maps_of(config: Config, image_size: int) -> FeatureMaps:
    """The feature maps of the backbone as it is published."""
    features, backbone = config.features, config.backbone
    return FeatureMaps(backbone, features.reductions, image_size, features.grid, "aligned", backbone.padded_for)


def reads(config: Config, image_size: int) -> FeatureMaps | None:
    """The feature maps that the method reads; None if it has a backbone of its own."""
    own = config.backbone_state == "official" or config.start is not None
    return None if own else maps_of(config, image_size)


def build(config: Config, bench: Bench) -> HvqTrans:
    """An untrained HVQ-Trans; raises `UserError` if backbone, image size or checkpoint is unusable."""
    from afrad_bench_baselines.hvq_trans.model import HvqTrans

    return HvqTrans(config, bench)
