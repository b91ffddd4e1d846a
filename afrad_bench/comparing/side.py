"""One side of a comparison as plain values, and how it is read from a store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from afrad_bench import registry
from afrad_bench.hashing import canonical
from afrad_bench.report.basis import results
from afrad_bench.report.basis.results import Run, Taken
from afrad_bench.types import MEAN, Metric

if TYPE_CHECKING:
    import pandas as pd

Number = tuple[str, str | None]
"""Metric and category: a category of the data, `MEAN`, or None for a number of the whole cell."""

CODE_TERMS = ("method_version",)
"""Terms that describe the code. Comparisons are about code changes, so these terms are shown, but never refused."""


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


# ------------------------------------------------------------------------------------------------------ from the store


def from_frames(name: str, frames: Mapping[str, pd.DataFrame]) -> Side:
    """A side from these tables of a store: `cells`, `measurements`, `scores`, `latency`, oldest rows first.

    For each label, data set, part of the data, seed and measure, the newest complete run counts."""
    read = results.read(frames["cells"], frames["measurements"])
    places: dict[tuple[Key, int, str], str] = {}
    older: dict[Key, set[str]] = {}
    runs = sorted((run for of_cell in read.runs.values() for run in of_cell), key=lambda run: run.row["started_at"])
    parts = _parts(frames["measurements"])
    for run in runs:
        key = Key(*(str(run.row[column]) for column in ("label", "dataset", "setting", "profile")))
        place = (key, int(run.row["seed"]), run.row["category"] or parts.get(run.cell_id, ""))
        if places.get(place, run.cell_id) != run.cell_id:
            older.setdefault(key, set()).add(places[place])
        places[place] = run.cell_id
    cells: dict[Key, list[tuple[int, str, str]]] = {}
    for (key, seed, part), cell in places.items():
        cells.setdefault(key, []).append((seed, cell, part))
    scores = dict(iter(frames["scores"].groupby("run_id")))
    timed = _timed(frames["latency"])
    rows = {}
    for key, mine in cells.items():
        rows[key] = _row(key, mine, read, scores, timed.pop(key, ()))
    for key, calls in timed.items():  # rows that have only timed calls
        rows[key] = Row(key, {}, {}, {}, {}, timed=calls)
    notes = tuple(
        f"{key}: {len(old)} older cells of the same seeds with other options are left out" for key, old in older.items()
    )
    return Side(name, rows, notes)


def _parts(measurements: pd.DataFrame) -> dict[str, str]:
    """Cell -> the categories that it covers; they distinguish cells of the same label, data set and seed."""
    named = measurements[measurements["category"].notna() & (measurements["category"] != MEAN)]
    named = named[named["metric"].isin(set(metrics()))]
    return {str(cell): ",".join(sorted(set(of))) for cell, of in named.groupby("cell_id")["category"]}


def _row(
    key: Key,
    cells: Sequence[tuple[int, str, str]],
    read: results.Results,
    scores: Mapping[Any, pd.DataFrame],
    timed: tuple[Timed, ...],
) -> Row:
    names = dict.fromkeys(name for _, cell, _ in cells for run in read.runs[cell] for name in run.measures)
    taken = [(seed, name, read.take(cell, name)) for seed, cell, _ in cells for name in names]
    failed = {(seed, name): each.error for seed, name, each in taken if each.state == "failed"}
    for seed, cell, _ in cells:  # runs that failed before any measure
        if not any(run.measures for run in read.runs[cell]):
            failed[seed, "fit"] = str(read.runs[cell][-1].row["error"])
    found: dict[Number, dict[int, list[float | None]]] = {}
    measures: dict[str, str] = {}
    good = [(seed, name, each.run) for seed, name, each in taken if each.state == "ok" and each.run is not None]
    for seed, name, each in taken:
        if each.state == "ok" and (seed, name) not in failed:  # a seed counts only with all its parts
            _collect(found, measures, seed, name, each)
    whole = {number: {seed: _mean(of) for seed, of in values.items()} for number, values in found.items()}
    parts: dict[int, list[str]] = {}
    for seed, _, part in cells:
        parts.setdefault(seed, []).append(part)
    return Row(
        key,
        _about(good),
        _terms(good),
        measures,
        whole,
        _images([(seed, scores[run.run_id]) for seed, _, run in good if run.run_id in scores]),
        timed,
        {seed: "; ".join(sorted(of)) for seed, of in parts.items()},
        tuple((seed, name, error) for (seed, name), error in sorted(failed.items())),
    )


def _collect(
    found: dict[Number, dict[int, list[float | None]]], measures: dict[str, str], seed: int, name: str, taken: Taken
) -> None:
    for metric, by_category in taken.values.items():
        if metric not in metrics():
            continue  # of a plug-in that is not installed, or of a part of the method
        measures[metric] = name
        for category, value in by_category.items():
            found.setdefault((metric, category), {}).setdefault(seed, []).append(value.value)


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean over the cells of one seed, e.g. one cell per category; None if no value is defined."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _images(parts: Iterable[tuple[int, pd.DataFrame]]) -> dict[str, Images]:
    """Category -> images; images without a score for every seed are left out."""
    found: dict[str, dict[int, dict[str, tuple[bool, float]]]] = {}
    for seed, frame in parts:
        columns = (frame["category"], frame["image_id"], frame["gt_label"], frame["pred_score"])
        for category, image, label, score in zip(*columns, strict=True):
            found.setdefault(category, {}).setdefault(seed, {})[image] = (bool(label), float(score))
    made = {}
    for category, by_seed in found.items():
        first = next(iter(by_seed.values()))
        ids = tuple(image for image in first if all(image in of for of in by_seed.values()))
        scores = {seed: tuple(of[image][1] for image in ids) for seed, of in sorted(by_seed.items())}
        made[category] = Images(ids, tuple(first[image][0] for image in ids), scores)
    return made


def _about(good: Iterable[tuple[int, str, Run]]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for _, _, run in good:
        for name in ("method", "method_version", "git_revision"):
            found.setdefault(name, {})[str(run.row[name] or "not recorded")] = None
        found.setdefault("params", {})[canonical(run.row["params"])] = None
        if run.row["git_dirty"]:
            found.setdefault("code", {})["changed since that revision"] = None
        for package, version in (run.row["packages"] or {}).items():
            found.setdefault(package, {})[version] = None
    return {name: " and ".join(values) for name, values in found.items()}


def _terms(good: Iterable[tuple[int, str, Run]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, dict[str, None]]] = {}
    for _, name, run in good:
        whole = found.setdefault("", {})
        for term in ("setting", "profile", "image_size"):
            whole.setdefault(term, {})[str(run.row[term])] = None
        terms = {term: value for term, value in run.measures[name]["terms"].items() if term not in CODE_TERMS}
        for term, value in terms.items():
            found.setdefault(name, {}).setdefault(term, {})[str(value)] = None
    return {
        measure: {term: ", ".join(sorted(values)) for term, values in terms.items()} for measure, terms in found.items()
    }


def _timed(latency: pd.DataFrame) -> dict[Key, tuple[Timed, ...]]:
    """Timed calls by row; several calls in one round (one per seed) are replaced by their median."""
    found: dict[Key, list[Timed]] = {}
    names = ["label", "dataset", "setting", "profile", "session", "mode", "batch", "device", "device_name", "threads"]
    for group, frame in latency.groupby(names, dropna=False, sort=False):
        assert isinstance(group, tuple)
        label, dataset, setting, profile, session, mode, batch, device, device_name, threads = group
        ms = frame.groupby("round")["ms"].median()
        where = f"{device_name} ({device}), {threads} threads"
        calls = Timed(
            str(session),
            str(mode),
            int(str(batch)),
            where,
            dict(zip(map(int, ms.index.tolist()), ms.tolist(), strict=True)),
        )
        found.setdefault(Key(str(label), str(dataset), str(setting), str(profile)), []).append(calls)
    return {key: tuple(calls) for key, calls in found.items()}


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
