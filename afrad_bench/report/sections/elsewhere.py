"""Values from other sources for the methods of the paper's table, with the paper's values. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from afrad_bench import published
from afrad_bench.published import Figure, Independent
from afrad_bench.report.basis.comparison import Footnotes
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.model import Entry, Heading, Line, Section, Table
from afrad_bench.types import MEAN

INTRO = (
    "What others print for the same methods, data and metrics; none of it was measured here.",
    "In brackets: the difference to the paper's figure.",
)


@dataclass(frozen=True, slots=True)
class _Method:
    """A row of the suite, with the means of the paper and of other sources on one data set."""

    label: str
    paper: Mapping[str, float]
    """By metric; empty for a method that the paper's table does not have."""
    others: tuple[Independent, ...]


def elsewhere(grid: Grid) -> Section | None:
    """One table for each data set of the reproduced table with values from other sources; None if there are none."""
    table = grid.spec.reproduces
    if table is None:
        return None
    figures = [figure for figure in published.figures(table) if figure.category == MEAN]
    tables: list[Table] = []
    notes: list[str] = []
    for dataset in dict.fromkeys(figure.dataset for figure in figures if figure.dataset):
        here = [figure for figure in figures if figure.dataset == dataset]
        metrics = tuple(dict.fromkeys(figure.metric for figure in here))
        methods = tuple(_methods(grid, here, dataset, metrics))
        if methods:
            tables.append(_table(methods, metrics, dataset))
            notes += _largest(methods, dataset)
    return Section("elsewhere", "Published elsewhere", tuple(tables), (*INTRO, *notes)) if tables else None


def _methods(grid: Grid, figures: Sequence[Figure], dataset: str, metrics: Sequence[str]) -> Iterator[_Method]:
    """Each method once, under the label of its first row."""
    labels: dict[str, str] = {}
    for row in grid.spec.rows:
        labels.setdefault(row.published_row or row.method, row.label)
    for key, label in labels.items():
        others = tuple(
            each
            for each in published.independent()
            if (each.method, each.dataset, each.category) == (key, dataset, MEAN) and each.metric in metrics
        )
        if others:
            yield _Method(label, {figure.metric: figure.value for figure in figures if figure.row == key}, others)


def _table(methods: Sequence[_Method], metrics: Sequence[str], dataset: str) -> Table:
    notes = Footnotes()
    lines = []
    for method in methods:
        if method.paper:
            values = [
                Entry(f"{method.paper[metric]:.1f}", number=method.paper[metric])
                if metric in method.paper
                else Entry("–")
                for metric in metrics
            ]
            lines.append(Line((*map(Entry, (method.label, "the paper", "–")), *values)))
        for source in dict.fromkeys((each.source, each.epochs) for each in method.others):
            found = {each.metric: each for each in method.others if (each.source, each.epochs) == source}
            first = next(iter(found.values()))
            details = (
                f"{first.source}: {_terms(first)}, {first.citation}",
                first.note and f"{first.source}: {first.note}",
            )
            refs = tuple(notes.refer(text) for text in details if text)
            entries = (_with_gap(found[m], method.paper.get(m)) if m in found else Entry("–") for m in metrics)
            epochs = Entry(str(first.epochs), number=first.epochs) if first.epochs else Entry("–")
            lines.append(Line((Entry(method.label), Entry(first.source, refs=refs), epochs, *entries)))
    headings = (
        Heading("Method", numeric=False),
        Heading("Source", numeric=False),
        Heading("Epochs", hint="Epochs of training; – where it is not stated for the method"),
        *(Heading(published.METRICS[metric], arrow="↑", unit="%") for metric in metrics),
    )
    return Table(f"Means over the categories of {dataset}", headings, tuple(lines), tuple(notes.texts))


def _terms(figure: Independent) -> str:
    seeds = "" if figure.seeds is None else f", {figure.seeds} seed{'s' if figure.seeds > 1 else ''}"
    epochs = "" if figure.epochs else ", epochs not stated"
    return f"{figure.setting}, {figure.image_size} px{epochs}{seeds}"


def _with_gap(figure: Independent, paper: float | None) -> Entry:
    gap = "" if paper is None else f" ({_signed(figure.value - paper)})"
    return Entry(f"{figure.value:.1f}{gap}", number=figure.value)


def _signed(gap: float) -> str:
    """One decimal and a sign; zero has no sign."""
    text = f"{gap:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def _largest(methods: Sequence[_Method], dataset: str) -> Iterator[str]:
    """The largest difference of each method on these data, in words, in descending order."""
    found = []
    for method in methods:
        known = [each for each in method.others if each.metric in method.paper]
        gaps = [(abs(each.value - method.paper[each.metric]), each) for each in known]
        if gaps:
            gap, figure = max(gaps, key=lambda pair: pair[0])
            found.append((gap, f"{method.label} {gap:.1f} ({published.METRICS[figure.metric]}, {figure.label})"))
    if found:
        listed = "; ".join(text for _, text in sorted(found, key=lambda pair: -pair[0]))
        yield f"The largest differences on {dataset}, in points: {listed}."
