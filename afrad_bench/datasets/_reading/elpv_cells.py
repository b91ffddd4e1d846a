"""The solar cells of `elpv-dataset`: which ones are normal, which anomalous, and which are for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from afrad_bench.datasets._reading import faults as kinds
from afrad_bench.datasets._reading.faults import Fault, problems
from afrad_bench.datasets._reading.installed import package_folder
from afrad_bench.datasets._reading.layout import Found, ScanResult
from afrad_bench.errors import Problem, UserError, fail
from afrad_bench.hashing import digest

LABELS = "labels.csv"
TYPES = ("mono", "poly")
LICENCE = "CC BY-NC-SA 4.0"
SOURCE = "https://github.com/zae-bayern/elpv-dataset"

Threshold = Literal["1/3", "2/3", "1"]
DEFECTS = {"1/3": "possible", "2/3": "likely", "1": "certain"}
"""Probability of a defect, as labelled by experts -> name of the kind of defect."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which cells are anomalous, and how the normal cells are split."""

    anomalous_from: Threshold
    """Lowest probability of an anomalous cell. Cells between 0 and this probability are left out of both splits."""
    train_fraction: float
    """Fraction of the normal cells for training; the others are for testing."""
    split_seed: int


@dataclass(frozen=True, slots=True)
class _Cell:
    image: Path
    thirds: int
    """Probability of a defect in thirds, 0 to 3."""
    type: str


def installed_folder() -> Path | Problem:
    """The folder of the installed package with the list of cells, or a `Problem` if it is not installed."""
    folder = package_folder("elpv_dataset", "elpv-dataset")
    return folder if isinstance(folder, Problem) else folder / "data"


def cells(root: Path, choice: Choice, categories: Sequence[str], prefix: str = "") -> ScanResult:
    """Images of the types `categories` listed in `root`/labels.csv; category names are `prefix` + type."""
    every = list(_listed(root))
    found = [one for name in categories for one in _placed([c for c in every if c.type == name], prefix + name, choice)]
    least = list(DEFECTS).index(choice.anomalous_from) + 1
    between = sum(0 < one.thirds < least for one in every if one.type in categories)
    notes = (
        f"solar cells: normal at defect probability 0, anomalous from {choice.anomalous_from}; {between} cells between "
        "these are left out",
        f"solar cells: {choice.train_fraction:.0%} of the normal ones, chosen with seed {choice.split_seed}, are for "
        "training; cells of one module may be in both splits, since the package does not say which are",
    )
    return ScanResult(root, tuple(prefix + name for name in categories), tuple(found), notes=notes)


def _placed(mine: Sequence[_Cell], category: str, choice: Choice) -> Iterator[Found]:
    """Training cells, normal test cells, then anomalous test cells by kind; each group sorted by name."""
    normal = sorted((one for one in mine if one.thirds == 0), key=lambda one: one.image.stem)
    by_rank = sorted(normal, key=lambda one: digest(str(choice.split_seed), one.image.stem))
    train = {one.image for one in by_rank[: round(choice.train_fraction * len(normal))]}
    for one in normal:
        if one.image in train:
            yield Found(f"{category}/train/good/{one.image.stem}", category, "train", "good", one.image)
    for one in normal:
        if one.image not in train:
            yield Found(f"{category}/test/good/{one.image.stem}", category, "test", "good", one.image)
    names = list(DEFECTS.values())
    least = list(DEFECTS).index(choice.anomalous_from) + 1
    anomalous = [(names[one.thirds - 1], one.image) for one in mine if one.thirds >= least]
    for defect, image in sorted(anomalous, key=lambda pair: (pair[0], pair[1].stem)):
        yield Found(f"{category}/test/{defect}/{image.stem}", category, "test", defect, image)


def _listed(root: Path) -> Iterator[_Cell]:
    """The cells of the list; a line has path, probability of a defect and type, separated by white space."""
    path = root / LABELS
    if not path.is_file():
        raise fail(f"has no {LABELS}", str(root), "reinstall elpv-dataset, or give the folder that contains the list")
    faults = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        cell = _cell(root, line)
        if isinstance(cell, _Cell):
            yield cell
        elif cell:
            faults.append(Fault(kinds.BAD_LINE, f"{LABELS}:{number}", cell))
    if faults:
        raise UserError(*problems(root, faults))


def _cell(root: Path, line: str) -> _Cell | str:
    """The cell of one line, or what is wrong with the line; an empty string for an empty line."""
    parts = line.split()
    if not parts:
        return ""
    if len(parts) != 3:
        return f"{len(parts)} columns instead of path, probability and type"
    name, probability, kind = parts
    thirds = {"0": 0, "0.0": 0, "1": 3, "1.0": 3}.get(probability, {"0.33": 1, "0.66": 2}.get(probability[:4]))
    if thirds is None or kind not in TYPES:
        return f"probability {probability} is not 0, 1/3, 2/3 or 1" if thirds is None else f"unknown type {kind!r}"
    return _Cell(root / name, thirds, kind)
