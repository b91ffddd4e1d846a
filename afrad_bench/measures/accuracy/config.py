"""Options of the measure `accuracy`; everything else is fixed by the definitions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)


class Config(BaseModel):
    """Options of the measure, as given under `measures:` in a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fpr_limit: float = Field(0.3, gt=0, le=1, description="false positive rate at which AUPRO stops")
    connectivity: Literal[4, 8] = Field(8, description="neighbours that connect defective pixels into regions: 4 or 8")
    resolution: Literal["input", "original"] = Field(
        "input",
        description="size at which pixels are compared. input: the method's input size, masks resized by mask_rule. "
        "original: the original size of each mask, maps resized bilinearly",
    )
    mask_rule: Literal["nearest", "bilinear", "any"] = Field(
        "nearest",
        description="how masks are resized to the input size: nearest neighbour, bilinear and then > 0.5, "
        "or any marked pixel",
    )
    image_score: Literal["method", "max", "pool", "top"] = Field(
        "method",
        description="source of the image score. method: the method itself. From its map: the maximum (max), the "
        "maximum after average pooling (pool), or the mean of the highest values (top)",
    )
    pool: int = Field(16, ge=1, description="side of the average pooling of image_score=pool, in pixels of the map")
    top_share: float = Field(0.01, gt=0, le=1, description="share of the map's values that image_score=top averages")
    pool_pixels: bool = Field(
        True, description="also rank the pixels of all categories together; needs as much memory as all maps together"
    )
    also: tuple[Literal["ader", "mvtec", "uniad"], ...] = Field(
        (), description="code bases whose conventions are evaluated too, as additional metrics"
    )
    batch_size: int = Field(16, ge=1, description="images predicted at a time; no effect on the values")
    memory_gib: float = Field(
        4.0,
        gt=0,
        description="largest size in GiB of the pixel scores of one ranking in memory; larger ones are kept in a "
        "temporary file, which is slower and gives the same values",
    )

    @field_validator("also")
    @classmethod
    def _each_once(cls, also: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(also)))

    @model_serializer(mode="wrap")
    def _silent_if_empty(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out an empty `also`, so that results stored before this field existed stay current."""
        written: dict[str, Any] = write(self)
        return written if self.also else {name: value for name, value in written.items() if name != "also"}

    @model_validator(mode="after")
    def _rule_has_an_effect(self) -> Config:
        if self.resolution == "original" and self.mask_rule != "nearest":
            raise ValueError("mask_rule has no effect at resolution=original, where no mask is resized")
        return self
