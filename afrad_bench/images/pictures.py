"""Image files on disk: reading them, and an index of facts about their content.

The facts about a file (digest, size, whether it decodes) are stored in a small SQLite index, keyed by path, length and
modification time, like git's index. So the fingerprint of a data set depends on content only, but once the files have
been read, computing it needs only their length and modification time."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from afrad_bench.errors import fail
from afrad_bench.types import FileFacts, Watch, unwatched

if TYPE_CHECKING:
    from PIL.Image import Image

    from afrad_bench.types import BoolArray, ByteArray

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Known image suffixes, case-insensitive; other files in a folder (licences, thumbnails) are not images."""


@dataclass(frozen=True, slots=True)
class FilePicture:
    """An image file as RGB, see `rgb`."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        return str(self.path)

    def fingerprint(self) -> str:
        return self.sha256

    def read(self) -> ByteArray:
        return rgb(_open(self.path))


@dataclass(frozen=True, slots=True)
class FileMask:
    """A mask file: a pixel is defective if any channel except alpha is above 0 (VisA's masks hold small class ids)."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        return str(self.path)

    def fingerprint(self) -> str:
        return self.sha256

    def read(self) -> BoolArray:
        return _marked(_open(self.path))


def rgb(image: Image) -> ByteArray:
    """(H, W, 3) uint8. Greyscale is repeated, alpha is dropped, 16 bits are scaled to 8 (divided by 257)."""
    import numpy as np

    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.float64) / 257.0
        return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def _marked(image: Image) -> BoolArray:
    """(H, W), True where any channel except alpha is above 0."""
    import numpy as np

    if image.mode == "P":  # palette indices, not colours: index 0 is the background
        return np.asarray(image) > 0
    if image.mode in ("LA", "RGBA", "PA"):
        image = image.convert(image.mode[:-1].replace("P", "RGB"))
    marked: BoolArray = np.asarray(image) > 0
    return marked if marked.ndim == 2 else np.asarray(marked.any(axis=2))


def _open(path: Path) -> Image:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise fail(f"cannot be read as an image: {error}", str(path), "replace or remove the file") from error


class FileIndex:
    """Facts about image files; an unchanged file is read and decoded only once. Safe to use from several processes.

    `location` is the SQLite file, or None to store nothing. A file is read again if its length or modification time
    (in nanoseconds) has changed. All returned facts are derived from content."""

    def __init__(self, location: Path | None = None, watch: Watch = unwatched) -> None:
        self._location = location
        self._watch = watch

    def facts(self, paths: Sequence[Path]) -> list[FileFacts]:
        """Facts about each path, in order. A missing file gets an `error`; nothing is raised."""
        stamps = {path: _stamp(path) for path in paths}
        known = self._load(stamps)
        new = [path for path in stamps if path not in known]
        with ThreadPoolExecutor() as pool:
            for done, facts in enumerate(pool.map(_examine, new), start=1):
                known[facts.path] = facts
                self._watch(done, len(new), "reading images")
        self._save((stamps[path], known[path]) for path in new)
        return [known[path] for path in paths]

    def _load(self, stamps: dict[Path, tuple[int, int]]) -> dict[Path, FileFacts]:
        if self._location is None or not self._location.exists():
            return {}
        with closing(self._connect()) as connection:
            rows = connection.execute("SELECT path, length, modified, sha256, width, height, mode, blank FROM facts")
            wanted = {str(path.absolute()): path for path in stamps}
            found = {}
            for name, length, modified, sha256, width, height, mode, blank in rows:
                path = wanted.get(name)
                if path is not None and stamps[path] == (length, modified):
                    found[path] = FileFacts(path, sha256, width, height, mode, bool(blank), None)
            return found

    def _save(self, facts: Iterable[tuple[tuple[int, int], FileFacts]]) -> None:
        """Store the facts of files that decode. Broken files are read again each time: the user will replace them."""
        rows = [
            (str(one.path.absolute()), *stamp, one.sha256, one.width, one.height, one.mode, one.blank)
            for stamp, one in facts
            if one.error is None
        ]
        if self._location is None or not rows:
            return
        self._location.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _connect(self) -> sqlite3.Connection:
        assert self._location is not None
        connection = sqlite3.connect(self._location, timeout=60)
        try:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS facts (path TEXT PRIMARY KEY, length INTEGER, modified INTEGER, "
                "sha256 TEXT, width INTEGER, height INTEGER, mode TEXT, blank INTEGER)"
            )
            return connection
        except sqlite3.OperationalError:  # locked or disk full: a new index would not help
            connection.close()
            raise
        except sqlite3.DatabaseError:  # damaged: delete it, all of its content can be read again
            connection.close()
            self._location.unlink()
            return self._connect()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (-1, -1)
    return (found.st_size, found.st_mtime_ns)


def _examine(path: Path) -> FileFacts:
    import io

    from PIL import Image

    try:
        raw = path.read_bytes()
    except OSError as error:
        return FileFacts(path, "", 0, 0, "", False, error.strerror or str(error))
    sha256 = hashlib.sha256(raw).hexdigest()
    try:
        with Image.open(io.BytesIO(raw)) as image:
            image.load()
            return FileFacts(path, sha256, image.width, image.height, image.mode, not _marked(image).any(), None)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return FileFacts(path, sha256, 0, 0, "", False, f"cannot be read as an image: {error}")
