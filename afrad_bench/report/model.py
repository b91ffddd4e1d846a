"""What a report is made from and what it is: frozen values only, no frames, no files, no rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from afrad_bench.report.drawing.shapes import Figure
from afrad_bench.types import Metric

# -------------------------------------------------------------------------------------------------------- what comes in


@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """What a report must know of a measure: how to read its metrics, and which terms make its results incomparable."""

    metrics: Mapping[str, Metric]
    terms: tuple[str, ...] = ()
    """Columns of the `cells` table, or keys of its `terms`, that must agree within a column of a table."""

    @property
    def is_cost(self) -> bool:
        """Whether it measures what a method costs (its table is "Efficiency") rather than how right it is."""
        return not any(metric.percent for metric in self.metrics.values())


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell of the suite, whether it has been run or not."""

    id: str
    dataset: str
    """The data column of the report in which it counts."""
    seed: int
    part: str | None = None
    """Which part of the data it covers, when several cells of one seed share them: the category of a `one_class`
    cell, the normal classes of a CIFAR-10 cell. Their values are then averaged within the seed."""


@dataclass(frozen=True, slots=True)
class RowSpec:
    """One line of the tables: a method or a variant of one."""

    label: str
    method: str
    cells: tuple[PlannedCell, ...]
    """Empty for a method that cannot be run yet; its published figures are still shown."""
    published_row: str | None = None
    """Key of its row in the paper's table (`afrad_bench.published`)."""
    axis: str = ""
    """The axis of a sweep of which it is one reading."""


@dataclass(frozen=True, slots=True)
class ReportInput:
    """A suite as its report sees it."""

    suite: str
    title: str
    profile: str
    rows: tuple[RowSpec, ...]
    measures: Mapping[str, MeasureSpec]
    """By name, in the order in which their metrics shall stand."""
    command: str
    """The command line that measures these numbers again."""
    reproduces: str | None = None
    """Table of the paper, e.g. "table5"."""
    stale: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Id of a cell -> measure -> the field that differs, for results that no longer belong to the suite as it is."""
    compare_to: str | None = None
    """Label of the row from which the differences of all others are told."""
    absent: tuple[str, ...] = ()
    """Keys of the paper's rows that have no cells because no such method is installed."""


# ------------------------------------------------------------------------------------------------------- what comes out

Level = Literal["plain", "note", "alarm"]
State = Literal["value", "undefined", "failed", "missing", "text"]
Rank = Literal["", "best", "second"]
Verdict = Literal["reproduced", "not reproduced", "not comparable", "not measured"]


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and standard deviation over seeds of one metric, in the unit in which it is shown."""

    state: State
    mean: float | None = None
    std: float | None = None
    """With ddof = 1; None for a single seed."""
    seeds: int = 0
    """Seeds that the mean is taken over."""
    planned: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quote:
    """A figure of the paper beside a measured one, and what can be said about the pair."""

    text: str
    """As printed, without its unit."""
    value: float
    verdict: Verdict
    why: str = ""
    dataset: str = ""
    """Named only where it must be told which of several data sets of the paper it is for."""
    gap: str = ""
    """Measured minus published, for a comparable pair."""
    refs: tuple[int, ...] = ()
    """Footnotes of its table, counted from 1."""

    @property
    def told(self) -> str:
        """ "paper 98.3", and for which data where that must be said."""
        return f"paper, {self.dataset}: {self.text}" if self.dataset else f"paper {self.text}"


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the tidy CSV file: everything that is known of one metric of one row."""

    row: str
    dataset: str
    category: str
    """"mean", a category, or empty for what belongs to the whole cell."""
    metric: str
    unit: str
    summary: Summary
    quotes: tuple[Quote, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in one place of a table."""

    text: str
    state: State = "text"
    spread: str = ""
    """The standard deviation, without the sign in front of it."""
    rank: Rank = ""
    quotes: tuple[Quote, ...] = ()
    refs: tuple[int, ...] = ()
    """Footnotes of its table, counted from 1."""
    level: Level = "plain"
    flag: str = ""
    """An alarm that belongs to it, such as "random weights"."""


@dataclass(frozen=True, slots=True)
class Heading:
    """Head of a column. Neighbours of one `group` share a head above."""

    text: str
    group: str = ""
    arrow: str = ""
    unit: str = ""
    hint: str = ""
    """What it means, in a sentence."""
    numeric: bool = True
    flag: str = ""
    """An alarm that belongs to the column."""
    refs: tuple[int, ...] = ()
    """Footnotes that hold for the whole column."""

    @property
    def told(self) -> str:
        """ "I-AUROC ↑ (%)"."""
        return " ".join(each for each in (self.text, self.arrow, self.unit and f"({self.unit})") if each)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: its entries belong to the headings in order, the first one being its name."""

    entries: tuple[Entry, ...]
    strong: bool = False
    """A line that sums up the others, such as the mean over categories."""


@dataclass(frozen=True, slots=True)
class Table:
    """Headings, lines, and footnotes to which the entries refer."""

    caption: str
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]
    footnotes: tuple[str, ...] = ()
    folded: bool = False
    """Detail that a page may hide until it is asked for."""
    compact: bool = False
    """So many columns that verdicts are shown as signs; the footnotes have the words."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report under a heading."""

    key: str
    title: str
    tables: tuple[Table, ...]
    intro: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """One condition under which the numbers were measured."""

    name: str
    value: str
    level: Level = "plain"
    group: Literal["what", "where"] = "what"


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that a reader must know before reading a number. An alarm is shown in red."""

    text: str
    level: Level = "note"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report says, in the order in which it says it; equal results make equal reports."""

    suite: str
    title: str
    profile: str
    reproduces: str
    """"Table 5, ablation of ..." or empty."""
    command: str
    terms: tuple[Term, ...]
    warnings: tuple[Caution, ...]
    sections: tuple[Section, ...]
    facts: tuple[Fact, ...]
    name: str = "report"
    """Of its files."""

    @property
    def folder(self) -> str:
        """Where its pictures lie beside it."""
        return "figures" if self.name == "report" else f"{self.name}_figures"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every picture, in order."""
        return tuple(figure for section in self.sections for figure in section.figures)

    def section(self, key: str) -> Section | None:
        """The section of that key, if there is anything in it."""
        return next((section for section in self.sections if section.key == key), None)
