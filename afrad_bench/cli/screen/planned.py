"""Prints what a run would do, and what is already done."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from afrad_bench import published
from afrad_bench.cli.screen.console import STATE_STYLE

if TYPE_CHECKING:
    from afrad_bench.running.plan import Plan, PlannedCell


def show_head(out: Console, plan: Plan, force: bool) -> None:
    """Print suite, profile, and how many cells are done and to run."""
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
    text = f"about {_duration(sum(known) / len(known) * len(cells))}, estimated from earlier runs"
    return f"; {text}" + ("" if len(known) == len(cells) else f" (known for {len(known)} of them)")


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """The plan as plain data for JSON: one mapping per cell."""
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
    """Print the totals and data sets, then one line per cell."""
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


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
