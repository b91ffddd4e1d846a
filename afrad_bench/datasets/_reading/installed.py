"""Data that come inside Python packages: found without importing the package, which would import numpy and more."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from afrad_bench.errors import Problem


def package_folder(package: str, distribution: str) -> Path | Problem:
    """The folder of an installed top-level package, or the problem that it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        install = f"python -m pip install 'afrad-bench[demo]' (or {distribution} alone)"
        return Problem(f"the Python package {distribution!r}, which holds images, is not installed", hint=install)
    return Path(next(iter(spec.submodule_search_locations)))
