"""What follows a run besides the screen: a log for machines (`--log-json`), event files (`--tensorboard`)."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from afrad_bench.errors import fail

if TYPE_CHECKING:
    from afrad_bench.cli.screen.progress import RunProgress, WorkersProgress
    from afrad_bench.running.plan import Plan, PlannedCell
    from afrad_bench.running.run import Done

SECONDS_BETWEEN = 1.0
"""Lines of the log about one step without a loss are at least so far apart."""


class Follower(Protocol):
    """Is told what happens in a run, perhaps of several cells at a time."""

    def started(self, planned: PlannedCell) -> None:
        """A cell begins."""

    def step(self, planned: PlannedCell, done: int, total: int, what: str, loss: float | None) -> None:
        """Progress within a cell, as for a `Watch`."""

    def finished(self, done: Done) -> None:
        """A cell has ended."""


class Together:
    """The screen and the followers of a run that measures one cell after the other."""

    def __init__(self, shown: RunProgress, more: Sequence[Follower]) -> None:
        self._shown, self._more = shown, more
        self._now: PlannedCell | None = None

    def started(self, planned: PlannedCell) -> None:
        """A cell begins."""
        self._now = planned
        self._shown.started(planned)
        for one in self._more:
            one.started(planned)

    def watch(self, done: int, total: int, what: str, loss: float | None = None) -> None:
        """A `Watch` for the cell that began last."""
        self._shown.watch(done, total, what, loss)
        for one in self._more:
            if self._now is not None:
                one.step(self._now, done, total, what, loss)

    def finished(self, done: Done) -> None:
        """A cell has ended."""
        self._shown.finished(done)
        for one in self._more:
            one.finished(done)


class OfWorkers:
    """The screen and the followers of a run by several workers. A cell begins when its worker first tells of it."""

    def __init__(self, shown: WorkersProgress, more: Sequence[Follower]) -> None:
        self._shown, self._more = shown, more
        self._begun: set[str] = set()

    def watch_worker(
        self, worker: str, planned: PlannedCell, done: int, total: int, what: str, loss: float | None
    ) -> None:
        """The step that a worker is at."""
        self._shown.watch_worker(worker, planned, done, total, what, loss)
        for one in self._more:
            if planned.cell.id not in self._begun:
                one.started(planned)
            one.step(planned, done, total, what, loss)
        self._begun.add(planned.cell.id)

    def note(self, text: str) -> None:
        """Something that the reader must know at once."""
        self._shown.note(text)

    def finished(self, done: Done) -> None:
        """A cell has ended."""
        self._shown.finished(done)
        for one in self._more:
            one.finished(done)


@contextmanager
def followers(plan: Plan, count: int, log_json: str | None, tensorboard: Path | None) -> Iterator[tuple[Follower, ...]]:
    """The followers that these options ask for, for a run of `count` cells; closed at the end.

    `log_json`: a file to which lines are appended, "-" for standard error. Raises `UserError` without the packages."""
    with ExitStack() as closing:
        made: list[Follower] = []
        if log_json is not None:
            log = JsonLog(sys.stderr if log_json == "-" else closing.enter_context(_appended(Path(log_json))))
            log.begin(plan, count)
            closing.callback(log.end)
            made.append(log)
        if tensorboard is not None:
            made.append(closing.enter_context(EventFiles(tensorboard)))
        yield tuple(made)


def _appended(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", encoding="utf-8", buffering=1)


@dataclass
class JsonLog:
    """One JSON object per line; docs/commands.md lists the fields."""

    stream: TextIO
    clock: Callable[[], float] = monotonic
    counts: dict[str, int] = field(default_factory=dict)
    """Way in which cells ended -> how many."""
    _last: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Cell id -> its step, and when a line about it was written."""

    def begin(self, plan: Plan, count: int) -> None:
        """The run begins."""
        chosen = plan.selection
        self._write("run", suite=chosen.suite, profile=chosen.profile, cells=count, device=plan.environment.device)

    def started(self, planned: PlannedCell) -> None:
        self._write("cell_started", **_names(planned))

    def step(self, planned: PlannedCell, done: int, total: int, what: str, loss: float | None) -> None:
        step, at = self._last.get(planned.cell.id, ("", 0.0))
        if what == step and loss is None and done < total and self.clock() - at < SECONDS_BETWEEN:
            return
        self._last[planned.cell.id] = what, self.clock()
        self._write("step", **_names(planned), step=what, done=done, total=total or None, loss=loss)

    def finished(self, done: Done) -> None:
        self._last.pop(done.planned.cell.id, None)
        self.counts[done.status] = self.counts.get(done.status, 0) + 1
        seconds = round(done.seconds, 3)
        about = {"status": done.status, "error": done.error or None, "seconds": seconds}
        self._write("cell_ended", **_names(done.planned), **about, model=done.model and str(done.model))

    def end(self) -> None:
        """The run has ended, or was interrupted."""
        self._write("run_ended", cells=self.counts)

    def _write(self, event: str, **fields: Any) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self.stream.write(json.dumps({"event": event, "time": now, **fields}) + "\n")
        self.stream.flush()


class EventFiles:
    """A folder of TensorBoard events for each cell: the loss of each epoch, and the seconds of the cell."""

    def __init__(self, folder: Path) -> None:
        if find_spec("tensorboard") is None:
            hint = "pip install 'afrad-bench[tensorboard]'"
            raise fail("event files need the package tensorboard", "--tensorboard", hint)
        self._folder = folder
        self._writers: dict[str, Any] = {}
        """By the ids of cells that have begun and not ended."""

    def __enter__(self) -> EventFiles:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers.values():
            writer.close()

    def started(self, planned: PlannedCell) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folder / _folder_of(_names(planned).values())
        self._writers[planned.cell.id] = SummaryWriter(folder)

    def step(self, planned: PlannedCell, done: int, total: int, what: str, loss: float | None) -> None:
        if loss is not None and (writer := self._writers.get(planned.cell.id)) is not None:
            writer.add_scalar(f"loss/{what}", loss, done)

    def finished(self, done: Done) -> None:
        if (writer := self._writers.pop(done.planned.cell.id, None)) is not None:
            writer.add_scalar("seconds", done.seconds, 0)
            writer.close()


def _names(planned: PlannedCell) -> dict[str, Any]:
    """The fields that name a cell."""
    cell = planned.cell
    return {
        "cell": cell.id,
        "label": planned.row.label,
        "dataset": cell.dataset,
        "category": cell.category,
        "seed": cell.seed,
    }


def _folder_of(names: Iterable[Any]) -> str:
    """A folder name of the names of a cell: "AFRAD-demo-seed0-3f2a91bc"."""
    cell, label, dataset, category, seed = names
    parts = (label, dataset, category or "", f"seed{seed}", cell[:8])
    return "-".join(re.sub(r"[^\w.+]+", "_", part) for part in parts if part)
