"""Pictures, samples, data sets and sets of images; see the package."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from afrad_bench.hashing import digest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from pydantic import BaseModel

    FloatArray = npt.NDArray[np.floating[Any]]
    ByteArray = npt.NDArray[np.uint8]
    BoolArray = npt.NDArray[np.bool_]


class Picture(Protocol):
    """One image or mask that is read on demand. Implementations are frozen and picklable."""

    @property
    def name(self) -> str:
        """Name for error messages: a path, or a description of how it is made."""

    def fingerprint(self) -> str:
        """Digest of the content (never of times or paths)."""

    def read(self) -> ByteArray | BoolArray:
        """(H, W, 3) uint8 RGB for an image, (H, W) bool for a mask. Raises `UserError` when unreadable."""


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What an image file marks if it is read as a mask, see `images.masks`."""

    how: str
    """How that was decided; empty if it marks every value above 0."""
    blank: bool
    """True if it marks no pixel."""
    zero: bool
    """True if no value is above 0."""
    refusal: str
    """Why it cannot be decided; empty if it can."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts about an image file. `error` is None if the file decodes completely."""

    path: Path
    sha256: str
    width: int
    """After turning as the EXIF orientation says, like `height`. Also known of an image that is too large."""
    height: int
    mode: str
    """Pillow's name of the kind of pixels."""
    error: str | None
    turned: bool = False
    """True if its EXIF orientation is not upright."""
    several: bool = False
    """True if the file holds several pictures (frames, pages), of which the first one is read."""
    deep: Literal["", "integer", "float"] = ""
    """Kind of values of a file with more than 8 bits per channel; empty for 8 bits."""
    peak: float = 0.0
    """The largest value of all channels except alpha."""
    transparent: bool = False
    """True if not all of it is opaque."""
    mask: MaskFacts | None = None
    """Only for files that were asked about as masks."""


class ImageFiles(Protocol):
    """Facts about image files by content. `images.pictures.FileIndex` reads a file again only if it has changed."""

    def facts(
        self, paths: Sequence[Path], masks: Collection[Path] = (), max_pixels: int | None = None
    ) -> list[FileFacts]:
        """Facts about each path, in order; those of `masks` also as masks. A missing or unreadable file, or one with
        more than `max_pixels` (by default Pillow's limit), gets an `error`; nothing is raised."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its ground truth. `defect` is "good" for normal images; `mask` is None if there is no mask."""

    id: str
    """Unique in the data set and stable between machines, e.g. "bottle/test/crack/000"."""
    category: str
    image: Picture
    gt_label: bool
    """True if anomalous."""
    defect: str = "good"
    mask: Picture | None = None
    """Ground truth per pixel, of the image's size. A normal image without a mask has no anomalous pixel."""


LEAK, FEW = "test images that are training images too", "few test images"
NO_NORMAL, NO_ANOMALOUS = "no normal test images", "no anomalous test images"
SERIOUS = (LEAK, FEW, NO_NORMAL, NO_ANOMALOUS)
"""How the notes of a data set begin that cast doubt on every accuracy measured on it; reports show them as alarms."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A verified data set: the normal training images and the test images, in a fixed order."""

    name: str
    version: str
    """Version of the loader and its split; part of the terms of every result."""
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    fingerprint: str
    """Digest over content, labels, masks, order and split."""
    notes: tuple[str, ...] = ()
    """Notes that every report on this data set must show, e.g. "defects of texture_* are planted"."""
    licence: str = ""
    source: str = ""
    held_out: tuple[Sample, ...] = ()
    """Normal training images that no fit sees, to decide a threshold."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, in the order of the test split."""
        return tuple(dict.fromkeys(sample.category for sample in self.test))

    @property
    def cautions(self) -> tuple[str, ...]:
        """The serious ones of its notes."""
        return tuple(note for note in self.notes if note.startswith(SERIOUS))

    def only(self, category: str) -> Dataset:
        """The same data set restricted to one category (setting `one_class`)."""
        return replace(
            self,
            train=tuple(s for s in self.train if s.category == category),
            test=tuple(s for s in self.test if s.category == category),
            held_out=tuple(s for s in self.held_out if s.category == category),
            fingerprint=digest(self.fingerprint, category),
        )


@runtime_checkable
class Images(Protocol):
    """An ordered set of images, decoded and resized on demand. Batches and training sets are both `Images`."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""

    @property
    def ids(self) -> tuple[str, ...]: ...

    @property
    def categories(self) -> tuple[str, ...]:
        """The category of each image. Only methods that declare it may use it (the unified setting hides it)."""

    @property
    def fingerprint(self) -> str | None:
        """Digest of `root` and its preprocessing; None for images in memory only, for which nothing is cached."""

    @property
    def root(self) -> Images:
        """The complete set that this one is a subset of; the set itself if it is complete."""

    @property
    def indices(self) -> Sequence[int]:
        """Positions of these images in `root`."""

    def __len__(self) -> int: ...

    def subset(self, indices: Sequence[int]) -> Images:
        """The images at these positions of this set, in this order."""

    def batches(self, size: int) -> Iterator[Images]:
        """This set in order, `size` images at a time; the last batch may be smaller."""

    def array(self) -> FloatArray:
        """(N, 3, H, W) float32 in [0, 1]; images from files are decoded again on each call."""


class DatasetModule(Protocol):
    """What a file in `datasets/` (or a plug-in's module) defines. It must import quickly."""

    VERSION: str
    ENVIRONMENT: str | None
    """Environment variable that may hold the root folder, or None for a data set that needs no root."""
    HELP: str
    """Which files to put where, for `doctor` and for the error about a missing root; names the licence page."""
    Config: type[BaseModel]

    def load(self, config: Any, root: Path | None, files: ImageFiles) -> Dataset:
        """Find, pair and verify every image; raises one `UserError` that lists all problems."""
