"""The command line that measures the numbers of a report again, with the options that matter as they were given."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from afrad_bench.cli.options import (
    CACHE_VARIABLE,
    DEVICE,
    LIMIT_GIB,
    LIMIT_VARIABLE,
    REPORTS,
    STORE,
    STORE_VARIABLE,
    Place,
)
from afrad_bench.suite.options import as_options

if TYPE_CHECKING:
    from afrad_bench.running.workspace import Workspace
    from afrad_bench.suite.selection import Selection


def run_command(
    suite: str,
    selection: Selection,
    workspace: Workspace,
    place: Place,
    reports: Path = REPORTS,
    verb: str = "run",
) -> str:
    """`afrad-bench run SUITE` with profile, overrides, data folders and all places that are not the default.

    `suite`: as the user wrote it. What comes from an environment variable is left out."""
    words = ["afrad-bench", verb, suite, "--profile", selection.profile]
    for override in selection.overrides:
        words += as_options(override)
    for name, root in workspace.roots.items():
        words += ["--data", f"{name}={root}"]
    return shlex.join([*words, *_places(workspace, place, reports)])


def _places(workspace: Workspace, place: Place, reports: Path) -> Iterator[str]:
    given: dict[str, tuple[object, object, str]] = {
        "--store": (place.store, STORE, STORE_VARIABLE),
        "--reports": (reports, REPORTS, ""),
        "--cache": (place.cache, None, CACHE_VARIABLE),
        "--cache-limit": (place.limit_gib, LIMIT_GIB, LIMIT_VARIABLE),
        "--device": (place.device, DEVICE, ""),
        "--devices": (place.workers, None, ""),
        "--threads": (workspace.threads, None, ""),
    }
    for option, (value, default, variable) in given.items():
        declared = os.environ.get(variable) if variable else None
        if value is not None and value != (type(value)(declared) if declared else default):  # type: ignore[call-arg]
            yield from (option, f"{value:g}" if isinstance(value, float) else str(value))
