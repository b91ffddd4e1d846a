"""ReConPatch: PatchCore on a linear map of the patch features that a relaxed contrastive loss has trained.

Hyun, Kim, Jeon, Kim, Bae and Kang, "ReConPatch: Contrastive Patch Representation Learning for Industrial Anomaly
Detection", WACV 2024, arXiv:2305.16713. The authors published no code. Reference: the paper where it says how, and
otherwise the two public codes, travishsu/ReConPatch-TF (representation and loss) and HIRO-ops-ops/ReConPatch (the whole
pipeline, after it).

Defaults. From the paper: Wide-ResNet-50-2, stages 2 and 3, with PatchCore's patch features (3 x 3, 1024 values); a
linear representation of 512 values and a linear projection behind it, which only training uses; similarities from
copies of both that follow as moving averages: half from the distance of a pair, half from neighbourhoods of 5; margin
1; AdamP at 1e-5 with weight decay 1e-2 and a cosine schedule, 120 epochs, no augmentation; a greedy coreset of 1 %; the
image score is the distance of the most anomalous patch, re-weighted by its neighbour's neighbourhood (eq. 10). From
both codes, where the paper is silent: averages that keep 0.9, sigma 1, initial values uniform as by Glorot and biases
of zero. From the second code: a projection of 128 values. PatchCore's: projection and starting points of the coreset,
9 neighbours in the image score, bilinear upsampling and smoothing by a Gaussian with standard deviation 4.

Ours, as no source settles it: an epoch shows each patch once, in batches of 1,024 patches mixed from 32 images. The
second code has batches of 64 from a window of about three images; an independent report of 97.5 image AUROC (screw of
MVTec AD) has batches of 1,024 mixed patches. A batch of fewer images leaves a patch no neighbours but of its own image.

Deviations: the first code's neighbourhood similarity lacks two steps of eq. 4 and 5 and is not followed. The harness
resizes directly to a square (paper: crops 224 of 256 pixels). Ensembles of three backbones, with which the best
published figures were reached, are left out. The paper fits one model per category; the unified setting trains one
representation on the patches of all categories and keeps one bank, which its authors have not tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from afrad_bench.backbone.maps import FeatureMaps
from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import FinestFirst, WideResNet50
from afrad_bench.methods.demands import costly_bank
from afrad_bench.methods.fields import BankLimit, OddSide, Smoothing
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.searching import Search, must_search, search_field
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.reconpatch.model import ReConPatch

VERSION = "1"
PAPER = "Hyun et al., ReConPatch: Contrastive Patch Representation Learning for Industrial Anomaly Detection, WACV 2024"

RECIPES = (Recipe("the paper, one network", image_size=224),)
SMALL = Small(
    {
        "backbone": {"name": "resnet18", "weights": "random"},
        "width": 64,
        "representation": 16,
        "projected": 8,
        "fraction": 0.2,
        "training": {"epochs": 2, "batch_size": 50, "lr": 1e-3},
    }
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Part):
    """Optimisation and loss."""

    epochs: int = Field(120, ge=0, description="Passes over all patches; 0 leaves the initial representation.")
    batch_size: int = Field(1024, ge=2, description="Patches per step; memory grows with its square.")
    images: int = Field(32, ge=1, description="Images whose patches are mixed before they are cut into batches.")
    lr: float = Field(1e-5, gt=0, description="Initial learning rate.")
    weight_decay: float = Field(1e-2, ge=0, description="Weight decay of AdamP.")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="Learning rate over the epochs.")
    neighbours: int = Field(5, ge=2, description="k: size of the neighbourhoods that are compared, the patch included.")
    pairwise: float = Field(
        0.5, ge=0, le=1, description="alpha: weight of the distance's similarity against the neighbourhoods'."
    )
    sigma: float = Field(1.0, gt=0, description="Squared distance at which the similarity of a pair is 1/e.")
    margin: float = Field(1.0, ge=0, description="Relative distance beyond which dissimilar patches have no loss.")
    momentum: float = Field(0.9, ge=0, lt=1, description="gamma: share of the averaged weights that a step keeps.")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.neighbours > self.batch_size:
            raise ValueError(f"{self.neighbours} neighbours need a batch of as many patches, not {self.batch_size}")
        return self


class Config(_Part):
    """ReConPatch with the defaults of the paper."""

    backbone: WideResNet50 = Field(WideResNet50(), description="Frozen backbone and where its weights come from.")
    reductions: FinestFirst = Field(
        (8, 16),
        min_length=1,
        description="Feature maps by reduction, finest first; the first gives the grid. 8,16: layer2 and layer3.",
    )
    patch: OddSide = Field(3, description="Side of the neighbourhood that a patch averages; odd.")
    width: int = Field(1024, ge=1, description="Values of a patch feature, and of each stage's part before.")
    representation: int = Field(512, ge=1, description="Values of the trained representation, and of the bank.")
    projected: int = Field(128, ge=1, description="Values of the projection that training compares.")
    training: Training = Field(Training(), description="Optimisation and loss.")
    fraction: float = Field(0.01, gt=0, le=1, description="Share of all training patches that the bank keeps.")
    projection: int = Field(128, ge=1, description="Values of the random projection on which the coreset is chosen.")
    starts: int = Field(10, ge=1, description="Random starting points of the coreset.")
    search: Search = search_field()
    image_score: Literal["paper", "max"] = Field(
        "paper", description="paper: largest distance, re-weighted (eq. 10). max: largest distance."
    )
    support: int = Field(9, ge=2, description="b of eq. 10: bank vectors around the nearest one, itself included.")
    sigma: Smoothing = 4.0
    max_bank_bytes: BankLimit = None


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the backbone lacks a requested feature map, or cannot process such images."""
    must_search("ReConPatch", config.search)
    needed(config.backbone.name, config.reductions, image_size)


def warn(config: Config, image_size: int, train_images: int) -> str | None:
    """A line on a bank that is expensive to choose or to score with."""
    side = -(-image_size // config.reductions[0])
    return costly_bank(side**2, train_images, config.fraction, config.representation, config.projection)


def reads(config: Config, image_size: int) -> FeatureMaps:
    """The feature maps that the method reads."""
    return FeatureMaps(config.backbone, config.reductions, image_size)


def build(config: Config, bench: Bench) -> ReConPatch:
    """An untrained ReConPatch on `bench.device`; raises `UserError` if the backbone lacks a requested feature map."""
    from afrad_bench_baselines.reconpatch.model import ReConPatch

    must_search("ReConPatch", config.search, bench.device)
    return ReConPatch(config, bench)
