"""The search that a suite declares, checked against the method, the measures and Optuna before the first trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from afrad_bench import registry
from afrad_bench.errors import Problem, UserError, fail, unknown
from afrad_bench.hashing import canonical, digest
from afrad_bench.search import space
from afrad_bench.search.algorithms import PRUNERS, SAMPLERS, faults
from afrad_bench.suite.file import Search, Split
from afrad_bench.suite.selection import Selection, SuiteRow
from afrad_bench.suite.suite import Suite
from afrad_bench.types import MEAN, Metric


@dataclass(frozen=True)
class Goal:
    """A metric to optimise, or to keep within a limit."""

    name: str
    measure: str
    metric: Metric
    limit: float | None = None

    @property
    def category(self) -> str | None:
        """The category of the measurement that counts."""
        pooled = not self.metric.percent or self.name.endswith("_pooled")
        return None if pooled else MEAN

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        return "maximize" if self.metric.higher_is_better else "minimize"

    def excess(self, value: float) -> float:
        """By how much a value violates the limit; at most 0 if it does not."""
        assert self.limit is not None
        return self.limit - value if self.metric.higher_is_better else value - self.limit


@dataclass(frozen=True)
class Declared:
    """A checked search; picklable."""

    selection: Selection
    """The suite's selection, on the images of the search."""
    search: Search
    row: SuiteRow
    """The original configuration, which the search varies."""
    axes: tuple[space.Axis, ...]
    objectives: tuple[Goal, ...]
    constraints: tuple[Goal, ...]

    @property
    def study(self) -> str:
        """Name of the study in its storage."""
        return f"{self.selection.suite}-{self.selection.profile}"

    @property
    def own(self) -> space.Values:
        """Every field of the original configuration, nested by part."""
        return space.complete(registry.find("method", self.row.method).load().Config, self.row.params)

    @property
    def identity(self) -> str:
        """A digest; equal for searches whose trials may be in one study."""
        search = self.search.model_dump(mode="json", include={"space", "objectives", "constraints", "validation"})
        data = [[chosen.name, chosen.params] for chosen in self.selection.datasets]
        measures = [[chosen.name, chosen.options] for chosen in self.selection.measures]
        own = [self.row.method, self.row.params, self.selection.setting, list(self.selection.seeds)]
        return digest(canonical([search, data, measures, own, self.selection.image_size]))[:16]

    @property
    def for_report(self) -> Selection:
        """The suite's selection, on the images of reports."""
        validation = self.search.validation
        split = None if validation.labelled is None else Split(**validation.model_dump(), part="report")
        return replace(self.selection, datasets=tuple(one.part(split) for one in self.selection.datasets))


def declared(suite: Suite, selection: Selection) -> Declared:
    """The search of a selection of this suite; one `UserError` lists all problems."""
    search, where = selection.search, suite.document.where
    if search is None:
        raise fail("the suite declares no search", str(suite.document.path), "see docs/search.md")
    if len(selection.rows) != 1:
        place = where(("methods",))
        raise fail(f"a search needs exactly one row, but the suite has {len(selection.rows)}", place)
    row = selection.rows[0]
    model = registry.find("method", row.method).load().Config
    problems: list[Problem] = []
    axes = space.checked(search.space, model, row.params, where, problems)
    goals = _goals(selection)
    for i, objective in enumerate(search.objectives):
        place = where(("search", "objectives", i))
        problems.extend(_no_goal(objective.metric, goals, place))
        goal = goals.get(objective.metric)
        if goal is not None and goal.direction != objective.direction:
            text = f"{'higher' if goal.metric.higher_is_better else 'lower'} {goal.name} is better"
            problems.append(Problem(f"{text}: {goal.direction} it", place))
    for name in search.constraints:
        problems.extend(_no_goal(name, goals, where(("search", "constraints", name))))
    if len({one.metric for one in search.objectives}) < len(search.objectives):
        problems.append(Problem("an objective is named twice", where(("search", "objectives"))))
    if any(entry.split is not None for profile in suite.file.profiles.values() for entry in profile.datasets):
        problems.append(Problem("the data of a search are divided by search.validation, not by split", where(())))
    used = set(search.finalists.seeds) & set(selection.seeds)
    if used:
        text = f"finalists need seeds that no trial used, but the search uses {', '.join(map(str, sorted(used)))}"
        problems.append(Problem(text, where(("search", "finalists", "seeds"))))
    if not problems:
        problems.extend(_conflicts(selection, search, axes, goals, where(("search",))))
        for kind, known, given in (("sampler", SAMPLERS, search.sampler), ("pruner", PRUNERS, search.pruner)):
            problems.extend(faults(kind, known, given, where(("search", kind))))
    if problems:
        raise UserError(*dict.fromkeys(problems))
    split = Split(**search.validation.model_dump(), part="search")
    return Declared(
        selection=replace(selection, datasets=tuple(one.part(split) for one in selection.datasets)),
        search=search,
        row=row,
        axes=axes,
        objectives=tuple(goals[one.metric] for one in search.objectives),
        constraints=tuple(replace(goals[name], limit=limit) for name, limit in search.constraints.items()),
    )


def _goals(selection: Selection) -> dict[str, Goal]:
    """All metrics of the suite's measures, by name."""
    return {
        name: Goal(name, chosen.name, metric)
        for chosen in selection.measures
        for name, metric in registry.find("measure", chosen.name).load().METRICS.items()
        if not metric.by_part
    }


def _no_goal(name: str, goals: dict[str, Goal], place: str) -> Iterator[Problem]:
    if name.startswith("oracle"):
        yield Problem(f"{name} is chosen on the test labels, which a search must not see", place)
    elif name not in goals:
        yield unknown("metric of this suite's measures", name, goals, place)


def _conflicts(
    selection: Selection, search: Search, axes: tuple[space.Axis, ...], goals: dict[str, Goal], place: str
) -> Iterator[Problem]:
    """Problems of choices that exclude each other."""
    wanted = [goals[name] for name in (*(one.metric for one in search.objectives), *search.constraints)]
    pruned, several = search.pruner.name != "none", len(search.objectives) > 1
    if several and pruned:
        yield Problem(
            f"Optuna cannot prune a search with several objectives ({', '.join(o.metric for o in search.objectives)})",
            place,
            "pruner: none, or make all but one of them constraints",
        )
    if pruned and not several and not wanted[0].metric.percent:
        yield Problem(f"{wanted[0].name} is a cost, which does not improve with training: use pruner: none", place)
    cells = len(selection.seeds) * len(selection.datasets)
    if search.pruner.name == "wilcoxon" and cells < 2 and selection.setting == "unified":
        yield Problem("the Wilcoxon pruner compares cells of a trial, but there is only one: give several seeds", place)
    if several and search.sampler.name == "cmaes":
        yield Problem("CMA-ES supports only one objective", place, "sampler: tpe, nsgaii or gp")
    if search.sampler.name == "grid":
        endless = [axis.name for axis in axes if axis.grid() is None]
        if endless:
            yield Problem(f"a grid needs choices or steps, without log: {', '.join(endless)}", place)
        if any(axis.when for axis in axes):
            yield Problem("a grid does not support `when`", place, "sampler: brute_force does")
    if search.workers > 1:
        if search.storage == "memory":
            yield Problem("several workers need a storage that they share", place, "storage: journal")
        timed = [goal.name for goal in wanted if registry.find("measure", goal.measure).load().TERMS]
        if timed:
            yield Problem(f"times cannot be measured while other workers run: {', '.join(timed)}", place, "workers: 1")
