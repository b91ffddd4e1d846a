"""What a resolved profile consists of: frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from afrad_bench.types import Setting


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One line of the comparison: a method with its whole, validated configuration."""

    label: str
    method: str
    params: str
    """Canonical JSON of the configuration, defaults included."""
    published: str | None
    changed: str
    """Canonical JSON of the parameters that the suite sets, for display."""
    axis: str = ""
    """The axis of a sweep of which this row is one reading; empty for every other row."""


@dataclass(frozen=True, slots=True)
class ChosenMeasure:
    """A measure with its validated options, as canonical JSON."""

    name: str
    options: str


@dataclass(frozen=True, slots=True)
class ChosenDataset:
    """A data set with its validated options, as canonical JSON, and where the suite says it lies."""

    name: str
    params: str
    root: str | None
    where: str


@dataclass(frozen=True)
class Selection:
    """A suite in one profile, with the overrides of the command line applied: everything that decides the cells."""

    suite: str
    title: str
    reproduces: str | None
    profile: str
    description: str
    setting: Setting
    seeds: tuple[int, ...]
    image_size: int
    threads: int | None
    """CPU threads that the profile asks for; None leaves them to the machine."""
    datasets: tuple[ChosenDataset, ...]
    measures: tuple[ChosenMeasure, ...]
    rows: tuple[SuiteRow, ...]
    overrides: tuple[str, ...]
    compare_to: str | None = None
    """Label of the row from which the report tells the differences."""
    absent: tuple[str, ...] = ()
    """Rows of the reproduced table that the suite wants and for which no method is installed."""
