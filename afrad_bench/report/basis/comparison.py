"""One comparison: what every row of a suite has of one metric, with ranks, footnotes and the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from afrad_bench.published import Figure
from afrad_bench.report.basis.grid import Grid, Measured, is_noise, ranks
from afrad_bench.report.basis.terms import short
from afrad_bench.report.basis.verdict import beside, judge
from afrad_bench.report.model import Entry, Fact, MeasureSpec, RowSpec
from afrad_bench.types import MEAN, Metric

NOISE = "the lead is inside the noise: the intervals mean ± std of the best and the second best overlap"
EMPTY: Mapping[str, str] = {"failed": "✗ failed", "missing": "– not run", "undefined": "n/a"}


@dataclass(frozen=True, slots=True)
class Item:
    """A metric of a report, and where it is measured."""

    dataset: str
    measure: str
    spec: MeasureSpec
    name: str
    metric: Metric
    category: str | None

    @property
    def unit(self) -> str:
        return "%" if self.metric.percent else self.metric.unit

    def published(self, grid: Grid, row: RowSpec) -> tuple[Figure, ...]:
        """The paper's figures that belong beside this metric of a row."""
        return beside(grid.spec.reproduces, row, self.dataset, self.name, self.category)


@dataclass(slots=True)
class Footnotes:
    """Collects the footnotes of one table while it is made; an equal text keeps its number."""

    texts: list[str] = field(default_factory=list)

    def refer(self, text: str) -> int:
        """The number of a footnote, from 1."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def fact(grid: Grid, row: RowSpec, item: Item) -> tuple[Fact, Measured]:
    """All that is known of one metric of one row, and the runs behind it."""
    measured = grid.at(row, item.dataset, item.measure, item.name, item.category)
    figures = item.published(grid, row)
    covered = grid.categories(item.dataset, item.measure, item.name) if item.category == MEAN else ()
    quotes = judge(figures, row, measured.summary, measured.runs, covered)
    told = Fact(row.label, item.dataset, item.category or "", item.name, item.unit, measured.summary, quotes)
    return told, measured


@dataclass(frozen=True, slots=True)
class Comparison:
    """The entries of one metric, row by row, and the footnotes that belong to all of them."""

    facts: tuple[Fact, ...]
    entries: tuple[Entry, ...]
    refs: tuple[int, ...]


def compare(grid: Grid, rows: Sequence[RowSpec], item: Item, notes: Footnotes, *, ranked: bool = True) -> Comparison:
    """Every row's entry, best and second best marked where ranking them makes sense.

    What the notes of all values share is said once for all; notes are taken apart at semicolons for that."""
    known = [fact(grid, row, item) for row in rows]
    facts = tuple(told for told, _ in known)
    shared = _shared(facts)
    refs = (notes.refer("; ".join(shared)),) if shared else ()
    entries = tuple(_entry(told, item.metric.decimals, shared, notes) for told in facts)
    summaries = [told.summary for told in facts]
    marks = ranks(summaries, item.metric.decimals, higher_is_better=item.metric.higher_is_better)
    if not marks or not ranked:
        return Comparison(facts, entries, refs)
    if differing := incomparable(known, item):
        why = notes.refer(f"not ranked, since these differ: {', '.join(differing)}")
        return Comparison(facts, entries, (*refs, why))
    noisy = (notes.refer(NOISE),) if is_noise(summaries, marks) else ()
    marked = (
        replace(entry, rank=marks.get(i, ""), refs=(*entry.refs, *(noisy if marks.get(i) == "best" else ())))
        for i, entry in enumerate(entries)
    )
    return Comparison(facts, tuple(marked), refs)


def incomparable(known: Sequence[tuple[Fact, Measured]], item: Item) -> tuple[str, ...]:
    """Terms that must agree within a column and do not."""
    differing = []
    for term in dict.fromkeys(("image_size", "setting", *item.spec.terms)):
        if len({str(run.term(term)) for _, measured in known for run in measured.runs}) > 1:
            differing.append(term)
    data: dict[str | None, set[str]] = {}
    versions = set()
    for _, measured in known:
        for part, run in measured.sources:
            data.setdefault(part, set()).add(short(run.term("data_fingerprint")))
            versions.add(str(run.measures[item.measure].get("version")))
    if any(len(prints) > 1 for prints in data.values()):
        differing.append("data")
    if len(versions) > 1:
        differing.append(f"version of {item.measure}")
    return tuple(differing)


def _clauses(told: Fact) -> list[str]:
    return list(dict.fromkeys(clause for note in told.summary.notes for clause in note.strip().split("; ")))


def _shared(facts: Sequence[Fact]) -> tuple[str, ...]:
    values = [_clauses(told) for told in facts if told.summary.state == "value"]
    return tuple(clause for clause in values[0] if all(clause in other for other in values)) if len(values) > 1 else ()


def _entry(told: Fact, decimals: int, shared: Sequence[str], notes: Footnotes) -> Entry:
    summary = told.summary
    quotes = tuple(replace(q, refs=(notes.refer(q.why),)) if q.why else q for q in told.quotes)
    own = [clause for clause in _clauses(told) if summary.state != "value" or clause not in shared]
    refs = (notes.refer("; ".join(own)),) if own else ()
    if summary.mean is None:
        return Entry(EMPTY[summary.state], summary.state, quotes=quotes, refs=refs)
    spread = "" if not summary.std else f"{summary.std:.{decimals}f}"
    return Entry(f"{summary.mean:.{decimals}f}", "value", spread, quotes=quotes, refs=refs)
