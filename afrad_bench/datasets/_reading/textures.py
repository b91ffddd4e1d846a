"""Photographed textures from scikit-image's wheel, cut into crops; training and test crops share no pixel.

The right part of each 512x512 photograph is for training, the left part for testing. Crops of one part overlap each
other. Test anomalies are crops on which a defect is planted (see `images.planting`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from afrad_bench.datasets._reading.layout import Split
from afrad_bench.hashing import digest, seed_for
from afrad_bench.images.pictures import FilePicture
from afrad_bench.images.planting import KINDS, VERSION, plant
from afrad_bench.types import Sample

if TYPE_CHECKING:
    import numpy as np

    from afrad_bench.types import BoolArray, ByteArray

TEXTURES = ("brick", "grass", "gravel")
PHOTOGRAPH = 512
SIDE = 128
"""Sides of a photograph and of a crop, in pixels."""
COLUMNS: dict[Split, tuple[int, int]] = {"train": (192, PHOTOGRAPH), "test": (0, 192)}
"""First and end column (exclusive) of the part of a photograph from which the crops of each split are cut."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of a photograph, optionally mirrored left to right."""

    photograph: FilePicture
    top: int
    left: int
    mirrored: bool

    @property
    def name(self) -> str:
        return f"{self.photograph.name} (crop at row {self.top}, column {self.left})"

    def fingerprint(self) -> str:
        return digest("crop", self.photograph.fingerprint(), str((self.top, self.left, SIDE, self.mirrored)))

    def read(self) -> ByteArray:
        import numpy as np

        pixels = self.photograph.read()[self.top : self.top + SIDE, self.left : self.left + SIDE]
        return np.ascontiguousarray(pixels[:, ::-1] if self.mirrored else pixels)


@dataclass(frozen=True, slots=True)
class Planted:
    """A crop with a planted defect. `donor` is a crop of another texture; only the kind `patch` uses it."""

    clean: Crop
    donor: Crop
    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.clean.name} with a planted {self.kind}"

    def fingerprint(self) -> str:
        parts = (self.clean.fingerprint(), self.donor.fingerprint(), self.kind, str(self.seed))
        return digest("planted", VERSION, *parts)

    def read(self) -> ByteArray:
        import numpy as np

        return np.repeat(self.drawn()[0][:, :, None], 3, axis=2)

    def drawn(self) -> tuple[ByteArray, BoolArray]:
        """Grey image and mask, (128, 128) each."""
        return plant(self.kind, self.clean.read()[:, :, 0], self.donor.read()[:, :, 0], self.seed)


@dataclass(frozen=True, slots=True)
class PlantedMask:
    """The mask of a planted defect: exactly the pixels that it changes."""

    planted: Planted

    @property
    def name(self) -> str:
        return f"mask of {self.planted.name}"

    def fingerprint(self) -> str:
        return digest("mask", self.planted.fingerprint())

    def read(self) -> BoolArray:
        return self.planted.drawn()[1]


def training_crops(category: str, photograph: FilePicture, count: int, seed: int) -> Iterator[Sample]:
    """Normal crops of the training part, half of them mirrored on average."""
    for i in range(count):
        crop = _crop(photograph, "train", _stream(seed, category, "train", i))
        yield Sample(f"{category}/train/good/{i:03d}", category, crop, gt_label=False)


def test_crops(
    category: str, photograph: FilePicture, others: tuple[FilePicture, ...], count: int, seed: int
) -> Iterator[Sample]:
    """`count` normal crops of the test part, then as many with a planted defect, kind by kind."""
    for i in range(count):
        crop = _crop(photograph, "test", _stream(seed, category, "good", i))
        yield Sample(f"{category}/test/good/{i:03d}", category, crop, gt_label=False)
    for k, kind in enumerate(KINDS):
        for i in range(k, count, len(KINDS)):
            rng = _stream(seed, category, "defect", i)
            crop, donor = _crop(photograph, "test", rng), _crop(others[rng.randint(len(others))], "test", rng)
            planted = Planted(crop, donor, kind, seed_for(VERSION, seed, category, "plant", i))
            mask = PlantedMask(planted)
            yield Sample(f"{category}/test/{kind}/{i:03d}", category, planted, True, kind, mask)


test_crops.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it as a test


def _stream(*names: object) -> np.random.RandomState:
    import numpy as np

    return np.random.RandomState(seed_for("textures", VERSION, *names))


def _crop(photograph: FilePicture, split: Split, rng: np.random.RandomState) -> Crop:
    """A random crop; only training crops are mirrored, at random."""
    first, end = COLUMNS[split]
    top, left = int(rng.randint(PHOTOGRAPH - SIDE + 1)), int(rng.randint(first, end - SIDE + 1))
    return Crop(photograph, top, left, mirrored=split == "train" and bool(rng.rand() < 0.5))
