"""Prints what a run would do, and what is already done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from afrad_bench import published
from afrad_bench.cli.screen.console import STATE_STYLE
from afrad_bench.cli.screen.steps import span
from afrad_bench.cli.screen.tables import show_table
from afrad_bench.running.estimate import image_passes

if TYPE_CHECKING:
    from afrad_bench.running.foreseen_features import FeatureSizes
    from afrad_bench.running.plan import Plan
    from afrad_bench.running.workspace import Workspace

UNKNOWN = "?"


def show_head(out: Console, plan: Plan, force: bool) -> None:
    """Print suite, profile, how many cells are done and to run, and what methods warn of."""
    from afrad_bench.running.expense import warnings

    selection = plan.selection
    out.print(f"[bold]{escape(selection.title)}[/]")
    out.print(f"profile [bold]{selection.profile}[/]: {escape(selection.description)}".rstrip(": "))
    todo = len(plan.cells) if force else len(plan.open)
    out.print(f"{len(plan.cells)} cells, {len(plan.cells) - todo} done, {todo} to run{_cost(plan, force)}")
    if selection.absent:
        names = ", ".join(map(published.printed, selection.absent))
        out.print(f"no adapter yet, shown with published figures only: {names}")
    for text in warnings(plan, everything=force):
        out.print(Text(f"caution: {text}", "yellow"), soft_wrap=True)


def show_workers(out: Console, plan: Plan, workspace: Workspace) -> None:
    """Print how many worker processes there will be, if any, and with how many threads each."""
    from afrad_bench.machine.environment import default_threads

    if not workspace.devices:
        return
    workers, threads, cores = len(workspace.devices), plan.environment.threads, default_threads()
    devices = ", ".join(dict.fromkeys(workspace.devices))
    out.print(f"{workers} workers on {devices}, {threads} thread{'s' if threads > 1 else ''} each")
    if workers * threads > cores:
        text = f"caution: {workers} x {threads} threads are more than {cores} cores; --threads gives each fewer"
        out.print(Text(text, "yellow"), soft_wrap=True)


def _cost(plan: Plan, force: bool = False) -> str:
    cells = plan.cells if force else plan.open
    if not cells:
        return ""
    known = [cell.seconds for cell in cells if cell.seconds is not None]
    if not known:
        return "; no earlier run to estimate the time from"
    text = f"about {span(sum(known) / len(known) * len(cells))}, estimated from earlier runs"
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
            "image_passes": image_passes(one.cell.config, one.dataset),
            "seconds": one.seconds,
            "params": one.cell.config,
        }
        for one in plan.cells
    ]


def show_features(out: Console, sizes: FeatureSizes | None) -> None:
    """Print how much of backbone features the cells to run keep, and whether they fit."""
    from afrad_bench.running.foreseen_features import shown

    if sizes is None:
        return
    there = sizes.bytes - sizes.missing
    parts = [f"features to keep: {shown(sizes.bytes)}" + (f", {shown(there)} of them are there" if there else "")]
    parts += [f"limit of the cache {shown(sizes.limit)}", f"free on its disk {shown(sizes.free)}"]
    out.print("; ".join(parts))
    for text in sizes.problems:
        out.print(Text(f"caution: {text}", "yellow"), soft_wrap=True)


def _show_kept(out: Console, sizes: FeatureSizes) -> None:
    """Print a line for each kind of feature map that is kept."""
    from afrad_bench.running.foreseen_features import shown

    rows = [
        (
            one.data,
            one.part.backbone,
            one.part.what,
            str(one.image_size),
            f"{one.images:,}",
            shown(one.bytes),
            "there" if one.there == one.bytes else f"{shown(one.there)} there" if one.there else "to compute",
            one.rows[0] if len(one.rows) == 1 else f"{one.rows[0]} and {len(one.rows) - 1} more",
        )
        for one in sizes.kept
    ]
    names = ("data", "backbone", "feature map", "px", "images", "on disk", "state", "read by")
    show_table(out, names, rows, numeric=("px", "images", "on disk"), keys=3)


def show_plan(out: Console, plan: Plan, sizes: FeatureSizes | None) -> None:
    """Print the totals and data sets, then one line per cell; `sizes`: of the features of the cells to run."""
    rows = []
    for one in plan.cells:
        reasons: dict[str, list[str]] = {}
        for name, each in one.states.items():
            if each.state in ("stale", "failed"):
                reasons.setdefault(each.why, []).append(name)
        state = Text(one.state, style=STATE_STYLE[one.state])
        if reasons:
            undone = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
            state.append(f" ({undone})", style="dim")
        where = f"{one.cell.dataset}/{one.cell.category}" if one.cell.category else one.cell.dataset
        seconds = f"{one.seconds:.0f}" if one.seconds is not None else UNKNOWN
        about = (one.cell.id, one.row.label, where, one.cell.setting, str(one.cell.seed))
        rows.append((*about, state, f"{image_passes(one.cell.config, one.dataset):,}", seconds))
    show_head(out, plan, force=False)
    for dataset in plan.datasets:
        out.print(
            f"{dataset.name}: {len(dataset.categories)} categories, {len(dataset.train)} training and "
            f"{len(dataset.test)} test images, fingerprint {dataset.fingerprint[:12]}",
            markup=False,
        )
        for note in dataset.notes:
            out.print(Text(f"  {note}", style="yellow"))
    show_features(out, sizes)
    if sizes is not None:
        _show_kept(out, sizes)
        out.print()
    names = ("cell", "row", "data", "setting", "seed", "state", "image passes", "seconds")
    show_table(out, names, rows, numeric=("image passes", "seconds"), keys=2)
    if unknown := list(dict.fromkeys(one.cell.method for one in plan.cells if one.seconds is None)):
        text = (
            f"{UNKNOWN}: {', '.join(unknown)} had no complete run on these images at this size, on this kind of device"
        )
        out.print(Text(f"{text} ({plan.environment.device_name}), from which the time could be estimated", "dim"))
