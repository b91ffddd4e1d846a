"""The version under which a configuration's results are kept."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from afrad_bench import registry


def version_of(method: str, config: BaseModel | str) -> str:
    """The method's `version(config)` if its module has one, else its `VERSION`. `config` may be its JSON."""
    module: Any = registry.find("method", method).load()
    if not hasattr(module, "version"):
        return str(module.VERSION)
    return str(module.version(module.Config.model_validate_json(config) if isinstance(config, str) else config))
