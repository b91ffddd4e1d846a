"""The answer of a report in a few plain sentences, made from the statistics; every format shows the same ones.

A suite with a reference row: which rows are better or worse by how much, and which differences the seeds cannot show.
Other suites: who leads, by how much and over whom. Suites of costs alone: the least, the most, and AFRAD's place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from afrad_bench.report.basis import order
from afrad_bench.report.basis.comparison import Item, fact, incomparable
from afrad_bench.report.basis.effect import Effect, effect
from afrad_bench.report.basis.findings import limits, name, seeds_of, sentences, with_finding
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.results import doubts
from afrad_bench.report.basis.tables import items
from afrad_bench.report.basis.terms import count
from afrad_bench.report.basis.wording import by, few, is_time, ordinal, quoted, reached
from afrad_bench.report.model import Contrast, Fact, RowSpec
from afrad_bench.types import MEAN

DATA_SETS = 4
"""Data sets with sentences of their own."""
OWN = "afrad"
"""The method whose place is told where another one leads."""


def answer(grid: Grid) -> tuple[str, ...]:
    """The sentences, the most important first."""
    if not grid.counted:
        return ("Nothing has been measured yet.",)
    found: list[str] = []
    for dataset in grid.datasets[:DATA_SETS]:
        said = tuple(_of_data(grid, dataset))
        of = f"On {dataset}: " if len(grid.datasets) > 1 else ""
        found += [f"{of}{each}" if i == 0 else each for i, each in enumerate(said)]
    if len(grid.datasets) > DATA_SETS:
        found.append(f"The results of {count(len(grid.datasets) - DATA_SETS, 'further data set')} are in the tables.")
    if ordered := next(order.orders(grid), None):
        item, places = ordered
        found += order.sentences(places, item.metric.title, order.table_name(grid.spec.reproduces or ""))
    return tuple(found) or ("No row has a value of a headline metric.",)


def reference_of(grid: Grid) -> RowSpec | None:
    """The row to which the suite compares all others, if it names one."""
    return next((row for row in grid.spec.rows if row.label == grid.spec.compare_to), None)


def contrasted(grid: Grid, facts: Iterable[Fact]) -> Iterator[Fact]:
    """The facts; those of which a difference to the reference was tested have it."""
    effects = {(of.item.dataset, of.item.name): of for dataset in grid.datasets for of in compared(grid, dataset)}
    for each in facts:
        of = effects.get((each.dataset, each.metric)) if each.category in ("", MEAN) else None
        found = of.differences.get(each.row) if of else None
        if of is None or found is None or found.mean is None:
            yield each
        else:
            p = of.adjusted.get(each.row)
            contrast = Contrast(of.reference.label, found.mean, found.low, found.high, p, found.seeds)
            yield replace(each, contrast=contrast)


def compared(grid: Grid, dataset: str) -> tuple[Effect, ...]:
    """The differences of all rows to the suite's reference row or, without one, to the row that leads in the first
    metric: one for each headline metric of accuracy that has any."""
    columns = _columns(grid, dataset)
    reference = reference_of(grid) or next((lead[0].row for item in columns if (lead := ranked(grid, item))), None)
    if reference is None:
        return ()
    rows = [row for row in grid.spec.rows if row.cells and row is not reference]
    return tuple(each for item in columns if (each := effect(grid, item, rows, reference)))


@dataclass(frozen=True, slots=True)
class Place:
    """A row in the order of one metric."""

    row: RowSpec
    mean: float


def ranked(grid: Grid, item: Item) -> tuple[Place, ...]:
    """The rows in the order of a metric, the best first; none if they are not comparable. Unreliable values are left
    out."""
    known = [(row, *fact(grid, row, item)) for row in grid.spec.rows if row.cells]
    if incomparable([(of, measured) for _, of, measured in known], item):
        return ()
    found = [
        Place(row, of.summary.mean)
        for row, of, _ in known
        if of.summary.mean is not None and not any(doubts(note) for note in of.summary.notes)
    ]
    return tuple(sorted(found, key=lambda place: place.mean, reverse=item.metric.higher_is_better))


def _columns(grid: Grid, dataset: str) -> list[Item]:
    return [item for item in items(grid, cost=False, headline=True) if item.dataset == dataset]


def _of_data(grid: Grid, dataset: str) -> Iterator[str]:
    measured = [item for item in _columns(grid, dataset) if _values(grid, item)]
    if not measured:
        if undefined := [item.metric.title for item in _columns(grid, dataset) if _undefined(grid, item)]:
            yield f"Undefined on these data: {', '.join(undefined)}; footnotes of the results say why."
        yield from _of_costs(grid, dataset)
        return
    reference = reference_of(grid)
    if reference is not None and (found := compared(grid, dataset)):
        yield from sentences(grid, found)
        return
    if reference is not None and len([row for row in grid.spec.rows if row.cells]) > 1:
        yield f"No row can be compared with {name(grid, reference.label)}."
    yield from _of_leader(grid, measured[0])


def _values(grid: Grid, item: Item) -> int:
    """The number of rows with a value."""
    return sum(fact(grid, row, item)[0].summary.mean is not None for row in grid.spec.rows if row.cells)


def _undefined(grid: Grid, item: Item) -> bool:
    return any(fact(grid, row, item)[0].summary.state == "undefined" for row in grid.spec.rows if row.cells)


# --------------------------------------------------------------------------------------------------------------- leader


def _of_leader(grid: Grid, item: Item) -> Iterator[str]:
    places = ranked(grid, item)
    if not places:
        known = [fact(grid, row, item) for row in grid.spec.rows if row.cells]
        differing = incomparable(known, item)
        why = f"since these differ: {', '.join(differing)}" if differing else "since no value is reliable"
        yield f"The rows are not ranked in {item.metric.title}, {why}."
        return
    best = places[0]
    if len(places) == 1:
        yield _alone(grid, item, best)
        return
    rows = [place.row for place in places[1:]]
    found = effect(grid, item, rows, best.row)
    yield f"{_lead(grid, item, places, found)}."
    if found is not None:
        yield from _told_apart(grid, found)
        yield from _own_place(grid, item, places, found)


def _alone(grid: Grid, item: Item, only: Place) -> str:
    summary = fact(grid, only.row, item)[0].summary
    over = f"with {count(summary.seeds, 'seed')}"
    if summary.std is not None:
        over = f"(± {summary.std:.{item.metric.decimals}f} over {count(summary.seeds, 'seed')})"
    rows = len([row for row in grid.spec.rows if row.cells])
    beside = "" if rows == 1 else f", the only one of {rows} rows with a result"
    return f"{name(grid, only.row.label)} reaches {reached(item, only.mean)} {over}{beside}."


def _lead(grid: Grid, item: Item, places: Sequence[Place], found: Effect | None) -> str:
    best, second = places[:2]
    decimals = item.metric.decimals
    equal = [place for place in places if round(place.mean, decimals) == round(best.mean, decimals)]
    if len(equal) > 1:
        return f"{few([name(grid, each.row.label) for each in equal])} lead with {reached(item, best.mean)}"
    leads = f"{name(grid, best.row.label)} leads with {reached(item, best.mean)}"
    other = name(grid, second.row.label)
    if found is None or found.differences[second.row.label].mean is None:
        return f"{leads}; {other}, measured with other seeds, follows with {second.mean:.{decimals}f}"
    if found.gain(second.row.label) > 0:
        return f"{leads}; over the seeds that both have, {other} is ahead by {by(found, second.row.label, 'unit')}"
    shared = found.differences[second.row.label].seeds
    all_seeds = all(fact(grid, place.row, item)[0].summary.seeds == shared for place in (best, second))
    common = "one seed" if shared == 1 else count(shared, "seed")
    over = "" if all_seeds else f" over the {common} that both have"
    return f"{leads}, {by(found, second.row.label, 'unit')} ahead of {other}{over}"


def _told_apart(grid: Grid, found: Effect) -> Iterator[str]:
    """From whom the seeds tell the leader, and from whom they do not. The leader is chosen by these same numbers, so
    that luck favours it: Holm's correction is for all rows that it is compared with."""
    if set(with_finding(found, "one seed")) == set(found.differences):
        yield "One seed cannot tell a lead from noise."
        return
    unclear = list(reversed(with_finding(found, "unclear", "likely")))
    clear = [label for label in reversed(with_finding(found, "certain")) if found.gain(label) < 0]
    if unclear:
        names = few([name(grid, label) for label in unclear])
        seeds, shown = seeds_of(found, unclear), limits(found, unclear)
        text = f"{seeds} do not tell the leader from {names}"
        yield f"{f'{text}; they can show {shown}' if shown else text}."
    if clear:
        yield f"The lead over {few([name(grid, label) for label in clear])} is significant."
    if lone := with_finding(found, "one seed"):
        yield f"With {few([name(grid, label) for label in lone])} it has only one seed in common."


def _own_place(grid: Grid, item: Item, places: Sequence[Place], found: Effect) -> Iterator[str]:
    """AFRAD's place, if it is not among the first two."""
    at = next((i for i, place in enumerate(places) if place.row.method == OWN), None)
    if at is None or at < 2:
        return
    label = places[at].row.label
    behind = f", {by(found, label, 'unit')} behind" if found.gain(label) < 0 else ""
    value = f"{places[at].mean:.{item.metric.decimals}f}"
    yield f"{name(grid, label)} is {ordinal(at + 1)} of {len(places)} with {value}{behind}."


# ---------------------------------------------------------------------------------------------------------------- costs


def _of_costs(grid: Grid, dataset: str) -> Iterator[str]:
    """The least and the most of the first headline cost, times before others."""
    columns = [item for item in items(grid, cost=True, headline=True) if item.dataset == dataset]
    for item in sorted(columns, key=lambda item: not is_time(item.unit)):
        places = ranked(grid, item)
        if not places:
            continue
        values = [(place.row.label, place.mean, place.row.method) for place in places]
        yield extremes(values, item.metric.title, item.unit, f".{item.metric.decimals}f")
        if left_out := _values(grid, item) - len(places):
            yield f"{count(left_out, 'unreliable value')} {'is' if left_out == 1 else 'are'} left out."
        return


def extremes(values: Sequence[tuple[str, float, str]], title: str, unit: str, shown: str) -> str:
    """The sentence on the least and the most of a cost, and on AFRAD's place. `values`: (label, value, method), the
    least first; `shown`: how a value is formatted."""
    (least, low, _), (most, high, _) = values[0], values[-1]
    if len(values) == 1:
        return f"{quoted(least)} takes {low:{shown}} {unit}."
    if is_time(unit):
        text = (
            f"{quoted(least)} is the fastest with {low:{shown}} {unit}, {quoted(most)} the slowest with {high:{shown}}"
        )
    else:
        text = f"{quoted(least)} needs the least {title} with {low:{shown}} {unit}, {quoted(most)} the most with "
        text += f"{high:{shown}}"
    at = next((i for i, (_, _, method) in enumerate(values) if method == OWN), None)
    if at is not None and 0 < at < len(values) - 1:
        label, value, _ = values[at]
        text += f"; {quoted(label)} is {ordinal(at + 1)} of {len(values)} with {value:{shown}}"
    return f"{text}."
