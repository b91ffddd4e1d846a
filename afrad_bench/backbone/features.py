"""The features of the frozen backbone: computed once per image set and extractor, cached on disk, shared by all cells.

An entry of the cache (see `entries`) is named by a digest of the image set, the extractor, the image size, and what
decides how the features are rounded (see `rounding`), so that no result depends on who filled the cache. Its checksums
are verified when a process first opens it; a damaged entry is deleted and computed again."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from afrad_bench.backbone.entries import CacheEntry, Entries
from afrad_bench.backbone.weights import BackboneConfig, Weights, known_models, locate
from afrad_bench.hashing import digest
from afrad_bench.types import Images, Watch, unwatched

if TYPE_CHECKING:
    import torch

    from afrad_bench.backbone.extractor import Extractor, Resize
    from afrad_bench.types import FloatArray

BATCH, FEW = 16, 64
"""Images of a batch, and images that are few."""
DEFAULT_LIMIT = 80 * 2**30
"""Holds the features of every published configuration: RD4AD's of VisA are 74 GiB."""


class FeatureCache:
    """Features of image sets, by extractor. With `root` None, nothing is kept on disk and each call computes them."""

    def __init__(self, root: Path | None, limit_bytes: int = DEFAULT_LIMIT, watch: Watch = unwatched) -> None:
        self._entries = None if root is None else Entries(root / "features", limit_bytes)
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
        return locate(config, known_models(self._models, self.notes))

    def extractor(
        self,
        config: BackboneConfig,
        reductions: tuple[int, ...],
        image_size: int,
        device: str,
        grid: int | None = None,
        resize: Resize = "bilinear",
        padded_for: int | None = None,
        after_ones: bool = False,
    ) -> Extractor:
        """The frozen backbone on `device`, giving maps of these reductions (see `Extractor`); shared between cells."""
        from afrad_bench.backbone.extractor import Extractor

        key = (config, reductions, image_size, device, grid, resize, padded_for, after_ones)
        if key not in self._extractors:
            weights = self.weights(config)
            made = Extractor(config, weights, reductions, image_size, grid, resize, padded_for, after_ones)
            self._extractors[key] = made.to(device)
        return self._extractors[key]

    def release(self) -> None:
        """Let go of all backbones; each is made again when it is asked for."""
        self._extractors.clear()

    def read(self, extractor: Extractor, images: Images) -> tuple[FloatArray, ...]:
        """The feature maps of these images: one (N, C, H, W) float32 array per output of the extractor.

        For image sets with a fingerprint, they are read from the cache; if they are missing there, the features of the
        whole set are computed first. For images in memory they are computed directly. Raises `DiskFull`."""
        import numpy as np

        if images.fingerprint is None or self._entries is None:
            return self._compute(extractor, images)
        before = self.seconds
        whole = self._whole(self._entries, extractor, images.root)
        if whole is None:
            return self._compute(extractor, images)
        if self.seconds == before:
            self.found += len(images)
        rows = np.asarray(images.indices)
        return tuple(maps[rows] for maps in whole)

    def entries(self) -> list[CacheEntry]:
        """The stored entries, most recently used first."""
        return [] if self._entries is None else self._entries.listed()

    def clear(self, keys: list[str] | None = None) -> int:
        """Remove these entries (None: all, and leftovers of killed runs); returns the number of bytes freed."""
        removed = 0
        for entry in self.entries():
            if self._entries is not None and (keys is None or entry.key in keys):
                self._open.pop(entry.key, None)
                removed += entry.bytes if self._entries.remove(entry.key) else 0
        if keys is None and self._entries is not None:
            self._entries.sweep(older_than=0.0)
        return removed

    # ---------------------------------------------------------------------------------------------- internal

    def _whole(self, entries: Entries, extractor: Extractor, root: Images) -> tuple[FloatArray, ...] | None:
        how = rounding(extractor.mean.device)
        key = digest(extractor.key, str(root.fingerprint), repr(root.size), *how)[:32]
        if key not in self._open:
            images, arrays = len(root), len(extractor.channels)
            found = entries.opened(key, images, arrays)
            if found is None and self._fits(entries, extractor, root):
                with entries.being_written(key):  # by one process; the others wait for it and read
                    there = entries.holds(key)
                    found = entries.opened(key, images, arrays)
                    if found is None:
                        if there and entries.remove(key):
                            self.notes.append(f"feature cache entry {key} was damaged and has been rebuilt")
                        self._build(entries, key, extractor, root, how)
                        found = entries.opened(key, images, arrays)
            if found is None:
                return None
            self._open[key] = found
        return self._open[key]

    def _fits(self, entries: Entries, extractor: Extractor, root: Images) -> bool:
        """Whether the cache and the disk may hold the features of these images; makes room for them."""
        size = sum(4 * len(root) * c * h * w for c, h, w in extractor.shapes)
        if size <= self._limit:
            entries.make_room(size, self._open)
        free = entries.free_bytes()
        if size > min(self._limit, free):
            limit = f"the limit of {self._limit / 2**30:.1f}" if size > self._limit else f"the free {free / 2**30:.1f}"
            note = f"features are not cached: {size / 2**30:.1f} GiB exceed {limit} GiB"
            if note not in self.notes:  # this runs for every batch
                self.notes.append(note)
            return False
        return True

    def _build(self, entries: Entries, key: str, extractor: Extractor, root: Images, how: tuple[str, ...]) -> None:
        """Compute and store the features of all images."""
        shapes = [(len(root), *shape) for shape in extractor.shapes]
        net = f"{type(extractor.net).__name__} reductions {extractor.reductions} grid {extractor.grid}"
        what = f"{net} at {root.size[0]} px, {', '.join(how)}"
        entries.write(key, what, shapes, self._batches(extractor, root, told=True))

    def _compute(self, extractor: Extractor, images: Images) -> tuple[FloatArray, ...]:
        import numpy as np

        # Few images are a batch within a step that tells its own progress.
        told = images.fingerprint is not None and len(images) > FEW
        arrays: list[FloatArray] = []
        done = 0
        for maps in self._batches(extractor, images, told):
            if len(maps[0]) == len(images):
                return maps
            if not arrays:  # whole arrays at once: joining them in the end would take the memory twice
                arrays = [np.empty((len(images), *part.shape[1:]), np.float32) for part in maps]
            for whole, part in zip(arrays, maps, strict=True):
                whole[done : done + len(part)] = part
            done += len(maps[0])
        return tuple(arrays)

    def _batches(self, extractor: Extractor, images: Images, told: bool) -> Iterator[tuple[FloatArray, ...]]:
        """Features batch by batch, while a thread decodes the next batch. `told`: whether to report the progress."""
        import torch

        began = time.perf_counter()
        device = extractor.mean.device
        batches = list(images.batches(BATCH))
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(batches[0].array)
            for i in range(len(batches)):
                pixels = torch.from_numpy(ahead.result())
                if i + 1 < len(batches):
                    ahead = pool.submit(batches[i + 1].array)
                with torch.inference_mode():  # closed before `yield`: what fails there must not leave it on
                    maps = extractor(pixels.to(device))
                yield tuple(m.float().cpu().contiguous().numpy() for m in maps)
                if told:
                    self._watch(min((i + 1) * BATCH, len(images)), len(images), "backbone features")
        self.seconds += time.perf_counter() - began


def rounding(device: torch.device) -> tuple[str, ...]:
    """What decides how the features of an image are rounded: the device, the threads and vector instructions of a
    processor, and the version of torch. With other values of these the last digits differ."""
    import torch

    if device.type == "cpu":
        threads = torch.get_num_threads()
        how = (f"{threads} thread{'s' if threads > 1 else ''}", torch.backends.cpu.get_cpu_capability())
    elif device.type == "cuda":
        cudnn = torch.backends.cudnn
        chosen = [name for name, on in (("deterministic", cudnn.deterministic), ("benchmark", cudnn.benchmark)) if on]
        how = (torch.cuda.get_device_name(device), ", ".join([f"TF32 {cudnn.allow_tf32}", *chosen]))
    else:
        how = (device.type, platform.processor())
    return (*how, f"torch {torch.__version__}")
