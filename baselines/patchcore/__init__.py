"""PatchCore: a memory bank of normal patch features, scored by the distance to the nearest one.

Roth, Pemula, Zepeda, Schölkopf, Brox and Gehler, "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022,
arXiv:2106.08265. Official code: amazon-science/patchcore-inspection.

Defaults, all from the official baseline (IM224_WR50_L2-3_P01_D1024-1024_PS-3_AN-1): Wide-ResNet-50-2 with torchvision's
V1 weights, stages 2 and 3, 3 x 3 patches averaged to 1024 values per stage and then to 1024 in total; approximate
greedy coreset of 10 % of all patches, chosen on a random projection to 128 values from 10 starting points; squared
distance to the nearest neighbour; the image score is the largest patch score, without the paper's re-weighting (eq. 7),
which the official code leaves out (`image_score: paper` adds it); bilinear upsampling, Gaussian smoothing with standard
deviation 4. The official script hands its backbone over in training mode and finds the sizes of the feature maps with
an image of ones, which moves the statistics of the batch norms once; so does this adapter (`batch_norm`).

Deviations: the harness resizes directly to a square (official: crops 224 of 256 pixels); projection and starting points
are drawn from the cell's seed; no min-max scaling with the scores of the test set. If all distances are zero, the
official sampler may choose a vector twice; here each is chosen once. Same results with less work: the two average
poolings of a patch are one grouped convolution; the greedy choice compares a vector only when it may be the next one;
memory holds only the projected vectors and the bank, not all embeddings. The exact greedy sampler and ensembles of
backbones are left out: the former needs all N x N distances, the latter several features per method.

The bank of a large unified set is expensive: for the 3,629 normal images of MVTec AD at 256 pixels, 10 % are 371,609
vectors (1.5 GB, 390 G multiply-accumulates per image). The notes of the result name a different `fraction`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from afrad_bench.backbone.maps import FeatureMaps
from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import FinestFirst, WideResNet50
from afrad_bench.methods.demands import costly_bank
from afrad_bench.methods.fields import BankLimit, OddSide, Smoothing, StatisticsAfterOnes
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.searching import Search, must_search, search_field
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.patchcore.model import Patchcore

VERSION = "2"
PAPER = "Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022"

RECIPES = (
    Recipe("official baseline, 10 %", image_size=224),
    Recipe("official baseline, 1 %", {"fraction": 0.01}, image_size=224),
    Recipe("the paper, 25 %", {"fraction": 0.25}, image_size=224),
    Recipe("official, 320 px", {"patch": 5, "fraction": 0.01}, image_size=320),
)
SMALL = Small({"backbone": {"name": "resnet18", "weights": "random"}})

OFFICIAL_FRACTION = 0.1


class Config(BaseModel):
    """PatchCore with the defaults of its official baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: WideResNet50 = Field(WideResNet50(), description="Frozen backbone and where its weights come from.")
    batch_norm: StatisticsAfterOnes = "official"
    reductions: FinestFirst = Field(
        (8, 16),
        min_length=1,
        description="Feature maps by reduction, finest first; the first gives the grid. 8,16: layer2 and layer3.",
    )
    patch: OddSide = Field(3, description="Side of the neighbourhood that a patch averages; odd. 5 is published too.")
    stage_width: int = Field(1024, ge=1, description="Values to which the patches of each stage are averaged.")
    width: int = Field(1024, ge=1, description="Values of the final embedding; 384 in the published ensembles.")
    fraction: float = Field(
        OFFICIAL_FRACTION, gt=0, le=1, description="Share of all training patches that the bank keeps; 1 keeps all."
    )
    projection: int = Field(128, ge=1, description="Values of the random projection on which the coreset is chosen.")
    starts: int = Field(10, ge=1, description="Random starting points of the coreset.")
    search: Search = search_field()
    neighbours: int = Field(1, ge=1, description="Nearest neighbours whose squared distances a patch score averages.")
    image_score: Literal["official", "paper"] = Field(
        "official",
        description="official: the largest patch score. paper: the plain distance of the most anomalous patch, "
        "re-weighted by its neighbour's neighbourhood (eq. 6 and 7).",
    )
    support: int = Field(9, ge=2, description="b of eq. 7: bank vectors around the nearest one, itself included.")
    sigma: Smoothing = 4.0
    max_bank_bytes: BankLimit = None


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the backbone lacks a requested feature map, or cannot process such images."""
    must_search("PatchCore", config.search)
    needed(config.backbone.name, config.reductions, image_size)


def warn(config: Config, image_size: int, train_images: int) -> str | None:
    """A line on a bank that is expensive to choose or to score with: the work grows with the square of the patches."""
    side = -(-image_size // config.reductions[0])
    return costly_bank(side**2, train_images, config.fraction, config.width, config.projection)


def reads(config: Config, image_size: int) -> FeatureMaps:
    """The feature maps that the method reads."""
    return FeatureMaps(config.backbone, config.reductions, image_size, after_ones=config.batch_norm == "official")


def build(config: Config, bench: Bench) -> Patchcore:
    """An unfitted PatchCore; raises `UserError` if the backbone lacks a requested feature map."""
    from afrad_bench_baselines.patchcore.model import Patchcore

    must_search("PatchCore", config.search, bench.device)
    return Patchcore(config, bench)
