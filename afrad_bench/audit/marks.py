"""Marks of the best and the second best figure of a line, compared with the figures.

Equal figures share a rank, as in the tables of the paper: of 100, 100 and 99.7 the first two are best, the third is
second best."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from afrad_bench import published
from afrad_bench.audit.model import Finding, by_key
from afrad_bench.published import Figure, Mark

RANKS = ("best", "second best")


def misplaced(marks: Iterable[Mark], figures: Iterable[Figure]) -> list[Finding]:
    """One finding for each mark on a figure of another rank, and for each unmarked figure that equals a marked one."""
    known = by_key(figures)
    lines: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for mark in marks:
        line = lines.setdefault((mark.table, mark.category, mark.dataset, mark.metric), {})
        line[mark.row] = {"best": "best", "second": "second best"}[mark.place]
    found = []
    for (table, category, dataset, metric), line in lines.items():
        place = (table, category, dataset, metric)
        values = {row: value for (t, row, *rest), value in known.items() if (t, *rest) == place}
        found += [
            Finding("mark", table, row, category, dataset, metric, values[row], wanted, explanation)
            for row, wanted, explanation in _faults(values, line)
        ]
    return found


def _faults(values: Mapping[str, Decimal], line: Mapping[str, str]) -> Iterator[tuple[str, Decimal, str]]:
    """(row, the figure that should have the mark, explanation) for one printed line; `line` has the marks by row."""
    order = sorted(set(values.values()), reverse=True)
    ranks = {row: _rank(order.index(value)) for row, value in values.items()}
    for row, marked in line.items():
        if ranks[row] != marked:
            wanted = order[min(RANKS.index(marked), len(order) - 1)]
            holders = ", ".join(published.printed(each) for each, value in values.items() if value == wanted)
            yield row, wanted, f"marked {marked}, is {ranks[row]}; {marked} is {wanted} ({holders})"
    for row, value in values.items():
        equals = [each for each, marked in line.items() if values[each] == value and marked == ranks[each]]
        if row not in line and equals:
            names = ", ".join(map(published.printed, equals))
            yield row, value, f"not marked, but {ranks[row]} like {names}, which is marked"


def _rank(position: int) -> str:
    """ "best", "second best", "3rd"..."""
    return RANKS[position] if position < len(RANKS) else f"{position + 1}{'rd' if position == 2 else 'th'}"
