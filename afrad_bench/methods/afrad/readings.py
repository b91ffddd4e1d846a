"""Three readings of the paper, `printed`, `faithful` and `tuned`: which fields tell them apart, and what it says there.

`printed` has nothing but what the paper prints and, where it is silent, the plainest value. `faithful` keeps every
printed sentence and equation; where the paper is silent, measurement decided. `tuned` is free: some of its values
contradict the text. The defaults of `Config` are those of `tuned`. Fields that are not listed have one value in all
three: the paper's or, where it is silent, that of UniAD, whose setup it follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

Reading = Literal["printed", "faithful", "tuned"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A field in which the readings differ. The value of `tuned` is the field's default."""

    field: str
    """Dotted name."""
    printed: Any
    faithful: Any
    paper: str
    """What the paper prints about it, or that it is silent."""
    contradicted: bool = False
    """Whether the value of `tuned` contradicts this; otherwise all values fill a silence."""


CHOICES = (
    Choice(
        "features.reductions",
        (2, 4, 8, 16),
        (4, 8, 16, 32),
        "silent: multiscale feature maps of a pretrained network (section 3), not which",
    ),
    Choice("features.scale", "raw", "standardised", "silent"),
    Choice("mfpn.widths", (64, 64, 64, 64), (64, 64, 64, 64), "silent: channels d_i (section 3.2)"),
    Choice(
        "mfpn.kernels",
        (3, 5, 7, 9),
        (3, 5, 7, 9),
        "patch embeddings of different kernel sizes (section 3.2), not which",
        contradicted=True,
    ),
    Choice("mfpn.embedding", "full", "full", "silent: a patch embedding (eq. 1), usually one full convolution"),
    Choice("sad.skip", False, True, "eq. 3 prints no skip; Fig. 2 shows the refinement module, which has one in eq. 2"),
    Choice("width", 64, 64, "silent"),
    Choice("ngib_skip", False, False, "eq. 12 prints no skip", contradicted=True),
    Choice("score.weigh", "channels", "channels", "eq. 14 sums all channels alike", contradicted=True),
    Choice(
        "score.weigh_image",
        "channels",
        "channels",
        "one map M for detection and localisation (section 3.7)",
        contradicted=True,
    ),
    Choice("score.relative", 0.0, 0.0, "eq. 14 divides by nothing", contradicted=True),
    Choice("score.relative_image", 0.0, 0.0, "eq. 14 divides by nothing", contradicted=True),
    Choice("training.jitter", 0.0, 20.0, "silent"),
    Choice("training.mask", 0.0, 0.0, "silent"),
)
"""In the order of the fields."""


MEASURED_ON = ("demo", "elpv")
"""Data sets with whose test labels the values of `faithful` and `tuned` were chosen, beside folders of photographs
(docs/afrad_defaults.md)."""


def _nested(reading: Literal["printed", "faithful"]) -> Mapping[str, Any]:
    total: dict[str, Any] = {}
    for choice in CHOICES:
        *parts, name = choice.field.split(".")
        place = total
        for part in parts:
            place = place.setdefault(part, {})
        place[name] = getattr(choice, reading)
    return MappingProxyType(total)


READINGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"printed": _nested("printed"), "faithful": _nested("faithful"), "tuned": MappingProxyType({})}
)


def measured(config: Any) -> bool:
    """Whether a field of this configuration has a value that measurement chose: any that is not that of `printed`."""
    return any(_value(config, choice.field) != choice.printed for choice in CHOICES)


def _value(config: Any, field: str) -> Any:
    for name in field.split("."):
        config = getattr(config, name)
    return config


def values_of(reading: object) -> Mapping[str, Any]:
    """The values of a reading that are not the defaults of the fields, by part; empty for an unknown one."""
    return READINGS.get(reading, {}) if isinstance(reading, str) else {}
