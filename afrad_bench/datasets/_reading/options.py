"""Options that several data sets share, and how lists of categories are checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator

from afrad_bench.errors import nearest


class Limits(BaseModel):
    """Take fewer images than there are. Which ones depends on their ids and `limit_seed` only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit_train: int | None = Field(None, ge=1, description="Training images per category at most; all by default.")
    limit_test: int | None = Field(
        None,
        ge=1,
        description="Normal test images per category at most, and as many anomalous ones, spread over the kinds of "
        "defect; all by default.",
    )
    limit_seed: int = Field(0, ge=0, description="Chooses the images when there is a limit.")


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
    """The names, or a `ValueError` that tells which ones are given more than once."""
    twice = sorted(name for name, times in Counter(names or ()).items() if times > 1)
    if twice:
        raise ValueError(f"named more than once: {', '.join(twice)}")
    return names


def in_order_of(known: Sequence[str]) -> Callable[[tuple[str, ...] | None], tuple[str, ...] | None]:
    """A validator: each name is known and given once. Returns them in the order of `known`."""

    def checked(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is None:
            return None
        wrong = [name for name in names if name not in known]
        if wrong:
            told = []
            for name in wrong:
                match = nearest(name, known)
                told.append(f"unknown category {name!r}" + (f" (did you mean {match!r}?)" if match else ""))
            raise ValueError(f"{'; '.join(told)}; known: {', '.join(known)}")
        return tuple(name for name in known if name in (once(names) or ()))

    return checked
