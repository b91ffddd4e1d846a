"""Parameters from several sources, merged in layers, and the place where each was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from afrad_bench.backbone.weights import stages_field
from afrad_bench.errors import Problem, fail, shortened
from afrad_bench.suite.checked import Where, models_in, validated
from afrad_bench.suite.file import Params
from afrad_bench.suite.yaml import MAX_NESTING

FEATURES = "features"
"""A shared parameter: as a list, the backbone stages that every method on a frozen backbone reads."""


@dataclass(frozen=True)
class Layer:
    """Parameters, and where they were given."""

    params: Params
    at: Where
    """Maps a location in `params` to its place."""


def in_file(where: Where, location: Sequence[str | int], params: Params, *, dotted: bool = False) -> Layer:
    """A layer given at this location of the file. `dotted`: its keys are names such as "training.epochs"."""
    if not dotted:
        return Layer(params, lambda inner: where((*location, *inner)))
    return Layer(nested(params, where(location)), lambda inner: where((*location, ".".join(map(str, inner)))))


def overriding(text: str, params: Params) -> Layer:
    """A layer with dotted keys from `--set`."""
    place = f"--set {shortened(text)}"
    return Layer(nested(params, place), lambda _: place)


def merged(layers: Sequence[Layer]) -> Params:
    """All layers merged into one mapping; later layers override earlier ones."""
    total: Params = {}
    for layer in layers:
        total = _over(total, layer.params)
    return total


def resolved(model: type[BaseModel], layers: Sequence[Layer], subject: str) -> BaseModel | list[Problem]:
    """The merged and validated model, or its problems, each with the place of the layer that caused it."""

    def where(location: Sequence[str | int]) -> str:
        found = (layer for layer in reversed(layers) if holds(layer.params, location))
        return next(found, layers[0]).at(location)

    return validated(model, merged(layers), where, subject)


def nested(params: Mapping[str, Any], place: str | None = None) -> Params:
    """{"a.b": 1} -> {"a": {"b": 1}}. `UserError` at this place for a name with more parts than a document may nest."""
    total: Params = {}
    for name, value in params.items():
        if name.count(".") >= MAX_NESTING:
            raise fail(f"{shortened(name)!r} names a field within more than {MAX_NESTING} others", place)
        inner = value
        for step in reversed(name.split(".")):
            inner = {step: inner}
        total = _over(total, inner)
    return total


def known_part(model: type[BaseModel], params: Mapping[str, Any]) -> Params:
    """The parameters for which the model has a field."""
    total: Params = {}
    for name, value in params.items():
        if name not in model.model_fields:
            continue
        inner = list(models_in(model.model_fields[name].annotation))
        if not inner or not isinstance(value, Mapping):
            total[name] = value
        elif parts := [part for one in inner if (part := known_part(one, value))]:
            total[name] = parts[0]
    return total


def restricted(layer: Layer, model: type[BaseModel]) -> Layer:
    """The part of a layer of shared parameters that this model has fields for.

    A list as `features` names backbone stages: it reaches the field that is marked by `STAGES`."""
    stages, rest = layer.params.get(FEATURES), dict(layer.params)
    if not isinstance(stages, list):
        return Layer(known_part(model, rest), layer.at)
    del rest[FEATURES]
    name = stages_field(model)
    if name is None:
        return Layer(known_part(model, rest), layer.at)
    path = tuple(name.split("."))

    def at(location: Sequence[str | int]) -> str:
        inside = tuple(location[: len(path)]) == path
        return layer.at((FEATURES, *location[len(path) :]) if inside else location)

    return Layer(_over(known_part(model, rest), nested({name: stages})), at)


def dotted_names(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Dotted names of all fields that hold a value, e.g. "training.epochs"."""
    for name, field in model.model_fields.items():
        inner = list(models_in(field.annotation))
        if not inner:
            yield before + name
        for one in inner:
            yield from dotted_names(one, f"{before}{name}.")


def leaves(params: Mapping[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The location of every leaf value; an empty mapping is a leaf."""
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*before, name))
        else:
            yield (*before, name)


def holds(params: Any, location: Sequence[str | int]) -> bool:
    """Whether `params` has a value at this location."""
    for step in location:
        if isinstance(step, int):
            if not isinstance(params, list) or step >= len(params):
                return False
        elif not isinstance(params, Mapping) or step not in params:
            return False
        params = params[step]
    return True


def _over(base: Params, over: Mapping[str, Any]) -> Params:
    """`base` updated with `over`: mappings are merged recursively, other values are replaced."""
    out = dict(base)
    for name, value in over.items():
        below = out.get(name)
        out[name] = _over(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return out
