"""Regions of masks that are lost when masks are resized, although their image keeps other marked pixels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from afrad_bench.types import Picture, Sample

if TYPE_CHECKING:
    from afrad_bench.types import BoolArray, ByteArray


@dataclass(frozen=True, eq=False)
class HeldMask:
    """A mask that is decoded once, for all that look at it."""

    mask: Picture

    @property
    def name(self) -> str:
        return self.mask.name

    def fingerprint(self) -> str:
        return self.mask.fingerprint()

    def read(self) -> ByteArray | BoolArray:
        return self._pixels

    @cached_property
    def _pixels(self) -> ByteArray | BoolArray:
        return self.mask.read()


def with_held_mask(sample: Sample) -> Sample:
    """The same sample, whose mask is decoded only once."""
    return sample if sample.mask is None else replace(sample, mask=HeldMask(sample.mask))


def vanished(mask: BoolArray, resized: BoolArray, connectivity: int) -> int:
    """Number of connected regions of a mask (H, W) that have no part in a marked pixel of the resized mask (h, w).

    0 if nothing at all is left, or if the mask was not made smaller."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not resized.any() or all(was <= now for was, now in zip(mask.shape, resized.shape, strict=True)):
        return 0
    here = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    regions, count = ndimage.label(mask[here], np.ones((3, 3)) if connectivity == 8 else None)
    # The resized pixel in which the centre of each pixel of the mask lies; on a border, those on both sides.
    sizes = zip(mask.shape, resized.shape, here, strict=True)
    twice = [((2 * np.arange(was)[part] + 1) * now, 2 * was) for was, now, part in sizes]
    sides = [{tuple(at // by), tuple((at - 1) // by)} for at, by in twice]
    left = [np.unique(regions[resized[np.ix_(*across)]]) for across in itertools.product(*sides)]
    return int(count - np.count_nonzero(np.unique(np.concatenate(left))))
