"""One side of a comparison as plain values. `stored` and `baseline` read it, `sessions` makes it of timed calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from afrad_bench import registry
from afrad_bench.hashing import canonical
from afrad_bench.types import Metric

Number = tuple[str, str | None]
"""Metric and category: a category of the data, `MEAN`, or None for a number of the whole cell."""


@dataclass(frozen=True, slots=True)
class Key:
    """Identifies a row: one label of a suite on one data set."""

    label: str
    dataset: str
    setting: str
    profile: str

    def __str__(self) -> str:
        return f"{self.label}, {self.dataset}"


@dataclass(frozen=True, slots=True)
class Images:
    """Scores of the test images of one category."""

    ids: tuple[str, ...]
    labels: tuple[bool, ...]
    """True for anomalous."""
    scores: Mapping[int, tuple[float, ...]]
    """Seed -> a score for each image."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Calls of one method in one session, mode and batch."""

    session: str
    mode: str
    batch: int
    device: str
    """Device with its name and the number of threads."""
    ms: Mapping[int, float]
    """Round -> milliseconds for the whole batch."""


@dataclass(frozen=True, slots=True)
class Row:
    """All data of one label on one data set, over its seeds, that a comparison needs."""

    key: Key
    about: Mapping[str, str]
    """What may have changed: method, params, method_version, git_revision..."""
    terms: Mapping[str, Mapping[str, str]]
    """Measure ("" for all of them) -> term -> value, which must be equal on both sides."""
    measures: Mapping[str, str]
    """Metric -> the measure that gave it."""
    values: Mapping[Number, Mapping[int, float | None]]
    """Seed -> value as stored; None where it is undefined."""
    images: Mapping[str, Images] = field(default_factory=dict)
    timed: tuple[Timed, ...] = ()
    parts: Mapping[int, str] = field(default_factory=dict)
    """Seed -> the parts of the data (categories) that its cells cover."""
    failed: tuple[tuple[int, str, str], ...] = ()
    """Seed, measure, error."""
    unreliable: Mapping[str, str] = field(default_factory=dict)
    """Metric -> why its values must not be trusted."""
    runs: tuple[str, ...] = ()
    """Ids of the runs in a store that gave the values; empty for other sides."""

    @property
    def ways(self) -> tuple[tuple[str, int], ...]:
        """Mode and batch size of each series of timed calls."""
        return tuple(dict.fromkeys((calls.mode, calls.batch) for calls in self.timed))

    def calls(self, way: tuple[str, int]) -> list[float]:
        """Milliseconds of every call in this mode and batch size."""
        return [ms for calls in self.timed if (calls.mode, calls.batch) == way for ms in calls.ms.values()]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({seed for values in self.values.values() for seed in values}))


@dataclass(frozen=True, slots=True)
class Side:
    """One side; its name is the text that the user gave."""

    name: str
    rows: Mapping[Key, Row]
    notes: tuple[str, ...] = ()


@cache
def metrics() -> Mapping[str, Metric]:
    """All metrics of the installed measures, and the interleaved times of latency sessions."""
    found: dict[str, Metric] = {}
    for entry in registry.entries("measure").values():
        found |= {name: metric for name, metric in entry.load().METRICS.items() if not metric.by_part}
    return found | {LATENCY: Metric("ms, interleaved", "ms", False, "time of a call in interleaved rounds", decimals=3)}


LATENCY = "latency"
"""Metric of the times in the table `latency`."""


def fields(params: str) -> dict[str, str]:
    """The fields of a configuration in JSON, dotted: {"training.epochs": "10"}."""
    flat: dict[str, str] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{name}.{key}" if name else key)
        else:
            flat[name] = canonical(value)

    walk(json.loads(params), "")
    return flat
