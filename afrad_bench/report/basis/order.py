"""Whether the methods stand in the same order here as in the paper: the rank correlation, and who stands elsewhere.

Values from another device, data set or size cannot be compared one by one; the order of many methods can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from afrad_bench import published
from afrad_bench.report.basis.comparison import Item, fact
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.results import doubts
from afrad_bench.report.basis.tables import items
from afrad_bench.report.basis.wording import few, ordinal, quoted
from afrad_bench.report.model import Entry, Heading, Line, Table

FEWEST = 5
"""Fewer methods than these have no order worth a correlation."""
FAR = 3
"""Places between here and the paper from which a method is named."""


INTRO = (
    "Places can be compared where values cannot. Spearman's rank correlation is 1 for the same order and 0 for "
    "unrelated ones. Equal values share their mean place; unreliable values count."
)


@dataclass(frozen=True, slots=True)
class Both:
    """A method with a measured and a published value of one metric."""

    label: str
    measured: float
    published: float
    doubtful: bool = False
    """Whether the measured value is unreliable."""


@dataclass(frozen=True, slots=True)
class Order:
    """At least `FEWEST` methods, the best here first, with their places from 1; equal values share the mean place."""

    methods: tuple[Both, ...]
    here: tuple[float, ...]
    paper: tuple[float, ...]
    correlation: float
    """Spearman's rank correlation of the two orders, -1 to 1; NaN if all values of one side are equal."""


def order(methods: Sequence[Both], *, higher_is_better: bool) -> Order | None:
    """Both orders; None for fewer than `FEWEST` methods."""
    if len(methods) < FEWEST:
        return None
    import numpy as np
    from scipy import stats

    sign = -1.0 if higher_is_better else 1.0
    best_first = sorted(methods, key=lambda each: sign * each.measured)
    here = stats.rankdata([sign * each.measured for each in best_first])
    paper = stats.rankdata([sign * each.published for each in best_first])
    alike = np.ptp(here) == 0 or np.ptp(paper) == 0
    correlation = float("nan") if alike else float(np.corrcoef(here, paper)[0, 1])
    return Order(tuple(best_first), tuple(here.tolist()), tuple(paper.tolist()), correlation)


def orders(grid: Grid) -> Iterator[tuple[Item, Order]]:
    """For each headline metric and data set: the order of the methods that have one value here and one in the paper's
    table. A table whose rows are variants of one method has none."""
    if grid.spec.reproduces is None:
        return
    for cost in (False, True):
        for item in items(grid, cost=cost, headline=True):
            if found := order(_both(grid, item), higher_is_better=item.metric.higher_is_better):
                yield item, found


def _both(grid: Grid, item: Item) -> list[Both]:
    known: list[tuple[str, Both]] = []
    for row in grid.spec.rows:
        quotes = {figure.value for figure in item.published(grid, row)}
        summary = fact(grid, row, item)[0].summary
        if len(quotes) == 1 and summary.mean is not None:
            unreliable = any(doubts(note) for note in summary.notes)
            known.append((row.method, Both(row.label, summary.mean, quotes.pop(), unreliable)))
    return [each for _, each in known] if len({method for method, _ in known}) == len(known) else []


def table_name(table: str) -> str:
    """ "Table 4" of "table4"."""
    return published.CAPTIONS[table].partition(",")[0]


def sentences(found: Order, metric: str, table: str) -> Iterator[str]:
    """The correlation, and the methods that stand at least `FAR` places from where the paper has them."""
    if found.correlation != found.correlation:
        return
    correlation = f"{found.correlation:.2f}".replace("-", "−")
    yield (
        f"The order of {len(found.methods)} methods in {metric} and that of the paper's {table} have a rank "
        f"correlation (Spearman) of {correlation}."
    )
    gaps = sorted(range(len(found.methods)), key=lambda i: -abs(found.here[i] - found.paper[i]))
    far = [i for i in gaps if abs(found.here[i] - found.paper[i]) >= FAR]
    if far:
        told = [
            f"{quoted(found.methods[i].label)} ({_place(found.here[i])}, there {_place(found.paper[i])})" for i in far
        ]
        yield f"Furthest from their published place: {few(told)}."


def order_table(found: Order, metric: str, unit: str, decimals: int, table: str) -> Table:
    """The methods in the order measured here, with both values and places."""
    headings = (
        Heading("Method", numeric=False),
        Heading("place here"),
        Heading(f"place in {table}"),
        Heading("difference", hint="Place here minus published place; negative: better placed here"),
        Heading(metric, unit=unit),
        Heading("paper", unit=unit),
    )
    lines = []
    for each, here, paper in zip(found.methods, found.here, found.paper, strict=True):
        gap = f"{here - paper:+g}".replace("-", "−") if here != paper else "0"
        flag = "unreliable" if each.doubtful else ""
        value = Entry(f"{each.measured:.{decimals}f}", flag=flag, number=each.measured)
        places = (
            Entry(f"{here:g}", number=here),
            Entry(f"{paper:g}", number=paper),
            Entry(gap, number=here - paper),
        )
        lines.append(Line((Entry(each.label), *places, value, Entry(f"{each.published:g}", number=each.published))))
    return Table(f"Order in {metric}", headings, tuple(lines))


def _place(rank: float) -> str:
    return ordinal(int(rank)) if rank == int(rank) else f"{rank:g}th"
