"""The forest plot of a suite: what each row changes, with intervals, the largest difference first."""

from __future__ import annotations

from typing import Literal

from afrad_bench.report.basis.answer import compared, reference_of
from afrad_bench.report.basis.effect import Effect
from afrad_bench.report.basis.figures import key, label, of_data, stamp
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.terms import count
from afrad_bench.report.basis.wording import points
from afrad_bench.report.drawing.shapes import Figure, Forest, ForestPanel, Interval
from afrad_bench.statistics import CONFIDENCE

ROWS, PANELS = 8, 3
"""The most rows and metrics that are drawn; the table has all of them."""


def forest(grid: Grid, dataset: str) -> Figure | None:
    """The plot of one data set; None if no difference was measured."""
    found = compared(grid, dataset)[:PANELS]
    if not found:
        return None
    labels = sorted(found[0].differences, key=lambda each: -abs(found[0].gain(each)))
    shown = labels[:ROWS]
    rows = {row.label: row for row in grid.spec.rows}
    reference = label(grid, found[0].reference)
    leads = "" if reference_of(grid) is found[0].reference else ", which leads"
    caption = [
        f"Difference to {reference!r}{leads}, with {CONFIDENCE:.0%} confidence intervals over seeds. Filled: "
        "significant after Holm's correction; coloured and hollow: only without it; grey: not told from noise.",
    ]
    if len(labels) > ROWS:
        caption.append(f"The {ROWS} largest of {len(labels)} differences are drawn.")
    if len(compared(grid, dataset)) > PANELS:
        caption.append(f"The first {PANELS} metrics are drawn.")
    seeds = sorted({cell.seed for row in grid.spec.rows for cell in row.cells if cell.dataset == dataset})
    texts = "; ".join(f"{label(grid, rows[each])}: {found[0].text(each)}" for each in shown)
    return Figure(
        key=key(grid, "forest", dataset),
        title=of_data(grid, f"Difference to {reference}", dataset),
        description=f"Differences to {reference} in {points(found[0].item)}: {texts}.",
        caption=tuple(caption),
        stamp=stamp(grid, dataset, count(len(seeds), "seed")),
        drawing=Forest(
            rows=tuple(label(grid, rows[each]) for each in shown),
            panels=tuple(_panel(each, shown) for each in found),
            reference=reference,
        ),
        dataset=dataset,
    )


def _panel(of: Effect, labels: list[str]) -> ForestPanel:
    unit = "points" if of.item.metric.percent else of.item.unit
    title = f"Δ {of.item.metric.title} ({unit})" if unit else f"Δ {of.item.metric.title}"
    return ForestPanel(title, of.item.metric.higher_is_better, tuple(_interval(of, each) for each in labels))


def _interval(of: Effect, label: str) -> Interval | None:
    difference = of.differences.get(label)
    if difference is None or difference.mean is None:
        return None
    gain = of.gain(label)
    sign: Literal[-1, 0, 1] = 1 if gain > 0 else -1 if gain < 0 else 0
    finding = of.finding(label)
    certainty: Literal["certain", "likely", "unclear"] = "unclear"
    if finding == "certain" or finding == "likely":
        certainty = finding
    return Interval(difference.mean, difference.low, difference.high, sign, certainty, of.text(label))
