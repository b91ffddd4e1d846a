"""What the diffusion methods share: the check for the extra, the guided-diffusion U-Net, noise from a seed.

Networks and schedules come from diffusers, which the extra `diffusion` installs. This module, and `config` beside it,
import neither diffusers nor torch."""

from __future__ import annotations

from importlib.util import find_spec

from afrad_bench.errors import fail

INSTALL = "pip install 'afrad-bench[diffusion]'"
"""Installs what the diffusion methods need beside the harness."""


def require(method: str, *packages: str) -> None:
    """Raise `UserError` unless diffusers and these further packages are installed; they are found, not imported.

    `method`: its name in the error."""
    if missing := [name for name in ("diffusers", *packages) if find_spec(name) is None]:
        verb = "is" if len(missing) == 1 else "are"
        raise fail(f"{method} needs {' and '.join(missing)}, which {verb} not installed", hint=INSTALL)
