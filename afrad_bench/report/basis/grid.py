"""The numbers of a report: mean and standard deviation over seeds for each row, data set, metric and category.

A mean over categories is taken within a seed, by the measure itself or over the cells that share the seed. The standard
deviation is over seeds only, so the spread between categories is never mistaken for noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import Literal

from afrad_bench.errors import first_line, shortened
from afrad_bench.report.basis.results import Results, Run, Taken, Value
from afrad_bench.report.model import MeasureSpec, PlannedCell, ReportInput, RowSpec, State, Summary
from afrad_bench.types import MEAN, Metric


@dataclass(frozen=True, slots=True)
class Measured:
    """A summary and the runs that its numbers come from."""

    summary: Summary
    sources: tuple[tuple[str | None, Run], ...] = ()
    """Pairs (part of the data (`PlannedCell.part`), run)."""

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(run for _, run in self.sources)


@dataclass(frozen=True, slots=True)
class Use:
    """The stored result of a planned cell and a measure, and its place in the report."""

    row: RowSpec
    cell: PlannedCell
    measure: str
    taken: Taken


@dataclass(frozen=True, slots=True)
class Counted:
    """A run whose numbers for a measure count, and their place in the report."""

    row: RowSpec
    cell: PlannedCell
    measure: str
    run: Run
    later_error: str
    """Error of a newer run that failed, or empty."""


@dataclass(frozen=True)
class Grid:
    """The planned cells of a suite with their stored results."""

    spec: ReportInput
    results: Results

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """Data set columns, in the order of the suite."""
        return tuple(dict.fromkeys(cell.dataset for row in self.spec.rows for cell in row.cells))

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """Every planned cell and measure, row by row."""
        return tuple(
            Use(row, cell, measure, self._taken[cell.id, measure])
            for row in self.spec.rows
            for cell in row.cells
            for measure in self.spec.measures
        )

    @cached_property
    def counted(self) -> tuple[Counted, ...]:
        """The runs whose numbers count, row by row; a run of several measures appears once for each measure."""
        return tuple(
            Counted(use.row, use.cell, use.measure, use.taken.run, use.taken.error)
            for use in self.uses
            if use.taken.state == "ok" and use.taken.run is not None
        )

    @cached_property
    def random(self) -> frozenset[str]:
        """Labels of rows with numbers from random weights."""
        return frozenset(each.row.label for each in self.counted if each.run.is_random)

    @cached_property
    def _taken(self) -> Mapping[tuple[str, str], Taken]:
        ids = {cell.id for row in self.spec.rows for cell in row.cells}
        return {(cell, measure): self.results.take(cell, measure) for cell in ids for measure in self.spec.measures}

    def metrics(self, *, cost: bool) -> Iterator[tuple[str, MeasureSpec, str, Metric]]:
        """(measure, its spec, name of a metric, the metric) of the cost measures, or of all other measures."""
        for measure, spec in self.spec.measures.items():
            if spec.is_cost is cost:
                for name, metric in spec.metrics.items():
                    yield measure, spec, name, metric

    def categories(self, dataset: str, measure: str, metric: str) -> tuple[str, ...]:
        """Categories of a data set for which a metric was measured (or found undefined), in the order of the data."""
        if (key := (dataset, measure, metric)) not in self._categories:
            self._categories[key] = self._find_categories(dataset, measure, metric)
        return self._categories[key]

    @cached_property
    def _categories(self) -> dict[tuple[str, str, str], tuple[str, ...]]:
        return {}

    def _find_categories(self, dataset: str, measure: str, metric: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for use in self.uses:
            if use.cell.dataset == dataset and use.measure == measure and use.taken.state == "ok":
                here = use.taken.values.get(metric, {}) if use.cell.part is None else [use.cell.part]
                found |= {category: None for category in here if category is not None and category != MEAN}
        return tuple(found)

    def runs_beside(self, row: RowSpec, dataset: str, measure: str) -> tuple[Run, ...]:
        """The runs that count for a measure in the other rows."""
        return tuple(
            use.run
            for use in self.counted
            if use.row is not row and (use.cell.dataset, use.measure) == (dataset, measure)
        )

    def stale(self, cell: PlannedCell, measure: str) -> str:
        """Why the numbers of a measure no longer match the suite; empty if they do."""
        return self.spec.stale.get(cell.id, {}).get(measure, "")

    def at(self, row: RowSpec, dataset: str, measure: str, metric: str, category: str | None) -> Measured:
        """Mean and deviation over the seeds of a row. Category None or `MEAN` means all that a cell covers."""
        seeds, sources = self._seeds(row, dataset, measure, metric, category)
        return Measured(_over_seeds(seeds, self._scale(measure, metric)), sources)

    def of_cell(self, cell: PlannedCell, measure: str, metric: str) -> Value:
        """The stored number of one whole cell, without a value if it has none or the suite lacks the measure."""
        if measure not in self.spec.measures:
            return Value(None, "", "not measured in this suite")
        found = _pick(cell, self._taken[cell.id, measure], metric, None)
        why = self.stale(cell, measure)
        return found._replace(note=f"{found.note}; stale: {why}") if why else found

    def by_seed(
        self, row: RowSpec, dataset: str, measure: str, metric: str, category: str | None
    ) -> Mapping[int, float]:
        """Seed -> value, for the seeds that have one; `at` returns the mean of these values."""
        seeds, _ = self._seeds(row, dataset, measure, metric, category)
        scale = self._scale(measure, metric)
        return {seed: one.value * scale for seed, one in seeds.items() if one.value is not None}

    def _scale(self, measure: str, metric: str) -> float:
        return 100.0 if self.spec.measures[measure].metrics[metric].percent else 1.0

    def _seeds(
        self, row: RowSpec, dataset: str, measure: str, metric: str, category: str | None
    ) -> tuple[Mapping[int, _OfSeed], tuple[tuple[str | None, Run], ...]]:
        by_seed: dict[int, list[PlannedCell]] = {}
        for cell in row.cells:
            if cell.dataset == dataset and (category in (None, MEAN) or cell.part in (None, category)):
                by_seed.setdefault(cell.seed, []).append(cell)
        sources: list[tuple[str | None, Run]] = []
        seeds: dict[int, _OfSeed] = {}
        for seed, cells in by_seed.items():
            taken = [self._taken[cell.id, measure] for cell in cells]
            seeds[seed] = _of_seed(cells, taken, metric, category)
            stale = dict.fromkeys(filter(None, (self.stale(cell, measure) for cell in cells)))
            seeds[seed] = replace(seeds[seed], notes=(*seeds[seed].notes, *(f"stale: {why}" for why in stale)))
            if seeds[seed].value is not None:
                pairs = zip(cells, taken, strict=True)
                sources += [(cell.part, each.run) for cell, each in pairs if each.run is not None]
        return seeds, tuple(sources)


@dataclass(frozen=True, slots=True)
class _OfSeed:
    state: State
    value: float | None = None
    notes: tuple[str, ...] = ()


_NOT_RUN = _OfSeed("missing", None, ("not run",))


def _of_seed(cells: Sequence[PlannedCell], taken: Sequence[Taken], metric: str, category: str | None) -> _OfSeed:
    """The value of one seed: of its only cell, or the mean over its cells; none of them may be failed or missing."""
    pairs = list(zip(cells, taken, strict=True))
    if failed := [(cell, each) for cell, each in pairs if each.state == "failed"]:
        note = _of_parts(cells, [cell for cell, _ in failed]) + f"failed: {first_line(failed[0][1].error)}"
        return _OfSeed("failed", None, (note,))
    if missing := [cell for cell, each in pairs if each.state == "missing"]:
        if len(missing) == len(cells):
            return _NOT_RUN
        return _OfSeed("missing", None, (_of_parts(cells, missing) + "not run",))
    found = [(cell, _pick(cell, each, metric, category)) for cell, each in pairs]
    values = [value.value for _, value in found if value.value is not None]
    notes = tuple(dict.fromkeys(value.note for _, value in found if value.note))
    if not values:
        return _OfSeed("undefined", None, notes or ("no reason was stored",))
    if len(cells) > 1:
        undefined = [cell for cell, value in found if value.value is None]
        made = f"mean over {len(values)} cells of a seed"
        notes = (*notes, f"{made}; undefined for {_names(undefined)}" if undefined else made)
    return _OfSeed("value", fmean(values), notes)


def _pick(cell: PlannedCell, taken: Taken, metric: str, category: str | None) -> Value:
    """A cell's value for a category, or for all that the cell covers (its mean, or its only value)."""
    found = taken.values.get(metric, {})
    if category is not None and category != MEAN and cell.part is None:
        return found.get(category, Value(None, "", "not measured for this category"))
    for whole in (MEAN, None):
        if whole in found:
            return found[whole]
    if len(found) == 1:
        return next(iter(found.values()))
    return Value(None, "", "the measure gave no mean over categories" if found else "the measure gave no such value")


def _over_seeds(seeds: Mapping[int, _OfSeed], scale: float) -> Summary:
    """Mean ± std (ddof = 1) over the seeds that have a value; the notes explain why the other seeds have none."""
    by_seed = {number: seed.value * scale for number, seed in seeds.items() if seed.value is not None}
    values = list(by_seed.values())
    said = dict.fromkeys(note for seed in seeds.values() if seed.state == "value" for note in seed.notes)
    lost: dict[str, list[str]] = {}
    for number, seed in seeds.items():
        if seed.state != "value" and (values or seed.notes != _NOT_RUN.notes):
            undefined = "undefined: " if values and seed.state == "undefined" else ""
            for note in seed.notes:
                lost.setdefault(undefined + note, []).append(str(number))
    if not values:
        states = {seed.state for seed in seeds.values()}
        state: State = "undefined" if "undefined" in states else "failed" if "failed" in states else "missing"
        return Summary(state, planned=len(seeds), notes=tuple(lost))
    if lost:
        why = "; ".join(
            f"seed{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}: {note}" for note, numbers in lost.items()
        )
        said = {f"{len(values)} of {len(seeds)} seeds; {why}": None, **said}
    notes = tuple(said)
    spread = stdev(values) if len(values) > 1 else None
    return Summary("value", fmean(values), spread, len(values), len(seeds), notes, tuple(by_seed.items()))


def one_line(text: str) -> str:
    """All lines of an error, which may end in what to do, as one line for a table."""
    return shortened("; ".join(line.strip() for line in text.strip().splitlines()), 400)


def _of_parts(cells: Sequence[PlannedCell], some: Sequence[PlannedCell]) -> str:
    return "" if len(cells) == 1 else f"{len(some)} of {len(cells)} parts ({_names(some)}) "


def _names(cells: Iterable[PlannedCell]) -> str:
    return ", ".join(cell.part or cell.id for cell in cells)


Order = Literal["best", "second"]


def ranks(summaries: Sequence[Summary], decimals: int, *, higher_is_better: bool) -> dict[int, Order]:
    """Positions of the best and the second-best means. Means that are equal as displayed share a rank.

    A single mean is not ranked.

    >>> ranks([Summary("value", v) for v in (90.04, 91.2, 90.0, 85.0)], 1, higher_is_better=True)
    {1: 'best', 0: 'second', 2: 'second'}
    """
    shown = {i: round(each.mean, decimals) for i, each in enumerate(summaries) if each.mean is not None}
    if len(shown) < 2:
        return {}
    order = sorted(set(shown.values()), reverse=higher_is_better)
    places: list[tuple[float, Order]] = list(zip(order, ("best", "second"), strict=False))
    return {i: place for value, place in places for i, each in shown.items() if each == value}


def is_noise(summaries: Sequence[Summary], marks: Mapping[int, Order]) -> bool:
    """Whether the intervals mean ± std of a best and a second best overlap; one of the two needs two seeds."""
    best = [summaries[i] for i, mark in marks.items() if mark == "best"]
    second = [summaries[i] for i, mark in marks.items() if mark == "second"]
    return any(
        abs(a.mean - b.mean) < (a.std or 0.0) + (b.std or 0.0)
        for a in best
        for b in second
        if a.mean is not None and b.mean is not None
    )
