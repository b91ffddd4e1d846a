"""Everything that the terminal shows but the report itself: errors, plans, listings, progress."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from afrad_bench import published

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from typing_extensions import Self

    from afrad_bench.comparing import Comparison, Decision
    from afrad_bench.errors import UserError
    from afrad_bench.export import Exported
    from afrad_bench.features import CacheEntry
    from afrad_bench.plan import Plan, PlannedCell
    from afrad_bench.run import Done
    from afrad_bench.search import Declared
    from afrad_bench.selection import Selection
    from afrad_bench.types import Watch

STATE_STYLE = {
    "done": "green",
    "ok": "green",
    "to do": "cyan",
    "stopped": "yellow",
    "stale": "yellow",
    "missing": "yellow",
    "failed": "red",
    "problem": "red",
}


def make(stderr: bool = False) -> Console:
    """A console on standard output; without a terminal, wide enough for tables not to fold."""
    plain = not (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=160 if plain else None, highlight=False)


def show_error(error: UserError) -> None:
    """Each problem on standard error: where, what, and the hint below it."""
    out = Console(stderr=True, highlight=False, soft_wrap=True)
    for problem in error.problems:
        text = Text()
        if problem.where:
            text.append(f"{problem.where}: ", style="bold")
        text.append(problem.what, style="red")
        for line in (problem.hint or "").splitlines():
            text.append(f"\n  {line}", style="dim")
        out.print(text)
    if len(error.problems) > 1:
        out.print(f"{len(error.problems)} problems")


def show_json(value: Any) -> None:
    """Indented JSON on standard output, without colours or folding."""
    sys.stdout.write(to_json(value))


def to_json(value: Any) -> str:
    """Indented JSON of values of ours, with a line's end."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


# ----------------------------------------------------------------------------------------------------------------- plan


def show_head(out: Console, plan: Plan, force: bool) -> None:
    """What is about to run: suite, profile and how much of it is done already."""
    selection = plan.selection
    out.print(f"[bold]{escape(selection.title)}[/]")
    out.print(f"profile [bold]{selection.profile}[/]: {escape(selection.description)}".rstrip(": "))
    todo = len(plan.cells) if force else len(plan.open)
    out.print(f"{len(plan.cells)} cells, {len(plan.cells) - todo} done, {todo} to run{_cost(plan, force)}")
    if selection.absent:
        names = ", ".join(map(published.printed, selection.absent))
        out.print(f"no adapter yet, shown with published figures only: {names}")


def _cost(plan: Plan, force: bool = False) -> str:
    cells = plan.cells if force else plan.open
    if not cells:
        return ""
    known = [cell.seconds for cell in cells if cell.seconds is not None]
    if not known:
        return "; no earlier run to estimate the time from"
    text = f"about {_duration(sum(known) / len(known) * len(cells))} by earlier runs"
    return f"; {text}" + ("" if len(known) == len(cells) else f" (known for {len(known)} of them)")


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """The plan for machines: a mapping per cell."""
    return [
        {
            "cell": one.cell.id,
            "label": one.row.label,
            "method": one.cell.method,
            "dataset": one.cell.dataset,
            "setting": one.cell.setting,
            "category": one.cell.category,
            "seed": one.cell.seed,
            "profile": one.cell.profile,
            "state": one.state,
            "measures": {name: {"state": state.state, "why": state.why} for name, state in one.states.items()},
            "train_images": len(one.dataset.train),
            "test_images": len(one.dataset.test),
            "image_passes": passes(one),
            "seconds": one.seconds,
            "params": one.cell.config,
        }
        for one in plan.cells
    ]


def passes(planned: PlannedCell) -> int:
    """Images that go through the method: training images times epochs (once without epochs), and the test images."""
    training = planned.cell.config.get("training")
    epochs = training.get("epochs", 1) if isinstance(training, dict) else 1
    return len(planned.dataset.train) * max(1, int(epochs)) + len(planned.dataset.test)


def show_plan(out: Console, plan: Plan) -> None:
    """A line per cell, then the totals."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("cell", "row", "data", "setting", "seed", "state"):
        table.add_column(name)
    for name in ("image passes", "seconds"):
        table.add_column(name, justify="right")
    for one in plan.cells:
        undone = [f"{name}: {state.why}" for name, state in one.states.items() if state.state in ("stale", "failed")]
        state = Text(one.state, style=STATE_STYLE[one.state])
        if undone:
            state.append(f" ({'; '.join(undone)})", style="dim")
        where = f"{one.cell.dataset}/{one.cell.category}" if one.cell.category else one.cell.dataset
        seconds = f"{one.seconds:.0f}" if one.seconds is not None else "?"
        table.add_row(
            one.cell.id,
            escape(one.row.label),
            where,
            one.cell.setting,
            str(one.cell.seed),
            state,
            f"{passes(one):,}",
            seconds,
        )
    show_head(out, plan, force=False)
    for dataset in plan.datasets:
        out.print(
            f"{dataset.name}: {len(dataset.categories)} categories, {len(dataset.train)} training and "
            f"{len(dataset.test)} test images, fingerprint {dataset.fingerprint[:12]}"
        )
        for note in dataset.notes:
            out.print(Text(f"  {note}", style="yellow"))
    out.print(table)


# ------------------------------------------------------------------------------------------------------------- progress


class Shown:
    """Progress of a run: a bar on a terminal, a line per finished cell everywhere."""

    def __init__(self, out: Console, total: int) -> None:
        self._out = out
        self._total = total
        self._finished = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None, loss="")
        self._what = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def cells(self, cells: Sequence[PlannedCell]) -> list[PlannedCell]:
        """The cells to run; remembers their names for the bar."""
        self._names = [f"{one.row.label}, seed {one.cell.seed}" for one in cells]
        return list(cells)

    def watch(self, done: int, total: int, what: str, loss: float | None = None) -> None:
        """A `Watch`: one bar for the step in hand."""
        if what != self._what:
            self._what = what
            self._bar.reset(self._task, total=total)
        name = self._names[min(self._finished, len(self._names) - 1)]
        description = f"[{self._finished + 1}/{self._total}] {escape(name)}: {what}"
        shown = "" if loss is None else f"loss {loss:.4g}"
        self._bar.update(self._task, completed=done, total=total, description=description, loss=shown)

    def finished(self, done: Done) -> None:
        """A line that stays."""
        self._finished += 1
        self._what = ""
        planned = done.planned
        part = f" {planned.cell.category}" if planned.cell.category else ""
        text = Text(f"[{self._finished}/{self._total}] ")
        text.append(done.status, style=STATE_STYLE[done.status])
        text.append(f"  {planned.row.label}, {planned.cell.dataset}{part}, seed {planned.cell.seed}")
        text.append(f"  {done.seconds:.1f} s  {planned.cell.id}", style="dim")
        if done.error:
            text.append(f"\n    {done.error}", style="red")
        self._out.print(text, soft_wrap=True)


def progress(out: Console, total: int) -> Shown:
    """A context manager that shows the progress of `total` cells."""
    return Shown(out, total)


class Trials(Shown):
    """Progress of a search: a bar for the trial in hand, a line for each that has ended."""

    def __init__(self, out: Console, declared: Declared) -> None:
        super().__init__(out, declared.search.trials)
        self._names = ["search"]
        self._goals = declared.objectives

    def told(self, trial: FrozenTrial) -> None:
        """A line that stays."""
        self._finished += 1
        self._what = ""
        state = trial.state.name.lower()
        styles = {"complete": "green", "pruned": "yellow"}
        text = Text(f"trial {trial.number}  ").append(state, style=styles.get(state, "red"))
        for goal, value in zip(self._goals, trial.values or (), strict=False):
            text.append(f"  {goal.name} {value:.4f}", style="bold")
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        told = ", ".join(f"{name}={_number(value)}" for name, value in trial.params.items())
        text.append(f"  {seconds:.1f} s  {told}", style="dim")
        if error := trial.user_attrs.get("error"):
            text.append(f"\n    {error}", style="red")
        self._out.print(text, soft_wrap=True)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def trials(out: Console, declared: Declared) -> Trials:
    """A context manager that shows the progress of a search."""
    selection, search = declared.selection, declared.search
    goals = ", ".join(f"{goal.direction} {goal.name}" for goal in declared.objectives)
    out.print(f"[bold]{escape(selection.title)}[/]")
    out.print(f"profile [bold]{selection.profile}[/]: {escape(selection.description)}".rstrip(": "))
    out.print(f"{search.trials} trials: {goals}; sampler {search.sampler.name}, pruner {search.pruner.name}")
    return Trials(out, declared)


def search_command(suite: str, selection: Selection) -> str:
    """The command line that goes on with a search."""
    words = ["afrad-bench", "search", suite, "--profile", selection.profile]
    for override in selection.overrides:
        words += ["--set", override]
    return shlex.join(words)


@contextmanager
def busy(out: Console) -> Iterator[Watch]:
    """A transient line while data are read and verified."""
    with out.status("reading data") as status:
        last = 0.0

        def watch(done: int, total: int, what: str, loss: float | None = None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > 0.1 or done == total:
                status.update(f"{what} {done}/{total}")
                last = now

        yield watch


# --------------------------------------------------------------------------------------------------------------- models


def show_models(out: Console, plan: Plan, store: Path) -> None:
    """Which cells have their model in a file, and why the others have none."""
    from afrad_bench.model_file import is_current, place_of

    places = {one.cell.id: place_of(store, one.cell) for one in plan.cells}
    kept = [one for one in plan.cells if is_current(places[one.cell.id], one.terms)]
    for one in kept:
        where = f"{one.cell.dataset}/{one.cell.category}" if one.cell.category else one.cell.dataset
        line = f"model of {one.row.label}, {where}, seed {one.cell.seed}: {places[one.cell.id]}"
        out.print(Text(line), soft_wrap=True)
    ids = {one.cell.id for one in kept}
    if missing := [one for one in plan.cells if one.cell.id not in ids and one.state == "done"]:
        labels = ", ".join(dict.fromkeys(one.row.label for one in missing))
        out.print(Text(f"{len(missing)} measured cells have no model in a file: {labels}", style="yellow"))
        out.print(
            "  measured without --keep-models before (--force fits and measures again), or by a method without state"
        )


def show_export(out: Console, done: Exported) -> None:
    """What was written, its interface, and how far it is from the model that it came from."""
    out.print(f"[green]ok[/] {escape(str(done.path))}  {done.format}, {done.bytes / 2**20:.1f} MiB", soft_wrap=True)
    side = done.image_size
    out.print(f"  images       (B, 3, {side}, {side}) float32, RGB in [0, 1]")
    out.print(f"  anomaly_map  (B, {side}, {side}) float32\n  pred_score   (B,) float32, higher is more anomalous")
    for check in done.checks:
        out.print(
            f"  batch of {check.batch} in {done.runtime}: largest difference {check.map_difference:.1e} of the map, "
            f"{check.score_difference:.1e} of the score, relative to the largest value (at most {done.tolerance:g})",
            soft_wrap=True,
        )


# ------------------------------------------------------------------------------------------------------------- listings


def show_listing(out: Console, what: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Names in bold, a summary, and where each comes from."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim")
    for row in rows:
        table.add_row(row["name"], escape(row["summary"]), escape(row["source"]))
    out.print(table if rows else f"no {what} found")
    if what == "backbones":
        out.print(Text("with weights on this machine; --all lists every timm model, --like filters", style="dim"))


def show_method(out: Console, sheet: Mapping[str, Any]) -> None:
    """A method's sheet."""
    out.print(f"[bold]{sheet['name']}[/]  version {sheet['version']}  [dim]{escape(sheet['source'])}[/]")
    out.print(escape(sheet["paper"]))
    out.print()
    out.print(escape(sheet["about"]))
    out.print()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("field", "default", "values", "meaning"):
        table.add_column(name, overflow="fold", ratio=3 if name == "meaning" else None)
    for field in sheet["fields"]:
        group = not field["type"]
        default = "" if group else json.dumps(_plain(field["default"]))
        title = Text(field["name"], style="bold" if group else "")
        table.add_row(title, escape(default), escape(field["type"]), escape(field["description"]))
    out.print(table)


def show_findings(out: Console, findings: Sequence[Mapping[str, str]]) -> None:
    """The doctor's findings, with remedies below what is missing."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for style in ("dim", "bold", "", ""):
        table.add_column(style=style or None, overflow="fold")
    for one in findings:
        detail = Text(one["detail"])
        if one["remedy"]:
            detail.append(f"\n{one['remedy']}", style="dim")
        table.add_row(one["area"], one["name"], Text(one["state"], style=STATE_STYLE[one["state"]]), detail)
    out.print(table)


def show_cache(out: Console, folder: Path, entries: Sequence[CacheEntry]) -> None:
    """Cached features: key, size, images, age, what they are of."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("key", "MiB", "images", "last used", "features"):
        table.add_column(name, justify="right" if name in ("MiB", "images") else "left")
    for one in entries:
        used = datetime.fromtimestamp(one.last_used).isoformat(sep=" ", timespec="minutes")
        table.add_row(one.key, f"{one.bytes / 2**20:.1f}", str(one.images), used, escape(one.what))
    out.print(table if entries else "nothing is cached")
    out.print(f"{sum(one.bytes for one in entries) / 2**20:.1f} MiB in {folder}", soft_wrap=True)


def show_why(out: Console, explained: Mapping[str, Any]) -> None:
    """Measure by measure, then the runs of the cell."""
    head = f"{explained['label']}, {explained['dataset']}, seed {explained['seed']}, profile {explained['profile']}"
    out.print(f"[bold]{explained['cell']}[/]  {escape(head)}")
    for name, state in explained["measures"].items():
        line = Text(f"  {name}: ")
        line.append(state["state"], style=STATE_STYLE[state["state"]])
        line.append(f", {state['why']}")
        out.print(line)
    for run in explained["runs"]:
        line = Text(f"  run of {run['started_at'][:19]}Z: ")
        line.append(run["status"], style=STATE_STYLE[run["status"]])
        if run["error"]:
            line.append(f", {run['error']}")
        out.print(line)
        if run["traceback"]:
            out.print(Text(run["traceback"].rstrip(), style="dim"))


# ------------------------------------------------------------------------------------------------------------ decisions


def show_comparison(out: Console, comparison: Comparison, everything: bool) -> None:
    """The changes, and what must be known beside them."""
    from afrad_bench.comparing.show import READING, compare_table, remarks
    from afrad_bench.report.terminal import table_parts

    out.print(Text(f"{comparison.new} against {comparison.base}", style="bold"))
    for part in table_parts(compare_table(comparison, everything=everything), out.width):
        out.print(part)
    for text in comparison.missing:
        out.print(Text(f"✗ {text}", style="red"))
    for text in remarks(comparison):
        out.print(Text(f"• {text}"))
    out.print(Text(READING, style="dim"))


def show_decision(out: Console, decision: Decision) -> None:
    """The verdict, the checks, and what must be known beside them."""
    from afrad_bench.comparing.show import gate_table, head, remarks
    from afrad_bench.report.terminal import table_parts

    for part in table_parts(gate_table(decision), out.width):
        out.print(part)
    for text in decision.unmeasured:
        out.print(Text(f"? {text}", style="red"))
    for text in remarks(decision.comparison):
        out.print(Text(f"• {text}"))
    style = {"pass": "bold green", "regression": "bold red"}.get(decision.verdict, "bold yellow")
    out.print(Text(head(decision), style=style))


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
