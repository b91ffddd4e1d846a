"""The features of the frozen backbone: computed once per image set, cached on disk, shared by all cells.

An entry of the cache (see `entries`) is one map of a backbone for an image set (see `maps`). It is named by a digest of
both and of what decides how features are rounded (see `rounding`), so that no result depends on who filled the cache.
What is missing of a backbone's maps, for the method that asks and for all that a run foresees, is computed in one pass.
Checksums are verified when a process first opens an entry; a damaged entry is deleted and computed again."""

from __future__ import annotations

import platform
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from afrad_bench.backbone.entries import CacheEntry, Entries, NewEntry
from afrad_bench.backbone.maps import Part, ReadMaps
from afrad_bench.backbone.weights import BackboneConfig, Weights, known_models, locate
from afrad_bench.errors import fail
from afrad_bench.hashing import digest
from afrad_bench.machine.copying import moved
from afrad_bench.types import Images, Watch, unwatched

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from afrad_bench.backbone.extractor import Extractor
    from afrad_bench.backbone.maps import Resize
    from afrad_bench.types import FloatArray

BATCH, FEW = 16, 64
"""Images of a batch, and images that are few."""
LARGEST = 65_504
"""The largest value of float16."""
DEFAULT_LIMIT = 80 * 2**30
"""Holds the features of every published configuration: RD4AD's of VisA are 74 GiB."""


Foreseen = Mapping[str, Sequence[ReadMaps]]
"""Fingerprint of an image set -> the maps that will be read of it."""
NOTHING: Foreseen = MappingProxyType({})


class FeatureCache:
    """Features of image sets, by extractor. With `root` None, nothing is kept on disk and each call computes them."""

    def __init__(
        self,
        root: Path | None,
        limit_bytes: int = DEFAULT_LIMIT,
        watch: Watch = unwatched,
        foreseen: Foreseen = NOTHING,
    ) -> None:
        """`foreseen`: what will be asked for besides; it is computed in the same pass of a backbone."""
        self._entries = None if root is None else Entries(root / "features", limit_bytes)
        self._models = root
        self._limit = limit_bytes
        self._watch = watch
        self._foreseen = foreseen
        self._open: dict[str, FloatArray] = {}
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

        key = (
            config.name,
            config.weights,
            config.precision,
            reductions,
            image_size,
            device,
            grid,
            resize,
            padded_for,
            after_ones,
        )
        if key not in self._extractors:
            weights = self.weights(config)
            made = Extractor(config, weights, reductions, image_size, grid, resize, padded_for, after_ones)
            self._extractors[key] = made.to(device)
        return self._extractors[key]

    def release(self) -> None:
        """Let go of all backbones; each is made again when it is asked for."""
        self._extractors.clear()

    def read(self, extractor: Extractor, images: Images) -> tuple[FloatArray, ...]:
        """The feature maps of these images: one (N, C, H, W) float32 array per output of the extractor, as `parts`."""
        import torch

        with torch.inference_mode():
            kept = [torch.from_numpy(part) for part in self.parts(extractor, images)]
            return tuple(maps.numpy() for maps in extractor.finished(kept))

    def parts(self, extractor: Extractor, images: Images) -> tuple[FloatArray, ...]:
        """What the cache keeps of the feature maps of these images, (N, C, H, W) each, float32 or float16;
        `Extractor.finished` makes the maps of them. Raises `UserError` for values beyond float16.

        For image sets with a fingerprint, they are read from the cache; if they are missing there, the features of the
        whole set are computed first. For images in memory they are computed directly. Raises `DiskFull`."""
        kept = self._kept(extractor, images)
        return self._compute(extractor, images) if kept is None else kept

    def tensors(self, extractor: Extractor, images: Images) -> tuple[Tensor, ...]:
        """The feature maps of these images, (N, C, H, W) for each output of the extractor, on its device. What the
        cache does not keep is computed there and stays there. Raises as `parts`."""
        import torch

        kept = self._kept(extractor, images)
        if kept is not None:
            return extractor.finished([moved(torch.from_numpy(one), str(extractor.mean.device)) for one in kept])
        batches = list(self._computed(extractor, extractor.parts, images, self._told(images)))
        joined = batches[0] if len(batches) == 1 else [torch.cat(one) for one in zip(*batches, strict=True)]
        return extractor.finished(joined)

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

    def _kept(self, extractor: Extractor, images: Images) -> tuple[FloatArray, ...] | None:
        """The parts of these images from the cache, which computes those of the whole set if they are missing; None if
        it does not keep them."""
        import numpy as np

        if images.fingerprint is None or self._entries is None:
            return None
        before = self.seconds
        whole = self._whole(self._entries, extractor, images.root)
        if whole is None:
            return None
        if self.seconds == before:
            self.found += len(images)
        rows = np.asarray(images.indices)
        return tuple(maps[rows] for maps in whole)

    def _whole(self, entries: Entries, extractor: Extractor, root: Images) -> tuple[FloatArray, ...] | None:
        """The parts of the whole set; None if they cannot be kept."""
        own = _entries_of(extractor.parts, extractor, root)
        if self._missing(entries, own, root):
            self._fill(entries, own, extractor, root)
        return tuple(self._open[key] for key in own) if own.keys() <= self._open.keys() else None

    def _missing(self, entries: Entries, parts: Mapping[str, Part], root: Images) -> dict[str, Part]:
        """Those of these entries that are not there; the others are open afterwards."""
        for key in parts.keys() - self._open.keys():
            if (found := entries.opened(key, (len(root), *parts[key].shape))) is not None:
                self._open[key] = found
        return {key: part for key, part in parts.items() if key not in self._open}

    def _fill(self, entries: Entries, own: Mapping[str, Part], extractor: Extractor, root: Images) -> None:
        """Compute and keep these entries, and what is foreseen of the same backbone; only these, or none, if there is
        no room."""
        net = extractor.key if extractor.maps is None else repr(extractor.maps.net)
        how = rounding(str(extractor.mean.device))
        lock = digest(net, str(root.fingerprint), repr(root.size), *how)[:32]
        with entries.being_written(lock):  # by one process; the others wait for it and read
            wanted = dict(own)
            for maps in self._foreseen.get(str(root.fingerprint), ()):
                if extractor.maps is not None and maps.net == extractor.maps.net:
                    wanted |= _entries_of(maps.parts(self.weights(maps.backbone)), extractor, root)
            missing = self._missing(entries, wanted, root)
            needed = {key: part for key, part in missing.items() if key in own}
            if not needed:
                return
            for chosen in (missing, needed):
                if self._fits(entries, chosen, root):
                    self._build(entries, chosen, extractor, root)
                    self._missing(entries, chosen, root)  # opens them
                    return
            self._say_why(entries, needed, root)

    def _fits(self, entries: Entries, parts: Mapping[str, Part], root: Images) -> bool:
        """Whether the cache and the disk may hold these entries; makes room for them."""
        size = _bytes(parts, root)
        if size <= self._limit:
            entries.make_room(size, self._open)
        return size <= min(self._limit, entries.free_bytes())

    def _say_why(self, entries: Entries, parts: Mapping[str, Part], root: Images) -> None:
        """Note that these features are not kept."""
        size, free = _bytes(parts, root), entries.free_bytes()
        limit = f"the limit of {self._limit / 2**30:.1f}" if size > self._limit else f"the free {free / 2**30:.1f}"
        note = f"features are not cached: {size / 2**30:.1f} GiB exceed {limit} GiB"
        if note not in self.notes:  # this runs for every batch
            self.notes.append(note)

    def _build(self, entries: Entries, parts: Mapping[str, Part], extractor: Extractor, root: Images) -> None:
        """Compute and store these parts for all images."""
        for key in parts:
            if entries.holds(key) and entries.remove(key):
                self.notes.append(f"feature cache entry {key} was damaged and has been rebuilt")
        how = ", ".join(rounding(str(extractor.mean.device)))
        made = [
            NewEntry(
                key,
                f"{part.backbone} {part.what} at {root.size[0]} px, {how}",
                (len(root), *part.shape),
                part.precision,
            )
            for key, part in parts.items()
        ]
        net = self._net(extractor, parts.values())
        entries.write(made, self._batches(net, tuple(parts.values()), root, told=True))

    def _net(self, extractor: Extractor, parts: Collection[Part]) -> Extractor:
        """An extractor of the same backbone whose maps include these parts."""
        reductions, maps = {part.reduction for part in parts}, extractor.maps
        if maps is None or reductions <= set(extractor.reductions):
            return extractor
        return self.extractor(
            maps.backbone,
            tuple(sorted(reductions)),
            maps.image_size,
            str(extractor.mean.device),
            padded_for=maps.padded_for,
            after_ones=maps.after_ones,
        )

    def _compute(self, extractor: Extractor, images: Images) -> tuple[FloatArray, ...]:
        import numpy as np

        arrays: list[FloatArray] = []
        done = 0
        for maps in self._batches(extractor, extractor.parts, images, self._told(images)):
            if len(maps[0]) == len(images):
                return maps
            if not arrays:  # whole arrays at once: joining them in the end would take the memory twice
                arrays = [np.empty((len(images), *part.shape[1:]), part.dtype) for part in maps]
            for whole, part in zip(arrays, maps, strict=True):
                whole[done : done + len(part)] = part
            done += len(maps[0])
        return tuple(arrays)

    def _told(self, images: Images) -> bool:
        """Whether to report the progress: few images are a batch within a step that tells its own."""
        return images.fingerprint is not None and len(images) > FEW

    def _batches(
        self, extractor: Extractor, parts: tuple[Part, ...], images: Images, told: bool
    ) -> Iterator[tuple[FloatArray, ...]]:
        """These parts batch by batch, as arrays."""
        for maps in self._computed(extractor, parts, images, told):
            yield tuple(one.cpu().numpy() for one in maps)

    def _computed(
        self, extractor: Extractor, parts: tuple[Part, ...], images: Images, told: bool
    ) -> Iterator[tuple[Tensor, ...]]:
        """These parts batch by batch, on the device, while a thread decodes the next batch. `told`: whether to report
        the progress."""
        import torch

        device = extractor.mean.device
        _wait(device)  # for what it was told before, which is no work of the backbone
        began = time.perf_counter()
        batches = list(images.batches(BATCH))
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(batches[0].array)
            for i in range(len(batches)):
                pixels = torch.from_numpy(ahead.result())
                if i + 1 < len(batches):
                    ahead = pool.submit(batches[i + 1].array)
                # Closed before `yield`: what fails there must not leave it on. Training cannot use inference tensors.
                with torch.no_grad():
                    maps = extractor.kept(moved(pixels, str(device)), parts)
                    maps = tuple(rounded(one, part).contiguous() for one, part in zip(maps, parts, strict=True))
                yield maps
                if told:
                    self._watch(min((i + 1) * BATCH, len(images)), len(images), "backbone features")
        _wait(device)  # else this would be the time of the launches
        self.seconds += time.perf_counter() - began


def _wait(device: torch.device) -> None:
    """Wait for the work of a CUDA device's stream that is in use, not for what other streams compute meanwhile."""
    import torch

    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def rounded(maps: Tensor, part: Part) -> Tensor:
    """The maps of images in the precision in which this part is kept. Raises `UserError` for values beyond float16."""
    if part.precision == "float32":
        return maps.float()
    if (peak := float(maps.abs().max())) > LARGEST:
        raise fail(
            f"{part.backbone}, {part.what}: features reach {peak:.4g}, but float16 ends at {LARGEST:,}",
            hint="keep them as float32: leave out `backbone.precision`",
        )
    return maps.half()


def entry_of(part: Part, images: Images, how: Sequence[str]) -> str:
    """The key of the entry that holds this part for the whole set of these images; `how`: see `rounding`."""
    return digest(part.key, str(images.fingerprint), repr(images.size), *how)[:32]


def _entries_of(parts: Sequence[Part], extractor: Extractor, root: Images) -> dict[str, Part]:
    how = rounding(str(extractor.mean.device))
    return {entry_of(part, root, how): part for part in parts}


def _bytes(parts: Mapping[str, Part], root: Images) -> int:
    return sum(len(root) * part.image_bytes for part in parts.values())


def rounding(device: str, threads: int | None = None) -> tuple[str, ...]:
    """What decides how the features of an image are rounded: the device, the threads and vector instructions of a
    processor, and the version of torch. With other values of these the last digits differ. `threads`: None for those
    of torch."""
    import torch

    kind = device.partition(":")[0]
    if kind == "cpu":
        threads = threads or torch.get_num_threads()
        how = (f"{threads} thread{'s' if threads > 1 else ''}", torch.backends.cpu.get_cpu_capability())
    elif kind == "cuda":
        cudnn = torch.backends.cudnn
        chosen = [name for name, on in (("deterministic", cudnn.deterministic), ("benchmark", cudnn.benchmark)) if on]
        how = (torch.cuda.get_device_name(device), ", ".join([f"TF32 {cudnn.allow_tf32}", *chosen]))
    else:
        how = (kind, platform.processor())
    return (*how, f"torch {torch.__version__}")
