"""Efficiency plots: I-AUROC against GFLOPs (Fig. 7 of the paper) and against time, with the parameters as area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from afrad_bench.report.basis.comparison import Item, fact, incomparable
from afrad_bench.report.basis.figures import key, label, named, of_data, over, stamp
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.results import doubts
from afrad_bench.report.drawing.shapes import Bubble, Bubbles, Figure, Mark
from afrad_bench.report.model import RowSpec, Summary
from afrad_bench.types import MEAN

ACCURACY, SIZE = "image_auroc", "params_total"
"""Metrics of the vertical axis and of the areas."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A horizontal axis."""

    metric: str
    key: str
    name: str
    unit: str
    label: str
    ends: tuple[str, ...]
    """Metrics of the two ends of what single calls take, if there are any."""
    quoted: bool
    """Whether the paper's accuracies stand beside it, as they do in its Fig. 7."""


COSTS = (
    Cost("gmacs", "efficiency_plot", "GFLOPs", "GFLOPs", "GFLOPs per image, counted as multiply-accumulates", (), True),
    Cost(
        "latency_median",
        "latency_plot",
        "time",
        "ms",
        "ms per image, wall clock, batch 1",
        ("latency_p5", "latency_p95"),
        False,
    ),
)


def tradeoffs(grid: Grid) -> tuple[Figure, ...]:
    """A figure for each data set with a row whose accuracy and cost were both measured."""
    found = {
        name: Item("", measure, spec, name, metric, None if cost else MEAN)
        for cost in (False, True)
        for measure, spec, name, metric in grid.metrics(cost=cost)
    }
    made = (
        _figure(grid, dataset, cost, found)
        for cost in COSTS
        for dataset in grid.datasets
        if {ACCURACY, cost.metric} <= set(found)
    )
    return tuple(figure for figure in made if figure is not None)


def _figure(grid: Grid, dataset: str, axis: Cost, items: Mapping[str, Item]) -> Figure | None:
    accuracy, cost, size = items[ACCURACY], replace(items[axis.metric], dataset=dataset), items.get(SIZE)
    ends = [items[name] for name in axis.ends if name in items]

    def at(row: RowSpec, item: Item) -> Summary:
        return grid.at(row, dataset, item.measure, item.name, item.category).summary

    bubbles, left_out = [], []
    for style, row in enumerate(grid.spec.rows):
        if not row.cells:
            continue
        x, y = at(row, cost).mean, at(row, accuracy).mean
        if x is None or y is None:
            left_out.append(row.label)
            continue
        area = at(row, size).mean if size else None
        doubted = any(map(doubts, (*at(row, cost).notes, *at(row, accuracy).notes)))
        name = f"{label(grid, row)} ⚠ unreliable" if doubted else label(grid, row)
        bubble = Bubble(name, style, x, y, at(row, accuracy).std, area)
        span = [mean for item in ends if (mean := at(row, item).mean) is not None]
        if len(span) == 2:
            bubble = replace(bubble, range=(span[0], span[1]))
        bubbles.append(replace(bubble, text=_words(bubble, axis)))
    if not bubbles or (len(bubbles) == 1 and not axis.quoted):
        return None
    if not axis.quoted and incomparable([fact(grid, row, cost) for row in grid.spec.rows if row.cells], cost):
        return None  # times of different machines, for example, share no axis
    marks, of = _marks(grid, dataset, accuracy) if axis.quoted else ((), ())
    shared = of == (dataset,)
    seeds = (cell.seed for row in grid.spec.rows for cell in row.cells if cell.dataset == dataset)
    return Figure(
        key=key(grid, axis.key, dataset),
        title=of_data(grid, f"I-AUROC against {axis.name}", dataset),
        description=_description(bubbles, marks),
        caption=tuple(_caption(bubbles, marks, left_out, of, shared, axis)),
        stamp=stamp(grid, dataset, over(seeds, "mean over ")),
        drawing=Bubbles(
            bubbles=tuple(bubbles),
            marks=marks,
            x_label=axis.label,
            y_label=f"I-AUROC on {dataset}, mean over categories (%)",
            size_label="M parameters",
            marks_label=f"paper, {named(of)}: no GFLOPs printed" if marks else "",
            shared=shared,
        ),
        dataset=dataset,
    )


def _marks(grid: Grid, dataset: str, accuracy: Item) -> tuple[tuple[Mark, ...], tuple[str, ...]]:
    """The paper's accuracies, and the data sets that they are for."""
    found = [
        (style, row, figure)
        for style, row in enumerate(grid.spec.rows)
        for figure in Item(dataset, accuracy.measure, accuracy.spec, accuracy.name, accuracy.metric, MEAN).published(
            grid, row
        )
    ]
    several = len({figure.dataset for _, _, figure in found}) > 1
    marks = tuple(
        Mark(f"{row.label}, {figure.dataset}" if several else row.label, style, figure.value)
        for style, row, figure in found
    )
    return marks, tuple(dict.fromkeys(figure.dataset or "" for _, _, figure in found))


def _caption(
    bubbles: Sequence[Bubble],
    marks: Sequence[Mark],
    left_out: Sequence[str],
    of: Sequence[str],
    shared: bool,
    axis: Cost,
) -> list[str]:
    sentences = ["Filled circles: measured here; their area is the number of parameters."]
    if any(bubble.spread for bubble in bubbles):
        sentences.append("Bars: ± one standard deviation over seeds.")
    if any(bubble.range for bubble in bubbles):
        sentences.append("Bars along: from the 5th to the 95th percentile of single calls.")
    missing = [bubble.label for bubble in bubbles if bubble.size is None]
    if len(missing) == len(bubbles):
        sentences = ["Dots: measured here; their parameters are not known.", *sentences[1:]]
    elif missing:
        sentences.append(f"Without an area, since its parameters are not known: {named(missing)}.")
    if len(bubbles) > 2:
        sentences.append("Dashed: the Pareto front of the means; what lies on it may be noise.")
    if left_out:
        sentences.append(f"Not drawn, since accuracy or {axis.name} were not measured: {named(left_out)}.")
    if marks:
        place = "on the same axis" if shared else f"on an axis of their own, since they are for {named(of)}"
        sentences.append(
            "Hollow diamonds: published. The paper shows GFLOPs and parameters in its Fig. 7 only, without figures, so "
            f"that its accuracies stand beside the plot, {place}."
        )
    return sentences


def _description(bubbles: Sequence[Bubble], marks: Sequence[Mark]) -> str:
    measured = f"Measured: {'; '.join(bubble.text for bubble in bubbles)}."
    published = "; ".join(f"{mark.label}: {mark.y:.1f} %" for mark in marks)
    return f"{measured} Published: {published}." if marks else measured


def _words(bubble: Bubble, axis: Cost) -> str:
    spread = f" ± {bubble.spread:.1f}" if bubble.spread else ""
    size = "" if bubble.size is None else f", {bubble.size:.2f} M parameters"
    span = "" if bubble.range is None else f" ({bubble.range[0]:.3g} to {bubble.range[1]:.3g})"
    return f"{bubble.label}: {bubble.y:.1f}{spread} % at {bubble.x:.3g} {axis.unit}{span}{size}"
