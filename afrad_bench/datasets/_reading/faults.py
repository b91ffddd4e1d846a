"""Faults of a data set on disk, collected so that the user sees all of them at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from afrad_bench.errors import Problem, fail, nearest
from afrad_bench.images.folders import is_text, printable

SHOWN = 20
"""At most this many faults of one kind are listed; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: what is wrong, and what to do about it."""

    title: str
    advice: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `where` is a path relative to the root, a line of a list, or a category."""

    kind: Kind
    where: str
    detail: str = ""


UNREADABLE = Kind("images or masks that cannot be read", "replace or remove the files")
TOO_LARGE = Kind(
    "images with more pixels than allowed",
    "the field `max_pixels` of the data set allows more, as in `params: {max_pixels: 400000000}`",
)
MIXED = Kind(
    "images with floating-point values among images with integers of more than 8 bits",
    "convert one kind into the other: they have no common white",
)
OTHER_SIZE = Kind("masks whose size differs from their image", "a mask needs one pixel for each pixel of its image")
EXIF_SIZE = Kind(
    "masks that fit their image only without the EXIF orientation",
    "images and masks are turned as every viewer turns them: turn the masks as well, or turn the pixels of the images "
    "and remove the orientation from their EXIF data",
)
UNDECIDED = Kind(
    "masks that cannot be decided",
    "a mask shows the defects in one level or colour, or in its alpha channel, on another level that prevails around "
    "them; or it holds class ids from 1 on a ground of 0. If every value above 0 is defective, whatever it looks like, "
    "set `mask_reading: above_zero` for the data set",
)
BLANK_MASK = Kind(
    "anomalous images with an empty mask",
    "mark the defect (values above 0), or move the image to the normal ones",
)
MARKED_GOOD = Kind("normal images whose mask marks a defect", "move the image to a defect folder, or remove the mask")
NO_MASK = Kind(
    "anomalous images without a mask",
    "add ground_truth/<defect>/<stem>_mask.png or <stem>.png for each; where no image has a mask, or with "
    "`masks: none`, only image-level metrics are measured",
)
NO_IMAGE = Kind(
    "masks without an image", "masks pair with images by stem (<stem>_mask.png or <stem>.png), not by position"
)
MISPAIRED = Kind("masks listed with an image of another stem", "correct the list: mask and image have the same stem")
TWO_MASKS = Kind("images with several masks", "keep one of <stem>_mask and <stem>")
SAME_STEM = Kind("images in one folder with the same stem", "rename or remove one: masks are paired by stem")
MASK_AMONG_IMAGES = Kind("masks among the images", "move them to ground_truth/<defect>/")
LOOSE = Kind("images in folders that are not read", "put them where the layout expects them, or outside the data set")
NORMAL_NAME = Kind(
    "folders that look like normal images but would count as defects",
    "rename the folder to `good`; the data set `folder` has an option `good` for another name",
)
BAD_LINE = Kind("lines of the list that cannot be used", "correct the list, or unpack it again")
NO_CATEGORY = Kind("categories without a folder", "correct the root, or restrict `categories`")
NO_CLASS = Kind("class folders that are missing or unknown", "each split has one folder per class, with its name")
BAD_BATCH = Kind("batches that cannot be used", "unpack cifar-10-python.tar.gz again")
RESERVED = Kind("reserved category names", "rename the folder: reports use this name for the mean over categories")
EMPTY_TRAIN = Kind("categories without training images", "put normal images there, or restrict `categories`")
EMPTY_TEST = Kind("categories without test images", "put normal and anomalous images there, or restrict `categories`")


def problems(root: Path, faults: Iterable[Fault]) -> list[Problem]:
    """One problem for each kind of fault; it lists the first `SHOWN` faults and counts the others."""
    by_kind: dict[Kind, list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    found = []
    for kind, offenders in by_kind.items():
        lines = [f"{one.where}: {one.detail}" if one.detail else one.where for one in offenders[:SHOWN]]
        if len(offenders) > SHOWN:
            lines.append(f"and {len(offenders) - SHOWN} more")
        found.append(Problem(f"{kind.title} ({len(offenders)})", str(root), "\n".join([*lines, kind.advice])))
    return found


def existing(root: Path | None, dataset: str, environment: str | None, what: str) -> Path:
    """The root as an absolute path. Raises a `UserError` that says what it must contain and how to set it."""
    ways = f"set it by --data {dataset}=PATH" + (f", by the environment variable {environment}" if environment else "")
    ways += ", or by `root:` in the suite"
    if root is None:
        raise fail(f"the data set {dataset!r} needs a folder", hint=f"{what}\n{ways}")
    folder = Path(os.path.abspath(root.expanduser()))
    if not is_text(str(folder)):
        raise fail("its name is no text in UTF-8", printable(folder), "rename it, or link to it by another name")
    if folder.is_dir():
        return folder
    if folder.exists():
        raise fail("is a file, not a folder", str(folder), f"{what}\n{ways}")
    siblings = [one.name for one in folder.parent.iterdir() if one.is_dir()] if folder.parent.is_dir() else []
    match = nearest(folder.name, siblings)
    hint = f"did you mean {folder.parent / match}?\n" if match else ""
    raise fail("no such folder", str(folder), f"{hint}{what}\n{ways}")
