"""Data inside installed Python packages, found without importing the package (and with it numpy and more)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from afrad_bench.errors import Problem


def package_folder(package: str, distribution: str) -> Path | Problem:
    """The folder of an installed top-level package, or a `Problem` if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        install = f"python -m pip install 'afrad-bench[demo]' (or {distribution} alone)"
        return Problem(f"the Python package {distribution!r}, which contains images, is not installed", hint=install)
    return Path(next(iter(spec.submodule_search_locations)))
