"""Overrides (`field=value`, as `--set` takes them) that shorter options of the command line say: `--on`, `--only`."""

from __future__ import annotations

import json
from collections.abc import Sequence

DETERMINISTIC = "deterministic=true"
"""The override that `--deterministic` stands for."""


def as_override(field: str, values: Sequence[object]) -> str:
    """The override that gives a field these values."""
    return f"{field}={json.dumps(values, ensure_ascii=False)}"


def data_sets(texts: Sequence[str] | None) -> list[dict[str, str]]:
    """`NAME` and `NAME:PATH` as entries of a suite's `datasets`."""
    parts = (text.partition(":") for text in texts or ())
    return [{"name": name, "root": root} if colon else {"name": name} for name, colon, root in parts]


def as_options(override: str) -> list[str]:
    """The words of a command line that give an override: `--set` only where no shorter option says the same."""
    if override == DETERMINISTIC:
        return ["--deterministic"]
    field, _, text = override.partition("=")
    try:
        values = json.loads(text)
        if field == "datasets":
            on = [":".join(filter(None, (each["name"], each.get("root")))) for each in values]
            if as_override(field, data_sets(on)) == override:
                return [word for each in on for word in ("--on", each)]
        if field == "rows" and as_override(field, list(map(str, values))) == override:
            return [word for label in values for word in ("--only", label)]
    except (ValueError, TypeError, LookupError, AttributeError):
        pass  # YAML, or another shape, which only --set can say
    return ["--set", override]
