"""What an audit finds: frozen values. All figures are exact decimals, as they are printed."""

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
    """One figure that, changed alone, would bring a printed mean about."""

    category: str
    printed: Decimal
    needed: Decimal
    """What it would have to be if every other figure were exact."""
    low: Decimal
    high: Decimal
    """The first and the last printed figure that would do, all other figures being rounded."""
    sign: Sign
    """What speaks for a slip here: `copied`, this figure and at least one more stand in another category of the method
    too; `slip`, one wrong digit or two swapped neighbouring digits lead to a figure that would do; `neighbour`, the
    figure beside it in the table is the same; or none of these."""
    slips: tuple[Decimal, ...]
    """The figures between `low` and `high` that a slip could have turned into the printed one, nearest first."""
    twins: tuple[str, ...]
    """For `copied`, the categories that share the figures."""
    apart: Decimal
    """By how much the figure lies beyond the median of the other methods' figures for the category, on the side to
    which it pulls the mean; negative if it lies on the other side."""

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
    """The figure that is called into question; None where a row is missing."""
    recomputed: Decimal | None
    """What stands against it: the mean of its categories (three decimals), the figure that is printed elsewhere, the
    figure of the table that the text speaks of, or the best one of its line."""
    explanation: str
    section: str = ""
    """Of the paper, for a claim."""
    suspects: tuple[Suspect, ...] = ()
    """For a mean, each figure that could be wrong, the likeliest first."""

    @property
    def difference(self) -> Decimal | None:
        """Printed minus recomputed, in points."""
        if self.printed is None or self.recomputed is None:
            return None
        return self.printed - self.recomputed


@dataclass(frozen=True, slots=True)
class Audit:
    """The findings, kind by kind in the order of the paper, and what they were searched in."""

    findings: tuple[Finding, ...]
    checked: Mapping[Kind, int]
    """How many means, figures that appear more than once, claims and marks were looked at."""
    limits: tuple[str, ...]
    """What could not be audited."""

    def of(self, kind: Kind) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.kind == kind)


def exact(figure: Figure) -> Decimal:
    """A figure as it is printed: the shortest decimal of its float, which for printed figures is the printed one."""
    return Decimal(repr(figure.value))


def by_key(figures: Iterable[Figure]) -> dict[Key, Decimal]:
    """Every figure under its table, row, category, data set and metric."""
    return {(f.table, f.row, f.category, f.dataset, f.metric): exact(f) for f in figures}
