"""Builds the method of a cell, with everything that the harness provides to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from afrad_bench import registry
from afrad_bench.hashing import seed_for
from afrad_bench.types import Bench, Cell, Features, Method, Seeds, TrainingRecord, Watch, unwatched


def build(
    cell: Cell,
    device: str,
    features: Features,
    checkpoint: Path | None = None,
    watch: Watch = unwatched,
    should_continue: Callable[[TrainingRecord], bool] | None = None,
) -> Method:
    """The method of a cell, not yet fitted."""
    module = registry.find("method", cell.method).load()
    order = seed_for(cell.seed, cell.dataset, cell.setting, cell.category, "order")
    bench = Bench(
        device=device,
        image_size=cell.image_size,
        seeds=Seeds(init=seed_for(cell.seed, cell.method, "init"), order=order),
        features=features,
        checkpoint=checkpoint,
        watch=watch,
        should_continue=should_continue,
    )
    made: Method = module.build(module.Config.model_validate_json(cell.params), bench)
    return made
