"""AnoDDPM: a diffusion model of normal images repairs an image from simplex noise; what it changes is anomalous.

Wyatt, Leach, Schmon and Willcocks, "AnoDDPM: Anomaly Detection with Denoising Diffusion Probabilistic Models using
Simplex Noise", CVPR workshops 2022, pages 650-656. Official code: Julian-Wyatt/AnoDDPM.

Defaults, all from the official code's setting for simplex noise (args28): a guided-diffusion U-Net 128 channels wide
(131.65 M parameters), two heads; 1000 steps, linear from 1e-4 to 0.02; noise of six octaves, each of 0.8 times the
amplitude and half the period of the one before, the first of 64 pixels, at the step as the third coordinate; the mean
squared error of the estimated noise, at steps 0 to 799; AdamW at 1e-4 without weight decay, one image per step, the
norm of the gradient clipped to 1; 3000 epochs of 100 steps, however many images there are; an average of the weights,
decaying by 0.9999 per step, is scored. An image gets the noise of step 200 (`steps`; the code's script for ROC curves
takes 250), and 200 denoising steps, with simplex noise in each of them, remove it. The map is the squared difference of
pixels in [-1, 1], unsmoothed.

The code was written for brain slices of one healthy population; its only other data are leather of MVTec AD, without
figures. So its use on industrial images, in both settings, is an adaptation; for many categories one network is trained
on all of them. It has no image score: ours is the maximum of the map after a Gaussian of 4 pixels
(`score.image_sigma`), and the map is the mean over the colours, where the code pools them.

Deviations: every image of a batch has its own step and field of noise (the official code fails for more than one);
scoring gives all images the same fields, drawn once from the seed, so that a prediction depends on no other image and
can be repeated; the fields are computed on the device (`simplex.py`); images are resized, not cropped at random; the
attention has the same heads in training and scoring (the official scripts build two, then one: `unet: {heads: 1}` with
`start` is what they score); levels with attention are named by their reduction, which at other sizes than 256 px is
another resolution; the images come in the order that all methods share. Gaussian noise (args26), which the paper shows
to repair too little, and learned weights of the loss are left out. Checkpoints of the official code are read with
`start`; its averaged weights are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from afrad_bench.methods.demands import multiple_of
from afrad_bench.methods.diffusion import require
from afrad_bench.methods.diffusion.config import TIMESTEPS, UnetConfig
from afrad_bench.methods.fields import EvalBatch
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.anoddpm.model import Anoddpm

VERSION = "1"
PAPER = "Wyatt et al., AnoDDPM: Anomaly Detection with Denoising Diffusion Probabilistic Models, CVPR Workshops 2022"

RECIPES = (
    Recipe("official code, metrics", image_size=256),
    Recipe("official code, ROC curves", {"steps": 250}, image_size=256),
)
SMALL = Small(
    {
        "unet": {"width": 32, "multipliers": [1, 1], "attention": [2], "blocks": 1},
        "steps": 2,
        "training": {"epochs": 2, "iterations": 2, "lr": 1e-3, "average": 0.5},
    },
    image_size=32,
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Unet(UnetConfig):
    """The U-Net; by default the official one."""

    width: int = Field(128, description="Channels of the finest level; a multiple of the 32 groups of the norms.")
    heads: int = Field(2, ge=1, description="Heads of each self-attention, the same at every width.")


class Noise(_Part):
    """Simplex noise: the sum of octaves, each with half the period of the one before."""

    octaves: int = Field(6, ge=1, description="Octaves.")
    persistence: float = Field(0.8, gt=0, description="Amplitude of an octave divided by that of the one before.")
    frequency: float = Field(64.0, gt=0, description="Period of the first octave in pixels, which the code calls so.")


class Training(_Part):
    """Optimisation, as in the official code."""

    epochs: int = Field(3000, ge=0, description="Epochs of `iterations` steps; the last one is scored.")
    iterations: int = Field(
        100,
        ge=1,
        description="Steps per epoch, however many training images there are; all are shown before any again.",
    )
    batch_size: int = Field(1, ge=1, description="Images per step.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of AdamW.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of AdamW.")
    clip: float | None = Field(1.0, gt=0, description="Maximum gradient norm; null: no clipping.")
    average: float = Field(
        0.9999,
        ge=0,
        lt=1,
        description="Share of the averaged weights that a step leaves; 0: the last weights are scored.",
    )
    below: int = Field(
        800, ge=1, le=TIMESTEPS, description="The training's steps of the diffusion are drawn from 0 ... below - 1."
    )


class Score(_Part):
    """From the repaired image to a map and a score."""

    sigma: float = Field(
        0.0, ge=0, description="Standard deviation of the map's Gaussian in pixels; official: 0, none."
    )
    image_sigma: float = Field(
        4.0,
        ge=0,
        description="Standard deviation of the Gaussian after which the map's maximum is the image score; ours, since "
        "the official code has no image score.",
    )


class Config(_Part):
    """AnoDDPM with the defaults of the official code."""

    unet: Unet = Field(Unet(), description="The network that estimates the noise.")
    noise: Noise = Field(Noise(), description="Noise of the training and of every denoising step.")
    steps: int = Field(
        200,
        ge=1,
        le=TIMESTEPS,
        description="Denoising steps, and the step whose noise an image gets; official: 200 or 250.",
    )
    start: str | None = Field(
        None,
        description="Official checkpoint (with averaged weights `ema`) to start from instead of initial values; with "
        "training.epochs 0 it is scored as it is.",
    )
    training: Training = Field(Training(), description="Optimisation.")
    score: Score = Field(Score(), description="From the repaired image to a map and a score.")
    eval_batch: EvalBatch = 8


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size is unusable."""
    multiple_of(config.unet.step, image_size, "AnoDDPM")


def must_be_here(config: Config) -> None:
    """Raise `UserError` if diffusers is not installed."""
    require("AnoDDPM")


def build(config: Config, bench: Bench) -> Anoddpm:
    """An untrained AnoDDPM on `bench.device`; raises `UserError` if diffusers is missing, or image size or checkpoint
    are unusable."""
    must_be_here(config)
    from afrad_bench_baselines.anoddpm.model import Anoddpm

    return Anoddpm(config, bench)
