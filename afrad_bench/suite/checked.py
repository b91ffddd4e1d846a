"""Turns pydantic's validation errors into `Problem`s: place, message, nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from afrad_bench.errors import Problem, nearest, unknown

Where = Callable[[Sequence[str | int]], str]


def validated(model: type[BaseModel], data: Any, where: Where, subject: str = "") -> BaseModel | list[Problem]:
    """An instance of `model`, or all problems in the data. `where` maps a location to its place (`file:line`)."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        return [_problem(model, one, where, subject) for one in error.errors(include_url=False)]


def _problem(model: type[BaseModel], error: Any, where: Where, subject: str) -> Problem:
    location = [step for step in error["loc"] if not _is_tag(step)]
    place = where(location)
    prefix = f"{subject}: " if subject else ""
    name = ".".join(map(str, location))
    if error["type"] == "extra_forbidden":
        known = fields_at(model, location[:-1])
        inside = ".".join(map(str, location[:-1]))
        problem = unknown(f"field of {inside}" if inside else "field", str(location[-1]), known, place)
        return Problem(prefix + problem.what, place, problem.hint)
    if error["type"] == "missing":
        return Problem(f"{prefix}{name} is missing", place)
    if error["type"] == "value_error":
        first, *rest = str(error["ctx"]["error"]).splitlines()
        text = f"{name}: {first}" if name else first
        return Problem(prefix + text, place, "\n".join(line.strip() for line in rest) or None)
    message = error["msg"][0].lower() + error["msg"][1:]
    got = f", but got {error['input']!r}" if not isinstance(error["input"], dict | list) else ""
    return Problem(f"{prefix}{name}: {message}{got}{_meant(error)}", place)


def _meant(error: Any) -> str:
    """A hint with the allowed literal value nearest to the input; empty if none is near."""
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return ""
    match = nearest(error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    return f" (did you mean {match!r}?)" if match else ""


def _is_tag(step: str | int) -> bool:
    """Whether pydantic added this step to name the branch of a union; the user did not write it."""
    return isinstance(step, str) and bool(re.search(r"[\[\]()-]|^(str|int|float|bool|none)$", step))


def fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Names of the fields that are valid at a location inside `model`."""
    current: list[type[BaseModel]] = [model]
    for step in location:
        if isinstance(step, int):
            continue
        current = [
            inner
            for outer in current
            if step in outer.model_fields
            for inner in models_in(outer.model_fields[step].annotation)
        ] or current
    return sorted({name for one in current for name in one.model_fields})


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a field's annotation, also inside unions and containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)
