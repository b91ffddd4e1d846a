"""Uniformaly: a memory bank of a vision transformer's patch tokens, with the background masked by its attention.

Lee, Lim, Jang and Yoon, "UniFormaly: Towards Task-Agnostic Unified Framework for Visual Anomaly Detection",
arXiv:2307.12540. Official code: YoojLee/Uniformaly at 44ec1e8.

Defaults, from the official script for one class of MVTec AD: DINO's ViT-B/8; patch tokens averaged over the outputs of
blocks 2 to 9 (counted from 0), without the last normalisation; the mask is the class token's attention in the last of
these blocks, averaged over heads and 7 x 7 patches (zeros beyond the border count) and divided by the image's largest
value, where it is greater than 0.1; the bank holds the masked tokens of normal images, reduced by PatchCore's
approximate greedy coreset to 10 %; a patch scores its squared distance to the nearest vector; the image score is the
mean of the highest 5 % of all patch scores, where those outside the mask count as zero; the map, bilinear and smoothed
by a Gaussian with standard deviation 4, is zero outside the mask, too: the official code means it to hold all scores,
but masks an array in place whose memory the map's scores share (`masked_map`). For one model of all classes the
official script keeps 5 %: `fraction: 0.05`. For CIFAR-10 it takes iBOT's ViT-B/16 and 5 %.

Deviations. The official scripts for all classes work in batches of 16, whose masks are all divided by the largest value
of the batch; a patch enters the bank if it is in the mask of any image of the batch, as zeros where it is not in its
own. So scores depend on the order of the images. Here each image stands alone, as in the official batches of one. The
official bank is computed in half precision (CUDA's autocast), its test images in single; here both in single. The
official script for one class draws 50 training images per class (`--low_shot 50`); the data set's `limit_train` does
so here. The harness resizes directly to a square (official: crops 224 of 256 pixels), and does no min-max scaling with
the scores of the test set. At other image sizes than the backbone's, positions are interpolated as in DINO.

Same results with less work: one pass through the blocks that are needed, where the official code runs all blocks for
the tokens and each block twice more for the attention. Other ways to join the blocks (`--agg_type`), soft masks
(threshold 0) and clustering are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from afrad_bench.backbone.maps import Part
from afrad_bench.backbone.weights import BackboneConfig, Weights
from afrad_bench.errors import fail
from afrad_bench.methods.demands import costly_bank, multiple_of
from afrad_bench.methods.fields import BankLimit, OddSide, Smoothing
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.searching import Search, must_search, search_field
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.uniformaly.model import Uniformaly

VERSION = "1"
PAPER = "Lee et al., UniFormaly: Towards Task-Agnostic Unified Framework for Visual Anomaly Detection, 2023"

RECIPES = (
    Recipe("official script, one class", image_size=224),
    Recipe("official script, all classes", {"fraction": 0.05}, image_size=224),
)
SMALL = Small({"backbone": {"name": "test_vit", "weights": "random"}, "layers": [1, 2, 3], "fraction": 0.3})


class VitB8(BackboneConfig):
    """The vision transformer of the official scripts; used unless another one is given."""

    name: str = Field(
        "vit_base_patch8_224.dino",
        description="timm's vision transformer with a class token. The published one: vit_base_patch8_224.dino. Its "
        "authors' file dino_vitbase8_pretrain.pth is accepted by weights: file:PATH.",
    )


class Config(BaseModel):
    """Uniformaly with the defaults of its official script for one class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: VitB8 = Field(VitB8(), description="Frozen vision transformer and where its weights come from.")
    layers: tuple[int, ...] = Field(
        (2, 3, 4, 5, 6, 7, 8, 9),
        min_length=1,
        description="Blocks, counted from 0, whose outputs are averaged; the last one's attention gives the mask.",
    )
    mask: bool = Field(True, description="Whether to mask the background (back patch masking).")
    masked_map: bool = Field(
        True,
        description="Whether the map is masked, too. The official code masks it by an operation in place; false is "
        "what it says.",
    )
    pooling: OddSide = Field(7, description="Side in patches over which the attention is averaged; odd.")
    threshold: float = Field(
        0.1, gt=0, lt=1, description="Share of the image's largest pooled attention above which a patch is in the mask."
    )
    fraction: float = Field(
        0.1, gt=0, le=1, description="Share of the masked patches that the bank keeps. Official, all classes: 0.05."
    )
    projection: int = Field(128, ge=1, description="Values of the random projection on which the coreset is chosen.")
    starts: int = Field(10, ge=1, description="Random starting points of the coreset.")
    search: Search = search_field()
    neighbours: int = Field(1, ge=1, description="Nearest neighbours whose squared distances a patch score averages.")
    top: float = Field(0.05, gt=0, le=1, description="Share of the image's patches whose scores the image averages.")
    sigma: Smoothing = 4.0
    max_bank_bytes: BankLimit = None

    @field_validator("layers")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)) or value[0] < 0:
            raise ValueError(f"blocks must be given once each, in ascending order from 0, but got {list(value)}")
        return value


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` unless the backbone is a vision transformer with these blocks, for such images."""
    must_search("Uniformaly", config.search)
    from afrad_bench_baselines.uniformaly.backbone import plain

    must_fit(config, image_size, *plain(config.backbone.name))


def must_fit(config: Config, image_size: int, blocks: int, patch: int) -> None:
    """The same for a vision transformer with so many blocks and patches of so many pixels."""
    if config.layers[-1] >= blocks:
        raise fail(
            f"the backbone {config.backbone.name} has no block {config.layers[-1]}",
            hint=f"its blocks are 0 to {blocks - 1}: set `layers`",
        )
    multiple_of(patch, image_size, f"Uniformaly on {config.backbone.name}")


def warn(config: Config, image_size: int, train_images: int) -> str | None:
    """A line on a bank that is expensive to choose or to score with, if every patch were in the mask."""
    from afrad_bench_baselines.uniformaly.backbone import plain, width_of

    _, patch = plain(config.backbone.name)
    width = width_of(config.backbone.name)
    return costly_bank((image_size // patch) ** 2, train_images, config.fraction, width, config.projection)


@dataclass(frozen=True)
class TokenMaps:
    """The mean tokens of some blocks and the attention of the last one, which no other method reads."""

    backbone: VitB8
    layers: tuple[int, ...]
    image_size: int
    scored: bool = True

    @property
    def net(self) -> TokenMaps:
        return self

    def parts(self, weights: Weights) -> tuple[Part, ...]:
        from afrad_bench_baselines.uniformaly.backbone import parts_of

        return parts_of(self.backbone, weights, self.layers, self.image_size)


def reads(config: Config, image_size: int) -> TokenMaps:
    """The feature maps that the method reads."""
    return TokenMaps(config.backbone, config.layers, image_size)


def build(config: Config, bench: Bench) -> Uniformaly:
    """An unfitted Uniformaly; raises `UserError` if the backbone is none that it can use."""
    from afrad_bench_baselines.uniformaly.model import Uniformaly

    must_search("Uniformaly", config.search, bench.device)
    return Uniformaly(config, bench)
