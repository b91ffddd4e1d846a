"""Published configurations of a method, and in what another configuration differs from them.

A method module declares them as `RECIPES`; a module without them was published with the defaults of its `Config`. The
harness compares: rows, reports and verdicts name every difference, and nobody has to write a note about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

NEUTRAL: dict[str, Any] = {"neutral": True}
"""`json_schema_extra` of a field on which no result depends, such as the images per forward pass when scoring."""
DIFFERS = "differs from the published configuration"
"""How a text about a difference begins, in notes of results and in reports."""
TRAINING = "training"
UNTIMED = (TRAINING, "start")
"""Parts of a configuration on which the time of a fitted method does not depend."""


@dataclass(frozen=True)
class Recipe:
    """A configuration with which results were published."""

    name: str
    """Who used it, and for what: "official code, MVTec AD"."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the defaults of `Config`, nested by part."""
    datasets: tuple[str, ...] = ()
    """Data sets that it is for; empty: any."""
    image_size: int | None = None
    """Side in pixels; None: not stated."""
    backbones: tuple[str, ...] = ()
    """Names of equally published backbones, instead of the one in `params`."""
    row: tuple[str, str] | None = None
    """Table and row of the paper for which it is; None: the method itself."""


CHOSEN = "its defaults were chosen on test labels of these data"
"""How a text about a row begins whose method names the row's data set in `chosen_on`."""


class Undeclared(Exception):
    """Why it is not known with which configuration a method was published."""


class Declares(Protocol):
    """The part of a method module that is needed here."""

    Config: type[BaseModel]


@dataclass(frozen=True, slots=True)
class Change:
    """A field whose value is not the published one."""

    field: str
    value: Any
    published: Any

    def __str__(self) -> str:
        return f"{self.field} {shown(self.value)} instead of {shown(self.published)}"


@dataclass(frozen=True, slots=True)
class Differences:
    """In what a configuration differs from the published one that is nearest to it."""

    recipe: Recipe
    changes: tuple[Change, ...]

    @property
    def timed(self) -> tuple[Change, ...]:
        """Those on which the time of a fitted method may depend."""
        return tuple(change for change in self.changes if change.field.partition(".")[0] not in UNTIMED)

    def __str__(self) -> str:
        if not self.changes:
            return f"as published ({self.recipe.name})"
        return f"{DIFFERS} ({self.recipe.name}): {'; '.join(map(str, self.changes))}"


def recipes_of(module: Any) -> Sequence[Recipe]:
    """The published configurations of a method: those that it declares, or its defaults if every field has one."""
    declared = tuple(getattr(module, "RECIPES", ()))
    required = any(info.is_required() for info in module.Config.model_fields.values())
    return declared if declared or required else (Recipe("the defaults"),)


def differences(
    module: Declares,
    params: Mapping[str, Any],
    dataset: str,
    image_size: int | None = None,
    row: tuple[str, str] | None = None,
) -> Differences:
    """What differs from the published configuration, compared with the nearest one for this data set and row.

    `params`: a complete configuration as in `Cell.params`; `dataset`: the name, also with a place ("folder:tiles").
    `image_size` is compared if it is given. `row`: table and row of the paper beside which the result stands. Raises
    `Undeclared` if the method has no published configuration, or an invalid one."""
    name = dataset.partition(":")[0]
    if not (every := recipes_of(module)):
        raise Undeclared("it has required fields and declares no published configuration")
    mine = [one for one in every if one.row == row] or [one for one in every if one.row is None]
    fitting = [one for one in mine if name in one.datasets] or [one for one in mine if not one.datasets] or mine
    made = module.Config.model_validate(params)
    found = [Differences(one, tuple(_changes(module.Config, made, one, image_size))) for one in fitting]
    return min(found, key=lambda one: len(one.changes))


def chosen_on(module: Any, params: Mapping[str, Any]) -> tuple[str, ...]:
    """Data sets whose test labels decided defaults that this configuration uses: what the module's
    `chosen_on(config)` returns; none for a module without it."""
    declared = getattr(module, "chosen_on", None)
    return () if declared is None else tuple(declared(module.Config.model_validate(params)))


def _changes(model: type[BaseModel], made: BaseModel, recipe: Recipe, image_size: int | None) -> Iterator[Change]:
    if image_size is not None and recipe.image_size not in (None, image_size):
        yield Change("image size", image_size, recipe.image_size)
    try:
        published = model.model_validate(dict(recipe.params))
    except ValidationError as error:
        raise Undeclared(f"the configuration {recipe.name!r} that it declares is invalid") from error
    for change in _compared(made, published, ""):
        if not (change.field == "backbone.name" and change.value in recipe.backbones):
            yield change


def _compared(made: BaseModel, published: BaseModel, before: str) -> Iterator[Change]:
    for name, info in type(made).model_fields.items():
        value, wanted = getattr(made, name), getattr(published, name)
        if isinstance(value, BaseModel) and isinstance(wanted, BaseModel):
            yield from _compared(value, wanted, f"{before}{name}.")
        elif value != wanted and not _is_neutral(info.json_schema_extra):
            yield Change(before + name, value, wanted)


def _is_neutral(extra: Any) -> bool:
    return isinstance(extra, Mapping) and bool(extra.get("neutral"))


def shown(value: Any) -> str:
    """As in a suite, without quotes and brackets.

    >>> shown((4, 8)), shown(None), shown(True), shown(1e-4)
    ('4,8', 'null', 'true', '0.0001')
    """
    if isinstance(value, list | tuple):
        return ",".join(map(shown, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
