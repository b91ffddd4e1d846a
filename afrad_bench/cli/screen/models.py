"""Prints saved and exported models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.text import Text

if TYPE_CHECKING:
    from afrad_bench.deploy.export import Exported
    from afrad_bench.running.plan import Plan


def show_models(out: Console, plan: Plan, store: Path) -> None:
    """Print which cells have their model in a file, and why the others have none."""
    from afrad_bench.deploy.model_file import is_current, place_of

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
            "  they were measured without --keep-models (--force fits and measures again), or the method has no state"
        )


def show_export(out: Console, done: Exported) -> None:
    """Print the written file, its interface, and its largest difference from the original model."""
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
