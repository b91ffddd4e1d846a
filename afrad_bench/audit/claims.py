"""Statements of the text, each compared with the table that it refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from afrad_bench import published
from afrad_bench.audit.means import HALF, average
from afrad_bench.audit.model import Finding, Key, by_key
from afrad_bench.published import Claim, Figure
from afrad_bench.types import MEAN

Figures = Mapping[Key, Decimal]

LOWER_IS_BETTER = {"latency_median"}


def contradicted(claims: Iterable[Claim], figures: Iterable[Figure]) -> list[Finding]:
    """One finding for each statement, and each of its categories and rivals, that its table contradicts."""
    known = by_key(figures)
    return [finding for claim in claims for finding in _TESTS[claim.test](claim, known)]


def _value(claim: Claim, figures: Figures) -> Iterator[Finding]:
    said, table = Decimal(claim.value), figures[_key(claim, claim.row, claim.category)]
    if said != table:
        yield _finding(claim, claim.category, said, table, f"{_where(claim)} has {table}")


def _highest(claim: Claim, figures: Figures) -> Iterator[Finding]:
    yield from _extreme(claim, figures, 1)


def _lowest(claim: Claim, figures: Figures) -> Iterator[Finding]:
    yield from _extreme(claim, figures, -1)


def _extreme(claim: Claim, figures: Figures, sign: int) -> Iterator[Finding]:
    """`sign` is 1 if the row must be the best of all, -1 if it must be the worst."""
    for category in _categories(claim, figures):
        column = _column(claim, figures, category)
        own = column.pop(claim.row)
        ahead = {row: value for row, value in column.items() if sign * _lead(claim, own, value) <= 0}
        if not ahead:
            continue
        best = min(ahead.values(), key=lambda value: sign * _lead(claim, own, value))
        rivals = [row for row, value in ahead.items() if value == best]
        names = ", ".join(map(published.printed, rivals))
        if best == own:
            explanation = f"not alone, {names} has {best} too{_unrounded(claim, figures, category, rivals)}"
        else:
            explanation = f"{names} has {best}; {_place(claim, own, column, sign)}"
        if category in published.GROUPS.get(claim.table, {}):
            safe = abs(best - own) > 2 * HALF
            explanation += f"; means of the group, {'beyond' if safe else 'within'} what rounding can explain"
        yield _finding(claim, category, own, best, explanation)


def _place(claim: Claim, own: Decimal, others: Mapping[str, Decimal], sign: int) -> str:
    better = sum(sign * _lead(claim, own, value) < 0 for value in others.values())
    return f"{'better' if sign > 0 else 'worse'}: {better} of {len(others)} others"


def _unrounded(claim: Claim, figures: Figures, category: str | None, rivals: Iterable[str]) -> str:
    """The means of the categories, if the table has them: they may differ where the printed means are equal."""
    if category != MEAN:
        return ""
    means = []
    for row in (claim.row, *rivals):
        wanted = (claim.table, row, claim.metric)
        parts = [v for (t, r, c, _, m), v in figures.items() if (t, r, m) == wanted and c != MEAN]
        if parts:
            means.append(f"{average(parts)} ({published.printed(row)})")
    return f"; the means of their categories are {', '.join(means)}" if means else ""


def _better(claim: Claim, figures: Figures) -> Iterator[Finding]:
    column = _column(claim, figures, claim.category)
    for rival in claim.against:
        if _lead(claim, column[claim.row], column[rival]) <= 0:
            explanation = f"{published.printed(rival)} has {column[rival]}"
            yield _finding(claim, claim.category, column[claim.row], column[rival], explanation)


def _rows(claim: Claim, figures: Figures) -> Iterator[Finding]:
    there = dict.fromkeys(row for table, row, *_ in figures if table == claim.table)
    for row in (row for row in claim.against if row not in there):
        yield _finding(claim, None, None, None, f"named in the text, but {_where(claim)} has no such row", row)
    for row in (row for row in there if row not in (*claim.against, claim.row)):
        yield _finding(claim, None, None, None, f"a row of {_where(claim)} that the text does not name", row)


def _count(claim: Claim, figures: Figures) -> Iterator[Finding]:
    members = published.GROUPS[claim.table][claim.category] if claim.category else None
    printed = {category for table, _, category, *_ in figures if table == claim.table and category != MEAN}
    there = {category for category in printed if members is None or category in members}
    if len(there) != int(claim.value):
        explanation = f"{_where(claim)} has {len(there)}"
        yield _finding(claim, claim.category, Decimal(claim.value), Decimal(len(there)), explanation)


def _sum(claim: Claim, figures: Figures) -> Iterator[Finding]:
    total = sum(map(Decimal, claim.against), Decimal(0))
    if total != Decimal(claim.value):
        yield _finding(claim, None, Decimal(claim.value), total, f"the parts add up to {total}")


_TESTS = {
    "value": _value,
    "highest": _highest,
    "lowest": _lowest,
    "better": _better,
    "rows": _rows,
    "categories": _count,
    "sum": _sum,
}


# ------------------------------------------------------------------------------------------------------------- shared


def _key(claim: Claim, row: str, category: str | None) -> Key:
    return claim.table, row, category, claim.dataset, claim.metric


def _column(claim: Claim, figures: Figures, category: str | None) -> dict[str, Decimal]:
    """The figures of all rows for a category, or for a group of categories their means."""
    group = published.GROUPS.get(claim.table, {}).get(category or "")
    rows = dict.fromkeys(row for table, row, *_ in figures if table == claim.table)
    if group is None:
        return {row: figures[_key(claim, row, category)] for row in rows}
    return {row: average(figures[_key(claim, row, each)] for each in group) for row in rows}


def _categories(claim: Claim, figures: Figures) -> tuple[str | None, ...]:
    if claim.category != "every":
        return (claim.category,)
    return tuple(dict.fromkeys(c for table, _, c, *_ in figures if table == claim.table and c != MEAN))


def _lead(claim: Claim, own: Decimal, other: Decimal) -> Decimal:
    """How much better a figure is than another one."""
    return other - own if claim.metric in LOWER_IS_BETTER else own - other


def _where(claim: Claim) -> str:
    return published.CAPTIONS[claim.table].partition(",")[0]


def _finding(
    claim: Claim,
    category: str | None,
    printed: Decimal | None,
    recomputed: Decimal | None,
    explanation: str,
    row: str | None = None,
) -> Finding:
    return Finding(
        "claim",
        claim.table,
        row or claim.row,
        category,
        claim.dataset,
        claim.metric,
        printed,
        recomputed,
        f"{claim.says}: {explanation}",
        claim.section,
    )
