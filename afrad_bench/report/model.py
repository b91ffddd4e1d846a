"""Input and content of a report: frozen values only, no data frames, no files, no rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from afrad_bench.report.drawing.shapes import Figure
from afrad_bench.types import Metric

# ---------------------------------------------------------------------------------------------------------------- input


@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """What a report needs to know about a measure: its metrics, and the terms that must agree for a comparison."""

    metrics: Mapping[str, Metric]
    terms: tuple[str, ...] = ()
    """Columns of the `cells` table, or keys of its `terms`, that must agree within a column of a table."""

    @property
    def is_cost(self) -> bool:
        """Whether it measures the cost of a method (table "Efficiency") rather than its accuracy."""
        return not any(metric.percent for metric in self.metrics.values())


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell of the suite, whether it has been run or not."""

    id: str
    dataset: str
    """The data set column of the report that it belongs to."""
    seed: int
    part: str | None = None
    """The part of the data that it covers, if several cells of one seed share the data: the category of a `one_class`
    cell, the normal classes of a CIFAR-10 cell. The values of such cells are averaged within the seed."""


@dataclass(frozen=True, slots=True)
class RowSpec:
    """One row of the suite, a line of the tables: a method or a variant of a method."""

    label: str
    method: str
    cells: tuple[PlannedCell, ...]
    """Empty for a method that cannot be run yet; its published figures are still shown."""
    published_row: str | None = None
    """Key of its row in the paper's table (`afrad_bench.published`)."""
    axis: str = ""
    """The axis of a sweep that it is a reading of, or empty."""
    grid: str = ""
    """What the rows of its grid share of their labels; empty for a row of no grid."""
    point: tuple[tuple[str, str], ...] = ()
    """Its place in the grid: axis -> value."""


@dataclass(frozen=True, slots=True)
class ReportInput:
    """A suite, as the input of its report."""

    suite: str
    title: str
    profile: str
    rows: tuple[RowSpec, ...]
    measures: Mapping[str, MeasureSpec]
    """By name, in the order of the report's columns."""
    command: str
    """The command line that measures these numbers again."""
    reproduces: str | None = None
    """Table of the paper, e.g. "table5"."""
    stale: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Cell id -> measure -> the field that differs, for results that no longer match the suite."""
    compare_to: str | None = None
    """Label of the reference row: differences of all other rows are relative to it."""
    absent: tuple[str, ...] = ()
    """Keys of the paper's rows without cells because the method is not installed."""
    overrides: tuple[str, ...] | None = None
    """The overrides (`field=value`) with which the rows were chosen; None: those that each run recorded."""


# -------------------------------------------------------------------------------------------------------------- content

Level = Literal["plain", "note", "good", "unsure", "alarm"]
"""How a text is shown: "good" in green, "unsure" in yellow, "alarm" in red, where there are colours."""
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
    """Number of seeds in the mean."""
    planned: int = 0
    notes: tuple[str, ...] = ()
    by_seed: tuple[tuple[int, float], ...] = ()
    """Seed and its value, for the seeds in the mean."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A value of the paper for comparison with a measured one, and the verdict on the pair."""

    text: str
    """As printed, without its unit."""
    value: float
    verdict: Verdict
    why: str = ""
    dataset: str = ""
    """Set only if the paper has values for several data sets: the one that this value is for."""
    gap: str = ""
    """Measured minus published, for a comparable pair."""
    refs: tuple[int, ...] = ()
    """Numbers of footnotes of its table, from 1."""

    @property
    def shown(self) -> Verdict:
        """The verdict as a reader needs it. The figure of a row that was not measured stands beside other rows: it is
        shown as not comparable if they are measured on other terms (`why`)."""
        return "not comparable" if self.verdict == "not measured" and self.why else self.verdict

    @property
    def label(self) -> str:
        """ "paper 98.3", with the data set if one is set."""
        return f"paper, {self.dataset}: {self.text}" if self.dataset else f"paper {self.text}"


@dataclass(frozen=True, slots=True)
class Contrast:
    """The difference of a row to the row that all are compared to, seed by seed, in the unit of its fact."""

    reference: str
    mean: float
    low: float | None
    high: float | None
    """Ends of the 95 % interval of a paired t test; None for one seed, or without noise."""
    p: float | None
    """After Holm's correction for all rows."""
    seeds: int


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the tidy CSV file: everything that is known about one metric of one row."""

    row: str
    dataset: str
    category: str
    """"mean", a category, or empty for a value of the whole cell."""
    metric: str
    unit: str
    summary: Summary
    quotes: tuple[Quote, ...] = ()
    contrast: Contrast | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """The content of one place of a table."""

    text: str
    state: State = "text"
    spread: str = ""
    """The standard deviation, without "±"."""
    rank: Rank = ""
    quotes: tuple[Quote, ...] = ()
    refs: tuple[int, ...] = ()
    """Numbers of footnotes of its table, from 1."""
    level: Level = "plain"
    flag: str = ""
    """An alarm shown next to it, such as "random weights"."""
    number: float | None = None
    """What it is sorted by and compared in: the value before it was rounded for `text`."""
    by_seed: tuple[tuple[int, float], ...] = ()
    """Seed and its value, for the seeds in the mean."""
    link: str = ""
    """A relative URL that a page links the text to; other formats show the text alone."""


@dataclass(frozen=True, slots=True)
class Heading:
    """Heading of a column. Adjacent headings with the same `group` share a group heading above."""

    text: str
    group: str = ""
    arrow: str = ""
    unit: str = ""
    hint: str = ""
    """Its meaning, in one sentence."""
    numeric: bool = True
    flag: str = ""
    """An alarm for the whole column."""
    refs: tuple[int, ...] = ()
    """Footnotes that hold for the whole column."""
    importance: int = 0
    """A narrow terminal stacks the columns of a table, the most important first."""
    over: str = ""
    """A heading above adjacent groups; only tables in the paper's layout have one."""

    @property
    def label(self) -> str:
        """ "I-AUROC ↑ (%)"."""
        return " ".join(each for each in (self.text, self.arrow, self.unit and f"({self.unit})") if each)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table. Its entries follow the order of the headings; the first one is the name of the line."""

    entries: tuple[Entry, ...]
    strong: bool = False
    """Marks a line that summarises the others, such as the mean over categories."""
    dataset: str = ""
    """The data set that it is about, if it is about one of several."""


@dataclass(frozen=True, slots=True)
class Table:
    """Headings, lines, and the footnotes that the entries refer to."""

    caption: str
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]
    footnotes: tuple[str, ...] = ()
    folded: bool = False
    """Details that a page may collapse."""
    compact: bool = False
    """For many columns: verdicts are shown as signs, and the footnotes explain them in words."""
    keys: int = 1
    """Columns at the left that name a line; a narrow terminal repeats them where it splits the table."""
    joined: bool = False
    """Beside the keys, the columns of a group are printed as one, "99.6/97.8/94.0"; the caption names the metrics."""
    compared: Literal["", "lines", "columns"] = ""
    """Where the rows of the suite stand, if the numbers of one can be subtracted from those of another."""
    higher_is_better: bool = True
    """For columns that are compared, and for a shaded table: the direction of all numbers. Lines that are compared have
    that of their headings' arrows."""
    shaded: bool = False
    """All numbers are of one metric: a page shades them from the worst of the table to the best."""
    dataset: str = ""
    """The data set that it is about; empty for a table about several."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report under a heading."""

    key: str
    title: str
    tables: tuple[Table, ...]
    intro: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    figures_first: bool = False
    """Whether its figures stand above its tables."""


@dataclass(frozen=True, slots=True)
class Term:
    """One condition under which the numbers were measured."""

    name: str
    value: str
    level: Level = "plain"
    group: Literal["what", "where"] = "what"
    brief: str = ""
    """What the line above the answer says of it; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that a reader must know before reading a number. An alarm is shown in red."""

    text: str
    level: Level = "note"


@dataclass(frozen=True, slots=True)
class Report:
    """The content of a report, in reading order. Equal results give equal reports."""

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
    """Base name of its files."""
    answer: tuple[str, ...] = ()
    """What the numbers say, in a few sentences; shown before everything else."""
    verdict: Level = "plain"
    """Of a gate: how the first sentence of the answer is shown; the others are then a list."""
    lead: Figure | None = None
    """The figure beside the answer."""
    paper: tuple[Table, ...] = ()
    """The results once more, in the layout of the paper's table that the suite reproduces; for print."""
    beside: tuple[Entry, ...] = ()
    """The other pages of a site that this one belongs to, as links above its title."""
    search: str = ""
    """The link among them to the table that holds all rows of the site, to search in."""
    tabbed: bool = False
    """Whether a browser shows one section at a time; on paper and without scripts, all stand below each other."""
    datasets: tuple[str, ...] = ()
    """Its data sets, if there are several: groups of columns, lines, tables and figures are about one of them each."""

    @property
    def brief(self) -> str:
        """The terms in one line; the full ones stand at the end."""
        return " · ".join(f"⚠ {t.brief}" if t.level == "alarm" else t.brief for t in self.terms if t.brief)

    @property
    def folder(self) -> str:
        """Folder of its figures, next to its files."""
        return "figures" if self.name == "report" else f"{self.name}_figures"

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All figures, in order."""
        inside = tuple(figure for section in self.sections for figure in section.figures)
        return inside if self.lead is None else (self.lead, *inside)

    def section(self, key: str) -> Section | None:
        """The section with this key; None if the report has no such section."""
        return next((section for section in self.sections if section.key == key), None)
