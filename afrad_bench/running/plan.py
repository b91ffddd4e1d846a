"""The plan of a suite: its cells, which of them are done, and why (not). `run` executes this plan.

A measure of a cell counts as done if the newest successful run of the measure has equal terms: the same method version,
data, weights, preprocessing, measure version and options and, for measures that declare them, the same device and
threads, and all rows of that run are in the store. Package versions and the code revision are recorded, but not
compared."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from afrad_bench import registry
from afrad_bench.backbone.weights import BackboneConfig, Weights, known_models, locate
from afrad_bench.errors import Problem, UserError
from afrad_bench.images.pictures import FileIndex
from afrad_bench.images.sets import PREPROCESSING
from afrad_bench.machine.environment import Environment, current
from afrad_bench.methods.versions import version_of
from afrad_bench.running import cautions
from afrad_bench.running.estimate import seconds_of
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.selection import ChosenDataset, ChosenMeasure, Selection, SuiteRow
from afrad_bench.types import Cell, Dataset

if TYPE_CHECKING:
    import pandas as pd

State = Literal["done", "to do", "stale", "failed"]
NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class MeasureState:
    """Whether one measure of a cell is done, and the reason."""

    state: State
    why: str


@dataclass(frozen=True)
class PlannedCell:
    """A cell with everything that is needed to run it and to decide whether it is done."""

    cell: Cell
    row: SuiteRow
    chosen: ChosenDataset
    dataset: Dataset
    measures: tuple[ChosenMeasure, ...]
    weights: Weights | None
    terms: Mapping[str, str]
    states: Mapping[str, MeasureState]
    seconds: float | None
    """Estimated from earlier runs; None if there were none."""
    notes: tuple[str, ...] = ()
    """Notes for its row of results, in addition to those of the data and the method."""

    @property
    def open(self) -> tuple[ChosenMeasure, ...]:
        """The measures that are not done."""
        return tuple(measure for measure in self.measures if self.states[measure.name].state != "done")

    @property
    def state(self) -> State:
        """The worst state of its measures."""
        found = {state.state for state in self.states.values()}
        order: tuple[State, ...] = ("failed", "stale", "to do", "done")
        return next(state for state in order if state in found)

    def measure_terms(self, measure: ChosenMeasure, environment: Environment) -> dict[str, str]:
        """All terms that must be equal for a stored result of this measure to count."""
        module = registry.find("measure", measure.name).load()
        own = {name: str(environment.term(name)) for name in module.TERMS}
        return {**self.terms, "measure_version": module.VERSION, "options": measure.options, **own}


@dataclass(frozen=True)
class Plan:
    """A selection with its cells, on this machine."""

    selection: Selection
    environment: Environment
    datasets: tuple[Dataset, ...]
    cells: tuple[PlannedCell, ...]
    cautions: tuple[str, ...] = ()
    """What the user must know of the store and the cache: damaged files, clocks that disagree."""
    runs: frozenset[str] = frozenset()
    """Runs that the store held when the plan was made."""

    @property
    def open(self) -> tuple[PlannedCell, ...]:
        """The cells that are not done."""
        return tuple(cell for cell in self.cells if cell.open)


def make(selection: Selection, workspace: Workspace, files: FileIndex) -> Plan:
    """Load and verify the data, find the weights, expand the cells, and look up what the store holds."""
    threads = workspace.threads or selection.threads or workspace.share
    environment = current(workspace.device, threads, selection.arithmetic)
    problems: list[Problem] = []
    datasets: list[Dataset] = []
    located = [replace(one, root=str(root) if (root := workspace.root_of(one)) else None) for one in selection.datasets]
    for chosen in located:
        try:
            datasets.append(workspace.load(chosen, files))
        except UserError as error:
            problems.extend(error.problems)
    notes: list[str] = []
    if idle := selection.arithmetic.idle(environment.device):
        notes.append(f"arithmetic: without effect on {environment.device}: {', '.join(idle)}")
    weights = _weights(selection.rows, workspace, problems, notes)
    if problems:
        raise UserError(*dict.fromkeys(problems))
    bare = Plan(replace(selection, datasets=tuple(located)), environment, tuple(datasets), (), (*notes, *files.notes))
    return _expanded(bare, weights, workspace, everything=True)


def with_rows(plan: Plan, rows: Sequence[SuiteRow], workspace: Workspace, notes: Sequence[str] = ()) -> Plan:
    """A plan of other rows on the same data and machine, without loading the data again; `notes` go into its results.

    Raises `UserError` if weights are missing."""
    problems: list[Problem] = []
    weights = _weights(rows, workspace, problems, [])
    if problems:
        raise UserError(*dict.fromkeys(problems))
    bare = replace(plan, selection=replace(plan.selection, rows=tuple(rows)))
    made = _expanded(bare, weights, workspace, everything=False)
    return replace(made, cells=tuple(replace(one, notes=tuple(notes)) for one in made.cells))


def _weights(
    rows: Sequence[SuiteRow], workspace: Workspace, problems: list[Problem], notes: list[str]
) -> dict[str, Weights | None]:
    """Configuration -> weights of its backbone; missing weights are added to `problems`, repairs to `notes`."""
    weights: dict[str, Weights | None] = {}
    for row in rows:
        try:
            weights[row.params] = weights_of(row.method, row.params, workspace.cache, notes)
        except UserError as error:
            problems.extend(Problem(p.what, row.label, p.hint) for p in error.problems)
    return weights


def _expanded(plan: Plan, weights: Mapping[str, Weights | None], workspace: Workspace, *, everything: bool) -> Plan:
    """The plan with its cells. `everything`: read the whole store, so that times of other cells help to estimate."""
    selection = plan.selection
    expanded = [
        (cell, row, chosen, dataset if cell.category is None else dataset.only(cell.category))
        for chosen, dataset in zip(selection.datasets, plan.datasets, strict=True)
        for row in selection.rows
        for cell in _cells(selection, row, chosen, dataset)
    ]
    _check_distinct(expanded)
    arithmetic = str(selection.arithmetic.on(plan.environment.device))
    ids, store = {cell.id for cell, *_ in expanded}, Store(workspace.store)
    history = store.read("cells", None if everything else ids)
    lacking = incomplete(store, history, ids)
    planned = []
    for cell, row, chosen, dataset in expanded:
        terms = base_terms(cell, dataset, weights[row.params], arithmetic)
        bare = PlannedCell(cell, row, chosen, dataset, selection.measures, weights[row.params], terms, {}, None)
        planned.append(with_states(bare, plan.environment, history, lacking))
    mine = history[history["cell_id"].isin(ids)]
    told = cautions.of_store(store.faults, mine, datetime.now(timezone.utc))
    return replace(plan, cells=tuple(planned), cautions=(*plan.cautions, *told), runs=frozenset(history["run_id"]))


def again(plan: Plan, planned: PlannedCell, store: Store) -> PlannedCell:
    """A cell of the plan with the states that it has by now."""
    history = store.read("cells", [planned.cell.id])
    lacking = incomplete(store, history, {planned.cell.id})
    return replace(with_states(planned, plan.environment, history, lacking), seconds=planned.seconds)


def incomplete(store: Store, history: pd.DataFrame, ids: Collection[str]) -> Mapping[str, str]:
    """Why runs of these cells do not count, by run; by cell if its only rows are of a run without a row in `cells`."""
    mine = history[history["cell_id"].isin(ids)]
    return {**store.unfinished(ids, set(mine["run_id"])), **store.lacking(mine)}


def _check_distinct(expanded: Sequence[tuple[Cell, SuiteRow, ChosenDataset, Dataset]]) -> None:
    """Raise `UserError` if two data sets have equal names and options: they would share a cell."""
    seen: set[tuple[str, str]] = set()
    for cell, row, chosen, _ in expanded:
        if (cell.id, row.label) in seen:
            text = f"the data set {cell.dataset} is named twice with equal options"
            raise UserError(Problem(text, chosen.where, "leave one out, or give their folders different names"))
        seen.add((cell.id, row.label))


def weights_of(method: str, params: str, cache: Path | None, notes: list[str] | None = None) -> Weights | None:
    """The weights of a configuration's frozen backbone; None for a method without one. Repairs go to `notes`."""
    config = registry.find("method", method).load().Config.model_validate_json(params)
    backbone = getattr(config, "backbone", None)
    return locate(backbone, known_models(cache, notes)) if isinstance(backbone, BackboneConfig) else None


def _cells(selection: Selection, row: SuiteRow, chosen: ChosenDataset, dataset: Dataset) -> list[Cell]:
    parts: Sequence[str | None] = [None] if selection.setting == "unified" else dataset.categories
    return [
        Cell(
            method=row.method,
            params=row.params,
            dataset=dataset.name,
            dataset_params=chosen.params,
            setting=selection.setting,
            category=category,
            image_size=selection.image_size,
            seed=seed,
            profile=selection.profile,
        )
        for seed in selection.seeds
        for category in parts
    ]


def base_terms(cell: Cell, dataset: Dataset, weights: Weights | None, arithmetic: str) -> dict[str, str]:
    """`arithmetic`: what differs from torch's own settings; left out if nothing does, so that older results count."""
    return {
        "method_version": version_of(cell.method, cell.params),
        "data_fingerprint": dataset.fingerprint,
        "preprocessing": PREPROCESSING,
        "selection": "last epoch",
        "weights_hash": weights.sha256 if weights else "",
        **({"arithmetic": arithmetic} if arithmetic else {}),
    }


def with_states(
    planned: PlannedCell, environment: Environment, history: pd.DataFrame, lacking: Mapping[str, str] = NONE
) -> PlannedCell:
    """The cell with the state of each measure and its estimated cost, from the rows of `cells` (oldest first) and what
    `incomplete` says of them."""
    mine = history[history["cell_id"] == planned.cell.id]
    runs = [(str(run), json.loads(text or "{}")) for run, text in zip(mine["run_id"], mine["measures"], strict=True)]
    states = {}
    for measure in planned.measures:
        found = [{**run[measure.name], "lacks": lacking.get(name, "")} for name, run in runs if measure.name in run]
        states[measure.name] = _state(found, planned.measure_terms(measure, environment), lacking.get(planned.cell.id))
    seconds = seconds_of(planned.cell, planned.dataset, planned.terms, environment, history)
    return replace(planned, states=states, seconds=seconds)


def _state(runs: list[dict[str, Any]], terms: Mapping[str, str], unfinished: str | None) -> MeasureState:
    good = [run for run in runs if run["status"] == "ok"]
    if good and good[-1]["lacks"]:
        return MeasureState("stale", good[-1]["lacks"])
    if good and good[-1]["terms"] == terms:
        return MeasureState("done", "measured on equal terms")
    if good:
        return MeasureState("stale", difference(good[-1]["terms"], terms))
    if runs:
        return MeasureState("failed", str(runs[-1]["error"]).partition("\n")[0])
    return MeasureState("stale", unfinished) if unfinished else MeasureState("to do", "never measured")


def difference(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The terms that differ, in words.

    >>> difference({"data_fingerprint": "ab", "device": "cpu"}, {"data_fingerprint": "ab", "device": "cuda:0"})
    'device was cpu, is cuda:0'
    """
    changed = [name for name in (*now, *(set(was) - set(now))) if was.get(name) != now.get(name)]
    return "; ".join(f"{name} was {_short(was.get(name))}, is {_short(now.get(name))}" for name in changed)


def _short(value: str | None) -> str:
    if value is None or value == "":
        return "not recorded" if value is None else "none"
    return value[:12] if len(value) >= 32 and all(digit in "0123456789abcdef" for digit in value) else value
