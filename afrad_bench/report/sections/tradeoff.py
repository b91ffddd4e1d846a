"""The efficiency plot (Fig. 7 of the paper): I-AUROC against GFLOPs, with the number of parameters as area."""

from __future__ import annotations

from collections.abc import Sequence

from afrad_bench.report.basis.comparison import Item
from afrad_bench.report.basis.figures import key, label, named, of_data, stamp
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.drawing.shapes import Bubble, Bubbles, Figure, Mark
from afrad_bench.report.model import RowSpec, Summary
from afrad_bench.types import MEAN

ACCURACY, COST, SIZE = "image_auroc", "gmacs", "params_total"
"""Metrics of the two axes and of the areas."""


def tradeoffs(grid: Grid) -> tuple[Figure, ...]:
    """A figure for each data set with a row whose accuracy and cost were both measured."""
    found = {
        name: Item("", measure, spec, name, metric, None if cost else MEAN)
        for cost in (False, True)
        for measure, spec, name, metric in grid.metrics(cost=cost)
        if name in (ACCURACY, COST, SIZE)
    }
    if not {ACCURACY, COST} <= set(found):
        return ()
    made = (_figure(grid, dataset, found[ACCURACY], found[COST], found.get(SIZE)) for dataset in grid.datasets)
    return tuple(figure for figure in made if figure is not None)


def _figure(grid: Grid, dataset: str, accuracy: Item, cost: Item, size: Item | None) -> Figure | None:
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
        bubbles.append(Bubble(label(grid, row), style, x, y, at(row, accuracy).std, area))
    if not bubbles:
        return None
    marks, of = _marks(grid, dataset, accuracy)
    shared = of == (dataset,)
    seeds = sorted({cell.seed for row in grid.spec.rows for cell in row.cells if cell.dataset == dataset})
    over = f"mean over seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return Figure(
        key=key(grid, "efficiency_plot", dataset),
        title=of_data(grid, "I-AUROC against GFLOPs", dataset),
        description=_description(bubbles, marks),
        caption=tuple(_caption(bubbles, marks, left_out, of, shared)),
        stamp=stamp(grid, dataset, over),
        drawing=Bubbles(
            bubbles=tuple(bubbles),
            marks=marks,
            x_label="GFLOPs per image, counted as multiply-accumulates",
            y_label=f"I-AUROC on {dataset}, mean over categories (%)",
            size_label="M parameters",
            marks_label=f"paper, {named(of)}: no GFLOPs printed" if marks else "",
            shared=shared,
        ),
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
    bubbles: Sequence[Bubble], marks: Sequence[Mark], left_out: Sequence[str], of: Sequence[str], shared: bool
) -> list[str]:
    sentences = ["Filled circles: measured here; their area is the number of parameters."]
    if any(bubble.spread for bubble in bubbles):
        sentences.append("Bars: ± one standard deviation over seeds.")
    missing = [bubble.label for bubble in bubbles if bubble.size is None]
    if len(missing) == len(bubbles):
        sentences = ["Dots: measured here; their parameters are not known.", *sentences[1:]]
    elif missing:
        sentences.append(f"Without an area, since its parameters are not known: {named(missing)}.")
    if left_out:
        sentences.append(f"Not drawn, since accuracy or GFLOPs were not measured: {named(left_out)}.")
    if marks:
        axis = "on the same axis" if shared else f"on an axis of their own, since they are for {named(of)}"
        sentences.append(
            "Hollow diamonds: published. The paper shows GFLOPs and parameters in its Fig. 7 only, without figures, so "
            f"that its accuracies stand beside the plot, {axis}."
        )
    return sentences


def _description(bubbles: Sequence[Bubble], marks: Sequence[Mark]) -> str:
    def one(bubble: Bubble) -> str:
        spread = f" ± {bubble.spread:.1f}" if bubble.spread else ""
        size = "" if bubble.size is None else f", {bubble.size:.2f} M parameters"
        return f"{bubble.label}: {bubble.y:.1f}{spread} % at {bubble.x:.3g} GFLOPs{size}"

    measured = f"Measured: {'; '.join(map(one, bubbles))}."
    published = "; ".join(f"{mark.label}: {mark.y:.1f} %" for mark in marks)
    return f"{measured} Published: {published}." if marks else measured
