"""Cost of each part of a method: one line per row of the suite, one column per part, and their sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, stdev

from afrad_bench.report.basis.comparison import EMPTY
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.model import Entry, Fact, Heading, Line, RowSpec, Summary, Table
from afrad_bench.types import Metric

SUM = "sum"


@dataclass(frozen=True, slots=True)
class _Costs:
    """The values of one metric by part, for one row and data set."""

    row: RowSpec
    dataset: str
    parts: dict[str, Summary]


def part_tables(grid: Grid) -> tuple[Table, ...]:
    """A table for each metric that is measured by part; none for a suite whose methods name no parts.

    "–" means that the method of a row does not have the part, for example in an ablation that removes it."""
    return tuple(_table(grid, metric, costs) for _, metric, costs in _known(grid))


def part_facts(grid: Grid) -> tuple[Fact, ...]:
    """The same numbers as lines of the tidy CSV file, with the part as category."""
    return tuple(
        Fact(each.row.label, each.dataset, part, name, metric.unit, summary)
        for name, metric, costs in _known(grid)
        for each in costs
        for part, summary in each.parts.items()
    )


def _known(grid: Grid) -> Iterator[tuple[str, Metric, list[_Costs]]]:
    for measure, _, name, metric in grid.metrics(cost=True):
        if metric.by_part:
            every = [
                _Costs(row, data, _summaries(grid, row, data, measure, name))
                for row in grid.spec.rows
                for data in grid.datasets
            ]
            if costs := [each for each in every if each.parts]:
                yield name, metric, costs


def _summaries(grid: Grid, row: RowSpec, dataset: str, measure: str, metric: str) -> dict[str, Summary]:
    """Part -> mean and standard deviation over seeds; cells that share a seed are averaged first."""
    found: dict[str, dict[int, list[float]]] = {}
    why: dict[str, str] = {}
    seeds: set[int] = set()
    for use in grid.uses:
        if use.row is row and use.cell.dataset == dataset and use.measure == measure and use.taken.state == "ok":
            seeds.add(use.cell.seed)
            for part, value in use.taken.values.get(metric, {}).items():
                of_part = found.setdefault(part or "", {})
                if value.value is None:
                    why[part or ""] = value.note
                else:
                    of_part.setdefault(use.cell.seed, []).append(value.value)
    made = {}
    for part, by_seed in found.items():
        means = [fmean(values) for values in by_seed.values()]
        if means:
            spread = stdev(means) if len(means) > 1 else None
            made[part] = Summary("value", fmean(means), spread, len(means), len(seeds))
        else:
            made[part] = Summary("undefined", planned=len(seeds), notes=(why[part],))
    return made


def _table(grid: Grid, metric: Metric, costs: list[_Costs]) -> Table:
    names = _ordered([tuple(each.parts) for each in costs])
    several = len(grid.datasets) > 1
    lines = []
    for each in costs:
        label = f"{each.row.label}, {each.dataset}" if several else each.row.label
        entries = [_entry(each.parts.get(name), metric.decimals) for name in names]
        lines.append(Line((Entry(label), *entries, _sum(each.parts, metric.decimals)), dataset=each.dataset))
    reasons = {reason for each in costs for summary in each.parts.values() for reason in summary.notes}
    headings = (
        Heading("Method", numeric=False),
        *(Heading(name) for name in (*names, SUM)),
    )
    return Table(f"{metric.title} ({metric.unit})", headings, tuple(lines), tuple(sorted(reasons)))


def _ordered(every: list[tuple[str, ...]]) -> list[str]:
    """Each part once; a part that earlier lines lack is inserted after the part that it follows in its own line.

    >>> _ordered([("backbone", "A", "rest"), ("backbone", "A", "B", "rest")])
    ['backbone', 'A', 'B', 'rest']
    """
    order: list[str] = []
    for names in every:
        place = 0
        for name in names:
            if name not in order:
                order.insert(place, name)
            place = order.index(name) + 1
    return order


def _entry(summary: Summary | None, decimals: int) -> Entry:
    if summary is None:
        return Entry("–")
    if summary.mean is None:
        return Entry(EMPTY[summary.state], summary.state)
    spread = f"{summary.std:.{decimals}f}" if summary.std else ""
    return Entry(f"{summary.mean:.{decimals}f}", "value", spread, number=summary.mean)


def _sum(parts: dict[str, Summary], decimals: int) -> Entry:
    means = [summary.mean for summary in parts.values() if summary.mean is not None]
    if len(means) < len(parts):
        return Entry(EMPTY["undefined"], "undefined")
    return Entry(f"{sum(means):.{decimals}f}", "value", number=sum(means))
