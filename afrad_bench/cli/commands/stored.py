"""Commands on stored data: why a cell counts as done, recomputed accuracy, the store's files, the feature cache."""

from __future__ import annotations

from typing import Annotated

import typer

from afrad_bench.cli import exits
from afrad_bench.cli.options import STORE, CacheOption, JsonOption, Place, StoredChoice, StoreOption, cache_folder
from afrad_bench.cli.planning import plan_of
from afrad_bench.errors import UserError, fail, unknown


def why(
    cell: Annotated[str, typer.Argument(metavar="CELL", help="Id of a cell, or the beginning of one.")],
    place: Place,
    as_json: JsonOption = False,
) -> None:
    """Show for each measure of a cell whether it counts as done, and if not, which field differs."""
    from afrad_bench.cli.screen import console, listings
    from afrad_bench.running.explain import explain

    workspace = place.workspace()
    explained = explain(cell, workspace)
    own = explained["dataset"].partition(":")[0]
    if unused := sorted(set(workspace.roots) - {own}):
        raise fail(f"the cell {explained['cell']} is of {own}", ", ".join(f"--data {name}" for name in unused))
    console.show_json(explained) if as_json else listings.show_why(console.make(), explained)


def metrics_recompute(
    choice: StoredChoice,
    place: Place,
    force: Annotated[bool, typer.Option("--force", help="Also if the stored accuracy is current.")] = False,
) -> None:
    """Compute accuracy with other definitions or conventions, from maps that `run --keep-maps` kept. Trains nothing.

    Without --set and --data, with those of the newest run."""
    from afrad_bench.cli.screen import console
    from afrad_bench.running.recompute import recompute
    from afrad_bench.store import Store

    out = console.make()
    selection, workspace = choice.measured(place, out)
    planned = plan_of(selection, workspace, out)
    failed = False
    with console.busy(out) as watch:
        for one in recompute(planned, Store(place.store), force, watch):
            cell, reason = one.planned, f": {one.why}" if one.why else ""
            text = f"{cell.row.label}, {cell.cell.dataset}, seed {cell.cell.seed}: {one.state}{reason}"
            out.print(text, markup=False, soft_wrap=True)
            failed |= one.state in ("no maps", "other terms")
    if failed:
        raise typer.Exit(exits.FAILED_CELLS)


def store_compact(store: StoreOption = STORE) -> None:
    """Merge many small files into few, which are faster to read. The rows do not change."""
    from afrad_bench.cli.screen import console
    from afrad_bench.store import Store

    if not (store / "cells").is_dir():
        raise fail("no store in this folder", str(store), "`afrad-bench run SUITE` creates one")
    opened, out = Store(store), console.make()
    before, after = opened.compact()
    console.show_cautions(out, opened.faults)
    out.print(f"merged {before} files into {after}")


def cache_list(cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """List the cached features, most recently used first."""
    from afrad_bench.backbone.features import FeatureCache
    from afrad_bench.cli.screen import console, listings

    folder = cache_folder(cache)
    entries = FeatureCache(folder).entries()
    console.show_json(entries) if as_json else listings.show_cache(console.make(), folder, entries)


def cache_clear(
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Keys of entries; default: all.")] = None,
    cache: CacheOption = None,
) -> None:
    """Remove cached features; they are computed again when they are needed."""
    from afrad_bench.backbone.features import FeatureCache
    from afrad_bench.cli.screen import console

    found = FeatureCache(cache_folder(cache))
    known = {entry.key for entry in found.entries()}
    problems = [unknown("cache entry", key, known) for key in keys or () if key not in known]
    if problems:
        raise UserError(*problems)
    console.make().print(f"{found.clear(keys or None) / 2**20:.1f} MiB are free again")
