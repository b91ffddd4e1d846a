"""Turns pydantic's validation errors into `Problem`s: place, message, nearest valid name. Values that pydantic would
convert in silence, although the result is hardly meant (true as a number, "2" as a number), are problems as well."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, RootModel, ValidationError

from afrad_bench.errors import Problem, nearest, shortened, unknown

Where = Callable[[Sequence[str | int]], str]


def validated(model: type[BaseModel], data: Any, where: Where, subject: str = "") -> BaseModel | list[Problem]:
    """An instance of `model`, or all problems in the data. `where` maps a location to its place (`file:line`)."""
    try:
        made = model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        counted = [one for one in found if one["type"] != "too_short" or not one["input"]]  # else its items are faulty
        return [_problem(model, one, where, subject) for one in counted or found]
    prefix = f"{subject}: " if subject else ""
    faults = _unmeant(data, made.model_dump(), ())
    return [Problem(f"{prefix}{'.'.join(map(str, at))}: {what}", where(at)) for at, what in faults] or made


def _problem(model: type[BaseModel], error: Any, where: Where, subject: str) -> Problem:
    of_key = error["loc"][-1:] == ("[key]",) and error["type"] != "extra_forbidden"  # the key itself is wrong
    location, _ = _walked(model, error["loc"][:-1] if of_key else error["loc"])
    place = where(location)
    prefix = f"{subject}: " if subject else ""
    name = ".".join(map(str, location))
    if error["type"] == "extra_forbidden":
        inside = ".".join(map(str, location[:-1]))
        known = _fields(_walked(model, error["loc"][:-1])[1])
        problem = unknown(f"field of {inside}" if inside else "field", str(location[-1]), known, place)
        return Problem(prefix + problem.what, place, problem.hint)
    if error["type"] == "missing":
        return Problem(f"{prefix}{name} is missing", place)
    if error["type"] == "value_error":
        first, *rest = str(error["ctx"]["error"]).splitlines() or ["is not valid"]
        text = f"{name}: {first}" if name else first
        return Problem(prefix + text, place, "\n".join(line.strip() for line in rest) or None)
    message = error["msg"][:1].lower() + error["msg"][1:]
    if error["type"] in ("tuple_type", "too_short", "too_long"):
        message = message.replace("tuple", "list")
    if error["type"] in ("dict_type", "model_type"):
        message = "input should be a mapping, field: value"
    got = f", but got {_shown(error['input'])}" if not isinstance(error["input"], dict | list) else ""
    text = f"{name}: {message}" if name else message
    return Problem(f"{prefix}{text}{got}{_meant(error)}", place)


def _meant(error: Any) -> str:
    """A hint with the allowed literal value nearest to the input; empty if none is near."""
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return ""
    match = nearest(error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    return f" (did you mean {match!r}?)" if match else ""


def _shown(value: Any) -> str:
    """A value in the spelling of a suite."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return shortened(repr(value))


def _unmeant(given: Any, made: Any, at: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Location and fault of each number that was made of a truth value or of text, or that JSON cannot hold."""
    if isinstance(made, Mapping):
        parts = given if isinstance(given, Mapping) else {}
        for key, value in made.items():
            yield from _unmeant(parts.get(key), value, (*at, key))
    elif isinstance(made, list | tuple):
        items = given if isinstance(given, list | tuple) and len(given) == len(made) else [None] * len(made)
        for i, (part, value) in enumerate(zip(items, made, strict=True)):
            yield from _unmeant(part, value, (*at, i))
    elif isinstance(made, int | float) and not isinstance(made, bool):
        if isinstance(made, float) and not math.isfinite(made):
            yield at, f"input should be a finite number, but got {_shown(made if given is None else given)}"
        elif isinstance(given, bool):
            yield at, f"input should be a number, but got {_shown(given)}"
        elif isinstance(given, str) and _is_number(given):
            yield at, f"input should be a number, but got the text {_shown(given)} (leave out the quotes)"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ------------------------------------------------------------------------------------------- locations in a model


def _walked(model: type[BaseModel], location: Sequence[str | int]) -> tuple[list[str | int], list[Any]]:
    """The steps of pydantic's location that the user wrote, and the types that may stand there.

    Pydantic adds a step for each union, which names one of its branches."""
    written: list[str | int] = []
    types: list[Any] = [model]
    for step in location:
        branches = [branch for one in types for branch in _branches(one)]
        if len(branches) > len(types):
            types = [one for one in branches if getattr(_bare(one), "__name__", None) == step] or branches
        else:
            written.append(step)
            types = [inner for one in branches for inner in _below(one, step)]
    return written, types


def _bare(annotation: Any) -> Any:
    """A type without `Annotated` and without the name of an alias."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation


def _branches(annotation: Any) -> list[Any]:
    """The members of a union other than None; for any other type, the type itself."""
    bare = _bare(annotation)
    if get_origin(bare) in (Union, UnionType):
        members = [one for one in get_args(bare) if one is not NoneType]
        return _branches(members[0]) if len(members) == 1 else members
    if isinstance(bare, type) and issubclass(bare, RootModel):
        return _branches(bare.model_fields["root"].annotation)
    return [bare]


def _below(annotation: Any, step: str | int) -> list[Any]:
    """The types that may stand at a key, field or position of a type that is no union."""
    if _is_model(annotation):
        field = annotation.model_fields.get(step)
        return [] if field is None else [field.annotation]
    arguments = [one for one in get_args(annotation) if one is not Ellipsis]
    origin = get_origin(annotation)
    if not isinstance(origin, type):
        return []
    if issubclass(origin, Mapping):
        return arguments[1:]
    if origin is tuple and len(arguments) > 1 and isinstance(step, int):
        return arguments[step : step + 1]
    return arguments


def _fields(types: Sequence[Any]) -> list[str]:
    """Names of the fields of all models among these types."""
    models = [branch for one in types for branch in _branches(one) if _is_model(branch)]
    return sorted({name for one in models for name in one.model_fields})


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a field's annotation, also inside unions and containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)
