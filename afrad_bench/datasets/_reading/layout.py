"""Reading folders: which files are images, and which mask belongs to which image.

MVTec layout: `<category>/train/good`, `<category>/test/good`, `<category>/test/<defect>`, and masks in
`<category>/ground_truth/<defect>`, named by the stem of their image with or without `_mask`. Hidden files and files
that are not images (licences, lists) are skipped; files that only look like images are left out, and a note names them;
an image in a folder that is not read is a fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from afrad_bench.datasets._reading import faults as kinds
from afrad_bench.datasets._reading.faults import Fault
from afrad_bench.images.folders import SHOWN, folders_below, images_below, images_in, left_out_in, printable, subfolders

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
class LeftOut:
    """A file that looks like an image and is not read."""

    where: str
    """Its path relative to the root."""
    category: str
    split: Split


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Result of scanning the folders: images in their fixed order, faults and notes."""

    root: Path
    categories: tuple[str, ...]
    """Those whose folder exists, in order."""
    found: tuple[Found, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def with_more(self, faults: Iterable[Fault] = (), notes: Iterable[str] = ()) -> ScanResult:
        """A copy with more faults and notes."""
        return replace(self, faults=(*self.faults, *faults), notes=(*self.notes, *notes))


Content = Found | Fault | LeftOut


def mvtec_layout(root: Path, folders: Mapping[str, Path], good: str = "good", masks: bool = True) -> ScanResult:
    """Scan these category folders, in this order; `good` is the name of the folders of normal images."""
    contents = [one for name, folder in folders.items() for one in _category(root, name, folder, good, masks)]
    others = [one for folder in folders.values() for one in subfolders(folder) if one.name not in PARTS]
    return scan_result(root, tuple(folders), contents).with_more(notes=unused(root, others))


def scan_result(root: Path, categories: tuple[str, ...], contents: Iterable[Content]) -> ScanResult:
    """Separate images, faults, and files that are left out; a note names these."""
    every = list(contents)
    found = tuple(one for one in every if isinstance(one, Found))
    left_out = tuple(one for one in every if isinstance(one, LeftOut))
    faults = tuple(one for one in every if isinstance(one, Fault))
    return ScanResult(root, categories, found, faults, tuple(_left_out_note(left_out)), left_out)


def _left_out_note(files: Sequence[LeftOut]) -> Iterator[str]:
    if files:
        names = ", ".join(one.where for one in files[:SHOWN])
        more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        yield f"files that look like images are left out, since their format is not read ({len(files)}): {names}{more}"


def unused(root: Path, folders: Iterable[Path]) -> tuple[str, ...]:
    """A note that names those of the folders that contain images; such folders are not part of the data set."""
    names = [place(folder, root) for folder in folders if any(images_below(folder))]
    return (f"folders that are not used: {', '.join(names)}",) if names else ()


def place(path: Path, root: Path) -> str:
    """The path for messages: relative to the root if it lies below the root, with forward slashes."""
    return printable((path.relative_to(root) if path.is_relative_to(root) else path).as_posix())


def _category(root: Path, name: str, folder: Path, good: str, masks: bool) -> Iterator[Content]:
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
            yield from _left_out_below(root, truth / label, name, "test")
    if masks:
        for other in subfolders(truth):
            if other.name not in labels:
                yield from (Fault(kinds.NO_IMAGE, place(mask, root)) for mask in images_below(other))
    for unread in (folder, train, test, *([truth] if masks else [])):
        yield from _loose(root, images_in(unread))


def labelled(root: Path, folder: Path, label: tuple[str, Split, str]) -> Iterator[Content]:
    """The images of one folder, labelled (category, split, defect), and faults visible without reading the files."""
    category, split, defect = label
    stems: dict[str, Path] = {}
    for image in images_in(folder):
        other = stems.setdefault(image.stem, image)
        if other is not image:
            yield Fault(kinds.SAME_STEM, place(image, root), f"same stem as {other.name}")
        else:
            yield Found(f"{category}/{split}/{defect}/{image.stem}", category, split, defect, image)
    yield from _left_out_below(root, folder, category, split)
    for stem, image in stems.items():
        if stem.endswith("_mask") and stem.removesuffix("_mask") in stems:
            yield Fault(kinds.MASK_AMONG_IMAGES, place(image, root))
    for below in subfolders(folder):
        yield from _loose(root, images_below(below))


def paired(root: Path, images: Sequence[Content], folder: Path) -> Iterator[Content]:
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


def _left_out_below(root: Path, folder: Path, category: str, split: Split) -> Iterator[LeftOut]:
    files = (one for below in folders_below(folder) for one in left_out_in(below))
    return (LeftOut(place(one, root), category, split) for one in files)


def _loose(root: Path, images: Iterable[Path], why: str = "") -> Iterator[Fault]:
    return (Fault(kinds.LOOSE, place(image, root), why) for image in images)
