"""Differences of all rows to one of them in one metric, seed by seed, and how certain each is.

Differences are taken within a seed, which decides the data's order and (for equal methods) the initial weights of both
rows, and then averaged. The interval is that of a paired t test. Many rows are compared with one, so significance is
that after Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from afrad_bench.report.basis.comparison import Item, fact, incomparable
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.model import RowSpec
from afrad_bench.statistics import CONFIDENCE, Difference, holm, paired

CERTAIN, LIKELY = "●", "○"

Finding = Literal["certain", "likely", "unclear", "alike", "one seed", "not measured", "not comparable"]
"""Of a difference. "certain": significant after the correction; "likely": only without it; "alike": the same for every
seed, so that there is no noise to hold it against."""


@dataclass(frozen=True, slots=True)
class Effect:
    """The differences of one metric, by label of the row."""

    item: Item
    reference: RowSpec
    differences: Mapping[str, Difference]
    adjusted: Mapping[str, float]
    """p values after Holm's correction, where there are any."""

    def finding(self, label: str) -> Finding:
        """What can be said of the difference of a row."""
        found = self.differences[label]
        if found.mean is None:
            return "not comparable" if found.why.startswith(NOT_COMPARED) else "not measured"
        if found.p is None:
            return "one seed" if found.seeds == 1 else "alike"
        if self.adjusted[label] < 1 - CONFIDENCE:
            return "certain"
        return "likely" if found.p < 1 - CONFIDENCE else "unclear"

    def mark(self, label: str) -> str:
        return {"certain": CERTAIN, "likely": LIKELY}.get(self.finding(label), "")

    def gain(self, label: str) -> float:
        """The difference, with a positive sign if it is an improvement; 0 without one."""
        mean = self.differences[label].mean or 0.0
        return mean if self.item.metric.higher_is_better else -mean

    def text(self, label: str) -> str:
        """ "−1.2 [−2.0, −0.4] ●"."""
        found, decimals = self.differences[label], self.item.metric.decimals
        if found.mean is None:
            return "n/a"
        text = signed(found.mean, decimals)
        if found.low is not None and found.high is not None:
            text += f" [{signed(found.low, decimals)}, {signed(found.high, decimals)}]"
        return f"{text} {self.mark(label)}".rstrip()


NOT_COMPARED = "not compared, since these differ: "


def effect(grid: Grid, item: Item, rows: Sequence[RowSpec], reference: RowSpec) -> Effect | None:
    """The differences of these rows to the reference; None if no row has one, e.g. for a pixel metric without masks."""
    place = (item.dataset, item.measure, item.name, item.category)
    base, known = grid.by_seed(reference, *place), fact(grid, reference, item)
    differences: dict[str, Difference] = {}
    for row in rows:
        if differing := incomparable((known, fact(grid, row, item)), item):
            differences[row.label] = Difference(why=f"{NOT_COMPARED}{', '.join(differing)}")
        else:
            differences[row.label] = paired(grid.by_seed(row, *place), base)
    if all(found.mean is None for found in differences.values()):
        return None
    tested = {label: found.p for label, found in differences.items() if found.p is not None}
    return Effect(item, reference, differences, dict(zip(tested, holm(list(tested.values())), strict=True)))


def signed(value: float, decimals: int) -> str:
    """ "+1.2", "−1.2", "0.0"."""
    text = f"{value:+.{decimals}f}".replace("-", "−")
    return text[1:] if not text.strip("+−0.") else text
