"""What a run will keep of the backbones' feature maps: which maps of which images, and their sizes on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from afrad_bench import registry
from afrad_bench.backbone.entries import Entries
from afrad_bench.backbone.features import Foreseen, entry_of, rounding
from afrad_bench.backbone.maps import Part, ReadMaps
from afrad_bench.backbone.weights import Weights
from afrad_bench.images.sets import ImageSet, test_images, train_images
from afrad_bench.running.plan import Plan, PlannedCell
from afrad_bench.running.workspace import Workspace

GIB = 2**30


@dataclass(frozen=True, slots=True)
class KeptFeatures:
    """The arrays of one kind for the images of one data set, training and test."""

    data: str
    """Data set, and category where each has its own cells."""
    images: int
    image_size: int
    part: Part
    rows: tuple[str, ...]
    """Labels of the rows that read them."""
    bytes: int
    there: int
    """Bytes that the cache holds already."""


@dataclass(frozen=True, slots=True)
class FeatureSizes:
    """All features that the cells of a plan keep, and the room for them."""

    kept: tuple[KeptFeatures, ...]
    largest: int
    """Bytes of the largest set of arrays that is written at once."""
    limit: int
    free: int
    """Free space of the cache's disk."""

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.kept)

    @property
    def missing(self) -> int:
        """Bytes that are still to be written."""
        return self.bytes - sum(one.there for one in self.kept)

    @property
    def problems(self) -> tuple[str, ...]:
        """What does not fit, and what to do."""
        found = []
        if self.bytes > self.limit:
            removed = "the least recently used are removed and computed again when they are needed"
            what = "some are not kept, but computed for each batch" if self.largest > self.limit else removed
            text = f"features of {shown(self.bytes)} exceed the cache's limit of {shown(self.limit)}: {what}"
            found.append(f"{text}; `--cache-limit {-(-self.bytes // GIB)}` keeps them all")
        if self.missing > self.free:
            text = (
                f"features of {shown(self.missing)} are to be written, but the cache's disk has {shown(self.free)} free"
            )
            found.append(f"{text}; name a folder of a larger disk by `--cache`, or `afrad-bench cache clear`")
        return tuple(found)


def shown(size: int) -> str:
    """A number of bytes in words.

    >>> shown(3 * 2**30), shown(5 * 2**20)
    ('3.00 GiB', '5.0 MiB')
    """
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / 2**20:.1f} MiB"


@dataclass(frozen=True, slots=True)
class _Read:
    """That a row reads maps of images."""

    images: ImageSet
    data: str
    maps: ReadMaps
    weights: Weights
    row: str


def foreseen(cells: Iterable[PlannedCell]) -> Foreseen:
    """What these cells will read, for the cache."""
    found: dict[str, dict[ReadMaps, None]] = {}
    for read in _reads(cells):
        found.setdefault(read.images.fingerprint, {})[read.maps] = None
    return {fingerprint: tuple(maps) for fingerprint, maps in found.items()}


def sizes(plan: Plan, cells: Iterable[PlannedCell], workspace: Workspace) -> FeatureSizes | None:
    """Sizes of what these cells of the plan keep; None without a cache, or if they keep nothing."""
    reads = tuple(_reads(cells))
    if workspace.cache is None or not reads:
        return None
    entries = Entries(workspace.cache / "features", workspace.cache_limit)
    how = rounding(plan.environment.device, plan.environment.threads)
    found: dict[tuple[str, str], KeptFeatures] = {}
    counted: set[str] = set()
    for read in reads:
        for part in read.maps.parts(read.weights):
            place = (read.data, part.key)
            one = found.get(place) or KeptFeatures(read.data, 0, read.maps.image_size, part, (), 0, 0)
            one = replace(one, rows=tuple(dict.fromkeys((*one.rows, read.row))))
            if (entry := entry_of(part, read.images, how)) not in counted:
                counted.add(entry)
                size, images = len(read.images) * part.image_bytes, one.images + len(read.images)
                there = one.there + (size if entries.holds(entry) else 0)
                one = replace(one, images=images, bytes=one.bytes + size, there=there)
            found[place] = one
    largest = max(len(read.images) * sum(part.image_bytes for part in read.maps.parts(read.weights)) for read in reads)
    return FeatureSizes(tuple(found.values()), largest, workspace.cache_limit, entries.free_bytes())


def _reads(cells: Iterable[PlannedCell]) -> Iterator[_Read]:
    """Each once, though cells of several seeds read it."""
    seen: set[tuple[str, ReadMaps, str]] = set()
    for one in cells:
        module = registry.find("method", one.cell.method).load()
        reads = getattr(module, "reads", None)
        if reads is None or one.weights is None:
            continue
        side = one.cell.image_size
        maps: ReadMaps | None = reads(module.Config.model_validate_json(one.cell.params), side)
        if maps is None:
            continue
        name = f"{one.cell.dataset}/{one.cell.category}" if one.cell.category else one.cell.dataset
        train, test = train_images(one.dataset, side), test_images(one.dataset, side)
        for images in (train, test) if maps.scored else (train,):
            if (key := (images.fingerprint, maps, one.row.label)) not in seen:
                seen.add(key)
                yield _Read(images, name, maps, one.weights, one.row.label)
