"""Runs cells one after another. Each run is appended to the store as it ends, so that a kill loses at most one.

Several processes may run the same suite: each cell is measured by one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from afrad_bench import writing
from afrad_bench.backbone.features import FeatureCache
from afrad_bench.deploy import model_file
from afrad_bench.machine.lock import Busy, alone
from afrad_bench.running.cell_run import CellRun, RunOptions
from afrad_bench.running.plan import Plan, PlannedCell, again
from afrad_bench.running.stopwatch import Stopwatch
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store

DEFAULTS = RunOptions()


@dataclass(frozen=True)
class Done:
    """The outcome of a cell."""

    planned: PlannedCell
    status: str
    """"ok", "failed", or "stopped" if `RunOptions.should_continue` ended the training; without a run of its own "done"
    if another process has measured it meanwhile, "busy" if another process still measures it."""
    error: str
    """Why it ended so; empty for "ok"."""
    seconds: float
    model: Path | None = None
    """The file of the fitted method, if it was kept."""


def run_suite(
    plan: Plan, cells: Sequence[PlannedCell], workspace: Workspace, options: RunOptions = DEFAULTS
) -> Iterator[Done]:
    """Run these cells of the plan in order; yields the outcome of each after its results are stored.

    Cells that another process measures are tried again at the end. Raises `DiskFull`, and `UserError` if the device has
    failed for good."""
    runner = _Runner(plan, workspace, options)
    busy: list[PlannedCell] = []
    for planned in cells:
        try:
            done = runner.run(planned, wait=False)
        except Busy:
            busy.append(planned)
        else:
            yield done
    for planned in busy:
        try:
            done = runner.run(planned, wait=options.wait)
        except Busy as other:
            done = Done(planned, "busy", str(other), 0.0)
        yield done


class _Runner:
    """Runs cells of one plan."""

    def __init__(self, plan: Plan, workspace: Workspace, options: RunOptions) -> None:
        self._plan, self._workspace, self._options = plan, workspace, options
        self._store = Store(workspace.store)
        self._features = FeatureCache(workspace.cache, workspace.cache_limit, options.watch)
        self._before = dict(options.startup)
        """Seconds that count for the next cell, by phase."""

    def run(self, planned: PlannedCell, *, wait: bool) -> Done:
        """Run a cell. If another process measures it: wait for that, or raise `Busy`."""
        options, clock = self._options, Stopwatch(dict(self._before))
        runner = CellRun(self._plan, planned, self._workspace, self._features, options, clock)
        lock = runner.checkpoint and alone(runner.checkpoint.with_suffix(".lock"), wait=wait)
        with lock or nullcontext():
            if not options.force and self._store.has_more(planned.cell.id, self._plan.runs):
                now = again(self._plan, planned, self._store)
                if not now.open:
                    return Done(now, "done", "another process has measured it meanwhile", 0.0)
                runner = CellRun(self._plan, now, self._workspace, self._features, options, clock)
            return self._measured(runner)

    def _measured(self, runner: CellRun) -> Done:
        recorded = runner.run()
        status, error = recorded.cell["status"], recorded.cell["error"] or ""
        stored = Stopwatch()
        with stored.phase("store"):
            self._store.append(recorded.cell, **recorded.rows)
        if status == "failed":
            from afrad_bench.machine.free_memory import must_answer

            must_answer(self._plan.environment.device)
        else:
            runner.forget_checkpoint()
        model = None
        if self._options.keep_models and status == "ok":
            with stored.phase("store"), writing.space(self._store.root, writing.STORE):
                model = runner.keep(model_file.place_of(self._store.root, runner.cell))
        self._before = stored.seconds  # known only after the row is written: it counts for the next cell
        return Done(runner.planned, status, error, runner.clock.total, model)
