"""One trial: takes parameters, runs cells like any other run, and returns the values of the objectives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from afrad_bench import registry
from afrad_bench.errors import UserError
from afrad_bench.hashing import canonical
from afrad_bench.machine.processes import this_process
from afrad_bench.report.basis import results
from afrad_bench.running.cell_run import RunOptions
from afrad_bench.running.plan import Plan, PlannedCell, with_rows
from afrad_bench.running.run import run_suite
from afrad_bench.running.workspace import Workspace
from afrad_bench.search.declared import Declared, Goal
from afrad_bench.search.space import Values, suggested
from afrad_bench.search.study import DRAWN, ERROR, WORKER, is_repeated, is_too_many, queued_again, withdraw
from afrad_bench.store import Store
from afrad_bench.suite.selection import SuiteRow
from afrad_bench.suite.selection.layers import Layer, merged, nested, resolved
from afrad_bench.types import MEAN, Measurement, Subject, Watch, unwatched

if TYPE_CHECKING:
    from optuna.trial import Trial

CELLS, EXCESS = "cells", "excess"
"""Attributes of a trial: its cells in the store, and by how much it violates each limit."""


class TrialFailed(Exception):
    """A trial ended without values; the message is the reason. The search continues."""


class Withdrawn(Exception):
    """A trial that does not count: it is too many, or another process runs an equal one."""


ENUMERATING = ("grid", "brute_force")
"""Samplers that go through all values once."""
REDRAWN = 10
"""Draws that equal trials of other processes before one of them is accepted."""


class Objective:
    """The objective function that Optuna calls for each trial."""

    def __init__(self, declared: Declared, plan: Plan, workspace: Workspace, watch: Watch = unwatched) -> None:
        """`plan` is the plan of `declared.selection`."""
        self.declared, self.plan, self.workspace, self.watch = declared, plan, workspace, watch
        self._redrawn = 0

    def __call__(self, trial: Trial) -> tuple[float, ...]:
        """The objectives' means over the cells. Raises `TrialPruned`, `TrialFailed` with the reason, or `Withdrawn`."""
        trial.set_user_attr(WORKER, this_process())
        try:
            drawn = suggested(trial, self.declared.axes)
            trial.set_user_attr(DRAWN, True)
            self._must_count(trial)
            return self._values(trial, drawn)
        except TrialFailed as error:
            trial.set_user_attr(ERROR, str(error))
            raise
        except KeyboardInterrupt:
            queued_again(trial.study, trial.study.get_trials(deepcopy=False)[trial.number])
            raise

    def _must_count(self, trial: Trial) -> None:
        """Withdraw the trial if other processes have started enough others, or an equal one."""
        study, search = trial.study, self.declared.search
        if is_too_many(study, trial.number, search.trials):
            withdraw(trial, "the search has all its trials", keep=True)
            raise Withdrawn
        enumerating = search.sampler.name in ENUMERATING
        if is_repeated(study, trial.number, ever=enumerating) and (enumerating or self._redrawn < REDRAWN):
            self._redrawn += 1
            withdraw(trial, "another trial has the same parameters", keep=False)
            if self._redrawn > REDRAWN:
                study.stop()  # no values are left
            raise Withdrawn
        self._redrawn = 0

    def _values(self, trial: Trial, drawn: Values) -> tuple[float, ...]:
        declared = self.declared
        row = row_of(declared, drawn, f"trial {trial.number}")
        note = (
            f"trial {trial.number} of the search {declared.study}: scored on the images of the search, not a report's"
        )
        try:
            plan = with_rows(self.plan, [row], self.workspace, [note])
        except UserError as error:
            raise TrialFailed(str(error)) from error
        trial.set_user_attr(CELLS, [one.cell.id for one in plan.cells])
        for position, planned in enumerate(plan.cells):
            self._run(trial, plan, planned, first=position == 0)
            if declared.search.pruner.name == "wilcoxon":
                self._report_categories(trial, plan, position)
        for goal in declared.constraints:
            self._store_excess(trial, goal, self._mean(plan.cells, goal))
        return tuple(self._mean(plan.cells, goal) for goal in declared.objectives)

    def _run(self, trial: Trial, plan: Plan, planned: PlannedCell, *, first: bool) -> None:
        """Run a cell, unless an earlier trial with the same parameters did. The pruner watches only the first cell."""
        from optuna import TrialPruned

        if not planned.open:
            return
        watched = first and self.declared.search.pruner.name not in ("none", "wilcoxon")
        should_continue = (lambda subject: self._should_continue(trial, subject)) if watched else None
        options = RunOptions(watch=self.watch, should_continue=should_continue, wait=True)
        for done in run_suite(plan, [planned], self.workspace, options):
            if done.status == "stopped":
                raise TrialPruned(done.error)
            if done.status == "failed":
                raise TrialFailed(f"{done.planned.cell.id}: {done.error}")

    def _should_continue(self, trial: Trial, subject: Subject) -> bool:
        """Score a partly trained method on the images of the search; False if the pruner ends the trial."""
        epoch, goal = subject.record.epochs, self.declared.objectives[0]
        if epoch % self.declared.search.every:
            return True
        chosen = next(one for one in self.declared.selection.measures if one.name == goal.measure)
        module = registry.find("measure", goal.measure).load()
        for found in module.measure(subject, module.Config.model_validate_json(chosen.options)):
            wanted = isinstance(found, Measurement) and (found.metric, found.category) == (goal.name, goal.category)
            if wanted and found.value is not None:
                trial.report(found.value, epoch)
                return not trial.should_prune()
        return True

    def _report_categories(self, trial: Trial, plan: Plan, position: int) -> None:
        """Report each category of a cell as an instance on which the pruner compares trials in pairs."""
        from optuna import TrialPruned

        goal = self.declared.objectives[0]
        found = values_of(Store(self.workspace.store), plan.cells[position : position + 1], goal)[0]
        by_category = [value for category, value in sorted(found.items()) if category != MEAN]
        for k, value in enumerate(by_category):
            trial.report(value, position * len(by_category) + k)
        if position + 1 < len(plan.cells) and trial.should_prune():
            raise TrialPruned(f"worse than the best after {position + 1} of {len(plan.cells)} cells")

    def _store_excess(self, trial: Trial, goal: Goal, value: float) -> None:
        """Store by how much a limit is violated, for the sampler (from Optuna 5 on) and to choose the best trials."""
        excess = goal.excess(value)
        trial.set_user_attr(EXCESS, {**trial.user_attrs.get(EXCESS, {}), goal.name: excess})
        if hasattr(trial, "set_constraint"):
            trial.set_constraint(goal.name, excess)

    def _mean(self, cells: Sequence[PlannedCell], goal: Goal) -> float:
        return fmean(found[goal.category or ""] for found in values_of(Store(self.workspace.store), cells, goal))


def row_of(declared: Declared, chosen: Values, label: str) -> SuiteRow:
    """The configuration of a trial as a row of a suite. Raises `TrialFailed` if the method rejects it."""
    model = registry.find("method", declared.row.method).load().Config
    layers = [Layer(json.loads(declared.row.params), lambda _: label), Layer(nested(chosen), lambda _: label)]
    checked = resolved(model, layers, declared.row.method)
    if isinstance(checked, list):
        raise TrialFailed("; ".join(problem.what for problem in checked))
    changed = merged([Layer(json.loads(declared.row.changed), lambda _: label), layers[1]])
    return SuiteRow(label, declared.row.method, canonical(checked.model_dump(mode="json")), None, canonical(changed))


def values_of(store: Store, cells: Sequence[PlannedCell], goal: Goal) -> list[dict[str, float]]:
    """For each cell the stored values of a metric by category, "" for the whole cell. Raises `TrialFailed` with the
    reason if the value of the goal's category is undefined."""
    tables = store.read_all(["cells", "measurements"], [one.cell.id for one in cells])
    read = results.read(tables["cells"], tables["measurements"])
    found = []
    for one in cells:
        values = read.take(one.cell.id, goal.measure).values.get(goal.name, {})
        counting = values.get(goal.category)
        if counting is None or counting.value is None:
            why = counting.note if counting else "it was not measured"
            raise TrialFailed(f"{goal.name} of {one.cell.id} is undefined: {why}")
        found.append({name or "": value.value for name, value in values.items() if value.value is not None})
    return found
