"""The plan of a suite: its cells, which of them are done, and why (not). `run` executes this plan.

A measure of a cell counts as done if the newest successful run of the measure has equal terms: the same method version,
data, weights, preprocessing, measure version and options and, for measures that declare them, the same device and
threads. Package versions and the code revision are recorded, but not compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from afrad_bench import registry
from afrad_bench.backbone.weights import BackboneConfig, Weights, known_models, locate
from afrad_bench.errors import Problem, UserError
from afrad_bench.images.pictures import FileIndex
from afrad_bench.images.sets import PREPROCESSING
from afrad_bench.machine.environment import Environment, current
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.selection import ChosenDataset, ChosenMeasure, Selection, SuiteRow
from afrad_bench.types import Cell, Dataset

if TYPE_CHECKING:
    import pandas as pd

State = Literal["done", "to do", "stale", "failed"]


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
        own = {name: str(getattr(environment, name)) for name in module.TERMS}
        return {**self.terms, "measure_version": module.VERSION, "options": measure.options, **own}


@dataclass(frozen=True)
class Plan:
    """A selection with its cells, on this machine."""

    selection: Selection
    environment: Environment
    datasets: tuple[Dataset, ...]
    cells: tuple[PlannedCell, ...]

    @property
    def open(self) -> tuple[PlannedCell, ...]:
        """The cells that are not done."""
        return tuple(cell for cell in self.cells if cell.open)


def make(selection: Selection, workspace: Workspace, files: FileIndex) -> Plan:
    """Load and verify the data, find the weights, expand the cells, and look up what the store holds."""
    environment = current(workspace.device, workspace.threads or selection.threads)
    problems: list[Problem] = []
    datasets: list[Dataset] = []
    located = [replace(one, root=str(root) if (root := workspace.root_of(one)) else None) for one in selection.datasets]
    for chosen in located:
        try:
            datasets.append(workspace.load(chosen, files))
        except UserError as error:
            problems.extend(error.problems)
    weights = _weights(selection.rows, workspace, problems)
    if problems:
        raise UserError(*dict.fromkeys(problems))
    located_selection = replace(selection, datasets=tuple(located))
    return _expanded(Plan(located_selection, environment, tuple(datasets), ()), weights, workspace, everything=True)


def with_rows(plan: Plan, rows: Sequence[SuiteRow], workspace: Workspace, notes: Sequence[str] = ()) -> Plan:
    """A plan of other rows on the same data and machine, without loading the data again; `notes` go into its results.

    Raises `UserError` if weights are missing."""
    problems: list[Problem] = []
    weights = _weights(rows, workspace, problems)
    if problems:
        raise UserError(*dict.fromkeys(problems))
    bare = replace(plan, selection=replace(plan.selection, rows=tuple(rows)))
    made = _expanded(bare, weights, workspace, everything=False)
    return replace(made, cells=tuple(replace(one, notes=tuple(notes)) for one in made.cells))


def _weights(rows: Sequence[SuiteRow], workspace: Workspace, problems: list[Problem]) -> dict[str, Weights | None]:
    """Configuration -> weights of its backbone; missing weights are added to `problems`."""
    weights: dict[str, Weights | None] = {}
    for row in rows:
        try:
            weights[row.params] = weights_of(row.method, row.params, workspace.cache)
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
    ids = None if everything else [cell.id for cell, *_ in expanded]
    history = Store(workspace.store).read("cells", ids)
    planned = []
    for cell, row, chosen, dataset in expanded:
        terms = base_terms(cell, dataset, weights[row.params])
        bare = PlannedCell(cell, row, chosen, dataset, selection.measures, weights[row.params], terms, {}, None)
        planned.append(with_states(bare, plan.environment, history))
    return replace(plan, cells=tuple(planned))


def _check_distinct(expanded: Sequence[tuple[Cell, SuiteRow, ChosenDataset, Dataset]]) -> None:
    """Raise `UserError` if two data sets have equal names and options: they would share a cell."""
    seen: set[tuple[str, str]] = set()
    for cell, row, chosen, _ in expanded:
        if (cell.id, row.label) in seen:
            text = f"the data set {cell.dataset} is named twice with equal options"
            raise UserError(Problem(text, chosen.where, "leave one out, or give their folders different names"))
        seen.add((cell.id, row.label))


def weights_of(method: str, params: str, cache: Path | None) -> Weights | None:
    """The weights of a configuration's frozen backbone; None for a method without one."""
    config = registry.find("method", method).load().Config.model_validate_json(params)
    backbone = getattr(config, "backbone", None)
    return locate(backbone, known_models(cache)) if isinstance(backbone, BackboneConfig) else None


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


def base_terms(cell: Cell, dataset: Dataset, weights: Weights | None) -> dict[str, str]:
    return {
        "method_version": registry.find("method", cell.method).load().VERSION,
        "data_fingerprint": dataset.fingerprint,
        "preprocessing": PREPROCESSING,
        "selection": "last epoch",
        "weights_hash": weights.sha256 if weights else "",
    }


def with_states(planned: PlannedCell, environment: Environment, history: pd.DataFrame) -> PlannedCell:
    """The cell with the state of each measure and its estimated cost, from the rows of `cells` (oldest first)."""
    mine = history[history["cell_id"] == planned.cell.id]
    runs = [json.loads(text) for text in mine["measures"]]
    states = {}
    for measure in planned.measures:
        found = [run[measure.name] for run in runs if measure.name in run]
        states[measure.name] = _state(found, planned.measure_terms(measure, environment))
    return replace(planned, states=states, seconds=_estimate(planned.cell, environment, history))


def _state(runs: list[dict[str, Any]], terms: Mapping[str, str]) -> MeasureState:
    good = [run for run in runs if run["status"] == "ok"]
    if good and good[-1]["terms"] == terms:
        return MeasureState("done", "measured on equal terms")
    if good:
        return MeasureState("stale", difference(good[-1]["terms"], terms))
    if runs:
        return MeasureState("failed", str(runs[-1]["error"]))
    return MeasureState("to do", "never measured")


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


def _estimate(cell: Cell, environment: Environment, history: pd.DataFrame) -> float | None:
    """Median seconds of earlier complete runs on the same device model: of the cell, else of its configuration with any
    seed."""
    same = history[(history["status"] == "ok") & (history["device_name"] == environment.device_name)]
    here = (same["dataset"] == cell.dataset) & (same["image_size"] == cell.image_size)
    for rows in (same[same["cell_id"] == cell.id], same[(same["params"] == cell.params) & here]):
        if len(rows):
            return float((rows["ended_at"] - rows["started_at"]).dt.total_seconds().median())
    return None
