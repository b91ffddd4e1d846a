"""Compare all rows of a suite in one metric, with ranks, footnotes and the paper's values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from afrad_bench.published import Figure
from afrad_bench.report.basis.grid import Grid, Measured, is_noise, ranks
from afrad_bench.report.basis.results import doubts
from afrad_bench.report.basis.terms import short
from afrad_bench.report.basis.verdict import Beside, judge, published_for
from afrad_bench.report.model import Entry, Fact, MeasureSpec, Quote, RowSpec, Summary
from afrad_bench.types import MEAN, Metric

NOISE = "the lead is inside the noise: the intervals mean ± std of the best and the second best overlap"
EMPTY: Mapping[str, str] = {"failed": "✗ failed", "missing": "– not run", "undefined": "n/a"}


@dataclass(frozen=True, slots=True)
class Item:
    """A metric of a report, with its data set, measure and category."""

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
        """The paper's values to compare with this metric of a row."""
        return published_for(grid.spec.reproduces, row, self.dataset, self.name, self.category)


@dataclass(slots=True)
class Footnotes:
    """Collects the footnotes of one table while it is built; equal texts share a number."""

    texts: list[str] = field(default_factory=list)

    def refer(self, text: str) -> int:
        """Number of the footnote with this text, from 1; adds the footnote if it is new."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def fact(grid: Grid, row: RowSpec, item: Item) -> tuple[Fact, Measured]:
    """All that is known about one metric of one row, and the runs that it comes from."""
    measured = grid.at(row, item.dataset, item.measure, item.name, item.category)
    figures = item.published(grid, row)
    quotes: tuple[Quote, ...] = ()
    if figures:
        covered = grid.categories(item.dataset, item.measure, item.name) if item.category == MEAN else ()
        others = grid.runs_beside(row, item.dataset, item.measure)
        quotes = judge(figures, row, Beside(measured.summary, measured.runs, others, covered))
    found = Fact(row.label, item.dataset, item.category or "", item.name, item.unit, measured.summary, quotes)
    return found, measured


@dataclass(frozen=True, slots=True)
class Comparison:
    """The entries of one metric, row by row, and the footnotes that apply to all of them."""

    facts: tuple[Fact, ...]
    entries: tuple[Entry, ...]
    refs: tuple[int, ...]


def compare(grid: Grid, rows: Sequence[RowSpec], item: Item, notes: Footnotes, *, ranked: bool = True) -> Comparison:
    """The entry of each row, with best and second best marked if the rows can be ranked. Unreliable values are flagged,
    and have no rank.

    Notes are split at semicolons; a part that the notes of all values share becomes one footnote of the column."""
    known = [fact(grid, row, item) for row in rows]
    facts = tuple(each for each, _ in known)
    shared = _shared(facts)
    refs = (notes.refer("; ".join(shared)),) if shared else ()
    entries = tuple(_entry(each, item.metric.decimals, shared, notes) for each in facts)
    summaries = [replace(each.summary, mean=None) if _doubted(each.summary) else each.summary for each in facts]
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
    """Terms that must agree within a column but differ."""
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


def _doubted(summary: Summary) -> bool:
    """Whether a note says that the value must not be trusted."""
    return any(doubts(note) for note in summary.notes)


def _clauses(of: Fact) -> list[str]:
    return list(dict.fromkeys(clause for note in of.summary.notes for clause in note.strip().split("; ")))


def _shared(facts: Sequence[Fact]) -> tuple[str, ...]:
    values = [_clauses(each) for each in facts if each.summary.state == "value"]
    return tuple(clause for clause in values[0] if all(clause in other for other in values)) if len(values) > 1 else ()


def _entry(of: Fact, decimals: int, shared: Sequence[str], notes: Footnotes) -> Entry:
    summary = of.summary
    quotes = tuple(replace(q, refs=(notes.refer(q.why),)) if q.why else q for q in of.quotes)
    own = [clause for clause in _clauses(of) if summary.state != "value" or clause not in shared]
    refs = (notes.refer("; ".join(own)),) if own else ()
    if summary.mean is None:
        return Entry(EMPTY[summary.state], summary.state, quotes=quotes, refs=refs)
    spread = "" if not summary.std else f"{summary.std:.{decimals}f}"
    flag = "unreliable" if _doubted(summary) else ""
    return Entry(
        f"{summary.mean:.{decimals}f}",
        "value",
        spread,
        quotes=quotes,
        refs=refs,
        flag=flag,
        number=summary.mean,
        by_seed=summary.by_seed,
    )
