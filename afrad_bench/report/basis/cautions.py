"""Warnings that a reader needs before reading any number."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from afrad_bench import published
from afrad_bench.errors import first_line
from afrad_bench.methods.recipes import DIFFERS
from afrad_bench.report.basis.deviations import deviations
from afrad_bench.report.basis.grid import Counted, Grid
from afrad_bench.report.basis.results import doubts
from afrad_bench.report.basis.terms import (
    MUST_AGREE,
    by_term,
    by_value,
    count,
    listed,
    mixed_versions,
    package_values,
    short,
    some,
)
from afrad_bench.report.model import Caution
from afrad_bench.suite.options import as_options
from afrad_bench.types import SERIOUS


def cautions(grid: Grid, *, times: bool = True) -> tuple[Caution, ...]:
    """Alarms first (random weights, data that spoil every accuracy, differing terms, overrides, failures), then notes
    of data sets and methods.

    `times`: whether the page shows times, so that unreliable ones must be named."""
    uses = grid.counted
    noted = list(_notes(grid, uses))
    serious = [text for text in noted if text.startswith(SERIOUS)]
    alarms = [*_random(uses), *serious, *mixed(grid), *_overrides(grid), *_newer_failures(uses), *_gaps(grid)]
    notes = [*(text for text in noted if text not in serious), *(_unreliable(grid) if times else ())]
    return (*(Caution(text, "alarm") for text in alarms), *map(Caution, notes))


def mixed(grid: Grid) -> tuple[str, ...]:
    """Each term that must agree but differs between rows, with the rows of each value."""
    uses = grid.counted
    found = []
    for term, plural in MUST_AGREE.items():
        values = by_term(uses, term)
        if len(values) > 1:
            found.append(f"Mixed {plural}: {listed(values)}.")
    for dataset in grid.datasets:
        here = [use for use in uses if use.cell.dataset == dataset]
        for part in dict.fromkeys(use.cell.part for use in here):
            same = [use for use in here if use.cell.part == part]
            values = by_value(same, lambda run: short(run.term("data_fingerprint")))
            if len(values) > 1:
                of = dataset if part is None else f"{dataset}, {part}"
                found.append(f"Mixed data under one name ({of}), fingerprints {listed(values)}.")
    for package, values in package_values(uses).items():
        if len(values) > 1:
            found.append(f"Mixed versions of {package}: {listed(values)}.")
    for measure, values in mixed_versions(uses).items():
        found.append(f"Mixed versions of the measure {measure}: {listed(values)}.")
    return tuple(found)


def _random(uses: Iterable[Counted]) -> Iterable[str]:
    labels = list(dict.fromkeys(use.row.label for use in uses if use.run.is_random))
    if labels:
        yield f"Random weights: {', '.join(labels)}. Accuracy without pretrained weights says nothing about a method."


def _overrides(grid: Grid) -> Iterable[str]:
    everywhere = {use.row.label for use in grid.counted}
    settings = [
        _as_given(text) + ("" if set(labels) == everywhere else f" ({some(labels)})")
        for text, labels in deviations(grid).items()
    ]
    if settings:
        yield f"Not the suite's own settings: {'; '.join(settings)}."


def _as_given(override: str) -> str:
    """An override as a user gives it: by the shorter option if there is one, else as the value of `--set`."""
    option, *words = as_options(override)
    return override if option == "--set" else shlex.join([option, *words])


def _newer_failures(uses: Iterable[Counted]) -> Iterable[str]:
    for use in uses:
        if use.later_error:
            yield (
                f"{_place(use)}: a later run of {use.measure} failed ({first_line(use.later_error)}); "
                "the older numbers are shown."
            )


def _gaps(grid: Grid) -> Iterable[str]:
    by_cell: dict[str, set[str]] = {}
    for use in grid.uses:
        stale = use.taken.state == "ok" and grid.stale(use.cell, use.measure)
        by_cell.setdefault(use.cell.id, set()).add("stale" if stale else use.taken.state)
    failed = sum("failed" in states for states in by_cell.values())
    missing = sum("missing" in states and "failed" not in states for states in by_cell.values())
    outdated = sum("stale" in states for states in by_cell.values())
    counts = [
        f"{number} {what}"
        for number, what in ((failed, "failed"), (missing, "not run or incomplete"), (outdated, "stale"))
        if number
    ]
    if counts:
        yield f"Of {count(len(by_cell), 'cell')}: {', '.join(counts)}. They are listed in “Failed, missing and stale”."


def _notes(grid: Grid, uses: Sequence[Counted]) -> Iterable[str]:
    """Notes of data sets and methods, each once, with the rows that it applies to; then notes on the comparison."""
    said: dict[str, dict[str, None]] = {}
    for use in uses:
        for text in _texts(use.run.row["notes"]):
            if text.startswith(DIFFERS):  # compared anew with what is declared now, in terms and footnotes
                continue
            said.setdefault(text, {})[use.row.label] = None
    everywhere = {use.row.label for use in uses}
    for text, labels in said.items():
        yield text if set(labels) == everywhere else f"{text} ({some(list(labels))})"
    if len({cell.seed for row in grid.spec.rows for cell in row.cells}) == 1:
        yield "1 seed: a difference between two rows may be noise, and no spread can be given."
    if any(use.run.term("git_dirty") for use in uses):
        yield "The code had uncommitted changes: its revision does not tell exactly what was measured."
    if grid.spec.reproduces is not None:
        yield f"Figures marked as the paper's are those it prints ({published.CAPTIONS[grid.spec.reproduces]})."


def _unreliable(grid: Grid) -> Iterable[str]:
    """The times of the main tables that must not be trusted."""
    found: dict[str, dict[str, None]] = {}
    for use in grid.uses:
        for name, metric in grid.spec.measures[use.measure].metrics.items():
            values = use.taken.values.get(name, {}) if metric.headline else {}
            if any(doubts(value.note) for value in values.values()):
                found.setdefault(metric.title, {})[use.row.label] = None
    if found:
        times = "; ".join(f"{title} ({some(list(labels))})" for title, labels in found.items())
        yield f"Unreliable, measure again on an idle machine (run --force): {times}. These are not ranked."


def _texts(value: Any) -> list[str]:
    """Texts of a JSON column, which holds a list of texts or names with values."""
    if isinstance(value, Mapping):
        return [f"{name}={each}" for name, each in value.items()]
    return [str(each) for each in value or ()]


def _place(use: Counted) -> str:
    part = "" if use.cell.part is None else f", {use.cell.part}"
    return f"{use.row.label}, {use.cell.dataset}{part}, seed {use.cell.seed}"
