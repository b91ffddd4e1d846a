"""Processes, named so that another process can tell whether they still run."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

Named = Mapping[str, Any]
"""`host`, `pid`, and `born`, the time at which the process began: a number is used again for another process."""


def this_process() -> dict[str, Any]:
    """The name of this process."""
    import psutil

    return {"host": platform.node(), "pid": os.getpid(), "born": psutil.Process().create_time()}


def is_here(process: Named) -> bool:
    """Whether a process runs, or ran, on this machine."""
    return bool(process["host"] == platform.node())


def has_ended(process: Named) -> bool:
    """Whether a process has ended. Processes of other machines are taken for running."""
    import psutil

    if not is_here(process):
        return False
    try:
        found = psutil.Process(process["pid"])
        return bool(found.create_time() != process["born"] or found.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
