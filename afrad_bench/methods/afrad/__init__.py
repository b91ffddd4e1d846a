"""AFRAD: adaptive feature refinement with information preservation, a reconstruction of frozen features.

Lee et al., "Adaptive Feature Refinement with Information Preservation for Multiclass Unsupervised Anomaly Detection". A
frozen backbone's multiscale features F_ori are embedded into a four-stage pyramid (M-FPN, eq. 1-2), decoded by three
parallel decoders (stage-adaptive, eq. 3-6; focused local, eq. 7-10; compensation, section 3.5) and integrated by the
NGIB (eq. 11-13) into F_rec. The score is the L2 distance between F_rec and F_ori (eq. 14).

There is no official code. Every choice that the paper leaves open is a field of `Config`, described with its
possible values; the widths of the pyramid and the decoders are not from the paper. On optimisation the paper
states only AdamW at 1e-4 and the epochs. It follows UniAD, so UniAD's batch size, weight decay, schedule and
clipping are the defaults. Three readings of the paper bundle the open choices: `printed`, `faithful` and `tuned`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afrad_bench.backbone.offered import needed
from afrad_bench.methods.afrad import own_decoders
from afrad_bench.methods.afrad.config import Config, reads
from afrad_bench.methods.afrad.published import RECIPES
from afrad_bench.methods.afrad.readings import CHOICES, MEASURED_ON, measured
from afrad_bench.methods.demands import multiple_of
from afrad_bench.methods.small import Small

if TYPE_CHECKING:
    from afrad_bench.methods.afrad.method import Afrad
    from afrad_bench.types import Bench

VERSION = "6"
PAPER = "Lee et al., Adaptive Feature Refinement with Information Preservation for MUAD"
SMALL = Small(
    {
        "backbone": {"name": "resnet18", "weights": "random"},
        "mfpn": {"widths": [6, 5, 4, 3]},
        "width": 7,
        "training": {"epochs": 2, "lr": 1e-2},
    }
)

__all__ = [
    "CHOICES",
    "PAPER",
    "RECIPES",
    "SMALL",
    "VERSION",
    "Config",
    "build",
    "check",
    "chosen_on",
    "reads",
    "version",
]


def chosen_on(config: Config) -> tuple[str, ...]:
    """Data sets on whose test labels values of this configuration were chosen."""
    return MEASURED_ON if measured(config) else ()


def version(config: Config) -> str:
    """`VERSION`, and the versions of decoders from other packages, e.g. "6 max_gate=1"."""
    return VERSION + own_decoders.versions(config.decoders)


def check(config: Config, image_size: int) -> None:
    """Raise `UserError` if the image size or the backbone is unusable."""
    multiple_of(config.step, image_size, "AFRAD")
    needed(config.backbone.name, config.features.reductions, image_size)


def build(config: Config, bench: Bench) -> Afrad:
    """An untrained AFRAD on `bench.device`; raises `UserError` if the backbone or the image size is unusable."""
    from afrad_bench.methods.afrad.method import Afrad

    return Afrad(config, bench)
