"""Splits a data set for a search: one part to search on, another part for reports.

`planted`: some normal training images are held out, and half of these get a planted defect with an exact mask; the test
split is neither used nor changed. `labelled`: some test images go to the search, and the report leaves them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical, digest, seed_for
from afrad_bench.images.planting import KINDS, VERSION, VISIBLE, plant
from afrad_bench.suite.file import Split
from afrad_bench.types import Dataset, Picture, Sample

if TYPE_CHECKING:
    from afrad_bench.types import BoolArray, ByteArray

SIDE = 256
"""Shorter side, in pixels, at which a defect is drawn; for larger images the defect is then enlarged."""


def part_of(dataset: Dataset, split: Split) -> Dataset:
    """The part of the data set that the split names. The two parts of one split share no labelled image.

    Raises `UserError` for a category with too few images to divide."""
    made = _with_planted(dataset, split) if split.planted is not None else _with_labelled(dataset, split)
    if made is dataset:
        return dataset
    return replace(made, fingerprint=digest(dataset.fingerprint, VERSION, canonical(split.model_dump(mode="json"))))


# ------------------------------------------------------------------------------------------------------------- planted


def _with_planted(dataset: Dataset, split: Split) -> Dataset:
    if split.part == "report":
        return dataset
    assert split.planted is not None
    train: list[Sample] = []
    test: list[Sample] = []
    for category in dict.fromkeys(sample.category for sample in dataset.train):
        mine = _shuffled([sample for sample in dataset.train if sample.category == category], split.seed)
        count = max(2, round(split.planted * len(mine)))
        if count >= len(mine):
            raise fail(
                f"{dataset.name}: {category} has {len(mine)} training images, too few to hold out {count} for a search",
                hint="hold out a smaller share, or choose other categories",
            )
        held_out, kept = mine[:count], {sample.id for sample in mine[count:]}
        train += [sample for sample in dataset.train if sample.id in kept]
        others = [sample for sample in dataset.train if sample.category != category]
        test += held_out[: count // 2]
        test += [_planted(sample, i, others, split.seed) for i, sample in enumerate(held_out[count // 2 :])]
    note = (
        f"search split: {split.planted:.0%} of the normal training images of each category are held out, half of them "
        f"with planted defects (seed {split.seed}); no test image is used, and real defects may be of other kinds"
    )
    return replace(dataset, train=tuple(train), test=tuple(test), notes=(*dataset.notes, note))


def _planted(sample: Sample, i: int, others: Sequence[Sample], seed: int) -> Sample:
    """The sample with a defect; `patch`, a piece of another surface, needs images of another category."""
    kinds = [kind for kind in KINDS if others or kind != "patch"]
    kind, draw = kinds[i % len(kinds)], seed_for(VERSION, seed, sample.id)
    donor = others[draw % len(others)] if others else sample
    image = Defective(sample.image, donor.image, kind, draw)
    return Sample(f"{sample.id}/planted/{kind}", sample.category, image, True, kind, DefectMask(image))


@dataclass(frozen=True, slots=True)
class Defective:
    """A normal image with a planted defect. `patch` copies a piece of `donor`, an image of another surface."""

    clean: Picture
    donor: Picture
    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.clean.name} with a planted {self.kind}"

    def fingerprint(self) -> str:
        parts = (self.clean.fingerprint(), self.donor.fingerprint(), self.kind, str(self.seed))
        return digest("defective", VERSION, str(SIDE), *parts)

    def read(self) -> ByteArray:
        return self.drawn()[0]

    def drawn(self) -> tuple[ByteArray, BoolArray]:
        """The image (H, W, 3), and the mask (H, W) of the pixels in which it differs from the clean image."""
        import numpy as np
        from PIL import Image

        clean = cast("ByteArray", self.clean.read())
        height, width = clean.shape[:2]
        scale = min(1.0, SIDE / min(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        grey, donor = (
            np.asarray(Image.fromarray(cast("ByteArray", picture.read())).resize(size).convert("L"))
            for picture in (self.clean, self.donor)
        )
        planted, mask = plant(self.kind, grey, donor, self.seed)
        change = planted.astype(np.float32) - grey.astype(np.float32)
        change = np.asarray(Image.fromarray(change).resize((width, height), Image.Resampling.BILINEAR))
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
        visible = np.where(change < 0, np.minimum(change, -VISIBLE), np.maximum(change, VISIBLE))
        marked = np.clip(np.rint(clean + visible[:, :, None]), 0, 255).astype(np.uint8)
        image = np.where(mask[:, :, None], marked, clean)
        return image, (image != clean).any(axis=2)


@dataclass(frozen=True, slots=True)
class DefectMask:
    """The pixels that a planted defect changes."""

    defective: Defective

    @property
    def name(self) -> str:
        return f"mask of {self.defective.name}"

    def fingerprint(self) -> str:
        return digest("mask", self.defective.fingerprint())

    def read(self) -> BoolArray:
        import numpy as np

        packed, shape = _packed_mask(self.defective)
        return np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1]).reshape(shape).astype(bool)


@lru_cache(maxsize=512)  # each score of each trial reads the masks, and drawing takes longer than scoring
def _packed_mask(defective: Defective) -> tuple[bytes, tuple[int, ...]]:
    import numpy as np

    mask = defective.drawn()[1]
    return np.packbits(mask).tobytes(), mask.shape


# ------------------------------------------------------------------------------------------------------------ labelled


def _with_labelled(dataset: Dataset, split: Split) -> Dataset:
    assert split.labelled is not None
    taken: set[str] = set()
    for kind in dict.fromkeys((sample.category, sample.defect) for sample in dataset.test):
        mine = _shuffled([sample for sample in dataset.test if (sample.category, sample.defect) == kind], split.seed)
        taken |= {sample.id for sample in mine[: min(max(1, round(split.labelled * len(mine))), len(mine) - 1)]}
    searching = split.part == "search"
    test = tuple(sample for sample in dataset.test if (sample.id in taken) is searching)
    missing = {sample.category for sample in dataset.train} - {sample.category for sample in test if sample.gt_label}
    if missing:
        raise fail(
            f"{dataset.name}: too few labelled test images to divide: {', '.join(sorted(missing))}",
            hint="validation: {planted: 0.3} needs no labelled images",
        )
    note = f"{split.labelled:.0%} of the test images of each kind (seed {split.seed}) "
    note += "are what this was searched on" if searching else "were given to a search and are left out here"
    return replace(dataset, test=test, notes=(*dataset.notes, note))


def _shuffled(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """The samples in a shuffled order that depends only on the seed and the ids."""
    return sorted(samples, key=lambda sample: digest(str(seed), sample.id))
