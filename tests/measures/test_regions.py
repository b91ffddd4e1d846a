"""Regions that masks lose when they are resized, although their image keeps others: counted in the notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from afrad_bench.images.sets import MaskRule, resized_mask
from afrad_bench.measures.accuracy.regions import vanished, with_held_mask
from afrad_bench.types import MEAN, Sample
from tests.measures.test_accuracy import SIDE, ArrayPicture, marked, measured, sample

LARGE = 16
BLOCK = tuple((row, column) for row in range(8) for column in range(8))


def samples(*spots: tuple[int, int]) -> list[Sample]:
    """A normal image, and one whose mask has a block of 8x8 pixels and these single ones."""
    return [
        sample("bolt/good/0", False, side=LARGE),
        sample("bolt/bad/0", True, marked(*BLOCK, *spots, side=LARGE), side=LARGE),
    ]


@pytest.mark.parametrize(
    ("spots", "note"),
    [
        ((), ""),
        (((14, 14),), ""),  # the pixel that nearest neighbour takes
        (((12, 12),), "1 marked region vanishes at 4x4, in images that keep other marked pixels"),
        (((12, 12), (15, 4)), "2 marked regions vanish at 4x4, in images that keep other marked pixels"),
    ],
)
def test_regions_that_vanish_beside_larger_ones_are_counted(spots: tuple[tuple[int, int], ...], note: str) -> None:
    values, _ = measured(samples=samples(*spots))
    assert values["pixel_aupro", "bolt"].note == note
    assert note in values["pixel_aupro", MEAN].note
    assert values["image_auroc", "bolt"].note == ""
    original, _ = measured(samples=samples(*spots), resolution="original")
    assert "vanish" not in original["pixel_aupro", "bolt"].note
    kept, _ = measured(samples=samples(*spots), mask_rule="any")
    assert "vanish" not in kept["pixel_aupro", "bolt"].note


@dataclass(frozen=True, eq=False)
class Counted(ArrayPicture):
    """Counts how often it is read."""

    reads: Counter[str] = field(default_factory=Counter)

    def read(self) -> np.ndarray:
        self.reads[self.name] += 1
        return self.pixels


def test_a_mask_is_decoded_once_for_all_who_look_at_it() -> None:
    mask = Counted(marked(*BLOCK, side=LARGE).pixels)
    held = with_held_mask(sample("bolt/bad/0", True, mask, side=LARGE))
    assert np.array_equal(resized_mask(held, SIDE), resized_mask(held, SIDE))
    assert mask.reads == {"array": 1}
    assert held.mask is not None
    assert held.mask.fingerprint() == mask.fingerprint()


def places(pixel: Iterable[int], shape: tuple[int, int], side: int) -> list[tuple[int, ...]]:
    """Pixels of the resized mask in which the centre of this one lies: several if it lies on a border."""
    centre = [Fraction(2 * int(at) + 1, 2) * side / size for at, size in zip(pixel, shape, strict=True)]
    return list(product(*({floor(at), ceil(at) - 1} for at in centre)))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    density=st.floats(0.002, 0.2),
    side=st.integers(3, 20),
    shape=st.tuples(st.integers(5, 60), st.integers(5, 60)),
    rule=st.sampled_from(["nearest", "bilinear", "any"]),
    connectivity=st.sampled_from([4, 8]),
)
def test_the_count_is_that_of_regions_one_by_one(
    seed: int, density: float, side: int, shape: tuple[int, int], rule: MaskRule, connectivity: int
) -> None:
    mask = np.random.default_rng(seed).random(shape) < density
    resized = resized_mask(sample("a/b/0", True, ArrayPicture(mask)), side, rule)
    regions, count = ndimage.label(mask, np.ones((3, 3)) if connectivity == 8 else None)
    lost = 0
    for region in range(1, count + 1):
        pixels = np.argwhere(regions == region)
        lost += not any(resized[at] for pixel in pixels for at in places(pixel, shape, side))
    smaller = side < max(shape)
    assert vanished(mask, resized, connectivity) == (lost if resized.any() and smaller else 0)
    on_a_border = any((2 * at + 1) * side % (2 * size) == 0 for size in shape for at in range(size))
    if rule == "any" and not on_a_border:  # a centre there may round to neither side
        assert vanished(mask, resized, connectivity) == 0
