"""Which rows of a report deviate from the suite's own settings, by which overrides of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from afrad_bench.report.basis.grid import Counted, Grid

SHARED = "shared"


def deviations(grid: Grid) -> Mapping[str, list[str]]:
    """Override -> labels of the rows that it changed, both in order of appearance.

    The overrides are those with which the rows were chosen (a cell's id holds what they changed), or, if these are not
    known, those that each run recorded."""
    found: dict[str, dict[str, None]] = {}
    for use in grid.counted:
        chosen = grid.spec.overrides
        texts: Iterable[str] = (use.run.row["overrides"] or ()) if chosen is None else chosen
        for text in texts:
            if _changes(text, use):
                found.setdefault(text, {})[use.row.label] = None
    return {text: list(labels) for text, labels in found.items()}


def _changes(text: str, use: Counted) -> bool:
    """Whether an override changes what was run here: the profile, this row's method, its data or this measure."""
    name, _, value = text.partition("=")
    first, _, field = name.partition(".")
    if name == "threads":
        return str(use.run.term("threads")) == value.strip()  # not part of a cell's id: an older run may have others
    if not field:
        return True
    if first == SHARED:
        return _has(use.run.row["params"], field.split("."))
    return first in (use.row.method, use.cell.dataset.partition(":")[0], use.measure)


def _has(params: Any, steps: list[str]) -> bool:
    for step in steps:
        if not isinstance(params, Mapping) or step not in params:
            return False
        params = params[step]
    return True
