"""From a plan to its report: the only place where planned cells, measures and the report's own input meet."""

from __future__ import annotations

import shlex

from afrad_bench import registry, report
from afrad_bench.plan import Plan, PlannedCell
from afrad_bench.store import Store


def report_of(plan: Plan, store: Store, suite: str) -> report.Report:
    """The report of everything in the store that belongs to this plan; `suite` is how the user named it."""
    selection = plan.selection
    names = [dataset.name for dataset in plan.datasets]

    def part(one: PlannedCell) -> str | None:
        """What tells cells of one row, data set and seed apart: the category, or the normal classes of CIFAR-10."""
        several = names.count(one.cell.dataset) > 1
        return one.cell.category or (",".join(one.dataset.categories) if several else None)

    rows = tuple(
        report.RowSpec(
            label=row.label,
            method=row.method,
            cells=tuple(
                report.PlannedCell(one.cell.id, one.cell.dataset, one.cell.seed, part(one))
                for one in plan.cells
                if one.row == row
            ),
            published_row=row.published,
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
    command = ["afrad-bench", "run", suite, "--profile", selection.profile]
    for override in selection.overrides:
        command += ["--set", override]
    spec = report.ReportInput(
        suite=selection.suite,
        title=selection.title,
        profile=selection.profile,
        rows=rows,
        measures=measures,
        command=shlex.join(command),
        reproduces=selection.reproduces,
        stale=stale,
    )
    ids = [one.cell.id for one in plan.cells]
    return report.build(spec, store.read("cells", ids), store.read("measurements", ids))
