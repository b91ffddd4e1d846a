"""Stored evidence other than numbers: image scores, curves and example images, of the runs that count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from afrad_bench.report.basis.figures import named
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.model import PlannedCell, RowSpec
from afrad_bench.types import Curve, Example, Score

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T", Score, Curve, Example)

TRAINING = "training_loss"
"""Kind of the curves that are of a fit and not of a measure."""


@dataclass(frozen=True)
class RowEvidence(Generic[T]):
    """Evidence of one kind (scores, curves or examples) of one row, data set and seed, by category.

    Trainings have no category: theirs is the part of the data that the cell covers, empty if it covers all."""

    row: RowSpec
    style: int
    """Index of the row in the suite, which decides how it is drawn."""
    dataset: str
    seed: int
    by_category: Mapping[str, Sequence[T]]
    cells: Mapping[str, PlannedCell] = field(default_factory=dict)
    """Category -> the cell that its evidence is of."""

    def __iter__(self) -> Iterator[T]:
        return (one for found in self.by_category.values() for one in found)


@dataclass(frozen=True)
class Evidence:
    """All evidence, by kind; each tuple is in order of rows and seeds."""

    scores: tuple[RowEvidence[Score], ...] = ()
    curves: tuple[RowEvidence[Curve], ...] = ()
    examples: tuple[RowEvidence[Example], ...] = ()
    trainings: tuple[RowEvidence[Curve], ...] = ()
    """Loss of each fit."""


def collect(
    grid: Grid, scores: pd.DataFrame | None, curves: pd.DataFrame | None, examples: pd.DataFrame | None
) -> Evidence:
    """Collect evidence from frames of the store (`Store.read`); None means an empty frame."""
    of_pixels, of_fits = (None, None) if curves is None else _divided(curves)
    return Evidence(
        scores=tuple(_seen(grid, scores, Score)),
        curves=tuple(_seen(grid, of_pixels, Curve)),
        examples=tuple(_seen(grid, examples, Example)),
        trainings=tuple(_seen(grid, of_fits, Curve, of_fit=True)),
    )


def first_seeds(seen: Iterable[RowEvidence[T]], dataset: str) -> tuple[RowEvidence[T], ...]:
    """For each row, its first seed with evidence for the data set; used where only one seed is shown."""
    found: dict[str, RowEvidence[T]] = {}
    for one in seen:
        if one.dataset == dataset:
            found.setdefault(one.row.label, one)
    return tuple(found.values())


def of_seeds(seen: Iterable[RowEvidence[T]]) -> str:
    """ "seed 0", or each seed with its rows if the rows show different seeds."""
    seeds: dict[int, list[str]] = {}
    for one in seen:
        seeds.setdefault(one.seed, []).append(one.row.label)
    if len(seeds) == 1:
        return f"seed {next(iter(seeds))}"
    return "; ".join(f"seed {seed}: {', '.join(labels)}" for seed, labels in seeds.items())


def not_drawn(rest: Iterable[RowEvidence[T]]) -> tuple[str, ...]:
    """What a caption says of rows that a figure leaves out."""
    labels = list(dict.fromkeys(one.row.label for one in rest))
    return (f"Not drawn, for their number: {named(labels)}; `--only LABEL` chooses rows.",) if labels else ()


def categories(seen: Iterable[RowEvidence[T]]) -> tuple[str, ...]:
    """All categories, in order of first appearance."""
    return tuple(dict.fromkeys(category for one in seen for category in one.by_category))


def best_f1(scores: Sequence[Score]) -> float:
    """The threshold with the largest F1: one of the scores, the highest if several are equally good.

    >>> known = ((0.1, False), (0.35, True), (0.4, False), (0.8, True))
    >>> best_f1([Score("a", "", anomalous, score) for score, anomalous in known])
    0.35
    """
    positives = sum(each.gt_label for each in scores)
    best, limit, hits = -1.0, 0.0, 0
    descending = sorted(scores, key=lambda each: -each.pred_score)
    for called, each in enumerate(descending, 1):
        hits += each.gt_label
        if called < len(descending) and descending[called].pred_score == each.pred_score:
            continue
        f1 = 2 * hits / (called + positives)
        if f1 > best:
            best, limit = f1, each.pred_score
    return limit


def _divided(curves: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    of_fits = curves["kind"] == TRAINING
    return curves[~of_fits], curves[of_fits]


def _seen(grid: Grid, frame: pd.DataFrame | None, kind: type[T], *, of_fit: bool = False) -> Iterator[RowEvidence[T]]:
    tables = {} if frame is None else dict(iter(frame.groupby(["cell_id", "run_id"], sort=False)))
    for style, row in enumerate(grid.spec.rows):
        places: dict[tuple[str, int], list[PlannedCell]] = {}
        for cell in row.cells:
            places.setdefault((cell.dataset, cell.seed), []).append(cell)
        for (dataset, seed), cells in places.items():
            found: dict[str, list[T]] = {}
            of: dict[str, PlannedCell] = {}
            for cell in cells:
                rows = _newest(grid, cell, tables, of_fit=of_fit)
                for one in () if rows is None else _made(kind, rows):
                    place = _place(cell, one.category)
                    found.setdefault(place, []).append(one)
                    of[place] = cell
            if found:
                yield RowEvidence(row, style, dataset, seed, found, of)


def _newest(grid: Grid, cell: PlannedCell, tables: Mapping[Any, pd.DataFrame], *, of_fit: bool) -> pd.DataFrame | None:
    """The rows of a cell's newest run that counts for some measure and has such rows; None if there is no such run.

    `of_fit`: else of the newest run on the terms of one that counts, such as the one that fitted a kept model."""
    counted = {use.run.run_id: use.run for use in grid.counted if use.cell.id == cell.id}
    with_rows = [run for run in reversed(grid.results.runs.get(cell.id, ())) if (cell.id, run.run_id) in tables]
    newest = next((run for run in with_rows if run.run_id in counted), None)
    if newest is None and of_fit:
        terms = [run.row["terms"] for run in counted.values()]
        newest = next((run for run in with_rows if run.row["terms"] in terms), None)
    return None if newest is None else tables[cell.id, newest.run_id]


def _place(cell: PlannedCell, category: str | None) -> str:
    """The category, with the cell's part in front if the part is not the category itself."""
    return category if category and cell.part in (None, category) else f"{cell.part or ''} {category or ''}".strip()


def _made(kind: type[T], rows: pd.DataFrame) -> Iterator[T]:
    return map(kind, *(map(_plain, rows[name].tolist()) for name in kind.__dataclass_fields__))


def _plain(value: Any) -> Any:
    """Arrays as tuples, and NaN (pandas' missing value) as None."""
    if isinstance(value, (str, bool)):
        return value
    if isinstance(value, float):
        return None if value != value else value
    return tuple(value.tolist()) if hasattr(value, "tolist") else value
