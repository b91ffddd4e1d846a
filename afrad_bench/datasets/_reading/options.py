"""Options shared by several data sets, and validation of lists of categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from afrad_bench.errors import nearest
from afrad_bench.images.decoding import MAX_PIXELS


class Limits(BaseModel):
    """Limits on the number of images. The choice of images depends on their ids and `limit_seed` only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit_train: int | None = Field(
        None, ge=1, description="Maximum number of training images per category; all by default."
    )
    limit_test: int | None = Field(
        None,
        ge=1,
        description="Maximum number of normal test images per category, and of anomalous ones, spread over the kinds "
        "of defect; all by default.",
    )
    limit_seed: int = Field(0, ge=0, description="Seed for the choice of images when there is a limit.")


class Reading(BaseModel):
    """How image files are read, where their content leaves a choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: int | None = Field(
        None,
        ge=1,
        le=32,
        description="Bits in use in image files with more than 8 per channel: 2**bits - 1 is white. By default the "
        "fewest of 8, 10, 12, 14, 16, ... that hold the largest value of the data set.",
    )
    mask_reading: Literal["auto", "above_zero"] = Field(
        "auto",
        description="What is defective in a mask. auto: what a person sees, see docs/data.md; above_zero: every value "
        "above 0, whatever it looks like.",
    )
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, description="Pixels of the largest image that is read; more may fill the memory."
    )

    @model_serializer(mode="wrap")
    def _silent_by_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out defaults, so that results stored before these fields existed keep their ids."""
        defaults = {name: field.default for name, field in Reading.model_fields.items()}
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if name not in defaults or value != defaults[name]}


class Selection(Limits, Reading):
    """Limits, how files are read, and a choice of categories."""

    categories: tuple[str, ...] | None = Field(
        None, min_length=1, description="Names of the categories to use; all by default."
    )

    @field_validator("categories")
    @classmethod
    def _once(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return once(names)


def once(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names. Raises `ValueError` with the names that are given more than once."""
    twice = sorted(name for name, times in Counter(names or ()).items() if times > 1)
    if twice:
        raise ValueError(f"named more than once: {', '.join(twice)}")
    return names


def in_order_of(known: Sequence[str]) -> Callable[[tuple[str, ...] | None], tuple[str, ...] | None]:
    """A pydantic validator: each name must be known and given once. It returns the names in the order of `known`."""

    def checked(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is None:
            return None
        wrong = [name for name in names if name not in known]
        if wrong:
            texts = []
            for name in wrong:
                match = nearest(name, known)
                texts.append(f"unknown category {name!r}" + (f" (did you mean {match!r}?)" if match else ""))
            raise ValueError(f"{'; '.join(texts)}; known: {', '.join(known)}")
        return tuple(name for name in known if name in (once(names) or ()))

    return checked
