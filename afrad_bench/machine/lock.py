"""One process at a time measures a cell, or computes the features of an image set: each has one place in the cache.

The lock is the operating system's, on a small file, so that it ends with its process however that ends. The file says
which process holds it."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from afrad_bench import writing
from afrad_bench.machine.processes import has_ended, is_here, this_process

POLL = 0.3  # seconds
_BYTE = 1 << 30
"""Windows locks bytes, and locked bytes cannot be read: this one lies far behind the text."""
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Busy(Exception):
    """Another process holds the lock; the message names it."""


@contextmanager
def alone(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock of this file, which is removed at the end. If another process holds it, wait for its end, or raise
    `Busy`. Raises `DiskFull`."""
    with writing.space(path.parent, writing.CACHE):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _taken(path, wait=wait)
        try:
            since = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}"
            file.truncate(0)
            file.write(json.dumps({**this_process(), "since": since}))
            file.flush()
        except BaseException:
            file.close()
            raise
    try:
        yield
    finally:
        _let_go(file, path)


def _taken(path: Path, *, wait: bool) -> IO[str]:
    """The file, opened and locked."""
    while True:
        file = path.open("a+", encoding="utf-8")
        if _is_locked_now(file):
            if _is_at(file, path):
                return file
            file.close()  # its last holder has just removed it
            continue
        file.seek(0)
        holder = file.read()
        file.close()
        if not wait:
            raise Busy(_told(holder))
        time.sleep(POLL)


def _is_locked_now(file: IO[str]) -> bool:
    """Lock the file; False if another process holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            return False
        file.seek(0)  # a file system without locks: the text decides
        holder = _read(file.read())
        return holder is None or has_ended(holder)
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the open file is the one at this path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _let_go(file: IO[str], path: Path) -> None:
    if os.name == "nt":  # an open file cannot be removed there, and another process may open it at once
        file.close()
        with suppress(PermissionError):
            path.unlink(missing_ok=True)
    else:
        path.unlink(missing_ok=True)
        file.close()


def _read(text: str) -> dict[str, object] | None:
    try:
        holder = json.loads(text)
    except ValueError:
        return None
    complete = isinstance(holder, dict) and {"host", "pid", "born", "since"} <= holder.keys()
    return holder if complete else None


def _told(text: str) -> str:
    holder = _read(text)
    if holder is None:
        return "being measured by another process"
    where = "" if is_here(holder) else f" on {holder['host']}"
    return f"being measured by process {holder['pid']}{where} since {holder['since']} UTC"
