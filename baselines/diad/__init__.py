"""DiAD: Stable Diffusion, guided by the image itself, restores it without its defects; features of both are compared.

He, Zhang, Chen, Chen, Li, Chen, Wang, Wang and Xie, "A Diffusion-Based Framework for Multi-Class Anomaly Detection",
AAAI 2024, arXiv:2312.06607. Official code: lewandofskee/DiAD. It needs the extra `diffusion`: networks and schedule are
those of diffusers, the text tower is that of transformers.

Defaults, all from the official code: U-Net and text tower of Stable Diffusion 1.5 (the prompt is empty, so its 77
vectors are computed once); the semantic-guided network (SGN), a copy of the U-Net's encoder that sees the image; an
autoencoder with a latent of 4 x 32 x 32 at 256 px. Stage A tunes the autoencoder on the training images: L1 and LPIPS,
summed over an image, and 1e-6 KL; Adam at 1.8e-4, a step for 8 batches of 4. Stage B trains the SGN and the U-Net's
decoder to predict the noise: AdamW at 1e-5, a step for 4 batches of 12. An image is encoded, given the noise of step
999, denoised in 10 DDIM steps (901, 801, ..., 1) and decoded. The map adds the cosine distances of three stages of a
ResNet-50 (`resnet50.a1_in1k`, timm's default weights when the code was written), enlarged with aligned corners, and is
smoothed by a Gaussian of 5 pixels; the image score is its maximum after eight 8 x 8 mean filters. The code sets no
number of epochs: 500 are the authors' (issue 41), and the 220 of stage A are their 25,000 steps (issue 31) on MVTec AD.

`weights: published` reads, from the folder that AFRAD_BENCH_DIAD names, Stable Diffusion 1.5 as diffusers stores it
(unet, vae, text_encoder) or as one file, v1-5-pruned.safetensors or .ckpt; `folder:PATH` and `file:PATH` name them. A
file may also be a checkpoint of the official code, which brings its SGN; with both `epochs` 0 it is scored as it is. A
folder usually holds averaged weights, where the official code takes the others. `random` is for sizes, times and tests:
without Stable Diffusion there is no DiAD, and the notes say so. `autoencoder.weights: file:PATH` replaces the
autoencoder alone (the official code starts from kl-f8 of latent diffusion). LPIPS is read from vgg16-397923af.pth
(torchvision) and vgg.pth (LPIPS 0.1) of that folder; `training.autoencoder.perceptual: none` leaves it out. Nothing is
downloaded.

Spatial-aware feature fusion (SFF) adds the SGN's maps of the last level but one, by nine convolutions, to those of the
last. In the official code these and the layers before them start at zero and only ever multiply each other: every
gradient is exactly zero, and SFF never learns. `sff: official` (default) is that code; the nine convolutions are held,
but neither run nor trained while they are zero, which changes no result. `sff: paper` starts them at random values.

What the official code computes in vain is left out. Its guidance of scale 9 mixes two branches with the same prompt and
the same image, which are equal: here the network runs once per step. It also decodes a second image for its log, runs
all five ResNet stages and encodes the empty prompt each time. An image costs 1,670 G multiply-accumulates here and
about twice as many there. (diffusers' ControlNet still runs the SGN's first nine zero convolutions, 0.3 G of them.)

Deviations: the discriminator of stage A, which starts after 50,001 steps and which the authors do not use, is left out.
The noise of the latent and of the start is drawn once from the cell's seed and is the same for all images; the official
code draws it anew for each, so that its scores vary. The last epoch is scored (official: the one with the best AUROC on
the test images). Metrics are the harness's own: the official evaluation replaces an AUROC below 0.5 by one minus it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from afrad_bench.backbone.offered import needed
from afrad_bench.backbone.weights import BackboneConfig
from afrad_bench.errors import fail, unknown
from afrad_bench.methods.demands import multiple_of
from afrad_bench.methods.diffusion import require
from afrad_bench.methods.fields import EvalBatch
from afrad_bench.methods.recipes import Recipe
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.types import Bench
    from afrad_bench_baselines.diad.model import Diad

VERSION = "1"
PAPER = "He et al., A Diffusion-Based Framework for Multi-Class Anomaly Detection, AAAI 2024"

ENVIRONMENT = "AFRAD_BENCH_DIAD"
SINGLE_FILES = ("v1-5-pruned.safetensors", "v1-5-pruned.ckpt")
"""Names of Stable Diffusion 1.5 as one file, best first."""
LPIPS_FILES = ("vgg16-397923af.pth", "vgg.pth")
REDUCTIONS = (4, 8, 16)
"""Reductions of the backbone's maps that are compared."""
TIMES = 1000
"""Steps of the diffusion."""
SMALLEST = 64
"""The image score's mean filters take 56 pixels away."""

RECIPES = (
    Recipe("official code", image_size=256),
    *(Recipe(f"ADer, {n} epochs", {"training": {"epochs": n}}, image_size=256) for n in (100, 300)),
)
SMALL = Small(
    {
        "backbone": {"name": "resnet10t", "weights": "random"},
        "weights": "random",
        "denoiser": {"widths": [16, 32], "layers": 1, "heads": 2, "groups": 8, "context": 8, "hint": [8, 8, 16]},
        "autoencoder": {"widths": [8, 8, 16], "layers": 1, "groups": 8},
        "steps": 2,
        "training": {
            "epochs": 2,
            "batch_size": 2,
            "accumulate": 2,
            "lr": 1e-3,
            "autoencoder": {"epochs": 1, "perceptual": "none", "accumulate": 1, "lr": 1e-3},
        },
    }
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Backbone(BackboneConfig):
    """The network whose features are compared; by default the published one."""

    name: str = Field(
        "resnet50.a1_in1k", description="timm model with feature maps. The published one: resnet50.a1_in1k."
    )


class Denoiser(_Part):
    """Shape of the U-Net and of the SGN; the defaults are those of Stable Diffusion 1.5."""

    widths: tuple[int, ...] = Field(
        (320, 640, 1280, 1280), min_length=2, description="Channels of each level; all but the last have attention."
    )
    layers: int = Field(2, ge=1, description="Residual blocks per level; the decoder has one more.")
    heads: int = Field(8, ge=1, description="Heads of each attention.")
    groups: int = Field(32, ge=1, description="Groups of every group norm.")
    context: int = Field(768, ge=1, description="Width of the text tower's vectors.")
    hint: tuple[int, ...] = Field(
        (16, 32, 96, 256),
        min_length=2,
        description="Channels of the convolutions that bring the image to the size of the latent, one per level of the "
        "autoencoder.",
    )

    @model_validator(mode="after")
    def _divides(self) -> Denoiser:
        for width in self.widths:
            if width % self.groups or width % self.heads:
                raise ValueError(
                    f"widths must be multiples of groups and of heads, but got width {width}, {self.groups} groups and "
                    f"{self.heads} heads"
                )
        return self


class Autoencoder(_Part):
    """Shape of the autoencoder; the defaults are those of Stable Diffusion 1.5."""

    widths: tuple[int, ...] = Field((128, 256, 512, 512), min_length=2, description="Channels of each level.")
    layers: int = Field(2, ge=1, description="Residual blocks per level; the decoder has one more.")
    channels: int = Field(4, ge=1, description="Channels of the latent.")
    groups: int = Field(32, ge=1, description="Groups of every group norm.")
    weights: str = Field("published", description="published: that of `weights`. file:PATH: an autoencoder of its own.")

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, value: str) -> str:
        return _one_of("kind of autoencoder weights", value, "published", "file:PATH")

    @model_validator(mode="after")
    def _divides(self) -> Autoencoder:
        if wrong := [width for width in self.widths if width % self.groups]:
            raise ValueError(f"widths must be multiples of the {self.groups} groups, but got {wrong[0]}")
        return self


class StageA(_Part):
    """Training of the autoencoder on the data, before SGN and decoder."""

    epochs: int = Field(220, ge=0, description="Passes over the training images; 0 leaves it as it is.")
    batch_size: int = Field(4, ge=1, description="Images per batch.")
    accumulate: int = Field(8, ge=1, description="Batches per step.")
    lr: float = Field(1.8e-4, gt=0, description="Learning rate of Adam.")
    kl: float = Field(1e-6, ge=0, description="Weight of the KL divergence.")
    perceptual: str = Field(
        "published",
        description="LPIPS beside L1: published (from the folder of the weights), folder:PATH, or none for L1 alone.",
    )

    @field_validator("perceptual")
    @classmethod
    def _known_loss(cls, value: str) -> str:
        return _one_of("source of LPIPS", value, "published", "none", "folder:PATH")


class Training(_Part):
    """Training of SGN and decoder (stage B), and of the autoencoder before, as in the official code."""

    epochs: int = Field(500, ge=0, description="Passes over the training images; the last one is scored.")
    batch_size: int = Field(12, ge=1, description="Images per batch.")
    accumulate: int = Field(4, ge=1, description="Batches per step.")
    lr: float = Field(1e-5, gt=0, description="Learning rate of AdamW.")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    autoencoder: StageA = Field(StageA(), description="Stage A, before.")


class Config(_Part):
    """DiAD with the defaults of the official code."""

    backbone: Backbone = Field(Backbone(), description="Frozen network whose features are compared, and its weights.")
    weights: str = Field(
        "published", description="Stable Diffusion 1.5: published, folder:PATH, file:PATH or random (untrained)."
    )
    denoiser: Denoiser = Field(Denoiser(), description="Shape of U-Net and SGN.")
    autoencoder: Autoencoder = Field(Autoencoder(), description="Shape and weights of the autoencoder.")
    sff: Literal["official", "paper"] = Field(
        "official", description="official: the fusion never learns, as in the code. paper: it starts at random values."
    )
    steps: int = Field(10, ge=1, le=TIMES // 2, description="Steps of DDIM for an image; a divisor of 1000.")
    training: Training = Field(Training(), description="Both stages of the training.")
    eval_batch: EvalBatch = 4

    @field_validator("weights")
    @classmethod
    def _known(cls, value: str) -> str:
        return _one_of("kind of weights", value, "published", "random", "folder:PATH", "file:PATH")

    @field_validator("steps")
    @classmethod
    def _even(cls, value: int) -> int:
        if TIMES % value:
            raise ValueError(f"steps must divide {TIMES}, so that they are equally far apart, but got {value}")
        return value

    @model_validator(mode="after")
    def _one_latent(self) -> Config:
        if len(self.denoiser.hint) != len(self.autoencoder.widths):
            raise ValueError(
                f"denoiser.hint halves the image {len(self.denoiser.hint) - 1} times and the autoencoder "
                f"{len(self.autoencoder.widths) - 1} times: give both the same number of channels"
            )
        return self

    @property
    def reduction(self) -> int:
        """Pixels per side of a position of the latent."""
        return int(2 ** (len(self.autoencoder.widths) - 1))


def _one_of(kind: str, value: str, *known: str) -> str:
    heads = [one.removesuffix("PATH") for one in known if one.endswith(":PATH")]
    if value not in known and not any(value.startswith(head) and len(value) > len(head) for head in heads):
        raise ValueError(str(unknown(kind, value, known)))
    return value


def must_fit(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size does not divide into latents that the networks can halve."""
    deepest = config.reduction * int(2 ** (len(config.denoiser.widths) - 1))
    multiple_of(deepest, image_size, "DiAD")
    smallest = max(SMALLEST, 2 * deepest)
    if image_size < smallest:
        raise fail(
            f"DiAD needs images of {smallest} px or more, but got {image_size}: SFF normalises maps of 2 x 2 or more",
            hint="choose a larger image size, or fewer denoiser.widths",
        )


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size or the backbone is unusable."""
    must_fit(config, image_size)
    needed(config.backbone.name, REDUCTIONS, image_size)


def _hint(what: str) -> str:
    return (
        f"set {ENVIRONMENT} to a folder with {what}\n"
        "as it is on huggingface.co (stable-diffusion-v1-5/stable-diffusion-v1-5): folders unet, vae and text_encoder, "
        f"or {' or '.join(SINGLE_FILES)}\n"
        "or name it: weights: folder:PATH, weights: file:PATH\n"
        "or use random weights, which the notes of the result then name: weights: random"
    )


def _published() -> Path:
    folder = os.environ.get(ENVIRONMENT)
    if not folder:
        raise fail("DiAD's weights are not on this machine", hint=_hint("Stable Diffusion 1.5"))
    return Path(folder).expanduser()


def weights_at(config: Config) -> Path | None:
    """Folder or file of Stable Diffusion, None for random weights. Raises `UserError` if it is not here."""
    if config.weights == "random":
        return None
    kind, _, name = config.weights.partition(":")
    place = Path(name).expanduser() if name else _published()
    if kind == "published":
        place = next((place / one for one in SINGLE_FILES if (place / one).is_file()), place)
    if kind == "file" or place.is_file():
        if not place.is_file():
            raise fail(f"no such file of weights: {place}", hint=_hint("Stable Diffusion 1.5"))
        return place
    if lacks := [part for part in ("unet", "vae", "text_encoder") if not (place / part / "config.json").is_file()]:
        raise fail(f"{place} lacks {lacks[0]}/config.json", hint=_hint("Stable Diffusion 1.5"))
    return place


def autoencoder_at(config: Config) -> Path | None:
    """File of an autoencoder of its own, None without one. Raises `UserError` if it is not here."""
    if config.autoencoder.weights == "published":
        return None
    place = Path(config.autoencoder.weights.removeprefix("file:")).expanduser()
    if not place.is_file():
        raise fail(f"no such autoencoder: {place}", hint="autoencoder.weights: file:PATH, or published")
    return place


def lpips_at(config: Config) -> Path | None:
    """Folder of LPIPS, None if stage A does without. Raises `UserError` if it is not here."""
    stage = config.training.autoencoder
    if stage.perceptual == "none" or not stage.epochs:
        return None
    _, _, name = stage.perceptual.partition(":")
    hint = (
        f"LPIPS is {LPIPS_FILES[0]} (download.pytorch.org/models) and {LPIPS_FILES[1]} "
        "(github.com/richzhang/PerceptualSimilarity, lpips/weights/v0.1)\n"
        "or leave it out, which the row then says: training: {autoencoder: {perceptual: none}}"
    )
    folder = name or os.environ.get(ENVIRONMENT)
    if not folder:
        raise fail("LPIPS is not on this machine", hint=f"set {ENVIRONMENT} to a folder that holds it\n{hint}")
    place = Path(folder).expanduser()
    if lacks := [one for one in LPIPS_FILES if not (place / one).is_file()]:
        raise fail(f"{place} lacks {' and '.join(lacks)}", hint=hint)
    return place


def must_be_here(config: Config) -> None:
    """Raise `UserError` if the extra is not installed, or the weights of Stable Diffusion, of the autoencoder or of
    LPIPS are not here."""
    require("DiAD", "transformers")
    weights_at(config)
    autoencoder_at(config)
    lpips_at(config)


def warn(config: Config, image_size: int, train_images: int) -> str | None:
    """A line on a training of the published size, whose memory and time are of another order than other methods'."""
    if not config.training.epochs or sum(config.denoiser.widths) < 1000:
        return None
    shown = config.training.epochs * train_images
    return (
        f"stage B trains about a billion weights (some 16 GB with gradients and moments) on {shown:,} images; "
        f"`training.epochs` (now {config.training.epochs}) lowers that, `denoiser.widths` the size"
    )


def build(config: Config, bench: Bench) -> Diad:
    """An untrained DiAD on `bench.device`; raises `UserError` if weights, image size or backbone are unusable, or the
    extra is not installed."""
    require("DiAD", "transformers")
    from afrad_bench_baselines.diad.model import Diad

    return Diad(config, bench)
