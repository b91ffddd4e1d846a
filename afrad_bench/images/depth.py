"""How many bits are in use in files with more than 8 per channel: decided once for all files that belong together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from afrad_bench.types import Sample

BITS = (8, 10, 12, 14, 16, 18, 20, 24, 32)
"""Numbers of bits that cameras and files use."""


class Deep(Protocol):
    """A file: whether it has more than 8 bits per channel, and its largest value."""

    @property
    def deep(self) -> Literal["", "integer", "float"]: ...
    @property
    def peak(self) -> float: ...


def white_for(files: Iterable[Deep]) -> float | None:
    """The value of white in those of these files that have more than 8 bits: the largest that the fewest `BITS` can
    hold which hold all their values; None if none has. For floating-point files any number of bits, from 1: 0 to 1.

    Integers and floating-point values have no common white; if both occur, that of the integers is given."""
    peaks: dict[str, float] = {}
    for one in files:
        peaks[one.deep] = max(one.peak, peaks.get(one.deep, 0.0))
    for kind, numbers in (("integer", BITS), ("float", range(1, 1025))):
        if kind in peaks:
            return float(next(2**bits - 1 for bits in numbers if peaks[kind] <= 2**bits - 1))
    return None


def white_of(samples: Iterable[Sample]) -> float | None:
    """The value of white in the files of these samples that have more than 8 bits; None if none of them has."""
    return next((white for one in samples if (white := getattr(one.image, "white", None)) is not None), None)
