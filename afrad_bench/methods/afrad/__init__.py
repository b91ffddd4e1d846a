"""AFRAD: adaptive feature refinement with information preservation, a reconstruction of frozen features.

Lee et al., "Adaptive Feature Refinement with Information Preservation for Multiclass Unsupervised Anomaly Detection".
A frozen backbone's multiscale features F_ori are embedded into a four-stage pyramid (M-FPN, eq. 1-2), decoded by three
decoders side by side (stage-adaptive, eq. 3-6; focused local, eq. 7-10; compensation, section 3.5), integrated by the
NGIB (eq. 11-13) into F_rec, and scored by the L2 distance of the two (eq. 14).

There is no official code. What the paper leaves open is a field of `Config`, each described with its readings; the
widths of the pyramid and the decoders are ours. Silent on optimisation but for AdamW at 1e-4 and the epochs, the paper
follows UniAD, whose batch size, weight decay, schedule and clipping are therefore the defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afrad_bench.methods.afrad.config import Config

if TYPE_CHECKING:
    from afrad_bench.methods.afrad.method import Afrad
    from afrad_bench.types import Bench

VERSION = "5"
PAPER = "Lee et al., Adaptive Feature Refinement with Information Preservation for MUAD"

__all__ = ["PAPER", "VERSION", "Config", "build"]


def build(config: Config, bench: Bench) -> Afrad:
    """An untrained AFRAD on `bench.device`; raises `UserError` when the backbone or the image size cannot serve."""
    from afrad_bench.methods.afrad.method import Afrad

    return Afrad(config, bench)
