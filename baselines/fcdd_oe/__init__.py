"""FCDD+OE: FCDD with outlier exposure; images of other data are pushed away from the centre of the normal ones.

Liznerski, Ruff, Vandermeulen, Franks, Kloft and Mueller, "Explainable Deep One-Class Classification", ICLR 2021,
arXiv:2007.01760. Official code: liznerski/fcdd, whose script for CIFAR-10 has these defaults.

Network, optimisation, score and deviations: see `fcdd`. Each training image is replaced by an outlier with probability
0.5, which is then augmented and normalised like it; an outlier's loss is -log(1 - exp(-a)), where a is its mean
distance. Officially outliers are the 50,000 training images of CIFAR-100: `outliers: cifar100`, whose unpacked folder
is in AFRAD_BENCH_CIFAR100. `folder:PATH` takes any images, `photographs` those of scikit-image. Nothing is downloaded,
and what is missing is refused before the first cell.

Results with other outliers are not comparable, nor are they with methods that see no outliers: CIFAR-100 has no class
of CIFAR-10, but similar ones (pickup truck, bus; wolf, fox, cattle). The result's notes name the outliers.

Deviation: outliers are drawn with replacement (official: in a random order, repeated, in each loader process)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from afrad_bench.errors import unknown
from afrad_bench.methods.fcdd import FcddConfig, must_fit
from afrad_bench.methods.fcdd.outliers import find
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.methods.fcdd.method import Fcdd
    from afrad_bench.types import Bench

VERSION = "1"
SOURCES = ("cifar100", "photographs")
PAPER = "Liznerski et al., Explainable Deep One-Class Classification, ICLR 2021"

RECIPES = (Recipe("official code, CIFAR-10, outliers from CIFAR-100", datasets=("cifar10",), image_size=32),)
SMALL = Small({"training": {"epochs": 2, "batch_size": 4}, "outliers": "photographs"}, image_size=32)


class Config(FcddConfig):
    """FCDD+OE with the defaults of the official code for CIFAR-10."""

    outliers: str = Field("cifar100", description="Source of the outliers: cifar100, folder:PATH or photographs.")

    @field_validator("outliers")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in SOURCES and not (value.startswith("folder:") and len(value) > len("folder:")):
            raise ValueError(str(unknown("source of outliers", value, [*SOURCES, "folder:PATH"])))
        return value


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size is unusable."""
    must_fit(config, image_size, "FCDD+OE")


def must_be_here(config: Config) -> None:
    """Raise `UserError` if the outliers are not on this machine."""
    if config.training.epochs:
        find(config.outliers)


def build(config: Config, bench: Bench) -> Fcdd:
    """An untrained FCDD+OE; raises `UserError` if image size, snapshot or outliers are unusable."""
    from afrad_bench.methods.fcdd.method import Fcdd

    return Fcdd(config, bench, "FCDD+OE", find(config.outliers) if config.training.epochs else None)
