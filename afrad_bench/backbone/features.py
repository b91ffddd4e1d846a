"""The features of the frozen backbone: computed once per image set and extractor, cached on disk, shared by all cells.

A cache entry is a folder named by a digest of (image set, extractor, image size, device type):

    <root>/<key>/map0.npy ...   float32 (N, C, H, W), opened as memory maps
    <root>/<key>/meta.json      shapes, checksums, description; its modification time is the time of the last use

An entry is written to a temporary folder and renamed when it is complete, so a killed run never leaves an incomplete
entry. Its checksums are verified when a process first opens it; a damaged entry is deleted and computed again. The
cache holds at most `limit_bytes`; the least recently used entries are removed first."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.backbone.weights import BackboneConfig, Weights, known_models, locate
from afrad_bench.hashing import digest
from afrad_bench.types import Images, Watch, unwatched

if TYPE_CHECKING:
    from afrad_bench.backbone.extractor import Extractor, Resize
    from afrad_bench.types import FloatArray

BATCH = 16
DEFAULT_LIMIT = 20 * 2**30
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


class FeatureCache:
    """Features of image sets, by extractor. With `root` None, nothing is kept on disk and each call computes them."""

    def __init__(self, root: Path | None, limit_bytes: int = DEFAULT_LIMIT, watch: Watch = unwatched) -> None:
        self._root = None if root is None else root / "features"
        self._models = root
        self._limit = limit_bytes
        self._watch = watch
        self._open: dict[str, tuple[FloatArray, ...]] = {}
        self._extractors: dict[object, Extractor] = {}
        self.seconds = 0.0
        """Seconds spent computing features that were not in the cache."""
        self.found = 0
        """Number of images whose features were already in the cache."""
        self.notes: list[str] = []
        """Notes for the reader of a result, e.g. that an entry was too large to be cached."""

    def weights(self, config: BackboneConfig) -> Weights:
        """Where the weights of a backbone are; raises `UserError` if they are not on this machine."""
        return locate(config, known_models(self._models))

    def extractor(
        self,
        config: BackboneConfig,
        reductions: tuple[int, ...],
        image_size: int,
        device: str,
        grid: int | None = None,
        resize: Resize = "bilinear",
        padded_for: int | None = None,
    ) -> Extractor:
        """The frozen backbone on `device`, giving maps of these reductions (see `Extractor`); shared between cells."""
        from afrad_bench.backbone.extractor import Extractor

        key = (config, reductions, image_size, device, grid, resize, padded_for)
        if key not in self._extractors:
            made = Extractor(config, self.weights(config), reductions, image_size, grid, resize, padded_for)
            self._extractors[key] = made.to(device)
        return self._extractors[key]

    def read(self, extractor: Extractor, images: Images) -> tuple[FloatArray, ...]:
        """The feature maps of these images: one (N, C, H, W) float32 array per output of the extractor.

        For image sets with a fingerprint, they are read from the cache; if they are missing there, the features of the
        whole set are computed first. For images in memory they are computed directly."""
        import numpy as np

        if images.fingerprint is None or self._root is None:
            return self._compute(extractor, images)
        before = self.seconds
        whole = self._whole(extractor, images.root)
        if whole is None:
            return self._compute(extractor, images)
        if self.seconds == before:
            self.found += len(images)
        rows = np.asarray(images.indices)
        return tuple(maps[rows] for maps in whole)

    def entries(self) -> list[CacheEntry]:
        """The stored entries, most recently used first."""
        if self._root is None or not self._root.is_dir():
            return []
        found = []
        for meta in self._root.glob("[0-9a-f]*/meta.json"):
            facts = json.loads(meta.read_text("utf-8"))
            size = sum(file.stat().st_size for file in meta.parent.iterdir())
            found.append(CacheEntry(meta.parent.name, facts["what"], facts["images"], size, meta.stat().st_mtime))
        return sorted(found, key=lambda entry: -entry.last_used)

    def clear(self, keys: list[str] | None = None) -> int:
        """Remove these entries (None: all, and leftovers of killed runs); returns the number of bytes freed."""
        removed = 0
        for entry in self.entries():
            if keys is None or entry.key in keys:
                removed += entry.bytes
                self._remove(entry.key)
        if keys is None:
            self._sweep(older_than=0.0)
        return removed

    # ---------------------------------------------------------------------------------------------- internal

    def _whole(self, extractor: Extractor, root: Images) -> tuple[FloatArray, ...] | None:
        key = digest(extractor.key, str(root.fingerprint), repr(root.size), extractor.mean.device.type)[:32]
        if key not in self._open:
            found = self._opened(key)
            if found is None:
                found = self._built(key, extractor, root)
            if found is None:
                return None
            self._open[key] = found
        return self._open[key]

    def _opened(self, key: str) -> tuple[FloatArray, ...] | None:
        """The entry's memory maps, or None when it is absent, partial or damaged (which removes it)."""
        import numpy as np

        assert self._root is not None
        folder = self._root / key
        try:
            facts = json.loads((folder / "meta.json").read_text("utf-8"))
            maps = tuple(np.load(folder / f"map{i}.npy", mmap_mode="r") for i in range(len(facts["maps"])))
            sound = all(
                list(values.shape) == fact["shape"] and _checksum(values) == fact["crc32"]
                for values, fact in zip(maps, facts["maps"], strict=True)
            )
        except (OSError, ValueError, KeyError, EOFError):
            sound = False
        if not sound:
            if folder.exists():
                self.notes.append(f"feature cache entry {key} was damaged and has been rebuilt")
                self._remove(key)
            return None
        os.utime(folder / "meta.json")
        return maps

    def _built(self, key: str, extractor: Extractor, root: Images) -> tuple[FloatArray, ...] | None:
        from numpy.lib.format import open_memmap

        assert self._root is not None
        shapes = extractor.shapes
        size = sum(4 * len(root) * c * h * w for c, h, w in shapes)
        if size > self._limit:
            limit = f"the limit of {self._limit / 2**30:.1f} GiB"
            note = f"features are not cached: {size / 2**30:.1f} GiB exceed {limit}"
            if note not in self.notes:  # this runs for every batch
                self.notes.append(note)
            return None
        self._make_room(size)
        scratch = self._root / f".{key}.{uuid.uuid4().hex}.partial"
        scratch.mkdir(parents=True)
        maps = [
            open_memmap(scratch / f"map{i}.npy", mode="w+", dtype="float32", shape=(len(root), *shape))
            for i, shape in enumerate(shapes)
        ]
        checksums = [0] * len(maps)
        start = 0
        for batch in self._batches(extractor, root):
            for i, values in enumerate(batch):
                maps[i][start : start + len(values)] = values
                checksums[i] = zlib.crc32(values.tobytes(), checksums[i])
            start += len(batch[0])
        while maps:  # close files before the folder is renamed: Windows cannot move open files
            maps.pop().flush()
        facts = {
            "what": f"{type(extractor.net).__name__} reductions {extractor.reductions} grid {extractor.grid} "
            f"at {root.size[0]} px",
            "images": len(root),
            "maps": [
                {"shape": [len(root), *shape], "crc32": crc} for shape, crc in zip(shapes, checksums, strict=True)
            ],
        }
        (scratch / "meta.json").write_text(json.dumps(facts), "utf-8")
        try:
            scratch.rename(self._root / key)
        except OSError:
            if not (self._root / key).is_dir():
                raise
            shutil.rmtree(scratch)  # another process finished the same entry first: use that one
        return self._opened(key)

    def _compute(self, extractor: Extractor, images: Images) -> tuple[FloatArray, ...]:
        import numpy as np

        batches = list(self._batches(extractor, images))
        return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))

    def _batches(self, extractor: Extractor, images: Images) -> Iterator[tuple[FloatArray, ...]]:
        """Features batch by batch, while a thread decodes the next batch."""
        import torch

        began = time.perf_counter()
        device = extractor.mean.device
        batches = list(images.batches(BATCH))
        with ThreadPoolExecutor(1) as pool, torch.inference_mode():
            ahead = pool.submit(batches[0].array)
            for i in range(len(batches)):
                pixels = torch.from_numpy(ahead.result())
                if i + 1 < len(batches):
                    ahead = pool.submit(batches[i + 1].array)
                maps = extractor(pixels.to(device))
                yield tuple(m.float().cpu().contiguous().numpy() for m in maps)
                if images.fingerprint is not None:
                    self._watch(min((i + 1) * BATCH, len(images)), len(images), "backbone features")
        self.seconds += time.perf_counter() - began

    def _make_room(self, size: int) -> None:
        self._sweep(older_than=STALE_SECONDS)
        entries = self.entries()
        total = sum(entry.bytes for entry in entries) + size
        for entry in reversed(entries):
            if total <= self._limit:
                return
            if entry.key not in self._open:
                self._remove(entry.key)
                total -= entry.bytes

    def _sweep(self, older_than: float) -> None:
        """Remove incomplete entries of killed runs."""
        assert self._root is not None
        for partial in self._root.glob(".*.partial"):
            if time.time() - partial.stat().st_mtime > older_than:
                shutil.rmtree(partial, ignore_errors=True)

    def _remove(self, key: str) -> None:
        """Rename first, so that no reader sees a partial entry. Files that are open elsewhere (Windows) remain."""
        assert self._root is not None
        self._open.pop(key, None)
        doomed = self._root / f".{key}.{uuid.uuid4().hex}.partial"
        try:
            (self._root / key).rename(doomed)
        except OSError:
            return
        shutil.rmtree(doomed, ignore_errors=True)


def _checksum(values: Any) -> int:
    """CRC-32 of an array's bytes, 64 MiB at a time."""
    flat = values.reshape(-1)
    total = 0
    for start in range(0, flat.size, 1 << 24):
        total = zlib.crc32(flat[start : start + (1 << 24)].tobytes(), total)
    return total
