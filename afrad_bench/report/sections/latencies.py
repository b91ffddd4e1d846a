"""Latency as intervals: a line for each row with the median and the percentiles of its single calls, fastest first."""

from __future__ import annotations

from collections.abc import Sequence

from afrad_bench.report.basis.comparison import Item, fact, incomparable
from afrad_bench.report.basis.figures import key, label, named, of_data, over, stamp
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.results import doubts
from afrad_bench.report.drawing.shapes import Figure, Span, Spans
from afrad_bench.report.model import RowSpec

MEDIAN, ENDS = "latency_median", ("latency_p5", "latency_p95")
DOTS, BARS = "median of single calls", "5th to 95th percentile"
HOLLOW = "Hollow, in red: unreliable; the note of the row in the table says why."
KEY, TITLE, LABEL = "latency_intervals", "Time of single calls", "ms per image"


def latencies(grid: Grid) -> tuple[Figure, ...]:
    """A figure for each data set on which times of two rows can be compared."""
    known = {name: (measure, spec, metric) for measure, spec, name, metric in grid.metrics(cost=True)}
    if MEDIAN not in known:
        return ()
    made = (
        _figure(
            grid,
            dataset,
            [
                Item(dataset, measure, spec, name, metric, None)
                for name, (measure, spec, metric) in known.items()
                if name in (MEDIAN, *ENDS)
            ],
        )
        for dataset in grid.datasets
    )
    return tuple(figure for figure in made if figure is not None)


def _figure(grid: Grid, dataset: str, items: Sequence[Item]) -> Figure | None:
    median = next(item for item in items if item.name == MEDIAN)
    rows = [row for row in grid.spec.rows if row.cells]
    found = [span for row in rows if (span := _span(grid, row, items)) is not None]
    if len(found) < 2 or incomparable([fact(grid, row, median) for row in rows], median):
        return None  # times of different machines share no axis
    missing = [row.label for row in rows if grid.at(row, dataset, median.measure, MEDIAN, None).summary.mean is None]
    seeds = sorted({cell.seed for row in rows for cell in row.cells if cell.dataset == dataset})
    caption = ["Of several seeds, the means."] if len(seeds) > 1 else []
    caption += [f"Not drawn, since no time was measured: {named(missing)}."] if missing else []
    return spans_figure(
        found, key(grid, KEY, dataset), of_data(grid, TITLE, dataset), caption, stamp(grid, dataset, over(seeds))
    )


def _span(grid: Grid, row: RowSpec, items: Sequence[Item]) -> Span | None:
    found = {item.name: grid.at(row, item.dataset, item.measure, item.name, None).summary for item in items}
    value = found[MEDIAN].mean
    if value is None:
        return None
    low, high = (found[name].mean if name in found else None for name in ENDS)
    return span_of(label(grid, row), value, low, high, any(map(doubts, found[MEDIAN].notes)))


def span_of(name: str, value: float, low: float | None, high: float | None, doubted: bool) -> Span:
    """The interval of one row, in ms per image, with its numbers as text."""
    ends = "" if low is None or high is None else f" ({_ms(low)}–{_ms(high)})"
    return Span(f"{name} ⚠ unreliable" if doubted else name, low, value, high, doubted, f"{_ms(value)} ms{ends}")


def _ms(value: float) -> str:
    """Three significant digits, never with an exponent.

    >>> _ms(4281.0), _ms(6.29)
    ('4281', '6.29')
    """
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def spans_figure(found: Sequence[Span], key: str, title: str, caption: Sequence[str], stamp: tuple[str, ...]) -> Figure:
    """The intervals as a figure, fastest first."""
    ordered = tuple(sorted(found, key=lambda span: (span.value, span.label)))
    bars = any(span.low is not None for span in ordered)
    meaning = f"{DOTS}, {BARS}" if bars else DOTS
    said = [f"Dots: {DOTS}{f'; bars: {BARS}' if bars else ''}."]
    said += [HOLLOW] if any(span.doubted for span in ordered) else []
    return Figure(
        key=key,
        title=title,
        description=f"Milliseconds per image, fastest first: {meaning}{' in brackets' if bars else ''}. "
        f"{'; '.join(f'{span.label}: {span.text}' for span in ordered)}.",
        caption=(*said, *caption),
        stamp=stamp,
        drawing=Spans(ordered, LABEL, meaning),
    )
