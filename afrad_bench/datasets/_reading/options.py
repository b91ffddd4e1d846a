"""Options shared by several data sets, and validation of lists of categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator

from afrad_bench.errors import nearest


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


class Selection(Limits):
    """Limits, and a choice of categories."""

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
