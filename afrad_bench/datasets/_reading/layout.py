"""Reading folders: which files are images, and which mask belongs to which image.

MVTec layout: `<category>/train/good`, `<category>/test/good`, `<category>/test/<defect>`, and masks in
`<category>/ground_truth/<defect>`, named by the stem of their image with or without `_mask`. Hidden files and files
that are not images (licences, lists) are skipped; an image in a folder that is not read is a fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from afrad_bench.datasets._reading import faults as kinds
from afrad_bench.datasets._reading.faults import Fault
from afrad_bench.images.pictures import SUFFIXES

Split = Literal["train", "test"]
PARTS = ("train", "test", "ground_truth")
NORMAL_NAMES = frozenset({"good", "ok", "normal", "normals", "defect_free", "no_defect", "non_defective"})


@dataclass(frozen=True, slots=True)
class Found:
    """An image on disk with its id, category, split and defect; the file is not yet checked."""

    id: str
    """Category, split, defect and stem, e.g. "bottle/test/crack/000"."""
    category: str
    split: Split
    defect: str
    """ "good" for normal images."""
    image: Path
    mask: Path | None = None

    @property
    def gt_label(self) -> bool:
        return self.defect != "good"


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Result of scanning the folders: images in their fixed order, faults and notes."""

    root: Path
    categories: tuple[str, ...]
    """Those whose folder exists, in order."""
    found: tuple[Found, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    def with_more(self, faults: Iterable[Fault] = (), notes: Iterable[str] = ()) -> ScanResult:
        """A copy with more faults and notes."""
        return replace(self, faults=(*self.faults, *faults), notes=(*self.notes, *notes))


def mvtec_layout(root: Path, folders: Mapping[str, Path], good: str = "good", masks: bool = True) -> ScanResult:
    """Scan these category folders, in this order; `good` is the name of the folders of normal images."""
    contents = [one for name, folder in folders.items() for one in _category(root, name, folder, good, masks)]
    others = [one for folder in folders.values() for one in subfolders(folder) if one.name not in PARTS]
    return replace(scan_result(root, tuple(folders), contents), notes=unused(root, others))


def scan_result(root: Path, categories: tuple[str, ...], contents: Iterable[Found | Fault]) -> ScanResult:
    """Separate images and faults."""
    both = list(contents)
    found = tuple(one for one in both if isinstance(one, Found))
    return ScanResult(root, categories, found, tuple(one for one in both if isinstance(one, Fault)))


def unused(root: Path, folders: Iterable[Path]) -> tuple[str, ...]:
    """A note that names those of the folders that contain images; such folders are not part of the data set."""
    names = [place(folder, root) for folder in folders if any(images_below(folder))]
    return (f"folders that are not used: {', '.join(names)}",) if names else ()


def place(path: Path, root: Path) -> str:
    """The path for messages: relative to the root if it lies below the root, with forward slashes."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def visible(folder: Path) -> list[Path]:
    """Entries of a folder that are not hidden, sorted by name; none if there is no such folder."""
    if not folder.is_dir():
        return []
    entries = [one for one in folder.iterdir() if not one.name.startswith(".") and one.name != "__MACOSX"]
    return sorted(entries, key=lambda one: one.name)


def subfolders(folder: Path) -> list[Path]:
    """Visible folders in a folder, sorted by name."""
    return [one for one in visible(folder) if one.is_dir()]


def images_in(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name; suffixes are case-insensitive."""
    return [one for one in visible(folder) if one.suffix.lower() in SUFFIXES and not one.is_dir()]


def images_below(folder: Path) -> Iterator[Path]:
    """Image files in a folder and in all folders below it."""
    yield from images_in(folder)
    for one in subfolders(folder):
        yield from images_below(one)


def _category(root: Path, name: str, folder: Path, good: str, masks: bool) -> Iterator[Found | Fault]:
    """Training images, then test images (normal first, defects sorted by name) with their masks, and every fault."""
    train, test, truth = (folder / part for part in PARTS)
    yield from labelled(root, train / good, (name, "train", "good"))
    for other in subfolders(train):
        if other.name != good:
            yield from _loose(root, images_below(other), f"only train/{good} is used for training")
    labels = [good, *(one.name for one in subfolders(test) if one.name != good)]
    for label in labels:
        images = labelled(root, test / label, (name, "test", "good" if label == good else label))
        if label != good and label.casefold() in NORMAL_NAMES and images_in(test / label):
            yield Fault(kinds.NORMAL_NAME, place(test / label, root))
        yield from paired(root, list(images), truth / label) if masks else images
    if masks:
        for other in subfolders(truth):
            if other.name not in labels:
                yield from (Fault(kinds.NO_IMAGE, place(mask, root)) for mask in images_below(other))
    for unread in (folder, train, test, *([truth] if masks else [])):
        yield from _loose(root, images_in(unread))


def labelled(root: Path, folder: Path, label: tuple[str, Split, str]) -> Iterator[Found | Fault]:
    """The images of one folder, labelled (category, split, defect), and faults visible without reading the files."""
    category, split, defect = label
    stems: dict[str, Path] = {}
    for image in images_in(folder):
        other = stems.setdefault(image.stem, image)
        if other is not image:
            yield Fault(kinds.SAME_STEM, place(image, root), f"same stem as {other.name}")
        else:
            yield Found(f"{category}/{split}/{defect}/{image.stem}", category, split, defect, image)
    for stem, image in stems.items():
        if stem.endswith("_mask") and stem.removesuffix("_mask") in stems:
            yield Fault(kinds.MASK_AMONG_IMAGES, place(image, root))
    for below in subfolders(folder):
        yield from _loose(root, images_below(below))


def paired(root: Path, images: Sequence[Found | Fault], folder: Path) -> Iterator[Found | Fault]:
    """The same images, each with the mask in `folder` that has its stem; a mask without an image is a fault."""
    stems = {one.image.stem for one in images if isinstance(one, Found)}
    masks: dict[str, Path] = {}
    for mask in images_in(folder):
        bare = mask.stem.removesuffix("_mask")
        stem = bare if bare in stems else mask.stem
        if stem not in stems:
            yield Fault(kinds.NO_IMAGE, place(mask, root))
        elif stem in masks:
            yield Fault(kinds.TWO_MASKS, place(mask, root), f"second mask, after {masks[stem].name}")
        else:
            masks[stem] = mask
    for one in images:
        yield replace(one, mask=masks.get(one.image.stem)) if isinstance(one, Found) else one
    for below in subfolders(folder):
        yield from _loose(root, images_below(below))


def _loose(root: Path, images: Iterable[Path], why: str = "") -> Iterator[Fault]:
    return (Fault(kinds.LOOSE, place(image, root), why) for image in images)
