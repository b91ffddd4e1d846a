"""The space of a search: fields of the method's configuration, and the values that trials may use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from afrad_bench.errors import Problem, unknown
from afrad_bench.hashing import canonical
from afrad_bench.suite.checked import Where
from afrad_bench.suite.file import Parameter
from afrad_bench.suite.selection.layers import Layer, dotted_names, nested, resolved

if TYPE_CHECKING:
    from optuna.trial import Trial

Values = dict[str, Any]
"""Field (dotted) -> value."""


@dataclass(frozen=True)
class Axis:
    """One parameter of the space."""

    name: str
    parameter: Parameter
    when: tuple[tuple[str, tuple[Any, ...]], ...]
    """Parameter -> the values for which this one exists."""

    def exists(self, chosen: Mapping[str, Any]) -> bool:
        """Whether the parameter exists in a trial that has these values so far."""
        return all(name in chosen and chosen[name] in values for name, values in self.when)

    def suggest(self, trial: Trial) -> Any:
        """The value that the sampler proposes."""
        about, name = self.parameter, self.name
        if about.choices is not None:
            choices = [_plain(value) for value in about.choices]
            return about.choices[choices.index(trial.suggest_categorical(name, choices))]
        if about.integer is not None:
            return trial.suggest_int(name, *about.integer, step=int(about.step or 1), log=about.log)
        assert about.real is not None
        return trial.suggest_float(name, *about.real, step=about.step, log=about.log)

    def encoded(self, value: Any) -> Any:
        """The value as Optuna stores it: lists become text, because Optuna does not support them."""
        return _plain(value) if self.parameter.choices is not None else value

    def ends(self) -> tuple[Any, ...]:
        """The values to validate: all choices, or the two ends of a range."""
        return self.parameter.choices or self.parameter.integer or self.parameter.real or ()

    def allows(self, value: Any) -> bool:
        """Whether a trial could have this value."""
        about = self.parameter
        if about.choices is not None:
            return value in about.choices
        low, high = about.integer or about.real or (0, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return False
        if about.integer is None and about.step is None:
            return True
        steps = (value - low) / (about.step or 1)
        return abs(steps - round(steps)) < 1e-9

    def grid(self) -> list[Any] | None:
        """All values, as Optuna stores them; None for a logarithmic range, or a real range without a step."""
        about = self.parameter
        if about.choices is not None:
            return [_plain(value) for value in about.choices]
        if about.log or (about.real is not None and about.step is None):
            return None
        low, high = about.integer or about.real or (0, 0)
        step = about.step or 1
        values = [low + step * i for i in range(int((high - low) / step + 1e-9) + 1)]
        return [int(value) for value in values] if about.integer is not None else values


def suggested(trial: Trial, axes: Sequence[Axis]) -> Values:
    """The sampler's proposals for all parameters that exist in this trial."""
    chosen: Values = {}
    for axis in axes:
        if axis.exists(chosen):
            chosen[axis.name] = axis.suggest(trial)
    return chosen


def complete(model: type[BaseModel], params: str) -> Values:
    """Every field of a stored configuration (JSON), nested by part; those too that are stored only if they differ from
    their default."""

    def fields(part: BaseModel) -> Values:
        values = ((name, getattr(part, name)) for name in type(part).model_fields)
        return {name: fields(v) if isinstance(v, BaseModel) else to_jsonable_python(v) for name, v in values}

    return fields(model.model_validate_json(params))


def standing(axes: Sequence[Axis], params: Mapping[str, Any]) -> Values | None:
    """The values of a complete configuration in the space, encoded; None if the configuration is outside the space."""
    chosen: Values = {}
    for axis in axes:
        if axis.exists(chosen):
            value: Any = params
            for step in axis.name.split("."):
                value = value[step]
            if not axis.allows(value):
                return None
            chosen[axis.name] = value
    return {axis.name: axis.encoded(chosen[axis.name]) for axis in axes if axis.name in chosen}


def checked(
    space: Mapping[str, Parameter], model: type[BaseModel], base: str, where: Where, problems: list[Problem]
) -> tuple[Axis, ...]:
    """The axes, in the order of the file; errors are added to `problems`. `base` is the original configuration as
    JSON, which the search varies."""
    known = set(dotted_names(model))
    axes: dict[str, Axis] = {}
    for name, parameter in space.items():
        place = where(("search", "space", name))
        if name not in known:
            problems.append(unknown("field", name, known, place))
            continue
        before = len(problems)
        when = tuple(_conditions(name, parameter, axes, space, where, problems))
        axis = Axis(name, parameter, when)
        if len(problems) == before:
            problems.extend(_invalid(axis, axes, model, base, place))
        axes[name] = axis
    return tuple(axes.values())


def _conditions(
    name: str,
    parameter: Parameter,
    before: Mapping[str, Axis],
    space: Mapping[str, Parameter],
    where: Where,
    problems: list[Problem],
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for other, wanted in parameter.when.items():
        place = where(("search", "space", name, "when", other))
        if other not in before:
            late = " (it must be declared above the parameter that depends on it)" if other in space else ""
            problem = unknown(f"parameter of the space{late}", other, before, place)
            problems.append(problem)
            continue
        values = tuple(wanted) if isinstance(wanted, list) else (wanted,)
        for value in values:
            if not before[other].allows(value):
                ends = ", ".join(canonical(each) for each in before[other].ends())
                text = f"search.space.{name}: {other} is never {canonical(value)}"
                problems.append(
                    Problem(text, place, f"its values: {ends}; write several values, or a list, inside a list")
                )
        yield other, values


def _invalid(
    axis: Axis, before: Mapping[str, Axis], model: type[BaseModel], base: str, place: str
) -> Iterator[Problem]:
    """Problems of values that the method rejects; each value is tried on the original configuration."""
    needed: Values = {}
    pending = [axis]
    while pending:  # the parameters it depends on, directly or not
        for other, values in pending.pop().when:
            needed.setdefault(other, values[0])
            pending.append(before[other])
    for value in axis.ends():
        layers = [
            Layer(json.loads(base), lambda _: place),
            Layer(nested({**needed, axis.name: value}), lambda _: place),
        ]
        found = resolved(model, layers, f"search.space.{axis.name}")
        if isinstance(found, list):
            yield from found


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else canonical(value)
