"""Resolves all names and values of one profile of a suite file, and reports all problems together."""

from __future__ import annotations

from collections.abc import Sequence

from afrad_bench import published, registry
from afrad_bench.errors import Problem, unknown
from afrad_bench.hashing import canonical
from afrad_bench.suite.checked import validated
from afrad_bench.suite.file import Params, Profile, Search, SuiteFile
from afrad_bench.suite.selection.layers import Layer, in_file, resolved
from afrad_bench.suite.selection.overrides import parse
from afrad_bench.suite.selection.rows import Rows, absent_methods, declared
from afrad_bench.suite.selection.values import ChosenDataset, ChosenMeasure, Selection, SuiteRow
from afrad_bench.suite.yaml import Document

Place = tuple[str | int, ...]

SEARCH = "search"
WHOLE = {"constraints", "pruner", "sampler", "validation"}
"""Fields of a search that are replaced as a whole, not merged."""


class Resolver:
    """Resolves one profile of a suite; errors are added to `problems`."""

    def __init__(
        self, document: Document, file: SuiteFile, profile: str, overrides: Sequence[str], problems: list[Problem]
    ) -> None:
        self.document = document
        self.file = file
        self.where = document.where
        self.name = profile
        self.problems = problems
        methods = {one.entry.method: None for one in declared(file)}
        others = {**registry.entries("dataset"), **registry.entries("measure"), SEARCH: None}
        self.overrides = parse(overrides, methods, others, problems)

    def selection(self) -> Selection | None:
        """The resolved profile; None if there is a problem."""
        before = len(self.problems)
        profile = self._profile()
        measures = self._measures(profile)
        datasets = self._datasets(profile)
        rows = Rows(self.where, self.file, self.name, self.overrides, self.problems).make()
        self._check_parts(profile)
        search = self._search(profile)
        seeds = tuple(dict.fromkeys(profile.seeds or self.file.seeds))
        self._check_fresh(rows, seeds)
        if len(self.problems) > before:
            return None
        labels = {row.label for row in rows}
        return Selection(
            suite=self.file.suite,
            title=self.file.title,
            reproduces=self._reproduces(profile),
            profile=self.name,
            description=profile.description,
            setting=profile.setting or self.file.setting,
            seeds=seeds,
            image_size=profile.image_size,
            threads=profile.threads,
            arithmetic=profile.arithmetic,
            datasets=datasets,
            measures=measures,
            rows=rows,
            overrides=self.overrides.texts,
            compare_to=self.file.compare_to if self.file.compare_to in labels else None,
            search=search,
            absent=absent_methods(self.file),
        )

    def _profile(self) -> Profile:
        declared_profile = self.file.profiles[self.name]
        if not self.overrides.profile:
            return declared_profile
        data = {**declared_profile.model_dump(), **self.overrides.profile}
        checked = validated(Profile, data, lambda at: f"--set {at[0]}" if at else "--set")
        if isinstance(checked, list):
            self.problems.extend(checked)
            return declared_profile
        assert isinstance(checked, Profile)
        return checked

    def _reproduces(self, profile: Profile) -> str | None:
        """The published table beside the results. Data of the command line that the table is not about have none unless
        it is asked for: its figures would say nothing of them."""
        if self.overrides.reproduces:
            return self.overrides.reproduces[0]
        table = self.file.reproduces
        if table is None or "datasets" not in self.overrides.profile:
            return table
        about = {figure.dataset for figure in published.figures(table)}
        return table if about & {entry.name for entry in profile.datasets} else None

    def _overridden(self, place: Place) -> bool:
        """Whether the command line replaced the measures or data sets at this place of the file."""
        return place[0] == "profiles" and place[2] in self.overrides.profile

    def _place(self, place: Place) -> str:
        if not self._overridden(place):
            return self.where(place)
        return f"--on, or --set {place[2]}" if place[2] == "datasets" else f"--set {place[2]}"

    def _measures(self, profile: Profile) -> tuple[ChosenMeasure, ...]:
        own = profile.measures is not None
        base: Place = ("profiles", self.name, "measures") if own else ("measures",)
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
                made = ChosenDataset(entry.name, params, entry.root, self._place(place))
                chosen.append(made.part(entry.split).without(entry.hold_out))
        return tuple(chosen)

    def _search(self, profile: Profile) -> Search | None:
        """The search with the changes of the profile and the command line; None if there is none, or a problem."""
        changed = [in_file(self.where, ("profiles", self.name, SEARCH), profile.search)] if profile.search else []
        changed += self.overrides.parts.get(SEARCH, [])
        if self.file.search is None:
            if changed:
                self.problems.append(Problem("the suite declares no search that could be changed", changed[0].at(())))
            return None
        layers = [in_file(self.where, (SEARCH,), self.document.data[SEARCH]), *changed]
        for i, later in enumerate(layers):
            gone = WHOLE & set(later.params)
            for k, layer in enumerate(layers[:i]):
                layers[k] = Layer({name: v for name, v in layer.params.items() if name not in gone}, layer.at)
        checked = resolved(Search, layers, SEARCH)
        if isinstance(checked, list):
            self.problems.extend(checked)
            return None
        assert isinstance(checked, Search)
        return checked

    def _check_fresh(self, rows: Sequence[SuiteRow], seeds: Sequence[int]) -> None:
        """Report searched rows whose seeds were used by their search."""
        for row in rows:
            used = sorted(set(row.searched.seeds) & set(seeds)) if row.searched else []
            if used:
                text = f"{row.label!r} was chosen by a search on seed {', '.join(map(str, used))}"
                place = f"--set seeds={list(seeds)}" if "seeds" in self.overrides.profile else self.where(("methods",))
                self.problems.append(
                    Problem(text, place, "a searched row needs seeds that its search did not use: change seeds")
                )

    def _check_parts(self, profile: Profile) -> None:
        """Report overrides of data sets or measures that the profile does not use: they would have no effect."""
        datasets = {entry.name for entry in profile.datasets}
        measures = {entry.name for entry in profile.measures or self.file.measures}
        methods = {one.entry.method for one in declared(self.file)}
        for name, layers in self.overrides.parts.items():
            if name not in datasets | measures | methods | {SEARCH}:
                known = sorted(datasets | measures)
                place = layers[0].at(())
                self.problems.append(unknown("data set or measure of this profile", name, known, place))

    def _options(self, kind: registry.Kind, name: str, given: Params, place: Place, field: str) -> str | None:
        """Validated options of a data set or measure as canonical JSON; None if there is a problem."""
        known = registry.entries(kind)
        if name not in known:
            self.problems.append(unknown(kind, name, known, self._place(place)))
            return None

        def at(location: Sequence[str | int]) -> str:
            if self._overridden(place):
                return self._place(place)
            exact = self.where((*place, field, *location))
            return exact if exact != self.where(place) else self.where((*place, name, *location))

        layers = [Layer(given, at), *self.overrides.parts.get(name, [])]
        checked = resolved(known[name].load().Config, layers, name)
        if isinstance(checked, list):
            self.problems.extend(checked)
            return None
        return canonical(checked.model_dump(mode="json"))
