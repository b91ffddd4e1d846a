"""What methods say of a plan before it runs: that a cell will take very long or much memory."""

from __future__ import annotations

from afrad_bench import registry
from afrad_bench.running.plan import Plan, PlannedCell


def warnings(plan: Plan, *, everything: bool = False) -> tuple[str, ...]:
    """What the methods warn of, each text once with the rows that it is about. `everything`: also of done cells."""
    said: dict[str, dict[str, None]] = {}
    for one in plan.cells if everything else plan.open:
        if text := _warning(one):
            said.setdefault(text, {})[one.row.label] = None
    return tuple(f"{', '.join(labels)}: {text}" for text, labels in said.items())


def _warning(one: PlannedCell) -> str | None:
    module = registry.find("method", one.cell.method).load()
    warn = getattr(module, "warn", None)
    if warn is None:
        return None
    config = module.Config.model_validate_json(one.cell.params)
    text: str | None = warn(config, one.cell.image_size, len(one.dataset.train))
    return text
