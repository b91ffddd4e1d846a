"""The rows of a suite: each method with its variants, grid points or sweep readings."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from afrad_bench import published, registry
from afrad_bench.backbone.weights import stages_field
from afrad_bench.errors import Problem, shortened, unknown
from afrad_bench.hashing import canonical
from afrad_bench.suite.checked import Where
from afrad_bench.suite.file import Axis, MethodEntry, Params, Profile, Searched, SuiteFile
from afrad_bench.suite.selection.layers import (
    FEATURES,
    Layer,
    dotted_names,
    holds,
    in_file,
    known_part,
    leaves,
    merged,
    resolved,
    restricted,
)
from afrad_bench.suite.selection.overrides import Overrides
from afrad_bench.suite.selection.values import SuiteRow


@dataclass(frozen=True)
class Declared:
    """A method of the suite, and the location in the file that declares it."""

    entry: MethodEntry
    location: tuple[str | int, ...]


def declared(file: SuiteFile) -> tuple[Declared, ...]:
    """The methods that the file lists, then those that `published_methods` adds."""
    listed = [Declared(entry, ("methods", i)) for i, entry in enumerate(file.methods)]
    here = registry.entries("method")
    for name in _wanted(file):
        if name in here:
            entry = MethodEntry(method=name, label=published.printed(name), published=name)
            listed.append(Declared(entry, ("published_methods",)))
    return tuple(listed)


def absent_methods(file: SuiteFile) -> tuple[str, ...]:
    """Methods that `published_methods` would add if they were installed."""
    here = registry.entries("method")
    return tuple(name for name in _wanted(file) if name not in here)


def _wanted(file: SuiteFile) -> Iterator[str]:
    """Rows of the reproduced table that no method of the file covers."""
    if not file.published_methods or file.reproduces not in published.tables():
        return
    taken = {name for entry in file.methods for name in (entry.method, entry.published)}
    taken |= {variant.published for entry in file.methods for variant in entry.variants}
    yield from (name for name in published.rows(file.reproduces) if name not in taken)


@dataclass(frozen=True)
class _Variant:
    label: str
    layers: list[Layer]
    published: str | None = None
    axis: str = ""
    searched: Searched | None = None
    grid: str = ""
    point: tuple[tuple[str, str], ...] = ()


class Rows:
    """Makes the rows of one profile; errors are added to `problems`."""

    def __init__(
        self, where: Where, file: SuiteFile, profile: str, overrides: Overrides, problems: list[Problem]
    ) -> None:
        self.where, self.file, self.overrides, self.problems = where, file, overrides, problems
        self.refused: dict[tuple[str, Problem], list[str]] = {}
        """Method and what is wrong with its options -> labels of the rows."""
        self.name = profile
        self.profile: Profile = file.profiles[profile]
        chosen = overrides.only
        self.declared = [one for one in declared(file) if chosen is None or one.entry.method in chosen]

    def make(self) -> tuple[SuiteRow, ...]:
        """Every row, in the order of the file."""
        before = len(self.problems)
        self._check_profile()
        self._check_shared()
        known = registry.entries("method")
        rows: list[SuiteRow] = []
        for one in self.declared:
            if one.entry.method not in known:
                place = self.where((*one.location, "method"))
                self.problems.append(unknown("method", one.entry.method, known, place))
                continue
            rows += self._rows_of(one, known[one.entry.method].load().Config)
        rows += self._again(rows)
        self.problems += _told(self.refused)
        complete = len(self.problems) == before
        chosen = self._chosen(rows) if complete else tuple(rows)
        self._check_rows(rows, chosen, complete=complete)
        return chosen

    def _chosen(self, rows: Sequence[SuiteRow]) -> tuple[SuiteRow, ...]:
        """The rows that `--set rows=[...]` names, or all."""
        wanted = self.overrides.rows
        if wanted is None:
            return tuple(rows)
        labels = [row.label for row in rows]
        strange = [name for name in wanted if name not in labels]
        self.problems += [unknown("row of this suite", name, labels, "--only, or --set rows") for name in strange]
        return tuple(row for row in rows if row.label in wanted)

    def _check_profile(self) -> None:
        used = {one.entry.method for one in declared(self.file)}
        for method in self.profile.params:
            if method not in used:
                place = self.where(("profiles", self.name, "params", method))
                self.problems.append(unknown("method of this suite", method, used, place))
        swept = {one.entry.method: set(one.entry.sweep) for one in declared(self.file) if one.entry.sweep}
        for method, axes in self.profile.sweep.items():
            place = self.where(("profiles", self.name, "sweep", method))
            if method not in swept:
                self.problems.append(unknown("method of this suite with a sweep", method, swept, place))
            for axis in set(axes) & swept.get(method, set()):
                self.problems.append(Problem(f"the axis {axis!r} is one of the suite's already", place))

    def _check_shared(self) -> None:
        """Report shared parameters that no method of the suite has."""
        known = registry.entries("method")
        used = {one.entry.method for one in declared(self.file)} & set(known)
        models: list[type[BaseModel]] = [known[name].load().Config for name in sorted(used)]
        for layer in (self._shared(), *(layer for _, layer in self._repeats()), *self.overrides.shared):
            for location in leaves(layer.params):
                if models and not any(_reaches(layer, location, model) for model in models):
                    names = {name for model in models for name in dotted_names(model)}
                    kind = "shared field (no method of this suite has it)"
                    self.problems.append(unknown(kind, ".".join(location), names, layer.at(location)))

    def _check_rows(self, rows: Sequence[SuiteRow], chosen: Sequence[SuiteRow], *, complete: bool) -> None:
        """Labels are unique in the suite; rows that are run are not equal."""
        place = self.where(("methods",))
        labels = [row.label for row in rows]
        for label in dict.fromkeys(label for label in labels if labels.count(label) > 1):
            self.problems.append(Problem(f"two rows are called {shortened(label)!r}", place, "give each a label"))
        first: dict[tuple[str, str], str] = {}
        for row in chosen:
            other = first.setdefault((row.method, row.params), row.label)
            if other != row.label:
                text = f"the rows {other!r} and {row.label!r} are the same configuration of {row.method}"
                self.problems.append(Problem(text, place, "change one of them, or leave it out"))
        wanted = self.file.compare_to
        if complete and wanted is not None and wanted not in labels and self.overrides.only is None:
            self.problems.append(unknown("row", wanted, labels, self.where(("compare_to",))))

    def _rows_of(self, one: Declared, model: type[BaseModel]) -> list[SuiteRow]:
        made: list[SuiteRow] = []
        different: dict[str, bool] = {}
        for variant in self._variants(one, model):
            row = self._row(one, model, variant)
            if variant.axis:
                same = row is not None and bool(made) and not made[0].axis and row.params == made[0].params
                different[variant.axis] = different.get(variant.axis, False) or not same
                if same:
                    continue
            if row is not None:
                made.append(row)
        for axis, found in different.items():
            if not found and not self.overrides.texts:
                own = axis in self.profile.sweep.get(one.entry.method, {})
                base = ("profiles", self.name, "sweep", one.entry.method) if own else (*one.location, "sweep")
                place = self.where((*base, axis))
                text = f"every reading of the axis {axis!r} equals the unchanged method"
                self.problems.append(Problem(text, place, "add another reading, or leave out the axis"))
        return made

    def _repeats(self) -> Iterator[tuple[str, Layer]]:
        """Label and shared parameters of each time that the rows are made again."""
        own = self.profile.again is not None
        base = ("profiles", self.name, "again") if own else ("again",)
        for i, each in enumerate(self.file.again if self.profile.again is None else self.profile.again):
            yield each.label, in_file(self.where, (*base, i, "shared"), each.shared)

    def _again(self, rows: Sequence[SuiteRow]) -> list[SuiteRow]:
        """The rows that `again` makes: one for each row that its parameters change into one that is not there yet."""
        known = registry.entries("method")
        there = {(row.method, row.params) for row in rows}
        made: list[SuiteRow] = []
        for label, layer in self._repeats():
            for one in self.declared:
                if one.entry.method not in known:
                    continue
                model = known[one.entry.method].load().Config
                if one.entry.sweep:
                    self.problems.append(Problem("again cannot repeat the rows of a sweep", layer.at(())))
                elif (mine := restricted(layer, model)).params:
                    for variant in self._variants(one, model, [mine]):
                        shared = f"{variant.grid}, {label}" if variant.grid else ""
                        named = replace(variant, label=f"{variant.label}, {label}", published=None, grid=shared)
                        row = self._row(one, model, named)
                        if row is not None and (row.method, row.params) not in there:
                            there.add((row.method, row.params))
                            made.append(row)
        return made

    def _variants(self, one: Declared, model: type[BaseModel], extra: Sequence[Layer] = ()) -> Iterator[_Variant]:
        """The variants of a method, with `extra` over what the file says of each. In a sweep, the unchanged method
        comes first; the others are compared with it."""
        entry, at = one.entry, one.location
        base = [in_file(self.where, (*at, "params"), entry.params)]
        base.append(restricted(self._shared(), model))
        own = ("profiles", self.name, "params", entry.method)
        base.append(in_file(self.where, own, self.profile.params.get(entry.method, {})))
        last = [*extra, *(restricted(layer, model) for layer in self.overrides.shared)]
        last += self.overrides.parts.get(entry.method, [])
        label = entry.label or entry.method
        for k, variant in enumerate(entry.variants):
            if variant.profiles is not None and self.name not in variant.profiles:
                continue
            layer = in_file(self.where, (*at, "variants", k, "params"), variant.params)
            yield _Variant(variant.label, [*base, layer, *last], variant.published, searched=variant.searched)
        for point in _points(entry):
            short = {name.rpartition(".")[2]: value for name, value in point.items()}
            layer = in_file(self.where, (*at, "grid"), point, dotted=True)
            on_grid = point.keys() == entry.grid.keys() and len(short) == len(point)  # or a further point
            values = tuple((name, _value_text(value)) for name, value in short.items()) if on_grid else ()
            named = f"{label} {_override_text(short)}"
            yield _Variant(named, [*base, layer, *last], grid=label if on_grid else "", point=values)
        if not entry.variants and not entry.grid and not entry.include:
            yield _Variant(label, [*base, *last], entry.published)
        prefix = f"{label} " if len(self.declared) > 1 else ""
        for base_place, axes in (((*at, "sweep"), entry.sweep), self._own_sweep(entry)):
            for axis, place, reading in _readings(axes):
                layer = in_file(self.where, (*base_place, *place), reading, dotted=True)
                yield _Variant(f"{prefix}{_override_text(reading)}", [*base, layer, *last], axis=axis)

    def _own_sweep(self, entry: MethodEntry) -> tuple[tuple[str | int, ...], Mapping[str, Axis]]:
        """The axes that the profile adds to a method's sweep, and where."""
        return ("profiles", self.name, "sweep", entry.method), self.profile.sweep.get(entry.method, {})

    def _shared(self) -> Layer:
        return in_file(self.where, ("profiles", self.name, "shared"), self.profile.shared)

    def _row(self, one: Declared, model: type[BaseModel], variant: _Variant) -> SuiteRow | None:
        method, label = one.entry.method, variant.label
        checked = resolved(model, variant.layers, "")
        if isinstance(checked, list):
            for problem in checked:
                self.refused.setdefault((method, problem), []).append(label)
            return None
        params = canonical(checked.model_dump(mode="json"))
        changed = canonical(merged(variant.layers))
        place = self.where(one.location)
        about = (variant.published, changed, variant.axis, variant.searched, place, variant.grid, variant.point)
        return SuiteRow(label, method, params, *about)


def _told(refused: Mapping[tuple[str, Problem], Sequence[str]]) -> Iterator[Problem]:
    """What is wrong with rows, once for all rows of a method that it is wrong with."""
    for (method, problem), labels in refused.items():
        row = method if labels[0] == method else f"{method} ({shortened(labels[0])})"
        more = "" if len(labels) == 1 else f"; {len(labels)} rows: {shortened('; '.join(labels))}"
        yield replace(problem, what=f"{row}: {problem.what}{more}")


def _reaches(layer: Layer, location: Sequence[str], model: type[BaseModel]) -> bool:
    """Whether a shared parameter at this location reaches a field of the model."""
    if location == (FEATURES,) and isinstance(layer.params[FEATURES], list):
        return stages_field(model) is not None
    return holds(known_part(model, layer.params), location)


def _override_text(params: Params) -> str:
    """`a=1, b.c=text, d=[1, 2]`: parameters in the syntax of `--set`."""
    return ", ".join(f"{name}={_value_text(value)}" for name, value in params.items())


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _points(entry: MethodEntry) -> Iterator[Params]:
    if entry.grid:
        names = list(entry.grid)
        for values in itertools.product(*entry.grid.values()):
            point = dict(zip(names, values, strict=True))
            if not any(all(point.get(name) == value for name, value in rule.items()) for rule in entry.exclude):
                yield point
    yield from entry.include


def _readings(axes: Mapping[str, Axis]) -> Iterator[tuple[str, tuple[str | int, ...], Params]]:
    """For each reading: its axis, its location below `sweep`, and the fields that it changes."""
    for axis, readings in axes.items():
        if isinstance(readings, dict):
            for name, values in readings.items():
                yield from ((axis, (axis,), {name: value}) for value in values)
        else:
            yield from ((axis, (axis, k), point) for k, point in enumerate(readings))
