"""Sets of images of one size: decoded from samples on demand, or held in memory.

Preprocessing, version 1: PIL's bilinear resize (antialiased) directly to a square, no crop, RGB in [0, 1]; masks are
resized by nearest neighbour, which keeps the area of small defects unbiased. Normalisation is part of the backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Literal

from afrad_bench.hashing import digest
from afrad_bench.images.decoding import as_floats, resized, squared
from afrad_bench.types import Dataset, Sample

if TYPE_CHECKING:
    from afrad_bench.types import BoolArray, ByteArray, FloatArray

PREPROCESSING = "pil-bilinear-direct/1"
MOST_KEPT = 2**31
"""Bytes of resized training images that stay in memory; MVTec AD at 256 px has 0.7e9."""


class KeptImages:
    """Resized images in memory, one byte a value, for methods that read them in every epoch.

    An image is kept when it is read for the second time, so that a method that reads its images once needs no memory
    for it. Those that do not fit into `limit` bytes are decoded each time. Several threads may read; another process
    keeps its own."""

    def __init__(self, limit: int = MOST_KEPT) -> None:
        self._limit, self._free, self._lock = limit, limit, Lock()
        self._read: set[int] = set()
        self._kept: dict[int, ByteArray] = {}

    def __reduce__(self) -> tuple[type[KeptImages], tuple[int]]:
        return (KeptImages, (self._limit,))

    def image(self, index: int, sample: Sample, side: int) -> FloatArray:
        """As `resized_image`; `index` is that of the sample in its root set."""
        square = self._kept.get(index)
        if square is None:
            square = squared(sample.image.read(), side)
            with self._lock:
                if index in self._read and index not in self._kept and square.nbytes <= self._free:
                    self._kept[index] = square
                    self._free -= square.nbytes
                self._read.add(index)
        return as_floats(square)


@dataclass(frozen=True)
class ImageSet:
    """Images of samples, resized to `side` x `side`. Batches and subsets refer to the same root set."""

    samples: tuple[Sample, ...]
    side: int
    fingerprint: str
    whole: ImageSet | None = None
    positions: tuple[int, ...] | None = None
    kept: KeptImages | None = field(default=None, compare=False, repr=False)
    """Shared by all subsets; None: every read decodes the images."""

    @property
    def size(self) -> tuple[int, int]:
        return (self.side, self.side)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(sample.id for sample in self.samples)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        return tuple(sample.category for sample in self.samples)

    @property
    def root(self) -> ImageSet:
        return self.whole or self

    @property
    def indices(self) -> Sequence[int]:
        return range(len(self.samples)) if self.positions is None else self.positions

    def __len__(self) -> int:
        return len(self.samples)

    def subset(self, indices: Sequence[int]) -> ImageSet:
        mine = self.indices
        return replace(
            self,
            samples=tuple(self.samples[i] for i in indices),
            whole=self.root,
            positions=tuple(mine[i] for i in indices),
        )

    def batches(self, size: int) -> Iterator[ImageSet]:
        for start in range(0, len(self), size):
            yield self.subset(range(start, min(start + size, len(self))))

    def array(self) -> FloatArray:
        import numpy as np

        out = np.empty((len(self), 3, self.side, self.side), dtype=np.float32)

        def fill(i: int) -> None:
            sample, side = self.samples[i], self.side
            out[i] = self.kept.image(self.indices[i], sample, side) if self.kept else resized_image(sample, side)

        with ThreadPoolExecutor() as pool:
            for _ in pool.map(fill, range(len(self))):
                pass
        return out


def train_images(dataset: Dataset, side: int) -> ImageSet:
    """The normal training images of a data set at `side` x `side` pixels; what is read again stays in memory."""
    fingerprint = digest(dataset.fingerprint, "train", PREPROCESSING, str(side))
    return ImageSet(dataset.train, side, fingerprint, kept=KeptImages())


def held_out_images(dataset: Dataset, side: int) -> ImageSet:
    """The normal training images that no fit sees, at `side` x `side` pixels."""
    return ImageSet(dataset.held_out, side, digest(dataset.fingerprint, "held out", PREPROCESSING, str(side)))


def test_images(dataset: Dataset, side: int) -> ImageSet:
    """The test images of a data set at `side` x `side` pixels, in the order of its test split."""
    return ImageSet(dataset.test, side, digest(dataset.fingerprint, "test", PREPROCESSING, str(side)))


test_images.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it as a test


def resized_image(sample: Sample, side: int) -> FloatArray:
    """(3, side, side) float32 in [0, 1]."""
    return resized(sample.image.read(), side)


MaskRule = Literal["nearest", "bilinear", "any"]


def resized_mask(sample: Sample, side: int, rule: MaskRule = "nearest") -> BoolArray:
    """(side, side) bool; all False for a normal image without a mask.

    `rule` is for a mask of another size: "nearest" neighbour; "bilinear" (antialiased), True above 0.5; "any", True
    if the new pixel covers the centre of any True pixel (a centre on a border may count on neither side). Raises
    `ValueError` for an anomalous image without a mask."""
    import numpy as np
    from PIL import Image

    if sample.mask is None:
        if sample.gt_label:
            raise ValueError(f"{sample.id}: an anomalous image without a mask has no pixel-level ground truth")
        return np.zeros((side, side), dtype=bool)
    mask = Image.fromarray(sample.mask.read().astype(np.uint8))
    if mask.size != (side, side) and rule == "nearest":
        mask = mask.resize((side, side), Image.Resampling.NEAREST)
    elif mask.size != (side, side):
        way = Image.Resampling.BILINEAR if rule == "bilinear" else Image.Resampling.BOX
        mask = mask.convert("F").resize((side, side), way)
    return np.asarray(mask) > (0.5 if rule == "bilinear" else 0)


@dataclass(frozen=True, eq=False)
class ImageArray:
    """Images in memory only: for `latency`, for use outside the harness, and for tests."""

    pixels: FloatArray
    """(N, 3, H, W) float32 in [0, 1]."""

    fingerprint: None = None

    @property
    def size(self) -> tuple[int, int]:
        return (int(self.pixels.shape[2]), int(self.pixels.shape[3]))

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"image/{i}" for i in range(len(self)))

    @property
    def categories(self) -> tuple[str, ...]:
        return ("",) * len(self)

    @property
    def root(self) -> ImageArray:
        return self

    @property
    def indices(self) -> Sequence[int]:
        return range(len(self))

    def __len__(self) -> int:
        return int(self.pixels.shape[0])

    def subset(self, indices: Sequence[int]) -> ImageArray:
        return ImageArray(self.pixels[list(indices)])

    def batches(self, size: int) -> Iterator[ImageArray]:
        for start in range(0, len(self), size):
            yield ImageArray(self.pixels[start : start + size])

    def array(self) -> FloatArray:
        return self.pixels
