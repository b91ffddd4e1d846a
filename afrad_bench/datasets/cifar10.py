"""CIFAR-10 as anomaly detection: some classes are normal, all others anomalous (Krizhevsky 2009).

The unified protocol (UniAD) uses five normal classes, 25,000 training images without labels, and tests on all 10,000
test images; "01234", "56789", "02468" and "13579" are its four combinations. A single digit is the one-class protocol.
All images belong to one pseudo-category, named after its normal classes; there are no masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from afrad_bench.datasets._reading import faults as kinds
from afrad_bench.datasets._reading.assemble import About, Placed, assemble, count_note, finish, limited
from afrad_bench.datasets._reading.cifar_batches import BATCHES, CLASSES, read_batches
from afrad_bench.datasets._reading.classes import Classes, arranged
from afrad_bench.datasets._reading.faults import Fault, existing
from afrad_bench.datasets._reading.layout import Content, Found, ScanResult, Split, labelled, scan_result
from afrad_bench.errors import fail, nearest
from afrad_bench.images.folders import subfolders
from afrad_bench.types import Dataset, ImageFiles

VERSION = "1"
ENVIRONMENT = "AFRAD_BENCH_CIFAR10"
HELP = (
    "the unpacked cifar-10-python.tar.gz (cifar-10-batches-py/ with data_batch_1 to 5 and test_batch), or folders of "
    "images train/airplane, ... test/truck; no licence stated, https://www.cs.toronto.edu/~kriz/cifar.html"
)
ABOUT = About("cifar10", VERSION, "none stated", "https://www.cs.toronto.edu/~kriz/cifar.html")
SPLITS: tuple[Split, ...] = ("train", "test")


class Config(Classes):
    """Options of CIFAR-10."""


def load(config: Config, root: Path | None, files: ImageFiles) -> Dataset:
    """Load and verify the data set in this folder. Raises one `UserError` that lists all problems."""
    folder = existing(root, "cifar10", ENVIRONMENT, HELP)
    for at in (folder, folder / "cifar-10-batches-py"):
        if any((at / name).exists() for name in BATCHES):
            return _from_batches(config, at)
    if all((folder / split).is_dir() for split in SPLITS):
        found = _folders(folder, config.normal_classes)
        return assemble(ABOUT, found.with_more(notes=_notes(config, found.found)), config, "none", files)
    here = ", ".join(one.name for one in subfolders(folder)[:20]) or "no folders"
    raise fail("contains neither batches nor image folders of CIFAR-10", str(folder), f"expected {HELP}\nfound: {here}")


def _notes(config: Config, found: Sequence[Placed]) -> tuple[str, ...]:
    classes = len(config.normal_classes)
    published = {config.normal_classes: (5000 * classes, 1000 * classes, 1000 * (10 - classes))}
    normal = ", ".join(CLASSES[int(digit)] for digit in config.normal_classes)
    return (f"normal classes: {normal}; all others are anomalous", *count_note(found, published))


def _from_batches(config: Config, folder: Path) -> Dataset:
    pictures, notes = read_batches(folder)
    stored = arranged(pictures, CLASSES, config.normal_classes)
    chosen, cuts = limited(stored, config)
    train, test = (tuple(one.sample() for one in chosen if one.split == split) for split in SPLITS)
    return finish(ABOUT, train, test, (*_notes(config, stored), *notes, *cuts))


def _folders(root: Path, normal_classes: str) -> ScanResult:
    """The images of class folders. Anomalous classes in train/ are not part of the protocol and are not read."""
    normal = tuple(CLASSES[int(digit)] for digit in normal_classes)
    contents = [one for split in SPLITS for one in _split(root, split, normal_classes, normal)]
    return scan_result(root, (normal_classes,), contents)


def _split(root: Path, split: Split, category: str, normal: Sequence[str]) -> Iterator[Content]:
    here = [one.name for one in subfolders(root / split)]
    for name in here:
        if name not in CLASSES:
            match = nearest(name, CLASSES)
            yield Fault(kinds.NO_CLASS, f"{split}/{name}", f"is it {match!r}?" if match else "unknown")
    for name in CLASSES:
        if name not in here:
            yield Fault(kinds.NO_CLASS, f"{split}/{name}", "missing")
    others = [name for name in CLASSES if name not in normal] if split == "test" else []
    for name in (*normal, *others):
        for one in labelled(root, root / split / name, (category, split, name)):
            yield replace(one, defect="good") if isinstance(one, Found) and name in normal else one
