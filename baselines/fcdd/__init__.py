"""FCDD: a fully convolutional network maps normal images near a centre; the distance of each position is the heat map.

Liznerski, Ruff, Vandermeulen, Franks, Kloft and Mueller, "Explainable Deep One-Class Classification", ICLR 2021,
arXiv:2007.01760. Official code: liznerski/fcdd.

This is the unsupervised objective (`--supervise-mode unsupervised` of the official script), the row FCDD of Table 3;
with outliers it is `fcdd_oe`. Without them nothing keeps the network from mapping every image to the centre, and near
chance is what is published for it.

Defaults, all from the official script for CIFAR-10: the network FCDD_CNN32_LW3K for 32 x 32 pixels, all of it trained;
Adam at 1e-3 with weight decay 1e-6, a tenth of that rate after 400 and again after 500 of 600 epochs, batches of 200;
training images with slightly changed colours, a crop of the image padded by 4, mirrored or not, and weak noise. Images
are normalised by mean and deviation of the normal class. The score is the mean of the map over its 8 x 8 positions,
and the heat map spreads each over its receptive field as a Gaussian of 1.2 pixels, which the official code does not
normalise to 1. Its last batch norm is made and never called; it is left out (256 parameters).

Deviations: the harness reads images at the suite's size; where that is a multiple of 32, they are averaged to 32 x 32
here and the map is enlarged, which the notes name. Mean and deviation are measured on the training images (official:
constants for each class of CIFAR-10); with several normal classes, on all of them, as one class. The last epoch is
scored, as in the official code. Left out: the networks and the synthetic anomalies (confetti) for MVTec AD."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afrad_bench.methods.fcdd import FcddConfig, must_fit
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.methods.fcdd.method import Fcdd
    from afrad_bench.types import Bench

VERSION = "1"
PAPER = "Liznerski et al., Explainable Deep One-Class Classification, ICLR 2021"

RECIPES = (Recipe("official code, CIFAR-10, unsupervised", datasets=("cifar10",), image_size=32),)
SMALL = Small({"training": {"epochs": 2, "batch_size": 4}})


class Config(FcddConfig):
    """FCDD with the defaults of the official code for CIFAR-10."""


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size is unusable."""
    must_fit(config, image_size, "FCDD")


def build(config: Config, bench: Bench) -> Fcdd:
    """An untrained FCDD; raises `UserError` if the image size or the snapshot is unusable."""
    from afrad_bench.methods.fcdd.method import Fcdd

    return Fcdd(config, bench, "FCDD")
