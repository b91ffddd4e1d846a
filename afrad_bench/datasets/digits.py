"""Digits: 1,797 handwritten digits of 8x8 pixels, in the protocol of CIFAR-10 (Alpaydin and Kaynak 1998), offline.

The images are part of scikit-learn, which this package requires anyway. Some classes are normal, all others anomalous,
as in `cifar10`. The split is specific to this benchmark: each class is divided by seed. There are no masks."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from afrad_bench.datasets._reading.assemble import About, finish, limited
from afrad_bench.datasets._reading.classes import Classes, arranged
from afrad_bench.datasets._reading.faults import existing
from afrad_bench.datasets._reading.installed import package_folder
from afrad_bench.datasets._reading.layout import Split
from afrad_bench.errors import Problem, UserError, fail
from afrad_bench.hashing import digest
from afrad_bench.images.folders import content
from afrad_bench.types import Dataset, ImageFiles

if TYPE_CHECKING:
    from afrad_bench.types import ByteArray

VERSION = "1"
ENVIRONMENT: str | None = None
SOURCE = "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"
HELP = f"nothing: the images come with scikit-learn; a root is a folder with digits.csv.gz; CC BY 4.0, {SOURCE}"
ABOUT = About("digits", VERSION, "CC BY 4.0", SOURCE)
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE, GREYS = 8, 16
"""Side of an image in pixels, and the value of white (black is 0)."""


class Config(Classes):
    """Options of the handwritten digits."""

    train_fraction: float = Field(0.7, gt=0, lt=1, description="Fraction of each class used for training.")
    split_seed: int = Field(0, ge=0, description="Seed that divides each class into training and test images.")


@dataclass(frozen=True, slots=True)
class DigitPicture:
    """A digit as stored in the list: 64 values from 0 to 16, row by row."""

    name: str
    values: bytes = field(repr=False)

    def fingerprint(self) -> str:
        return digest(self.values)

    def read(self) -> ByteArray:
        import numpy as np

        grey = np.frombuffer(self.values, dtype=np.uint8).reshape(SIDE, SIDE) * (255 / GREYS)
        return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


def load(config: Config, root: Path | None, files: ImageFiles) -> Dataset:
    """Load the data set and verify every line of its list. Raises `UserError` if the list is damaged or missing."""
    pictures = _split(_read(_list(root)), config)
    stored = arranged(pictures, CLASSES, config.normal_classes)
    chosen, cuts = limited(stored, config)
    train, test = (tuple(one.sample() for one in chosen if one.split == split) for split in ("train", "test"))
    normal = ", ".join(CLASSES[int(digit)] for digit in config.normal_classes)
    return finish(ABOUT, train, test, (f"normal classes: {normal}; all others are anomalous", *cuts))


def _list(root: Path | None) -> Path:
    if root is not None:
        return existing(root, "digits", ENVIRONMENT, HELP) / "digits.csv.gz"
    package = package_folder("sklearn", "scikit-learn")
    if isinstance(package, Problem):
        raise UserError(package)
    return package / "datasets" / "data" / "digits.csv.gz"


def _read(path: Path) -> list[tuple[int, DigitPicture]]:
    """Class and picture of each line."""
    try:
        lines = gzip.decompress(content(path)).decode("ascii").splitlines()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise fail(f"cannot be read: {error}", str(path), f"expected {HELP}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            *values, label = (int(float(text)) for text in line.split(","))
        except ValueError as error:
            raise fail(f"contains something other than numbers: {line[:40]!r}", f"{path}:{number}") from error
        if len(values) != SIDE * SIDE or not all(0 <= value <= GREYS for value in values) or not 0 <= label <= 9:
            raise fail(f"expected {SIDE * SIDE} values from 0 to {GREYS} and a class from 0 to 9", f"{path}:{number}")
        found.append((label, DigitPicture(f"{number:04d}", bytes(values))))
    return found


def _split(pictures: list[tuple[int, DigitPicture]], config: Config) -> list[tuple[Split, int, DigitPicture]]:
    """Divide each class by seed: pictures are sorted by a digest of the seed and their name."""
    train: set[str] = set()
    for label in range(10):
        names = [picture.name for one, picture in pictures if one == label]
        names.sort(key=lambda name: digest(str(config.split_seed), name))
        train.update(names[: round(config.train_fraction * len(names))])
    return [("train" if picture.name in train else "test", label, picture) for label, picture in pictures]
