"""Progress of runs and searches: a bar on a terminal, lines elsewhere, a line for each finished cell or trial."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from afrad_bench.cli.screen.console import STATE_STYLE
from afrad_bench.cli.screen.steps import Clock, Step, StepLines, span
from afrad_bench.errors import first_line

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from typing_extensions import Self

    from afrad_bench.running.plan import PlannedCell
    from afrad_bench.running.run import Done
    from afrad_bench.search import Declared


class _TimeLeft(ProgressColumn):
    """Time left at the pace of the step; rich's own column forgets steps that take more than half a minute."""

    def render(self, task: Task) -> Text:
        step: Step | None = task.fields["step"]
        left = step.left(int(task.total or 0)) if step is not None else None
        return Text("-:--:--" if left is None else span(left), style="progress.remaining")


SEVERAL = "1000/1000 loss 0.1234 0:00:00 0:00:00"
"""The widest numbers beside the bars of several workers."""
BAR, WIDE = 24, 110
"""Cells of the bar, and of a screen that has room for it."""


class _Overview:
    """The line above the bar: how many ended how, the loss so far, the time and memory; made anew at each refresh."""

    def __init__(self, total: int, memory: Callable[[], str] | None, marks: str, clock: Clock = time.monotonic) -> None:
        self._total, self._memory, self._marks, self._clock = total, memory, marks, clock
        self.workers = 1
        self._began = self._at = clock()
        self._pace = 0.0
        self.ended: dict[str, int] = {}
        """Way in which cells ended -> how many."""
        self.losses: list[float] = []
        """Of the current step."""

    def __rich__(self) -> Text:
        done = sum(self.ended.values())
        text = Text(overflow="ellipsis", no_wrap=True)
        parts = [(f"{count} {state}", STATE_STYLE.get(state, "")) for state, count in self.ended.items()]
        running = min(self.workers, self._total - done)
        parts += [(f"{running} running", "cyan"), (f"{self._total - done - running} to do", "")]
        if (left := self.left()) is not None:
            parts.append((f"about {span(left)} left", "progress.remaining"))
        if self._memory is not None:
            parts.append((self._memory(), "dim"))
        if len(self.losses) > 1 and self._marks:
            parts.append((f"loss {_sparkline(self.losses, self._marks)}", "magenta"))
        for i, (part, style) in enumerate(parts):
            text.append(" · " if i else "", "dim").append(part, style)
        return text

    def left(self) -> float | None:
        """Seconds left for all cells at the pace so far; None before the first one has ended."""
        done = sum(self.ended.values())
        if not done or done >= self._total:
            return None
        return max(0.0, self._pace * (self._total - done) - (self._clock() - self._at))

    def ends(self, state: str) -> None:
        """Take note that a cell ended."""
        self.ended[state] = self.ended.get(state, 0) + 1
        self._at = self._clock()
        self._pace = (self._at - self._began) / sum(self.ended.values())
        self.losses = []


def _sparkline(values: Sequence[float], marks: str) -> str:
    """The latest values as blocks, from the lowest to the highest of them.

    >>> _sparkline([4.0, 2.0, 1.0], "123")
    '321'
    """
    shown = [value for value in values if math.isfinite(value)][-SPARKS:]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    scale = (len(marks) - 1) / (high - low) if high > low else 0.0
    return "".join(marks[round((value - low) * scale)] for value in shown)


SPARKS = 16
"""Losses that the overview shows."""


class RunProgress:
    """Progress of a run: an overview and a bar on a terminal, or else a line per step and tenth of it; a line per
    finished cell."""

    def __init__(self, out: Console, cells: Sequence[PlannedCell], memory: Callable[[], str] | None = None) -> None:
        """`memory`: what is used now, in words."""
        self._begin(out, len(cells), [_name(one) for one in cells], memory)

    def _begin(self, out: Console, total: int, names: Sequence[str], memory: Callable[[], str] | None = None) -> None:
        self._out = out
        self._overview = _Overview(total, memory, "▁▂▃▄▅▆▇█" if out.encoding.startswith("utf") else "")
        self._total = total
        self._names = list(names)
        self._finished = 0
        self._errors: dict[str, list[str]] = {}
        bar = [BarColumn(bar_width=BAR)] if out.width >= WIDE else []
        self._room = out.width - (BAR + 1) * len(bar)
        self._bar = Progress(
            TextColumn("{task.description}"),
            *bar,
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=out,
        )
        self._tasks = {"": self._bar.add_task("starting", total=None, loss="", step=None)}
        """Worker -> its bar; "" without workers."""
        self._steps: dict[str, tuple[str, Step]] = {}
        """Worker -> what its step belongs to, and the step."""
        self._live = Live(Group(self._overview, self._bar), console=out, transient=True, refresh_per_second=4)
        self._lines = None if out.is_terminal else StepLines(out)

    def __enter__(self) -> Self:
        if self._lines is None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        for error, places in self._errors.items():
            if len(places) > 1:
                self._out.print(Text(f"{len(places)} times: {first_line(error)}", "bold red"), soft_wrap=True)

    def started(self, planned: PlannedCell) -> None:
        """The next cell begins; it may be another than the next of the list, which another process may measure."""
        self._names[min(self._finished, len(self._names) - 1)] = _name(planned)

    def watch(self, done: int, total: int, what: str, loss: float | None = None) -> None:
        """A `Watch`: one bar for the current step. A `total` of 0 is unknown."""
        number = f"[{self._finished + 1}/{self._total}]"
        name = self._names[min(self._finished, len(self._names) - 1)]
        if self._lines is not None:
            self._lines.watch(done, total, what, loss, f"{number} {name}")
            return
        self._move("", number, name, (done, total, what, loss))

    def _move(self, worker: str, head: str, name: str, at: tuple[int, int, str, float | None]) -> None:
        """Show on the bar of a worker where its step is."""
        done, total, what, loss = at
        owner, step = self._steps.get(worker, (name, None))
        if step is None or owner != name or not step.goes_on(what, done):
            step = Step(what, done)
            self._overview.losses = []
            if worker in self._tasks:
                self._bar.remove_task(self._tasks[worker])  # rich keeps the total of a task that is given None
            self._tasks[worker] = self._bar.add_task("", total=total or None, loss="", step=step)
        self._steps[worker] = (name, step)
        step.at(done)
        if loss is not None and not worker:  # the losses of several would be one muddle
            self._overview.losses.append(loss)
        shown = "" if loss is None else f"loss {loss:.4g}"
        short = Text(name)  # cut, so that the numbers beside it are not
        numbers = SEVERAL if worker else f"{total}/{total} {shown} 0:00:00 0:00:00"  # several bars share their columns
        short.truncate(max(8, self._room - len(f"{head} : {what} {numbers}")), overflow="ellipsis")
        text = escape(f"{head} {short.plain}: {what}")
        self._bar.update(self._tasks[worker], completed=done, total=total or None, description=text, loss=shown)

    def finished(self, done: Done) -> None:
        """Print a permanent line for a finished cell."""
        self._finished += 1
        self._steps.pop("", None)
        self._overview.ends(done.status)
        planned = done.planned
        part = f" {planned.cell.category}" if planned.cell.category else ""
        text = Text(f"[{self._finished}/{self._total}] ")
        text.append(done.status, style=STATE_STYLE[done.status])
        text.append(f"  {planned.row.label}, {planned.cell.dataset}{part}, seed {planned.cell.seed}")
        text.append(f"  {done.seconds:.1f} s  {planned.cell.id}", style="dim")
        if done.error and done.status == "done":
            text.append("".join(f"\n    {line}" for line in done.error.splitlines()), style="dim")
        elif done.error:
            text.append(self._told(done.error, f"[{self._finished}/{self._total}]"), style=STATE_STYLE[done.status])
        self._out.print(text, soft_wrap=True)

    def _told(self, error: str, place: str) -> str:
        """The lines of an error, or where they stand already."""
        places = self._errors.setdefault(error, [])
        places.append(place)
        return f"  as {places[0]}" if len(places) > 1 else "".join(f"\n    {line}" for line in error.splitlines())


class WorkersProgress(RunProgress):
    """Progress of a run by several workers: a bar for each on a terminal, or else lines with its name."""

    def __init__(self, out: Console, cells: Sequence[PlannedCell], workers: Sequence[str]) -> None:
        super().__init__(out, cells)
        self._logs = {worker: StepLines(out) for worker in workers}
        self._overview.workers = len(self._logs)
        self._bar.remove_task(self._tasks.pop(""))

    def watch_worker(
        self, worker: str, planned: PlannedCell, done: int, total: int, what: str, loss: float | None
    ) -> None:
        """Show where a worker is in the current step of its cell."""
        name = _name(planned)
        if self._out.is_terminal:
            self._move(worker, f"{worker} ", name, (done, total, what, loss))
        else:
            self._logs[worker].watch(done, total, what, loss, f"{worker}  {name}")

    def note(self, text: str) -> None:
        """Print a caution."""
        self._out.print(Text(text, "yellow"), soft_wrap=True)


class SearchProgress(RunProgress):
    """Progress of a search: a bar for the current trial, a line for each finished trial."""

    def __init__(self, out: Console, declared: Declared) -> None:
        self._begin(out, declared.search.trials, ["search"])
        self._goals = declared.objectives
        selection, search = declared.selection, declared.search
        goals = ", ".join(f"{goal.direction} {goal.name}" for goal in declared.objectives)
        out.print(f"[bold]{escape(selection.title)}[/]")
        out.print(f"profile [bold]{selection.profile}[/]: {escape(selection.description)}".rstrip(": "))
        out.print(f"{search.trials} trials: {goals}; sampler {search.sampler.name}, pruner {search.pruner.name}")

    def trial_finished(self, trial: FrozenTrial) -> None:
        """Print a permanent line for a finished trial."""
        self._finished += 1
        self._steps.pop("", None)
        state = trial.state.name.lower()
        self._overview.ends(state)
        styles = {"complete": "green", "pruned": "yellow"}
        text = Text(f"trial {trial.number}  ").append(state, style=styles.get(state, "red"))
        for goal, value in zip(self._goals, trial.values or (), strict=False):
            text.append(f"  {goal.name} {value:.4f}", style="bold")
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        params = ", ".join(f"{name}={_number(value)}" for name, value in trial.params.items())
        text.append(f"  {seconds:.1f} s  {params}", style="dim")
        if error := trial.user_attrs.get("error"):
            text.append(self._told(error, f"trial {trial.number}"), style="red")
        self._out.print(text, soft_wrap=True)


def _name(planned: PlannedCell) -> str:
    return f"{planned.row.label}, seed {planned.cell.seed}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
