"""PaDiM: a Gaussian of deep features per patch position, scored by the Mahalanobis distance.

Defard, Setkov, Loesch and Audigier, "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and
Localization", ICPR workshops 2021, arXiv:2011.08785. The authors published no code; the reference here is the
implementation that the literature quotes, xiahaifeng1995/PaDiM-Anomaly-Detection-Localization-master ("X" below).

Defaults: X's small setting, ResNet-18 with torchvision's V1 weights and 100 random channels (`wide_resnet50_2.tv_in1k`
with 550 channels is its large one); ridge 0.01 (paper, section III-B); unbiased covariance; distance, not its square
(eq. 2); bilinear upsampling and Gaussian smoothing with standard deviation 4; the image score is the maximum of the
smoothed map. For other backbones, for which X has no setting, `channels` is 100 or all of them if there are fewer.

Deviations from X: the harness resizes directly to a square (X crops 224 of 256 pixels); the channels are drawn from the
cell's seed (X always uses 1024); no min-max scaling with the scores of the test set (it does not change rankings and
needs the whole test split); float64 sums and factors (X inverts in float32). Same results with less work: eq. 2 is the
norm of a triangular factor times the difference from the mean. The factor is stored in four blocks of columns without
the zeros above the diagonal, so this step needs 62.5 % of X's multiply-accumulates and of the full inverse's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from afrad_bench.backbone.maps import FeatureMaps
from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import BackboneConfig, FinestFirst
from afrad_bench.errors import fail
from afrad_bench.methods.fields import Smoothing
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.padim.model import Padim

VERSION = "1"
PAPER = "Defard et al., PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization, 2020"

RECIPES = (
    Recipe("small setting", image_size=224),
    Recipe("large setting", {"backbone": {"name": "wide_resnet50_2.tv_in1k"}}, image_size=224),
)
SMALL = Small({"backbone": {"name": "resnet18", "weights": "random"}, "channels": 20})

OFFICIAL_CHANNELS = {"resnet18": 100, "wide_resnet50_2": 550}
"""d of the paper, by the backbone's timm name without its tag."""


class Backbone(BackboneConfig):
    """A frozen backbone; by default the published one."""

    name: str = Field(
        "resnet18.tv_in1k",
        description="timm model with feature maps. The published ones: resnet18.tv_in1k, wide_resnet50_2.tv_in1k.",
    )


class Config(BaseModel):
    """PaDiM with the defaults of its small published setting."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: Backbone = Field(Backbone(), description="Frozen backbone and where its weights come from.")
    reductions: FinestFirst = Field(
        (4, 8, 16),
        min_length=1,
        description="Feature maps by reduction, finest first; the first gives the grid. 4,8,16: layer1 to layer3.",
    )
    channels: int | None = Field(
        None,
        ge=1,
        description="d, number of random channels kept from all maps. null: the paper's (ResNet-18 100, "
        "Wide-ResNet-50-2 550), for other backbones 100, or all if there are fewer.",
    )
    epsilon: float = Field(0.01, gt=0, description="Ridge that is added to the diagonal of each covariance (eq. 1).")
    sigma: Smoothing = 4.0

    def channels_of(self, total: int) -> int:
        """d for a backbone whose maps have `total` channels together. Raises `UserError` if these are too few."""
        if self.channels is None:
            return min(OFFICIAL_CHANNELS.get(self.backbone.name.partition(".")[0], 100), total)
        if self.channels > total:
            raise fail(
                f"PaDiM should keep {self.channels} channels, but {self.backbone.name} has {total} at reductions "
                f"{', '.join(map(str, self.reductions))}",
                hint=f"set `channels` to {total} or less, or leave it out",
            )
        return self.channels


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the backbone lacks a requested feature map, has fewer channels than `channels`, or cannot
    process such images."""
    maps = needed(config.backbone.name, config.reductions, image_size)
    config.channels_of(sum(one.channels for one in maps))


def reads(config: Config, image_size: int) -> FeatureMaps:
    """The feature maps that the method reads."""
    return FeatureMaps(config.backbone, config.reductions, image_size)


def build(config: Config, bench: Bench) -> Padim:
    """An unfitted PaDiM; raises `UserError` if the backbone has fewer channels than `channels`."""
    from afrad_bench_baselines.padim.model import Padim

    return Padim(config, bench)
