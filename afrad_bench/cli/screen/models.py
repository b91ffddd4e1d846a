"""Prints saved and exported models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.text import Text

if TYPE_CHECKING:
    from afrad_bench.deploy.deciding import Decisions
    from afrad_bench.deploy.export import Exported
    from afrad_bench.running.plan import Plan
    from afrad_bench.types import OperatingPoint


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


def show_maps(out: Console, plan: Plan, store: Path) -> None:
    """Print how many cells have their anomaly maps in a file, and why the others have none."""
    from afrad_bench.running.kept_maps import is_current, place_of

    measured = [one for one in plan.cells if "accuracy" in one.states and one.states["accuracy"].state == "done"]
    missing = [one for one in measured if not is_current(place_of(store, one.cell), one.terms)]
    if count := len(measured) - len(missing):
        out.print(Text(f"maps of {count} cells in {store / 'maps'}, for `metrics recompute`"), soft_wrap=True)
    if not any(measure.name == "accuracy" for measure in plan.selection.measures):
        out.print(Text("no maps are kept: the suite does not measure accuracy", "yellow"), soft_wrap=True)
    if missing:
        labels = ", ".join(dict.fromkeys(one.row.label for one in missing))
        text = f"{len(missing)} measured cells have no maps in a file: {labels}"
        out.print(Text(text, "yellow"), soft_wrap=True)
        why = "they were measured without --keep-maps (--force fits and measures again), or the file is damaged"
        out.print(f"  {why}", soft_wrap=True)


def show_export(out: Console, done: Exported) -> None:
    """Print the written file, its interface, and its largest difference from the original model."""
    out.print(f"[green]ok[/] {escape(str(done.path))}  {done.format}, {done.bytes / 2**20:.1f} MiB", soft_wrap=True)
    side = done.image_size
    out.print(f"  images       (B, 3, {side}, {side}) float32, RGB in [0, 1]")
    out.print(f"  anomaly_map  (B, {side}, {side}) float32\n  pred_score   (B,) float32, higher is more anomalous")
    if (point := done.card.operating_point) is not None:
        out.print("  normalised_score (B,) float32, 0.5 at the threshold\n  is_anomalous (B,) bool", soft_wrap=True)
        show_point(out, point, indent="  ")
    out.print(Text(f"  {done.input.name} reads images as its input; it needs numpy and Pillow"), soft_wrap=True)
    limit = "no limit" if done.tolerance is None else f"at most {done.tolerance:g}"
    for check in done.checks:
        out.print(
            f"  batch of {check.batch} in {done.runtime}: largest difference {check.map_difference:.1e} of the map, "
            f"{check.score_difference:.1e} of the score, relative to the largest value ({limit})",
            soft_wrap=True,
        )
    if done.tolerance is None:
        text = "  what int8 costs is measured on your images by the measure `exported`"
        out.print(Text(text, "yellow"), soft_wrap=True)


def show_point(out: Console, point: OperatingPoint, indent: str = "") -> None:
    """Print an operating point, what decided it, and its caution."""
    out.print(Text(f"{indent}threshold {point.threshold:.6g}: {point}"), soft_wrap=True)
    if point.caution:
        out.print(Text(f"{indent}caution: {point.caution}", "yellow"), soft_wrap=True)


def decision_rows(found: Decisions) -> dict[str, object]:
    """The decisions and their operating point, for JSON."""
    columns = (found.pred_score.tolist(), found.normalised_score.tolist(), found.is_anomalous.tolist())
    names = ("image", "pred_score", "normalised_score", "is_anomalous")
    images = [dict(zip(names, row, strict=True)) for row in zip(found.names, *columns, strict=True)]
    about = {"about": str(found.point), "caution": found.point.caution}
    return {"operating_point": {**asdict(found.point), **about}, "images": images}


def show_decisions(out: Console, found: Decisions) -> None:
    """Print a line for each image: decision, normalised score, score, name; then the count and the operating point."""
    for name, score, shown, anomalous in zip(
        found.names, found.pred_score, found.normalised_score, found.is_anomalous, strict=True
    ):
        word, style = ("anomalous", "red") if anomalous else ("normal", "green")
        text = Text(f"{word:<9}", style).append(f"  {shown:.3f}  {score:.6g}  {name}", "default")
        out.print(text, soft_wrap=True)
    out.print(f"{int(found.is_anomalous.sum())} of {len(found.names)} images are anomalous")
    show_point(out, found.point)
