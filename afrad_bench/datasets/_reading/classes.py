"""The class protocol for data sets of ten classes: some classes are normal, all others anomalous.

The unified protocol (UniAD) uses five normal classes, their training images without labels, and tests on the test
images of all ten; "01234", "56789", "02468" and "13579" are its four combinations. A single digit is the one-class
protocol. All images belong to one pseudo-category, named after its normal classes; there are no masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from afrad_bench.datasets._reading.layout import Split
from afrad_bench.datasets._reading.options import Limits
from afrad_bench.types import Picture, Sample


def _digits(value: object) -> object:
    """Convert a list of class numbers to a string of digits."""
    if isinstance(value, list | tuple) and all(isinstance(one, int) and 0 <= one <= 9 for one in value):
        return "".join(map(str, value))
    return value


def _ascending(value: str) -> str:
    if list(value) != sorted(set(value)):
        raise ValueError("give each class once, in ascending order")
    return value


class Classes(Limits):
    """Options: which classes are normal, and limits."""

    normal_classes: Annotated[str, BeforeValidator(_digits), AfterValidator(_ascending)] = Field(
        "01234",
        pattern="^[0-9]{1,9}$",
        description='Digits of the normal classes, in quotes. Unified protocol: "01234", "56789", "02468", "13579".',
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture in memory, with its id, category, split and defect."""

    id: str
    category: str
    split: Split
    defect: str
    picture: Picture

    @property
    def gt_label(self) -> bool:
        return self.defect != "good"

    def sample(self) -> Sample:
        return Sample(self.id, self.category, self.picture, self.gt_label, self.defect)


def arranged(pictures: Iterable[tuple[Split, int, Picture]], names: Sequence[str], normal: str) -> list[Stored]:
    """Normal pictures of both splits, then anomalous pictures of the test split, class by class.

    `pictures`: split, class and picture; `names`: names of the classes; `normal`: digits of the normal classes."""
    stored = []
    for split, label, picture in pictures:
        good = str(label) in normal
        if good or split == "test":
            name = f"{normal}/{split}/{names[label]}/{picture.name}"
            stored.append(Stored(name, normal, split, "good" if good else names[label], picture))
    return sorted(stored, key=lambda one: (one.gt_label, one.defect))
