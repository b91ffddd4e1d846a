"""Files are written whole or not at all, and a full disk is an error that the user can fix."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from afrad_bench.errors import Problem, UserError, fail

STORE = "free some space there, or choose another folder: --store FOLDER"
CACHE = (
    "free some space there (`afrad-bench cache clear` removes cached features), allow fewer of them "
    "(--cache-limit GIB), or choose another folder: --cache FOLDER"
)
REPORTS = "free some space there, or choose another folder: --reports FOLDER"
"""What to do about a full disk, by the folder on it."""

_CODES = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_TEXTS = re.compile(
    r"No space left on device"  # safetensors
    r"|database or disk is full"  # SQLite
    r"|\d+ requested and \d+ written"  # numpy
    r"|unexpected pos \d+ vs \d+"  # torch.save: what it wrote is not there
)


class DiskFull(UserError):
    """A file could not be written because the disk is full. It ends a run, unlike an error of a method or a measure."""


def is_full(error: BaseException) -> bool:
    """Whether an error means that no space is left: on the disk, in a quota, or for a file of this size."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _CODES
    return _TEXTS.search(str(error)) is not None


@contextmanager
def space(folder: Path, hint: str) -> Iterator[None]:
    """Inside, an error that means a full disk becomes a `DiskFull` that names the folder and says what to do."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_full(error):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DiskFull(Problem(f"cannot be written, the disk is full: {reason}", str(folder), hint)) from error


def must_be_writable(folder: Path, option: str) -> None:
    """Create the folder, and a file in it that is removed again. Raises `UserError` that names this option if it cannot
    be done: better now than after hours of work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable."):
            pass
    except OSError as error:
        why = f"{folder} cannot be written: {error.strerror or error}"
        raise fail(why, option, f"choose another folder: {option} FOLDER") from error


@contextmanager
def replacing(path: Path, hint: str) -> Iterator[Path]:
    """A new path beside `path`, for the block to write. It replaces `path` when the block ends without an error;
    otherwise it is removed, and `path` stays as it was. Creates missing folders. Raises `DiskFull`, with this hint.

    A link stays a link, to a new file. What is no file, such as /dev/stdout, cannot be replaced and is written to."""
    target = Path(os.path.realpath(path))
    with space(path.parent, hint):
        if Path("/dev") in path.parents or (path.exists() and not path.is_file()):
            yield path
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            yield scratch
            with scratch.open("rb+") as file:
                os.fsync(file.fileno())
            scratch.replace(target)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
