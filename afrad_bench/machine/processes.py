"""Processes, named so that another one can tell whether they still run, and workers, which end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Mapping
from multiprocessing import connection
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


ORPHAN = 1
"""Exit code of a worker whose parent has ended."""


def end_with_parent() -> None:
    """Called by a worker process: it ends as soon as its parent has ended. What it leaves is what a kill leaves."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(ORPHAN)


def exit_in_words(code: int | None) -> str:
    """How a process ended.

    >>> exit_in_words(1), exit_in_words(-9)
    ('exit code 1', 'killed by SIGKILL')
    """
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
