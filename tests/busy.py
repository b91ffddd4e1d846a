"""A steady load: processes that do nothing but use cores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from afrad_bench.machine.load import allowed_cores


@contextmanager
def busy(processes: int | None = None) -> Iterator[None]:
    """So many busy processes, by default two more than cores; they run when the block begins."""
    code = "print(flush=True)\nwhile True: pass"
    count = len(allowed_cores()) + 2 if processes is None else processes
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()
