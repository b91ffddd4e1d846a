"""In what each row differs from the configuration that its method was published with (`methods.recipes`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from afrad_bench import registry
from afrad_bench.backbone.weights import stages_field
from afrad_bench.errors import UserError
from afrad_bench.hashing import canonical
from afrad_bench.methods.recipes import CHOSEN, Differences, Undeclared, chosen_on, differences, shown
from afrad_bench.report.basis.grid import Counted, Grid
from afrad_bench.report.basis.results import Run
from afrad_bench.report.model import RowSpec

UNDECLARED = "not declared"
"""For the stages of a method that declares no field for them."""
UNKNOWN = "not known whether as published"


class Unknown(Exception):
    """Why it is not known in what a run differs."""


def differences_of(
    run: Run, row: tuple[str, str] | None, dataset: str | None = None, image_size: int | None = None
) -> Differences:
    """In what a run differs from the published configuration for this data set (default: its own). `row`: table and row
    of the paper that it stands beside. The image size counts if it is given. Raises `Unknown`."""
    if run.row["params"] is None:
        raise Unknown("the configuration is not recorded")
    params = canonical(run.row["params"])
    return _differences(run.row["method"], params, dataset or run.row["dataset"], image_size, row)


@cache
def _differences(
    method: str, params: str, dataset: str, image_size: int | None, row: tuple[str, str] | None
) -> Differences:
    try:
        module = registry.find("method", method).load()
    except UserError as error:
        raise Unknown(f"the method {method} is not installed") from error
    try:
        return differences(module, json.loads(params), dataset, image_size, row)
    except ValidationError as error:
        raise Unknown("its configuration is of another version of the method") from error
    except Undeclared as error:
        raise Unknown(str(error)) from error


def place_of(grid: Grid, row: RowSpec) -> tuple[str, str] | None:
    """Table and row of the paper that a row stands beside."""
    table, published = grid.spec.reproduces, row.published_row
    return None if table is None or published is None else (table, published)


def stated(grid: Grid) -> Mapping[str, str]:
    """Label of a row -> in what it differs from the published configuration, or that it does not."""
    found: dict[str, dict[str, None]] = {}
    for use in grid.counted:
        found.setdefault(use.row.label, {})[_stated(grid, use)] = None
    return {label: "; ".join(texts) for label, texts in found.items()}


def chosen(grid: Grid) -> Mapping[str, str]:
    """Label of each row whose method's defaults were chosen on data that it is shown on -> a text that says so."""
    found: dict[str, dict[str, None]] = {}
    for use in grid.counted:
        name, params = use.run.row["dataset"].partition(":")[0], use.run.row["params"]
        if params is not None and name in _chosen_on(use.run.row["method"], canonical(params)):
            found.setdefault(use.row.label, {})[name] = None
    return {label: f"{CHOSEN} ({', '.join(names)})" for label, names in found.items()}


@cache
def _chosen_on(method: str, params: str) -> tuple[str, ...]:
    try:
        return chosen_on(registry.find("method", method).load(), json.loads(params))
    except (UserError, ValidationError):  # not installed, or of another version: `stated` says that
        return ()


def stages_of(run: Run) -> str:
    """The backbone stages whose maps a run read, by reduction; `UNDECLARED` for a method without such a field."""
    try:
        name = stages_field(registry.find("method", run.row["method"]).load().Config)
    except UserError:
        name = None
    value: Any = run.row["params"]
    for step in name.split(".") if name else ():
        value = value.get(step) if isinstance(value, Mapping) else None
    return shown(value) if name and value is not None else UNDECLARED


def _stated(grid: Grid, use: Counted) -> str:
    try:
        return str(differences_of(use.run, place_of(grid, use.row), image_size=use.run.row["image_size"]))
    except Unknown as error:
        return f"{UNKNOWN}: {error}"
