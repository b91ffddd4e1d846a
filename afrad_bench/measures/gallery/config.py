"""Options of the gallery."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    """How many images are kept, and how large."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    defective: int = Field(2, ge=0, description="defective images of each category, of its kinds of defect in turn")
    good: int = Field(1, ge=0, description="normal images of each category")
    failures: int = Field(
        0,
        ge=0,
        description="per category, defective images that the method scores lowest and normal ones that it scores "
        "highest, this many of each; every test image is predicted again for it",
    )
    side: int = Field(192, ge=16, description="largest side of the kept pictures in pixels; smaller inputs stay as are")
    batch_size: int = Field(16, ge=1, description="images predicted at a time; no effect on what is kept")
