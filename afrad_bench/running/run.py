"""Runs cells one after another. Each run is appended to the store as it ends, so that a kill loses at most one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.deploy import model_file
from afrad_bench.running.cell_run import CellRun, RunOptions
from afrad_bench.running.plan import Plan, PlannedCell
from afrad_bench.running.stopwatch import Stopwatch
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store

DEFAULTS = RunOptions()


@dataclass(frozen=True)
class Done:
    """The outcome of a cell."""

    planned: PlannedCell
    status: str
    """"ok", "failed", or "stopped" if `RunOptions.should_continue` ended the training."""
    error: str
    seconds: float
    model: Path | None = None
    """The file of the fitted method, if it was kept."""


def run_suite(
    plan: Plan, cells: Sequence[PlannedCell], workspace: Workspace, options: RunOptions = DEFAULTS
) -> Iterator[Done]:
    """Run these cells of the plan in order; yields the outcome of each after its results are stored."""
    store = Store(workspace.store)
    features = FeatureCache(workspace.cache, workspace.cache_limit, options.watch)
    before = dict(options.startup)
    for planned in cells:
        runner = CellRun(plan, planned, workspace, features, options, Stopwatch(before))
        recorded = runner.run()
        status, error = recorded.cell["status"], recorded.cell["error"] or ""
        stored = Stopwatch()
        with stored.phase("store"):
            store.append(recorded.cell, **recorded.rows)
        if status != "failed":
            runner.forget_checkpoint()
        model = None
        if options.keep_models and status == "ok":
            with stored.phase("store"):
                model = runner.keep(model_file.place_of(store.root, planned.cell))
        before = stored.seconds  # known only after the row is written: it counts for the next cell
        yield Done(planned, status, error, runner.clock.total, model)
