"""Build a report from a plan. Only this module converts planned cells and measures to the report's input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from afrad_bench import registry, report
from afrad_bench.running.plan import Plan, PlannedCell
from afrad_bench.store import OF_RUNS, Store

if TYPE_CHECKING:
    import pandas as pd


def report_of(plan: Plan, store: Store, command: str) -> report.Report:
    """The report of all results in the store that belong to this plan. `command`: what measures them again."""
    return report.build(input_of(plan, command), **frames_of(plan, store))


def failures_of(
    plan: Plan, store: Store, command: str, top: int, fpr: float | None, *, pictures: bool
) -> tuple[report.Report, tuple[report.Failure, ...]]:
    """The failures of this plan's methods (see `report.failure_report`), with or without pictures."""
    frames = frames_of(plan, store)
    shown = frames["examples"] if pictures else None
    tables = (frames["cells"], frames["measurements"], frames["scores"], shown)
    return report.failure_report(input_of(plan, command), *tables, top, fpr)


def ranking_of(
    plan: Plan, store: Store, command: str, metric: str, test: Literal["nemenyi", "wilcoxon"], alpha: float
) -> tuple[report.Report, report.Ranking]:
    """Rank the rows of this plan over categories (see `report.ranking_report`)."""
    frames = frames_of(plan, store)
    return report.ranking_report(input_of(plan, command), frames["cells"], frames["measurements"], metric, test, alpha)


def frames_of(plan: Plan, store: Store) -> dict[str, pd.DataFrame]:
    """The tables of the store, by name, restricted to the cells of a plan."""
    ids = [one.cell.id for one in plan.cells]
    return store.read_all(OF_RUNS, ids)


def input_of(plan: Plan, command: str) -> report.ReportInput:
    """Convert a plan to the input of its report."""
    selection = plan.selection
    rows = tuple(
        report.RowSpec(
            label=row.title,
            method=row.method,
            cells=tuple(
                report.PlannedCell(one.cell.id, one.cell.dataset, one.cell.seed, _part(one, plan))
                for one in plan.cells
                if one.row == row
            ),
            published_row=row.published,
            axis=row.axis,
            grid=row.grid,
            point=row.point,
        )
        for row in selection.rows
    )
    measures = {}
    for chosen in selection.measures:
        module = registry.find("measure", chosen.name).load()
        measures[chosen.name] = report.MeasureSpec(module.METRICS, tuple(module.TERMS))
    stale = {
        one.cell.id: {name: state.why for name, state in one.states.items() if state.state == "stale"}
        for one in plan.cells
        if any(state.state == "stale" for state in one.states.values())
    }
    return report.ReportInput(
        suite=selection.suite,
        title=selection.title,
        profile=selection.profile,
        rows=rows,
        measures=measures,
        command=command,
        reproduces=selection.reproduces,
        stale=stale,
        compare_to=next((row.title for row in selection.rows if row.label == selection.compare_to), None),
        absent=selection.absent,
        overrides=selection.overrides,
    )


def _part(one: PlannedCell, plan: Plan) -> str | None:
    """The label that distinguishes cells of one row, data set and seed.

    It is the category, the normal classes of CIFAR-10, or, for data sets with the same name and categories, the options
    in which they differ, such as the seed of a split."""
    pairs = zip(plan.selection.datasets, plan.datasets, strict=True)
    peers = [(chosen, dataset) for chosen, dataset in pairs if dataset.name == one.cell.dataset]
    if len(peers) == 1:
        return one.cell.category
    name = one.cell.category or ",".join(one.dataset.categories)
    alike = [
        json.loads(chosen.params)
        for chosen, dataset in peers
        if name in (*dataset.categories, ",".join(dataset.categories))
    ]
    mine = json.loads(one.chosen.params)
    differing = [f"{key}={value}" for key, value in mine.items() if any(other.get(key) != value for other in alike)]
    return f"{name} ({', '.join(differing)})" if len(alike) > 1 and differing else name
