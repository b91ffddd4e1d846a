"""Image files on disk: reading them, and an index of facts about their content.

The facts about a file (digest, size, whether it decodes, ...) are stored in a small SQLite index, keyed by path,
length, inode, and times of modification and of change, like git's index. So the fingerprint of a data set depends on
content only, but once the files have been read, computing it needs no reading. Where these times prove nothing (a file
that had just changed when it was read; other systems than POSIX), the file's digest decides."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical, digest
from afrad_bench.images import decoding
from afrad_bench.images.decoding import MAX_PIXELS, WHITE, Decoded, NoWhite, TooLarge, Undecodable
from afrad_bench.images.folders import content, is_text, printable
from afrad_bench.types import FileFacts, MaskFacts, Watch, unwatched
from afrad_bench.writing import CACHE, space

if TYPE_CHECKING:
    from afrad_bench.types import BoolArray, ByteArray

TABLE = "files_3"
"""The number is that of the index's layout and of the rules by which masks are decided."""
COLUMNS = "path TEXT PRIMARY KEY, stamp TEXT, settled INTEGER, facts TEXT, digest TEXT"
"""`facts` is JSON; `digest` is that of `facts`, since SQLite does not notice damaged values."""
TOO_LARGE = "too large: "
"""How `FileFacts.error` begins for an image with too many pixels."""
SETTLED = 2_000_000_000
"""Nanoseconds: a change that is more recent may be followed by another one at what the file system calls the same
time."""
TIMES_COUNT = os.name == "posix"
"""Whether the system has a time of change that programs cannot set back."""


@dataclass(frozen=True, slots=True)
class FilePicture:
    """An image file as RGB, see `decoding.rgb`."""

    path: Path
    sha256: str
    """Digest of the file's content, checked when it is read; empty: not known."""
    turned: bool = False
    """Whether the file's EXIF orientation turns it."""
    white: float | None = None
    """The value of white in a file with more than 8 bits per channel; None for 8 bits, or where it is not known."""
    max_pixels: int = MAX_PIXELS

    @property
    def name(self) -> str:
        return str(self.path)

    def fingerprint(self) -> str:
        """Digest of the content and of how it is read, unless that is upright and scaled by 16 bits or 8."""
        how = ["turned"] if self.turned else []
        how += [f"white {self.white!r}"] if self.white not in (None, WHITE) else []
        return digest("picture", self.sha256, *how) if how else self.sha256

    def read(self) -> ByteArray:
        try:
            return decoding.rgb(_decoded(self.path, self.sha256, self.max_pixels), self.white)
        except Undecodable as error:
            raise _unreadable(self.path, error) from error


@dataclass(frozen=True, slots=True)
class FileMask:
    """A mask file, see `masks`."""

    path: Path
    sha256: str
    how: str = ""
    """How it is decided which pixels are marked; empty: those above 0."""
    turned: bool = False
    max_pixels: int = MAX_PIXELS

    @property
    def name(self) -> str:
        return str(self.path)

    def fingerprint(self) -> str:
        """Digest of the content and of how it is read, unless that is upright and above 0."""
        how = [*(["turned"] if self.turned else []), *([self.how] if self.how else [])]
        return digest("mask", self.sha256, *how) if how else self.sha256

    def read(self) -> BoolArray:
        from afrad_bench.images import masks

        made = _decoded(self.path, self.sha256, self.max_pixels)
        return masks.decide(made).marked if self.how else masks.above_zero(made)


def _decoded(path: Path, sha256: str, max_pixels: int) -> Decoded:
    try:
        raw = content(path)
        if sha256 and hashlib.sha256(raw).hexdigest() != sha256:
            raise fail("has changed since the data set was verified", printable(path), "start again")
        return decoding.decode(raw, max_pixels)
    except (OSError, Undecodable) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> Exception:
    why = getattr(error, "strerror", None) or error
    if isinstance(error, TooLarge):
        return fail(f"{TOO_LARGE}{why}", printable(path), "the field `max_pixels` of a data set allows larger images")
    hint = "convert it to 8 bits" if isinstance(error, NoWhite) else "replace or remove the file"
    return fail(f"cannot be read as an image: {why}", printable(path), hint)


# ------------------------------------------------------------------------------------------------------------ the index


@dataclass(frozen=True, slots=True)
class _Stamp:
    """When a file was what it is."""

    text: str
    """Length, inode, time of modification, time of change."""
    settled: bool
    """Whether any later change must give another `text`."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A row of the index."""

    stamp: _Stamp
    facts: FileFacts


class FileIndex:
    """Facts about image files; an unchanged file is read and decoded only once. Safe to use from several processes.

    `location` is the SQLite file, or None to store nothing. `fresh`: read every file again, and decode it unless its
    digest is that of the index. All returned facts are derived from content."""

    def __init__(self, location: Path | None = None, watch: Watch = unwatched, fresh: bool = False) -> None:
        self._location = location
        self._watch = watch
        self._fresh = fresh
        self.notes: list[str] = []
        """Notes for the user: that the index was damaged."""

    def facts(
        self, paths: Sequence[Path], masks: Collection[Path] = (), max_pixels: int | None = None
    ) -> list[FileFacts]:
        """See `ImageFiles`."""
        limit, as_masks = max_pixels or MAX_PIXELS, frozenset(masks)
        stamps = {path: _stamp(path) for path in paths}
        stored = self._load(stamps)
        found = {path: one.facts for path, one in stored.items() if self._holds(one, stamps[path], path in as_masks)}
        new = [path for path in stamps if path not in found]

        def examined(path: Path) -> FileFacts:
            before = stored[path].facts if path in stored else None
            return _examine(path, path in as_masks, limit, before)

        with ThreadPoolExecutor() as pool:
            for done, facts in enumerate(pool.map(examined, new), start=1):
                found[facts.path] = facts
                self._watch(done, len(new), "reading images")
        self._save(_Known(stamps[path], found[path]) for path in new)
        return [_within(found[path], limit) for path in paths]

    def _holds(self, known: _Known, now: _Stamp, as_mask: bool) -> bool:
        """Whether the facts of the index are certainly those of the file, and complete."""
        same = known.stamp.settled and known.stamp.text == now.text
        return same and not self._fresh and (known.facts.mask is not None or not as_mask)

    def _load(self, paths: Collection[Path]) -> dict[Path, _Known]:
        if self._location is None or not self._location.exists():
            return {}
        wanted = {str(path.absolute()): path for path in paths}
        rows = self._run(f"SELECT * FROM {TABLE}")
        try:
            return {wanted[name]: _known(wanted[name], *values) for name, *values in rows if name in wanted}
        except (TypeError, ValueError):  # other columns, or damaged
            self._remove(self._location)
            return {}

    def _save(self, known: Iterable[_Known]) -> None:
        """Store the facts of files that decode. Broken files are read again each time: the user will replace them."""
        rows = [_row(one) for one in known if one.facts.error is None]
        if self._location is None or not rows:
            return
        self._location.parent.mkdir(parents=True, exist_ok=True)
        self._run(f"INSERT OR REPLACE INTO {TABLE} VALUES ({', '.join('?' * len(rows[0]))})", rows)

    def _run(self, statement: str, rows: Sequence[Sequence[object]] | None = None) -> list[tuple[Any, ...]]:
        """The result of a statement, for each of the rows if they are given. A damaged index is made anew: all of its
        content can be read again."""
        assert self._location is not None
        try:
            with space(self._location.parent, CACHE):
                return _executed(self._location, statement, rows)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "column" not in str(error):
                where, hint = printable(self._location), "name another folder by --cache"  # locked, read-only
                raise fail(f"the index of image files cannot be used: {error}", where, hint) from error
            self._remove(self._location)
            return _executed(self._location, statement, rows)

    def _remove(self, location: Path) -> None:
        location.unlink(missing_ok=True)
        self.notes.append(f"{printable(location)} was damaged and has been made again")


def _executed(location: Path, statement: str, rows: Sequence[Sequence[object]] | None) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(location, timeout=60)) as connection, connection:
        for earlier in ("facts", "files_2"):
            connection.execute(f"DROP TABLE IF EXISTS {earlier}")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} ({COLUMNS})")
        return (connection.execute(statement) if rows is None else connection.executemany(statement, rows)).fetchall()


def _row(known: _Known) -> tuple[object, ...]:
    name = str(known.facts.path.absolute())
    text = canonical({**asdict(known.facts), "path": name})
    return name, known.stamp.text, known.stamp.settled, text, digest(text)


def _known(path: Path, stamp: str, settled: int, text: str, seal: str) -> _Known:
    """The content of a row. Raises `ValueError` or `TypeError` if it is damaged."""
    if digest(text) != seal:
        raise ValueError("damaged")
    read = json.loads(text)
    mask = None if read["mask"] is None else MaskFacts(**read["mask"])
    return _Known(_Stamp(stamp, bool(settled)), FileFacts(**{**read, "path": path, "mask": mask}))


def _stamp(path: Path) -> _Stamp:
    now = time.time_ns()
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a null byte in a name, from a list
        return _Stamp("", False)
    times = (found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
    return _Stamp(" ".join(map(str, times)), TIMES_COUNT and found.st_ctime_ns < now - SETTLED)


def _examine(path: Path, as_mask: bool, max_pixels: int, before: FileFacts | None) -> FileFacts:
    """Facts about a file. `before`: those of the index, which still hold if the content is the same."""
    try:
        if not is_text(str(path)):
            raise Undecodable("its name is no text in UTF-8")
        raw = content(path)
    except (OSError, ValueError) as error:
        return FileFacts(path, "", 0, 0, "", getattr(error, "strerror", None) or str(error))
    sha256 = hashlib.sha256(raw).hexdigest()
    if before is not None and before.sha256 == sha256 and (before.mask is not None or not as_mask):
        return before
    return _facts_of(path, raw, sha256, as_mask, max_pixels)


def _facts_of(path: Path, raw: bytes, sha256: str, as_mask: bool, max_pixels: int) -> FileFacts:
    try:
        made = decoding.decode(raw, max_pixels)
    except TooLarge as error:
        return FileFacts(path, sha256, *error.size, "", f"{TOO_LARGE}{error}")
    except Undecodable as error:
        return FileFacts(path, sha256, 0, 0, "", f"cannot be read as an image: {error}")
    return FileFacts(
        path, sha256, *made.image.size, made.image.mode, None, made.turned, made.several, made.deep, made.peak,
        made.transparent, _mask_facts(made) if as_mask else None,
    )  # fmt: skip


def _mask_facts(made: Decoded) -> MaskFacts:
    from afrad_bench.images import masks

    marking = masks.decide(made)
    return MaskFacts(marking.how, not marking.marked.any(), not masks.above_zero(made).any(), marking.refusal)


def _within(facts: FileFacts, max_pixels: int) -> FileFacts:
    """The facts, with an error if the image is larger; the index may know it from a data set that allows more."""
    if facts.error is not None or facts.width * facts.height <= max_pixels:
        return facts
    return replace(facts, error=f"{TOO_LARGE}{TooLarge((facts.width, facts.height), max_pixels)}")
