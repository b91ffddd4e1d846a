"""Fields that the configurations of many methods have, as types; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from afrad_bench.methods.recipes import NEUTRAL


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"a window is centred on its position, so its side must be odd, but got {value}")
    return value


OddSide = Annotated[int, AfterValidator(_odd), Field(ge=1)]
"""Side of a window that is centred on a position."""

EvalBatch = Annotated[int, Field(ge=1, description="Images per forward pass when scoring.", json_schema_extra=NEUTRAL)]

StatisticsAfterOnes = Annotated[
    Literal["official", "pretrained"],
    Field(
        description="Statistics of the backbone's batch norms. official: moved by one image of ones in training mode, "
        "as the official script does before anything else. pretrained: as they come with the weights.",
        exclude_if=lambda value: value == "official",
    ),
]

Smoothing = Annotated[
    float, Field(ge=0, description="Standard deviation of the map's Gaussian smoothing in pixels; 0: none.")
]

BankLimit = Annotated[
    int | None,
    Field(
        ge=1,
        description="Refuse a larger bank. null: bounded by the free memory of the device only.",
        json_schema_extra=NEUTRAL,
    ),
]
"""Largest memory bank in bytes."""
