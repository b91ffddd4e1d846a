"""A side of a comparison, read from the tables of a store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from afrad_bench.comparing.side import LATENCY, Images, Key, Number, Row, Side, Timed, metrics
from afrad_bench.hashing import canonical
from afrad_bench.report.basis import results
from afrad_bench.report.basis.results import Run, Taken
from afrad_bench.types import MEAN

if TYPE_CHECKING:
    import pandas as pd

CODE_TERMS = ("method_version",)
"""Terms that describe the code. Comparisons are about code changes, so these terms are shown, but never refused."""


def from_frames(name: str, frames: Mapping[str, pd.DataFrame]) -> Side:
    """A side from these tables of a store: `cells`, `measurements`, `scores`, `latency`, oldest rows first.

    For each label, data set, part of the data, seed and measure, the newest complete run counts."""
    read = results.read(frames["cells"], frames["measurements"])
    places: dict[tuple[Key, int, str], str] = {}
    older: dict[Key, set[str]] = {}
    order = {run_id: at for at, run_id in enumerate(frames["cells"]["run_id"])}
    runs = sorted((run for of_cell in read.runs.values() for run in of_cell), key=lambda run: order[run.run_id])
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
    rows = {key: _row(key, mine, read, scores) for key, mine in cells.items()}
    for key, calls in _timed(frames["latency"]).items():
        rows[key] = replace(rows.get(key, Row(key, {}, {}, {}, {})), timed=calls)
    for key, doubts in _loaded(frames["latency"]).items():
        rows[key] = replace(rows[key], unreliable={**rows[key].unreliable, LATENCY: doubts})
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
) -> Row:
    names = dict.fromkeys(name for _, cell, _ in cells for run in read.runs[cell] for name in run.measures)
    taken = [(seed, name, read.take(cell, name)) for seed, cell, _ in cells for name in names]
    failed = {(seed, name): each.error for seed, name, each in taken if each.state == "failed"}
    for seed, cell, _ in cells:  # runs that failed before any measure
        if not any(run.measures for run in read.runs[cell]):
            failed[seed, "fit"] = str(read.runs[cell][-1].row["error"])
    found: dict[Number, dict[int, list[float | None]]] = {}
    measures: dict[str, str] = {}
    unreliable: dict[str, str] = {}
    good = [(seed, name, each.run) for seed, name, each in taken if each.state == "ok" and each.run is not None]
    for seed, name, each in taken:
        if each.state == "ok" and (seed, name) not in failed:  # a seed counts only with all its parts
            _collect(found, measures, unreliable, seed, name, each)
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
        (),
        {seed: "; ".join(sorted(of)) for seed, of in parts.items()},
        tuple((seed, name, error) for (seed, name), error in sorted(failed.items())),
        unreliable,
        tuple(dict.fromkeys(run.run_id for _, _, run in good)),
    )


def _collect(
    found: dict[Number, dict[int, list[float | None]]],
    measures: dict[str, str],
    unreliable: dict[str, str],
    seed: int,
    name: str,
    taken: Taken,
) -> None:
    for metric, by_category in taken.values.items():
        if metric not in metrics():
            continue  # of a plug-in that is not installed, or of a part of the method
        measures[metric] = name
        for category, value in by_category.items():
            found.setdefault((metric, category), {}).setdefault(seed, []).append(value.value)
            for doubt in results.doubts(value.note):
                unreliable.setdefault(metric, f"seed {seed} {doubt}")


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


def _loaded(latency: pd.DataFrame) -> dict[Key, str]:
    """The rows of which a session was measured on a loaded machine, and what it says."""
    found: dict[Key, dict[str, None]] = {}
    names = ["label", "dataset", "setting", "profile", "terms"]
    for label, dataset, setting, profile, terms in latency[names].drop_duplicates().itertuples(index=False, name=None):
        for doubt in json.loads(terms).get("doubts", ()):
            found.setdefault(Key(label, dataset, setting, profile), {})[doubt] = None
    return {key: "; ".join(doubts) for key, doubts in found.items()}
