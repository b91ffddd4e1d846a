"""The frozen values of a resolved profile."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from afrad_bench.hashing import canonical
from afrad_bench.machine.arithmetic import Arithmetic
from afrad_bench.suite.file import HoldOut, Search, Searched, Split
from afrad_bench.types import Setting

SPLIT, HOLD_OUT = "search split", "hold out"
"""Keys of a search split, and of what is held out, in a data set's options. No option can have a name with a space."""


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One row of the comparison: a method with its complete, validated configuration."""

    label: str
    method: str
    params: str
    """Canonical JSON of the configuration, defaults included."""
    published: str | None
    changed: str
    """Canonical JSON of the parameters that the suite sets, for display."""
    axis: str = ""
    """The sweep axis that this row changes; empty for every other row."""
    searched: Searched | None = None
    """For a configuration that a search selected: its origin and number of trials."""
    where: str = field(default="", compare=False)
    """Where the suite declares its method, as `file:line`."""
    grid: str = field(default="", compare=False)
    """What the rows of its grid share of their labels; empty for a row of no grid."""
    point: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """Its place in the grid: axis -> value, as texts, in the order of the file."""

    @property
    def title(self) -> str:
        """The label in reports; for a searched configuration it includes the number of trials."""
        return self.label if self.searched is None else f"{self.label} (best of {self.searched.trials} trials)"


@dataclass(frozen=True, slots=True)
class ChosenMeasure:
    """A measure with its validated options, as canonical JSON."""

    name: str
    options: str


@dataclass(frozen=True, slots=True)
class ChosenDataset:
    """A data set with its validated options, as canonical JSON, its root folder from the suite, and its place there."""

    name: str
    params: str
    root: str | None
    where: str

    def part(self, split: Split | None) -> ChosenDataset:
        """This data set restricted to one part of a search split; None: all images."""
        options = {name: value for name, value in json.loads(self.params).items() if name != SPLIT}
        if split is not None:
            options[SPLIT] = split.model_dump(mode="json")
        return replace(self, params=canonical(options))

    @property
    def holds_out(self) -> bool:
        """Whether some training images are kept from the fit."""
        return HOLD_OUT in json.loads(self.params)

    def without(self, hold_out: HoldOut | None) -> ChosenDataset:
        """This data set with some training images kept from the fit; None: with all of them."""
        if hold_out is None:
            return self
        options = {**json.loads(self.params), HOLD_OUT: hold_out.model_dump(mode="json")}
        return replace(self, params=canonical(options))


@dataclass(frozen=True)
class Selection:
    """One profile of a suite with the command-line overrides applied: everything that determines the cells."""

    suite: str
    title: str
    reproduces: str | None
    profile: str
    description: str
    setting: Setting
    seeds: tuple[int, ...]
    image_size: int
    threads: int | None
    """CPU threads from the profile; None: the default of the machine."""
    arithmetic: Arithmetic
    """How torch is to compute."""
    datasets: tuple[ChosenDataset, ...]
    measures: tuple[ChosenMeasure, ...]
    rows: tuple[SuiteRow, ...]
    overrides: tuple[str, ...]
    compare_to: str | None = None
    """Label of the reference row, to which the report shows the differences."""
    search: Search | None = None
    """The search that `afrad-bench search` runs around the only row."""
    absent: tuple[str, ...] = ()
    """Rows of the reproduced table that the suite requests, but for which no method is installed."""
