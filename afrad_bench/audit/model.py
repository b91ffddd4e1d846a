"""Data types of an audit, all frozen. All figures are exact decimals, as printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from afrad_bench.published import Figure

Kind = Literal["mean", "twice", "claim", "mark"]
Sign = Literal["copied", "slip", "neighbour", "none"]

Key = tuple[str, str, str | None, str | None, str | None]
"""Table, row, category, data set, metric."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """One figure that would explain a printed mean if it alone were changed."""

    category: str
    printed: Decimal
    needed: Decimal
    """The value that explains the mean if every other figure is exact."""
    low: Decimal
    high: Decimal
    """The smallest and the largest printed figure that explain the mean, given that all other figures are rounded."""
    sign: Sign
    """Evidence that this figure is wrong. `copied`: it and at least one more also appear in another category of the
    method; `slip`: one wrong digit or two swapped neighbouring digits lead to a figure that explains the mean;
    `neighbour`: an adjacent figure in the table is equal; `none`: none of these."""
    slips: tuple[Decimal, ...]
    """The figures from `low` to `high` that a slip could have turned into this one, nearest to `needed` first."""
    twins: tuple[str, ...]
    """For `copied`, the categories with the same figures."""
    apart: Decimal
    """Distance from the median of the other methods' figures for the category; positive on the side to which this
    figure pulls the mean, negative on the other side."""

    @property
    def change(self) -> Decimal:
        return self.needed - self.printed


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction."""

    kind: Kind
    table: str
    row: str
    category: str | None
    dataset: str | None
    metric: str | None
    printed: Decimal | None
    """The figure that may be wrong; None if a row is missing."""
    recomputed: Decimal | None
    """The value that contradicts it: the mean of its categories (three decimals), the figure printed in another table,
    the figure in the table that the text refers to, the best one of its line, or the one that should have the mark."""
    explanation: str
    section: str = ""
    """Section of the paper, for a claim."""
    suspects: tuple[Suspect, ...] = ()
    """For a mean, each figure that could be wrong, most likely first."""

    @property
    def difference(self) -> Decimal | None:
        """Printed minus recomputed, in points."""
        if self.printed is None or self.recomputed is None:
            return None
        return self.printed - self.recomputed


@dataclass(frozen=True, slots=True)
class Audit:
    """The findings, by kind and in the order of the paper, and what was checked."""

    findings: tuple[Finding, ...]
    checked: Mapping[Kind, int]
    """How many means, figures that appear more than once, claims and marks were checked."""
    limits: tuple[str, ...]
    """What could not be audited."""

    def of(self, kind: Kind) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.kind == kind)


def exact(figure: Figure) -> Decimal:
    """A figure as printed: the shortest decimal of its float, which is the printed decimal."""
    return Decimal(repr(figure.value))


def by_key(figures: Iterable[Figure]) -> dict[Key, Decimal]:
    """Every figure by table, row, category, data set and metric."""
    return {(f.table, f.row, f.category, f.dataset, f.metric): exact(f) for f in figures}
