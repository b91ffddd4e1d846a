"""Runs cells on several devices: a worker process for each, to which this process deals one cell after another.

Each worker appends to the store what it measures, so that nothing measured is lost however a process ends. A worker
that dies is replaced, and its cell dealt once more: it goes on from its checkpoint. Measures that neighbours would
distort (`ALONE` in their module) are taken in the end, on one device, while no other worker is there."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from typing import Any, Protocol

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.errors import UserError, fail
from afrad_bench.machine.free_memory import DeviceFailed
from afrad_bench.machine.lock import Busy
from afrad_bench.machine.processes import end_with_parent, exit_in_words
from afrad_bench.running.cell_run import CellRun, RunOptions
from afrad_bench.running.plan import Plan, PlannedCell
from afrad_bench.running.run import Done, Runner
from afrad_bench.running.stopwatch import Stopwatch
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.selection import ChosenMeasure
from afrad_bench.types import unwatched

ATTEMPTS = 2
"""Workers that may die of one cell; it has failed then."""
GRACE = 10.0
"""Seconds in which a worker may clean up when it is told to end."""
PACE = 0.1
"""Seconds between two reports of one step."""


class Shown(Protocol):
    """Shows what the workers do."""

    def watch_worker(
        self, worker: str, planned: PlannedCell, done: int, total: int, what: str, loss: float | None
    ) -> None:
        """The step that a worker is at."""

    def note(self, text: str) -> None:
        """Something that the reader must know at once."""


def run_on(
    devices: Sequence[str],
    plan: Plan,
    cells: Sequence[PlannedCell],
    workspace: Workspace,
    options: RunOptions,
    shown: Shown,
) -> Generator[Done, None, None]:
    """Run these cells of the plan by a worker for each device; yields the outcome of each after its results are stored.

    As `run_suite`, but a device that has failed gets a new process. All workers end with the iteration."""
    crew = _Crew(devices, plan, cells, workspace, options, shown)
    try:
        yield from crew.work()
        yield from crew.work_alone()
    finally:
        crew.end()


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker is told to do."""

    number: int
    """Of the cell."""
    wait: bool
    """Wait for another process that measures it."""
    was_busy: bool = False
    """Another process has been found to measure it."""
    rest: tuple[ChosenMeasure, ...] = ()
    """Take these measures, which were left; empty: run the cell."""


@dataclass
class _Worker:
    """A worker process, as its parent sees it."""

    name: str
    device: str
    process: Any
    pipe: connection.Connection
    task: _Task | None = None
    began: bool = False
    """Whether anything was heard of it."""


class _Crew:
    """The workers of one run, and what they have still to do."""

    def __init__(
        self,
        devices: Sequence[str],
        plan: Plan,
        cells: Sequence[PlannedCell],
        workspace: Workspace,
        options: RunOptions,
        shown: Shown,
    ) -> None:
        self._devices = names_of(devices)
        self._plan, self._cells, self._workspace, self._options = plan, cells, workspace, options
        self._shown = shown
        self._todo = deque(_Task(i, wait=False) for i in range(len(cells)))
        self._later: list[_Task] = []
        self._spent: dict[int, float] = {}
        """Seconds that went into a cell whose outcome is not told yet."""
        self._deaths: Counter[int] = Counter()
        self._workers: list[_Worker] = []

    def work(self) -> Iterator[Done]:
        """Let all workers do what they need not do alone."""
        yield from self._dealt(self._devices, shared=min(len(self._devices), len(self._cells)) > 1)
        self.end()

    def work_alone(self) -> Iterator[Done]:
        """Let one worker take the measures that are left."""
        self._todo, self._later = deque(self._later), []
        first = next(iter(self._devices.items()))
        yield from self._dealt(dict([first]), shared=False)

    def end(self) -> None:
        """End all workers: those without a task at once, the others as soon as they have cleaned up."""
        for worker in self._workers:
            if worker.task is None and worker.process.is_alive():
                _send(worker, None)
            else:
                worker.process.terminate()
        deadline = time.monotonic() + GRACE
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers = []

    # ------------------------------------------------------------------------------------------------ inside

    def _dealt(self, devices: Mapping[str, str], *, shared: bool) -> Iterator[Done]:
        """Deal all tasks to workers on these devices, by their names."""
        while self._todo or any(worker.task for worker in self._workers):
            self._deal(devices, shared=shared)
            working = {worker.pipe: worker for worker in self._workers if worker.task is not None}
            for pipe in connection.wait(list(working)):
                assert isinstance(pipe, connection.Connection)
                yield from self._heard(working[pipe])

    def _deal(self, devices: Mapping[str, str], *, shared: bool) -> None:
        """Give a task to each worker that has none, and start workers that are missing."""
        for name, device in devices.items():
            if not self._todo:
                return
            worker = next((one for one in self._workers if one.name == name), None)
            if worker is None:
                worker = self._start(name, device, shared=shared)
            if worker.task is None:
                worker.task = self._todo.popleft()
                _send(worker, worker.task)  # if it has died, its pipe tells so

    def _start(self, name: str, device: str, *, shared: bool) -> _Worker:
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        options = replace(self._options, watch=unwatched, shared=shared)
        self._options = replace(self._options, startup={})  # counts once
        plan = replace(self._plan, environment=replace(self._plan.environment, device=device))
        process = context.Process(target=work, args=(theirs, plan, self._cells, self._workspace, options), name=name)
        process.start()
        theirs.close()  # so that the pipe ends with the worker
        self._workers.append(_Worker(name, device, process, mine))
        return self._workers[-1]

    def _heard(self, worker: _Worker) -> Iterator[Done]:
        """Act on a message of a worker, or on its death."""
        assert worker.task is not None
        try:
            kind, *said = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._died(worker)
            return
        worker.began = True
        planned = self._cells[worker.task.number]
        if kind == "step":
            self._shown.watch_worker(worker.name, planned, *said)
        elif kind == "done":
            yield from self._done(worker, replace(said[0], planned=planned))
        elif kind == "busy":
            yield from self._busy(worker, said[0])
        elif kind == "failed device":
            self._remove(worker)
            yield Done(planned, "failed", f"{said[0].problems[0].what}; a new process goes on", 0.0)
        elif kind == "error":
            raise said[0]
        elif kind == "defect":
            raise RuntimeError(f"a worker has failed:\n{said[0]}")

    def _done(self, worker: _Worker, done: Done) -> Iterator[Done]:
        assert worker.task is not None
        number, worker.task = worker.task.number, None
        if done.left:
            self._later.append(_Task(number, wait=self._options.wait, rest=done.left))
            self._spent[number] = done.seconds
        else:
            yield replace(done, seconds=done.seconds + self._spent.get(number, 0.0))

    def _busy(self, worker: _Worker, told: str) -> Iterator[Done]:
        """Another process measures the cell: try it again in the end."""
        assert worker.task is not None
        task, worker.task = worker.task, None
        if task.was_busy:
            yield Done(self._cells[task.number], "busy", told, 0.0)
        else:
            self._todo.append(replace(task, wait=self._options.wait, was_busy=True))

    def _died(self, worker: _Worker) -> Iterator[Done]:
        """A worker has ended without a word. Its cell is dealt once more; what it stored is found there."""
        assert worker.task is not None
        task = worker.task
        self._remove(worker)
        planned, how = self._cells[task.number], exit_in_words(worker.process.exitcode)
        if not worker.began:
            raise fail(f"the worker {worker.name} ended before it began: {how}", "--devices", "see its message above")
        self._deaths[task.number] += 1
        if self._deaths[task.number] < ATTEMPTS:
            cell = f"{planned.row.label}, seed {planned.cell.seed}"
            self._shown.note(f"{worker.name}: the worker has ended ({how}); {cell} is tried once more")
            self._todo.appendleft(task)
            return
        error = f"{ATTEMPTS} worker processes ended while they measured this cell: {how}"
        features = FeatureCache(None)
        plan = replace(self._plan, environment=replace(self._plan.environment, device=worker.device))
        run = CellRun(plan, planned, self._workspace, features, self._options, Stopwatch(), task.rest)
        recorded = run.lost(error)
        Store(self._workspace.store).append(recorded.cell, **recorded.rows)
        yield Done(planned, "failed", error, 0.0)

    def _remove(self, worker: _Worker) -> None:
        worker.process.join(GRACE)
        worker.pipe.close()
        self._workers.remove(worker)


def names_of(devices: Sequence[str]) -> dict[str, str]:
    """Name of each worker -> its device.

    >>> names_of(["cpu", "cpu"]), names_of(["cuda:0"])
    ({'cpu 1': 'cpu', 'cpu 2': 'cpu'}, {'cuda:0': 'cuda:0'})
    """
    if len(set(devices)) == len(devices):
        return {device: device for device in devices}
    return {f"{device} {i}": device for i, device in enumerate(devices, 1)}


def _send(worker: _Worker, task: _Task | None) -> None:
    try:
        worker.pipe.send(task)
    except OSError:  # it has died; reading from the pipe tells so
        return


# ------------------------------------------------------------------------------------------------ in the worker


def work(
    pipe: connection.Connection, plan: Plan, cells: Sequence[PlannedCell], workspace: Workspace, options: RunOptions
) -> None:
    """A worker process: does what it is told, until it is told nothing more or its parent ends."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that files are cleaned up
    try:
        runner = Runner(plan, workspace, replace(options, watch=_Steps(pipe).watch))
        pipe.send(("began",))
        while (task := pipe.recv()) is not None:
            answer = _answer(runner, cells[task.number], task)
            pipe.send(answer)
            if answer[0] not in ("done", "busy"):
                return
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        sys.exit(128 + signal.SIGTERM)


def _answer(runner: Runner, planned: PlannedCell, task: _Task) -> tuple[Any, ...]:
    """What a task has come to, as a message to the parent."""
    try:
        if task.rest:
            done = runner.rest(planned, task.rest, wait=task.wait)
        else:
            done = runner.run(planned, wait=task.wait)
    except Busy as other:
        return ("busy", str(other))
    except DeviceFailed as error:
        return ("failed device", error)
    except UserError as error:
        return ("error", error)
    except Exception:  # noqa: BLE001 - a defect; the parent ends with this traceback
        return ("defect", traceback.format_exc())
    return ("done", replace(done, planned=None))  # type: ignore[arg-type]  # the parent has the cell


class _Steps:
    """Reports the steps of a worker, not more often than a reader could see."""

    def __init__(self, pipe: connection.Connection) -> None:
        self._pipe = pipe
        self._what, self._at = "", 0.0

    def watch(self, done: int, total: int, what: str, loss: float | None = None) -> None:
        """A `Watch`."""
        now = time.monotonic()
        if what != self._what or now - self._at >= PACE or done == total:
            self._what, self._at = what, now
            self._pipe.send(("step", done, total, what, loss))
