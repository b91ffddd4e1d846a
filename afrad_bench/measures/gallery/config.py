"""Options of the gallery."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    """Number and size of the images that are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    defective: int = Field(2, ge=0, description="defective images per category, taken from its kinds of defect in turn")
    good: int = Field(1, ge=0, description="normal images per category")
    failures: int = Field(
        0,
        ge=0,
        description="this many of each, per category: defective images with the lowest and normal images with the "
        "highest scores; every test image is predicted again for them",
    )
    side: int = Field(
        192, ge=16, description="largest side of the kept pictures in pixels; smaller inputs keep their size"
    )
    batch_size: int = Field(16, ge=1, description="images predicted at a time; no effect on what is kept")
