"""What a resolved profile consists of: frozen values."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from afrad_bench.hashing import canonical
from afrad_bench.suite.file import Search, Searched, Split
from afrad_bench.types import Setting

SPLIT = "search split"
"""Key of a division among a data set's options. No option of a data set can have this name, which holds a space."""


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
    searched: Searched | None = None
    """For a configuration that a search has chosen: from how many."""

    @property
    def title(self) -> str:
        """The label as reports show it: a searched configuration never stands without the number of trials."""
        return self.label if self.searched is None else f"{self.label} (best of {self.searched.trials} trials)"


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

    def part(self, split: Split | None) -> ChosenDataset:
        """The same with only that part of its images; None: all of them."""
        options = {name: value for name, value in json.loads(self.params).items() if name != SPLIT}
        if split is not None:
            options[SPLIT] = split.model_dump(mode="json")
        return replace(self, params=canonical(options))


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
    search: Search | None = None
    """What `afrad-bench search` does around the only row."""
    absent: tuple[str, ...] = ()
    """Rows of the reproduced table that the suite wants and for which no method is installed."""
