"""The configurations with which the paper reports figures: its complete model, and the rows of its ablations.

Each is there in two readings, since both keep what the paper prints. `tuned` is not among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from afrad_bench.methods.recipes import Recipe

BACKBONES = ("efficientnet_b4", "efficientnet_b4.ra2_in1k", "tf_efficientnet_b4.aa_in1k")
"""The paper names no weights: EfficientNet-B4 trained on ImageNet-1k alone, by timm or, as UniAD uses it, by its
authors. The first is what timm gives for the bare name."""

SAD, FLD, CD = "stage_adaptive", "focused_local", "compensation"


def _stages(fld: tuple[int, ...], cd: tuple[int, ...], sad: tuple[int, ...]) -> Mapping[str, Any]:
    return {"fld": {"stages": fld}, "cd": {"stages": cd}, "sad": {"stages": sad}}


ABLATIONS: Mapping[tuple[str, str], Mapping[str, Any]] = MappingProxyType(
    {
        ("table5", "no_fld"): {"decoders": (SAD, CD)},
        ("table5", "no_cd"): {"decoders": (SAD, FLD)},
        ("table5", "no_sad"): {"decoders": (FLD, CD)},
        ("table5", "no_ngib"): {"ngib": False},
        ("table6", "fld12_cd12_sad34"): _stages((1, 2), (1, 2), (3, 4)),
        ("table6", "fld12_cd23_sad34"): _stages((1, 2), (2, 3), (3, 4)),
        ("table6", "fld12_cd23_sad1234"): _stages((1, 2), (2, 3), (1, 2, 3, 4)),
        ("table6", "fld1234_cd12_sad1234"): _stages((1, 2, 3, 4), (1, 2), (1, 2, 3, 4)),
        ("table7", "no_frm"): {"frm": {"enabled": False}},
    }
)
"""What the rows of Tables 5 to 7 that are not the complete model change, by table and row."""


def _recipes() -> Iterator[Recipe]:
    for row, changes in ((None, {}), *ABLATIONS.items()):
        for reading in ("faithful", "printed"):
            name = f"the paper, {reading}"
            params = {"reading": reading, **changes}
            yield Recipe(name, params, ("mvtec_ad", "visa"), 256, BACKBONES, row)
            if row is None:
                yield Recipe(f"{name}, CIFAR-10", {**params, "training": {"epochs": 200}}, ("cifar10",), 256, BACKBONES)


RECIPES = tuple(_recipes())
