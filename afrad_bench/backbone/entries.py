"""The entries of the feature cache: folders of arrays on disk, complete and undamaged, or not there.

    <root>/<key>/map0.npy    float32 or float16 (N, C, H, W), opened as a memory map
    <root>/<key>/meta.json   shape, checksum, description; its modification time is the time of the last use

An entry is written to a temporary folder and renamed when it is complete, so a killed run never leaves an incomplete
entry. The entries hold at most `limit` bytes; the least recently used are removed first."""

from __future__ import annotations

import os
import shutil
import time
import uuid
import zlib
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from afrad_bench import writing
from afrad_bench.errors import fail
from afrad_bench.machine.lock import alone

if TYPE_CHECKING:
    from afrad_bench.types import FloatArray

STALE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One stored set of features, for `afrad-bench cache list`."""

    key: str
    what: str
    images: int
    bytes: int
    last_used: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to be written."""

    key: str
    what: str
    shape: tuple[int, int, int, int]
    """(N, C, H, W)"""
    precision: str = "float32"


class _Map(BaseModel):
    """One array of an entry."""

    model_config = ConfigDict(strict=True, frozen=True)

    shape: list[int]
    crc32: int


class _Facts(BaseModel):
    """The content of an entry's `meta.json`."""

    model_config = ConfigDict(strict=True, frozen=True)

    what: str
    images: int
    maps: list[_Map]


class Entries:
    """A folder of entries."""

    def __init__(self, root: Path, limit: int) -> None:
        self._root = root
        self._limit = limit

    def listed(self) -> list[CacheEntry]:
        """The entries, damaged ones included, most recently used first."""
        found = []
        for folder in self._root.glob("[0-9a-f]*") if self._root.is_dir() else ():
            try:
                facts = _facts(folder) or _Facts(what="damaged, is computed again when needed", images=0, maps=[])
                size = sum(file.stat().st_size for file in folder.iterdir())
                used = max(path.stat().st_mtime for path in (folder, folder / "meta.json") if path.exists())
            except (FileNotFoundError, NotADirectoryError):
                continue  # another process has just removed it, or it is no entry
            found.append(CacheEntry(folder.name, facts.what, facts.images, size, used))
        return sorted(found, key=lambda entry: -entry.last_used)

    def holds(self, key: str) -> bool:
        """Whether there is such an entry, damaged or not."""
        return (self._root / key).exists()

    def being_written(self, key: str) -> AbstractContextManager[None]:
        """Held by the process that writes this entry; others wait for its end. Raises `UserError` where there can be no
        folder."""
        if self._root.exists() and not self._root.is_dir():
            raise fail("is a file, not a folder", str(self._root), "remove it, or name another folder by --cache")
        return alone(self._root / f".{key}.lock", wait=True)

    def opened(self, key: str, shape: tuple[int, ...]) -> FloatArray | None:
        """The memory map (N, C, H, W) of an entry of this shape that is complete and undamaged; None without one. This
        uses the entry."""
        import numpy as np

        folder = self._root / key
        facts = _facts(folder)
        if facts is None or [fact.shape for fact in facts.maps] != [list(shape)]:
            return None
        try:
            values: FloatArray = np.load(folder / "map0.npy", mmap_mode="r")
            if values.shape != shape or _checksum(values) != facts.maps[0].crc32:
                return None
        except (OSError, ValueError, EOFError):
            return None
        os.utime(folder / "meta.json")
        return values

    def write(self, made: Sequence[NewEntry], batches: Iterable[tuple[FloatArray, ...]]) -> None:
        """Write these entries together, from batches with an array for each, in order. Raises `DiskFull`."""
        scratch = [self._root / f".{entry.key}.{uuid.uuid4().hex}.partial" for entry in made]
        try:
            with writing.space(self._root, writing.CACHE):
                for folder in scratch:
                    folder.mkdir(parents=True)
                checksums = _written(scratch, made, batches)
                for folder, entry, crc in zip(scratch, made, checksums, strict=True):
                    maps = [_Map(shape=list(entry.shape), crc32=crc)]
                    facts = _Facts(what=entry.what, images=entry.shape[0], maps=maps)
                    (folder / "meta.json").write_text(facts.model_dump_json(), "utf-8")
        except BaseException:
            for folder in scratch:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        for folder, entry in zip(scratch, made, strict=True):
            try:
                folder.rename(self._root / entry.key)
            except OSError:
                if not self.holds(entry.key):
                    raise
                shutil.rmtree(folder)  # another process finished the same entry first: use that one

    def make_room(self, size: int, used: Collection[str]) -> None:
        """Remove the least recently used entries until `size` more bytes are within the limit, but none of `used`."""
        self.sweep(older_than=STALE_SECONDS)
        entries = self.listed()
        total = sum(entry.bytes for entry in entries) + size
        for entry in reversed(entries):
            if total <= self._limit:
                return
            if entry.key not in used:
                self.remove(entry.key)
                total -= entry.bytes

    def free_bytes(self) -> int:
        """Free space of the disk that holds the entries."""
        there = next(folder for folder in (self._root, *self._root.parents) if folder.exists())
        return shutil.disk_usage(there).free

    def sweep(self, older_than: float) -> None:
        """Remove incomplete entries of killed runs that are older than this, in seconds."""
        for partial in self._root.glob(".*.partial"):
            try:
                age = time.time() - partial.stat().st_mtime
            except FileNotFoundError:
                continue  # another process has just removed it
            if age > older_than:
                shutil.rmtree(partial, ignore_errors=True)

    def remove(self, key: str) -> bool:
        """Remove an entry; False without one. Renamed first, so that no reader sees a partial entry. Files that are
        open elsewhere (Windows) remain."""
        doomed = self._root / f".{key}.{uuid.uuid4().hex}.partial"
        try:
            (self._root / key).rename(doomed)
        except OSError:
            return False
        shutil.rmtree(doomed, ignore_errors=True)
        return True


def _written(
    folders: Sequence[Path], made: Sequence[NewEntry], batches: Iterable[tuple[FloatArray, ...]]
) -> Sequence[int]:
    """Write the array of each entry into its folder, batch by batch; the checksum of each.

    They are not mapped for this: on a full disk a write is an error, but a mapped page would kill the process."""
    import numpy as np
    from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0

    checksums = [0] * len(made)
    with ExitStack() as opened:
        files = [opened.enter_context((folder / "map0.npy").open("wb")) for folder in folders]
        for file, entry in zip(files, made, strict=True):
            layout = header_data_from_array_1_0(np.empty(0, entry.precision))
            write_array_header_1_0(file, {**layout, "shape": entry.shape})
        for batch in batches:
            for i, values in enumerate(batch):
                raw = np.ascontiguousarray(values, made[i].precision).data
                files[i].write(raw)
                checksums[i] = zlib.crc32(raw, checksums[i])
        for file in files:
            file.flush()
            os.fsync(file.fileno())
    return checksums


def _facts(folder: Path) -> _Facts | None:
    """What an entry says of itself; None if that is missing or damaged."""
    try:
        return _Facts.model_validate_json((folder / "meta.json").read_bytes())
    except (OSError, ValueError):
        return None


def _checksum(values: Any) -> int:
    """CRC-32 of an array's bytes, 64 MiB at a time."""
    flat = values.reshape(-1)
    total = 0
    for start in range(0, flat.size, 1 << 24):
        total = zlib.crc32(flat[start : start + (1 << 24)], total)
    return total
