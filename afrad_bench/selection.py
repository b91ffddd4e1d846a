"""One profile of a suite, resolved: rows with whole configurations, data sets and measures with all their options."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from afrad_bench import registry
from afrad_bench.checked import validated
from afrad_bench.errors import Problem, unknown
from afrad_bench.strict_yaml import Document, read_value
from afrad_bench.suite_file import MethodEntry, Params, Profile, SuiteFile
from afrad_bench.types import Setting, canonical


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One line of the comparison: a method with its whole, validated configuration."""

    label: str
    method: str
    params: str
    """Canonical JSON of the configuration, defaults included."""
    published: str | None
    changed: str
    """Canonical JSON of the parameters that the suite sets, for display."""


@dataclass(frozen=True, slots=True)
class ChosenMeasure:
    """A measure with its validated options, as canonical JSON."""

    name: str
    options: str


@dataclass(frozen=True, slots=True)
class ChosenDataset:
    """A data set with its validated options, as canonical JSON, and where the suite says it lies."""

    name: str
    params: str
    root: str | None
    where: str


@dataclass(frozen=True)
class Selection:
    """A suite in one profile, with the overrides of the command line applied: everything that decides the cells."""

    suite: str
    title: str
    reproduces: str | None
    profile: str
    description: str
    setting: Setting
    seeds: tuple[int, ...]
    image_size: int
    threads: int | None
    """CPU threads that the profile asks for; None leaves them to the machine."""
    datasets: tuple[ChosenDataset, ...]
    measures: tuple[ChosenMeasure, ...]
    rows: tuple[SuiteRow, ...]
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class _Layer:
    """Parameters and where they stand in the file (or on the command line)."""

    params: Params
    location: tuple[str | int, ...]
    given: str | None = None
    dotted: bool = False


class Resolver:
    """Resolves one profile of a suite, adding what is wrong to `problems`."""

    def __init__(
        self, document: Document, file: SuiteFile, profile: str, overrides: Sequence[str], problems: list[Problem]
    ) -> None:
        self.file = file
        self.where = document.where
        self.name = profile
        self.profile = file.profiles[profile]
        self.problems = problems
        self.overrides = tuple(overrides)
        self.fields: Params = {}
        self.method_overrides: list[tuple[str, Params, str]] = []
        methods = {entry.method for entry in self.file.methods}
        for text in overrides:
            self._take(text, methods)

    def selection(self) -> Selection | None:
        before = len(self.problems)
        profile = self._profile()
        measures = self._measures(profile)
        datasets = self._datasets(profile)
        rows = self._rows()
        if len(self.problems) > before:
            return None
        seeds = profile.seeds or self.file.seeds
        return Selection(
            suite=self.file.suite,
            title=self.file.title,
            reproduces=self.file.reproduces,
            profile=self.name,
            description=profile.description,
            setting=profile.setting or self.file.setting,
            seeds=tuple(dict.fromkeys(seeds)),
            image_size=profile.image_size,
            threads=profile.threads,
            datasets=datasets,
            measures=measures,
            rows=rows,
            overrides=self.overrides,
        )

    def _take(self, text: str, methods: set[str]) -> None:
        """`image_size=64`, `seeds=[0]` change the profile; `afrad.training.epochs=2` changes a method's parameters."""
        name, equals, value = text.partition("=")
        if not equals or not name:
            self.problems.append(Problem(f"expected field=value, but got {text!r}", "--set"))
            return
        first, _, rest = name.partition(".")
        if first in methods and rest:
            self.method_overrides.append((first, {rest: read_value(value, f"--set {text}")}, f"--set {text}"))
        elif first in ("image_size", "seeds", "setting", "measures", "datasets") and not rest:
            self.fields[first] = read_value(value, f"--set {text}")
        else:
            known = [*(f"{method}.FIELD" for method in sorted(methods)), "image_size", "seeds", "setting", "measures"]
            self.problems.append(unknown("field", name, [*known, "datasets"], f"--set {text}"))

    def _profile(self) -> Profile:
        if not self.fields:
            return self.profile
        data = {**self.profile.model_dump(), **self.fields}
        checked = validated(Profile, data, lambda loc: f"--set {loc[0]}")
        if isinstance(checked, list):
            self.problems.extend(checked)
            return self.profile
        assert isinstance(checked, Profile)
        return checked

    def _overridden(self, place: tuple[str | int, ...]) -> bool:
        """Whether the command line replaced the measures or data sets that stand at this place of the file."""
        return place[0] == "profiles" and place[2] in self.fields

    def _place(self, place: tuple[str | int, ...]) -> str:
        return f"--set {place[2]}" if self._overridden(place) else self.where(place)

    def _measures(self, profile: Profile) -> tuple[ChosenMeasure, ...]:
        own = profile.measures is not None
        base: tuple[str | int, ...] = ("profiles", self.name, "measures") if own else ("measures",)
        chosen = []
        for i, entry in enumerate(profile.measures or self.file.measures):
            options = self._options("measure", entry.name, entry.options, (*base, i), "options")
            if options is not None:
                chosen.append(ChosenMeasure(entry.name, options))
        if len({one.name for one in chosen}) != len(chosen):
            self.problems.append(Problem("a measure is named twice", self._place(base)))
        return tuple(chosen)

    def _datasets(self, profile: Profile) -> tuple[ChosenDataset, ...]:
        chosen = []
        for i, entry in enumerate(profile.datasets):
            place = ("profiles", self.name, "datasets", i)
            params = self._options("dataset", entry.name, entry.params, place, "params")
            if params is not None:
                chosen.append(ChosenDataset(entry.name, params, entry.root, self._place(place)))
        return tuple(chosen)

    def _options(
        self, kind: registry.Kind, name: str, given: Params, place: tuple[str | int, ...], field: str
    ) -> str | None:
        """Validated options of a registered thing as canonical JSON; None when there is a problem."""
        known = registry.entries(kind)
        if name not in known:
            self.problems.append(unknown(kind, name, known, self._place(place)))
            return None

        def where(location: Sequence[str | int]) -> str:
            if self._overridden(place):
                return self._place(place)
            exact = self.where((*place, field, *location))
            return exact if exact != self.where(place) else self.where((*place, name, *location))

        checked = validated(known[name].load().Config, given, where, name)
        if isinstance(checked, list):
            self.problems.extend(checked)
            return None
        return canonical(checked.model_dump(mode="json"))

    def _rows(self) -> tuple[SuiteRow, ...]:
        known = registry.entries("method")
        used = {entry.method for entry in self.file.methods}
        for method in self.profile.params:
            if method not in used:
                place = self.where(("profiles", self.name, "params", method))
                self.problems.append(unknown("method of this suite", method, used, place))
        rows = []
        for i, entry in enumerate(self.file.methods):
            if entry.method not in known:
                place = self.where(("methods", i, "method"))
                self.problems.append(unknown("method", entry.method, known, place))
                continue
            model = known[entry.method].load().Config
            for label, layers, published in self._variants(i, entry):
                row = self._row(entry.method, model, label, layers, published)
                if row is not None:
                    rows.append(row)
        labels = [row.label for row in rows]
        for label in dict.fromkeys(label for label in labels if labels.count(label) > 1):
            self.problems.append(
                Problem(f"two rows are called {label!r}", self.where(("methods",)), "give each a label")
            )
        return tuple(rows)

    def _variants(self, i: int, entry: MethodEntry) -> Iterator[tuple[str, list[_Layer], str | None]]:
        base = [_Layer(entry.params, ("methods", i, "params"))]
        if entry.method in self.profile.params:
            place = ("profiles", self.name, "params", entry.method)
            base.append(_Layer(self.profile.params[entry.method], place))
        last = [_Layer(p, (), where, True) for m, p, where in self.method_overrides if m == entry.method]
        label = entry.label or entry.method
        for k, variant in enumerate(entry.variants):
            layer = _Layer(variant.params, ("methods", i, "variants", k, "params"))
            yield variant.label, [*base, layer, *last], variant.published
        for point in _points(entry):
            text = ", ".join(f"{name.rpartition('.')[2]}={json.dumps(value)}" for name, value in point.items())
            yield f"{label} {text}", [*base, _Layer(point, ("methods", i, "grid"), dotted=True), *last], None
        if not entry.variants and not entry.grid and not entry.include:
            yield label, [*base, *last], entry.published

    def _row(
        self, method: str, model: type[BaseModel], label: str, layers: list[_Layer], published: str | None
    ) -> SuiteRow | None:
        merged: Params = {}
        for layer in layers:
            merged = _merged(merged, _nested(layer.params) if layer.dotted else layer.params)

        def where(location: Sequence[str | int]) -> str:
            for layer in reversed(layers):
                if _holds(_nested(layer.params) if layer.dotted else layer.params, location):
                    dotted = (".".join(map(str, location)),) if layer.dotted else tuple(location)
                    return layer.given or self.where((*layer.location, *dotted))
            return self.where(layers[-1].location if not layers[-1].given else layers[0].location)

        checked = validated(model, merged, where, f"{method} ({label})" if label != method else method)
        if isinstance(checked, list):
            self.problems.extend(checked)
            return None
        params = canonical(checked.model_dump(mode="json"))
        return SuiteRow(label, method, params, published, canonical(merged))


def _points(entry: MethodEntry) -> Iterator[Params]:
    if entry.grid:
        names = list(entry.grid)
        for values in itertools.product(*entry.grid.values()):
            point = dict(zip(names, values, strict=True))
            if not any(all(point.get(name) == value for name, value in rule.items()) for rule in entry.exclude):
                yield point
    yield from entry.include


def _nested(params: Mapping[str, Any]) -> Params:
    """{"a.b": 1} -> {"a": {"b": 1}}"""
    out: Params = {}
    for name, value in params.items():
        inner = value
        for step in reversed(name.split(".")):
            inner = {step: inner}
        out = _merged(out, inner)
    return out


def _merged(base: Params, over: Mapping[str, Any]) -> Params:
    """`over` on top of `base`, mapping by mapping; every other value replaces the one below."""
    out = dict(base)
    for name, value in over.items():
        below = out.get(name)
        out[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return out


def _holds(params: Any, location: Sequence[str | int]) -> bool:
    """Whether there is a value at this location."""
    for step in location:
        if isinstance(step, int):
            if not isinstance(params, list) or step >= len(params):
                return False
        elif not isinstance(params, Mapping) or step not in params:
            return False
        params = params[step]
    return True
