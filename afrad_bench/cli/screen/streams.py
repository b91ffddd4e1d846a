"""Standard output and standard error that outlive their reader, and that show what their encoding can show.

A reader that has gone (`afrad-bench gate a b | head -1`) changes nothing: what is still to be written is dropped, the
command goes on and ends with its own exit code. If standard output fails otherwise (a full disk), the command goes on,
too, so that no fit is lost or taken for failed; at its end, that is an error that the user can fix."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

HANDLER = "afrad_bench.stream"
GONE = {errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN}
"""Errors of a stream whose reader has gone; besides, EINVAL of a pipe on Windows, and EIO of a terminal."""
if sys.platform == "win32":
    GONE.add(errno.EINVAL)


def prepare() -> None:
    """Replace standard output and standard error. A stream that is closed from the start shows nothing."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:  # no file of ours may take the place of a closed stream
        pass
    os.close(opened)
    codecs.register_error(HANDLER, _replaced)
    sys.stdout = _lasting(sys.stdout, "standard output")
    sys.stderr = _lasting(sys.stderr, "")


def finish() -> None:
    """Write what is still in the buffers. Raises `OSError` if standard output could not be written."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        outlet = getattr(getattr(stream, "buffer", None), "raw", None)
        if isinstance(outlet, _Outlet) and outlet.fault is not None:
            raise outlet.fault


def is_utf8(stream: TextIO) -> bool:
    """Whether the stream shows every character."""
    return codecs.lookup(stream.encoding or "utf-8").name == "utf-8"


def _lasting(stream: TextIO | None, name: str) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # not a stream of the system: a test or a notebook put it here
    if sys.platform == "win32" and stream.isatty():
        stream.reconfigure(errors=HANDLER)
        return stream
    stream.flush()
    outlet = io.BufferedWriter(_Outlet(stream.fileno(), name))
    return io.TextIOWrapper(outlet, stream.encoding, HANDLER, line_buffering=True)


class _Outlet(io.FileIO):
    """A stream of the system by its number. `name`: for the error if it cannot be written; empty: none is noted."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(number, "wb", closefd=False)
        self._shown = name
        self.fault: OSError | None = None
        """Why the stream shows nothing any more; None if its reader has gone."""
        self._gone = GONE | {errno.EIO} if self.isatty() else GONE

    def write(self, data: Buffer) -> int:
        """Write the bytes, or drop them and all later ones if they cannot be written. Never raises: the text may come
        from within a fit."""
        try:
            while (written := cast("int | None", super().write(data))) is None:
                select.select([], [self], [])  # another program has set the pipe to non-blocking
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # for all that is written later, also by libraries and at the very end
            os.close(nowhere)
            if error.errno not in self._gone and self._shown:
                self.fault = OSError(error.errno, error.strerror, self._shown)
            return memoryview(data).nbytes
        return written


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """The replacement of what the encoding lacks; the table of signs is loaded when it is first needed."""
    from afrad_bench.report.formats import signs

    handler: Callable[[UnicodeError], tuple[str | bytes, int]] = codecs.lookup_error(signs.HANDLER)
    return handler(error)
