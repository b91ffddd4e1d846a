"""Means that rounding cannot explain, and which single figure would explain them.

A figure c printed with one decimal stands for a true value in [c - 0.05, c + 0.05], for every rule of rounding halves,
and no percentage is above 100 or below 0. So the true mean of n figures lies between the mean of the lower ends and the
mean of the upper ends, and a mean printed as m stands for a value in [m - 0.05, m + 0.05]. These two intervals must
share at least one point; then |m - mean| is at most 0.1. The check uses decimals and multiplies by n instead of
dividing, so that a mean on the limit is judged exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import pairwise
from statistics import median

from afrad_bench.audit.model import Finding, Sign, Suspect, exact
from afrad_bench.published import Figure
from afrad_bench.types import MEAN

STEP = Decimal("0.1")
HALF = STEP / 2
LEAST, MOST = Decimal("0.0"), Decimal("100.0")

Cells = Mapping[tuple[str, str, str], Decimal]
"""The figures of one table by row, category and metric."""


def explained(values: Sequence[Decimal], mean: Decimal) -> bool:
    """Whether these printed figures can have this printed mean.

    >>> explained([Decimal("90.0"), Decimal("91.1")], Decimal("90.6")), explained([Decimal("90.0")], Decimal("90.2"))
    (True, False)
    """
    n = len(values)
    low = sum(max(value - HALF, LEAST) for value in values)
    high = sum(min(value + HALF, MOST) for value in values)
    return low <= n * (mean + HALF) and high >= n * (mean - HALF)


@dataclass(frozen=True, slots=True)
class Mean:
    """A printed mean and the figures that it averages."""

    table: str
    dataset: str | None
    row: str
    metric: str
    printed: Decimal
    cells: Cells
    """All figures of its table."""

    @property
    def parts(self) -> dict[str, Decimal]:
        """The averaged figures by category."""
        return {c: v for (r, c, m), v in self.cells.items() if (r, m) == (self.row, self.metric) and c != MEAN}


def checkable(figures: Iterable[Figure]) -> list[Mean]:
    """Every printed mean of percentages for which the categories are also printed."""
    tables: dict[tuple[str, str | None], dict[tuple[str, str, str], Decimal]] = {}
    for figure in figures:
        if figure.unit == "%" and figure.category is not None:
            cells = tables.setdefault((figure.table, figure.dataset), {})
            cells[figure.row, figure.category, figure.metric] = exact(figure)
    means = [
        Mean(table, dataset, row, metric, value, cells)
        for (table, dataset), cells in tables.items()
        for (row, category, metric), value in cells.items()
        if category == MEAN
    ]
    return [mean for mean in means if mean.parts]


def wrong_means(figures: Iterable[Figure]) -> list[Finding]:
    """A finding for every printed mean that its categories contradict, with the figures that could be wrong."""
    found = []
    for mean in checkable(figures):
        values = list(mean.parts.values())
        if explained(values, mean.printed):
            continue
        ranked, recomputed = suspects(mean), average(values)
        explanation = _explanation(ranked, len(values), recomputed)
        place = (mean.table, mean.row, MEAN, mean.dataset, mean.metric)
        found.append(Finding("mean", *place, mean.printed, recomputed, explanation, suspects=tuple(ranked)))
    return found


def average(values: Iterable[Decimal]) -> Decimal:
    """The mean with three decimals: exact for groups of 4, 5 or 10 figures, else only for display."""
    known = list(values)
    return (sum(known, Decimal(0)) / len(known)).quantize(Decimal("0.001"))


def suspects(mean: Mean) -> list[Suspect]:
    """Each figure that alone could explain a wrong mean, most likely first.

    Sorted by `Suspect.sign`: a figure copied together with another one, a slip (wrong or swapped digit), equal to an
    adjacent figure, no sign. Equal signs are sorted by how far the figure is from the median of the other methods for
    its category (`Suspect.apart`), then in printed order."""
    found = [each for category in mean.parts if (each := _suspect(mean, category))]
    order: tuple[Sign, ...] = ("copied", "slip", "neighbour", "none")
    return sorted(found, key=lambda suspect: (order.index(suspect.sign), -suspect.apart))


def _suspect(mean: Mean, category: str) -> Suspect | None:
    parts, cells = mean.parts, mean.cells
    value, others = parts[category], [each for name, each in parts.items() if name != category]
    reach = _reach(others, mean.printed)
    if reach is None:
        return None
    low, high = reach
    needed = len(parts) * mean.printed - sum(others)
    fitting = tuple(
        sorted((slip for slip in slips(value) if low <= slip <= high), key=lambda slip: (abs(slip - needed), slip))
    )
    twins = _twins(cells, mean.row, category, mean.metric)
    sign: Sign = "none"
    if twins:
        sign = "copied"
    elif fitting:
        sign = "slip"
    elif value in _adjacent(cells, mean.row, category, mean.metric):
        sign = "neighbour"
    rivals = [each for (r, c, m), each in cells.items() if (c, m) == (category, mean.metric) and r != mean.row]
    beyond = value - median(rivals) if rivals else Decimal(0)
    return Suspect(category, value, needed, low, high, sign, fitting, twins, beyond if needed < value else -beyond)


def slips(value: Decimal) -> set[Decimal]:
    """Percentages that become this one by one wrong digit, or by swapping two neighbouring digits.

    >>> sorted(str(slip) for slip in slips(Decimal("9.5")))[:4]
    ['0.5', '1.5', '2.5', '3.5']
    """
    digits = str(value.quantize(STEP)).replace(".", "")
    found = {digits[:i] + digit + digits[i + 1 :] for i in range(len(digits)) for digit in "0123456789"}
    found |= {digits[:i] + digits[i + 1] + digits[i] + digits[i + 2 :] for i in range(len(digits) - 1)}
    known = {Decimal(text) * STEP for text in found} - {value}
    return {slip for slip in known if slip <= MOST}


def _reach(others: Sequence[Decimal], mean: Decimal) -> tuple[Decimal, Decimal] | None:
    """The smallest and the largest printed figure that explain the mean together with the others, or None."""
    n = len(others) + 1
    low = n * (mean - HALF) - sum(min(value + HALF, MOST) for value in others) - HALF
    high = n * (mean + HALF) - sum(max(value - HALF, LEAST) for value in others) + HALF
    low, high = max(low.quantize(STEP, ROUND_CEILING), LEAST), min(high.quantize(STEP, ROUND_FLOOR), MOST)
    while low <= high and not explained([*others, low], mean):  # at 0 and 100 the rounding interval is half as wide
        low += STEP
    while low <= high and not explained([*others, high], mean):
        high -= STEP
    return (low, high) if low <= high else None


def _twins(cells: Cells, row: str, category: str, metric: str) -> tuple[str, ...]:
    """Other categories of the row that share this figure and at least one more."""
    found = []
    for other in dict.fromkeys(c for r, c, _ in cells if r == row and c not in (category, MEAN)):
        equal = {m for r, c, m in cells if (r, c) == (row, category) and cells.get((row, other, m)) == cells[r, c, m]}
        if metric in equal and len(equal) > 1:
            found.append(other)
    return tuple(found)


def _adjacent(cells: Cells, row: str, category: str, metric: str) -> set[Decimal]:
    """The adjacent figures of the metric: above, below, left and right."""
    rows, categories = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    places = [(row, a, b) for a, b in pairwise(c for c in categories if c != MEAN)]
    near = [(r, b if a == category else a) for r, a, b in places if category in (a, b)]
    near += [(b if a == row else a, category) for a, b in pairwise(rows) if row in (a, b)]
    return {cells[r, c, metric] for r, c in near if (r, c, metric) in cells}


def _explanation(ranked: Sequence[Suspect], count: int, recomputed: Decimal) -> str:
    mean = f"the mean itself should read {recomputed.quantize(STEP)}, or"
    if not ranked:
        return f"{mean} several figures are wrong: alone, each would have to lie outside 0 to 100"
    best = ranked[0]
    text = f"{mean}, of single figures most likely, {best.category} {best.printed} stands for about {best.needed}"
    text += f" ({best.low} to {best.high})"
    if best.twins:
        text += f"; it repeats figures of {', '.join(best.twins)}"
    if best.slips:
        text += f"; a slip away: {', '.join(map(str, best.slips))}"
    if best.sign == "neighbour":
        text += "; the figure beside it is the same"
    if left := count - len(ranked):
        text += f"; {left} of {count} cannot explain it, since they would lie outside 0 to 100"
    return text
