"""Runs cells one after another. Each run is appended to the store as it ends, so that a kill loses at most one.

Several processes may run the same suite: each cell is measured by one of them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from afrad_bench import writing
from afrad_bench.backbone.features import FeatureCache
from afrad_bench.deploy import model_file
from afrad_bench.machine.arithmetic import applied
from afrad_bench.machine.devices import made_current
from afrad_bench.machine.lock import Busy
from afrad_bench.running.cell_run import CellRun, RunOptions
from afrad_bench.running.foreseen_features import foreseen
from afrad_bench.running.plan import Plan, PlannedCell, again
from afrad_bench.running.stopwatch import Stopwatch
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.selection import ChosenMeasure

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
    left: tuple[ChosenMeasure, ...] = ()
    """Measures that are still to be taken, alone (`RunOptions.shared`); `rest` takes them."""


def run_suite(
    plan: Plan, cells: Sequence[PlannedCell], workspace: Workspace, options: RunOptions = DEFAULTS
) -> Generator[Done, None, None]:
    """Run these cells of the plan in order; yields the outcome of each after its results are stored.

    Cells that another process measures are tried again at the end. Raises `DiskFull`, and `UserError` if the device has
    failed for good."""
    runner = Runner(plan, workspace, options)
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


class Runner:
    """Runs cells of one plan in this process."""

    def __init__(self, plan: Plan, workspace: Workspace, options: RunOptions) -> None:
        self._plan, self._workspace, self._options = plan, workspace, options
        self._store = Store(workspace.store)
        todo = plan.cells if options.force else plan.open
        self._features = FeatureCache(workspace.cache, workspace.cache_limit, options.watch, foreseen(todo))
        self._before = dict(options.startup)
        """Seconds that count for the next cell, by phase."""

    def run(self, planned: PlannedCell, *, wait: bool) -> Done:
        """Run a cell. If another process measures it: wait for that, or raise `Busy`."""
        options, clock = self._options, Stopwatch(dict(self._before))
        runner = CellRun(self._plan, planned, self._workspace, self._features, options, clock)
        with runner.alone(wait=wait):
            if not options.force and self._store.has_more(planned.cell.id, self._plan.runs):
                now = again(self._plan, planned, self._store)
                if not now.open:
                    return Done(now, "done", "another process has measured it meanwhile", 0.0)
                runner = CellRun(self._plan, now, self._workspace, self._features, options, clock)
            if options.shared and runner.waits():
                return Done(runner.planned, "ok", "", 0.0, left=runner.measures)
            return self._measured(runner)

    def rest(self, planned: PlannedCell, left: tuple[ChosenMeasure, ...], *, wait: bool) -> Done:
        """Take the measures that a run of the cell has left; as `run`."""
        clock = Stopwatch(dict(self._before))
        runner = CellRun(self._plan, planned, self._workspace, self._features, self._options, clock, left)
        with runner.alone(wait=wait):
            return self._measured(runner)

    def _measured(self, runner: CellRun) -> Done:
        device = self._plan.environment.device
        with made_current(device), applied(self._plan.selection.arithmetic, device):
            recorded = runner.run()
        status, error = recorded.cell["status"], recorded.cell["error"] or ""
        stored = Stopwatch()
        with stored.phase("store"):
            self._store.append(recorded.cell, **recorded.rows)
        model = None
        if status == "ok" and (place := self._place(runner)):
            with stored.phase("store"), writing.space(place.parent, writing.STORE):
                model = runner.keep(place)
        if status == "failed":
            from afrad_bench.machine.free_memory import must_answer

            must_answer(device)
        else:
            runner.forget_checkpoint()
        self._before = stored.seconds  # known only after the row is written: it counts for the next cell
        kept = model if self._options.keep_models else None
        return Done(runner.planned, status, error, runner.clock.total, kept, runner.left)

    def _place(self, runner: CellRun) -> Path | None:
        """Where to write the fitted method: to the store if it is kept, else to the cache if measures are left."""
        if self._options.keep_models:
            return model_file.place_of(self._store.root, runner.cell)
        return runner.held if runner.left and runner.kept is None else None
