"""The protocol of classes: pictures of ten classes, some of which are normal and all others anomalous.

The unified protocol (UniAD) takes five normal classes, whose training images come without labels, and tests on the test
images of all ten; "01234", "56789", "02468" and "13579" are its four combinations. A single digit is the one-class
protocol. All images are of one pseudo-category, which bears the name of its normal classes; there are no masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from afrad_bench.datasets._reading.layout import Split
from afrad_bench.datasets._reading.options import Limits
from afrad_bench.types import Picture, Sample


def _digits(value: object) -> object:
    """Class numbers as a list become a string of digits."""
    if isinstance(value, list | tuple) and all(isinstance(one, int) and 0 <= one <= 9 for one in value):
        return "".join(map(str, value))
    return value


def _ascending(value: str) -> str:
    if list(value) != sorted(set(value)):
        raise ValueError("each class once, in ascending order")
    return value


class Classes(Limits):
    """Which classes are normal, and limits."""

    normal_classes: Annotated[str, BeforeValidator(_digits), AfterValidator(_ascending)] = Field(
        "01234",
        pattern="^[0-9]{1,9}$",
        description='Digits of the normal classes, in quotes. Unified protocol: "01234", "56789", "02468", "13579".',
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture that is held in memory, with its place in the data set."""

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
    """Normal pictures of both splits and anomalous ones of the test split, these last and class by class.

    `pictures`: split, class and picture; `names`: of the classes; `normal`: the digits of the normal ones."""
    stored = []
    for split, label, picture in pictures:
        good = str(label) in normal
        if good or split == "test":
            name = f"{normal}/{split}/{names[label]}/{picture.name}"
            stored.append(Stored(name, normal, split, "good" if good else names[label], picture))
    return sorted(stored, key=lambda one: (one.gt_label, one.defect))
