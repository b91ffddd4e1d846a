"""Images that a caller passes in: paths, folders, PIL images, arrays. Converted here for the harness."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from afrad_bench.errors import Problem, UserError, fail
from afrad_bench.hashing import digest
from afrad_bench.images import decoding
from afrad_bench.images.decoding import Decoded, Undecodable
from afrad_bench.images.depth import Deep, white_for
from afrad_bench.images.folders import SHOWN, SUFFIXES, folders_below, images_in, left_out_in, printable
from afrad_bench.images.pictures import FileIndex, FilePicture
from afrad_bench.images.sets import PREPROCESSING, ImageArray, ImageSet
from afrad_bench.types import Picture, Sample

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from afrad_bench.types import ByteArray

    Image: TypeAlias = "str | Path | PIL.Image.Image | np.ndarray[Any, Any]"

KINDS = "a path, a folder, a PIL image, a uint8 array (H, W, 3) or (N, H, W, 3) in RGB, or a sequence of these"


@dataclass(frozen=True, eq=False)
class HeldPicture:
    """An image in memory."""

    pixels: ByteArray
    """(H, W, 3) uint8 RGB."""
    name: str

    def fingerprint(self) -> str:
        """Digest of shape and pixels."""
        return digest("pixels", repr(self.pixels.shape), self.pixels.tobytes())

    def read(self) -> ByteArray:
        """The pixels."""
        return self.pixels


Given: TypeAlias = "Path | Decoded | HeldPicture"
"""What a caller passed in for one image: its file, an image that is open, its pixels."""


def training_set(images: Image | Sequence[Image], side: int) -> tuple[ImageSet, float | None]:
    """Normal training images, resized as in the harness, and the value of white in those with more than 8 bits.

    The fingerprint is a digest of their content. One `UserError` lists all problems."""
    given = _given(images)
    paths = [each for each in given if isinstance(each, Path)]
    facts = dict(zip(paths, FileIndex().facts(paths), strict=True))
    if problems := [Problem(one.error, printable(path)) for path, one in facts.items() if one.error is not None]:
        raise UserError(*problems)
    deep: list[Deep] = [*facts.values(), *(each for each in given if isinstance(each, Decoded))]
    if {"integer", "float"} <= {one.deep for one in deep}:
        raise fail("some images hold integers of more than 8 bits and some floating-point values", hint="convert them")
    white = white_for(deep)
    found = [
        FilePicture(each, facts[each].sha256, facts[each].turned, white if facts[each].deep else None)
        if isinstance(each, Path)
        else _held(each, i, white)
        for i, each in enumerate(given)
    ]
    content = digest(*(each.fingerprint() for each in found))
    return _set(found, side, digest(content, "train", PREPROCESSING, str(side))), white


def batches(images: Image | Sequence[Image], side: int, size: int, white: float | None = None) -> Iterator[ImageArray]:
    """The images in order, `size` at a time, resized as in the harness; nothing is cached. `white`: the value of white
    in images with more than 8 bits; those that use fewer than 16 cannot be read without it."""
    given = _given(images)
    found = [
        FilePicture(each, "", white=white) if isinstance(each, Path) else _held(each, i, white)
        for i, each in enumerate(given)
    ]
    for batch in _set(found, side, "").batches(size):
        yield ImageArray(batch.array())


def image_names(images: Image | Sequence[Image]) -> tuple[str, ...]:
    """A name for each image, in the order of `batches`: its path, or its number."""
    return tuple(printable(each) if isinstance(each, Path) else f"image {i}" for i, each in enumerate(_given(images)))


def _set(found: Sequence[Picture], side: int, fingerprint: str) -> ImageSet:
    samples = tuple(Sample(f"{i}:{each.name}", "", each, False) for i, each in enumerate(found))
    return ImageSet(samples, side, fingerprint)


def _held(given: Decoded | HeldPicture, number: int, white: float | None) -> HeldPicture:
    if isinstance(given, HeldPicture):
        return given
    name = f"image {number}"
    try:
        return HeldPicture(decoding.rgb(given, white if given.deep else None), name)
    except Undecodable as error:
        raise fail(str(error), name) from error


def _given(images: Image | Sequence[Image]) -> list[Given]:
    """One entry per image; a folder gives all images below it, sorted by path. One `UserError` lists all problems."""
    found: list[Given] = []
    problems: list[Problem] = []
    each: Sequence[Any] = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    for i, image in enumerate(each):
        try:
            found += _one(image, f"image {i}")
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    if not found:
        raise fail("no image was given", hint=f"give {KINDS}")
    return found


def _one(image: Any, name: str) -> list[Given]:
    import numpy as np
    from PIL import Image

    if isinstance(image, str | Path):
        return [*_files(Path(image).expanduser())]
    if isinstance(image, Image.Image):
        try:
            return [decoding.decoded(image)]
        except (OSError, ValueError) as error:
            raise fail(f"cannot be read as an image: {error}", name) from error
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (3, 4) or image.shape[-1] != 3:
            raise fail(f"cannot use an array of {image.dtype} {image.shape} as an image", name, f"give {KINDS}")
        return [HeldPicture(np.ascontiguousarray(each), name) for each in (image if image.ndim == 4 else [image])]
    raise fail(f"cannot use a {type(image).__module__}.{type(image).__name__} as an image", name, f"give {KINDS}")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise fail("no such image file or folder", printable(path))
        return [path]
    folders = list(folders_below(path))
    if left_out := [one for folder in folders for one in left_out_in(folder)]:
        names = ", ".join(printable(one.relative_to(path)) for one in left_out[:SHOWN])
        more = f", and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        warnings.warn(
            f"{path}: files that look like images are not read ({len(left_out)}): {names}{more}", stacklevel=2
        )
    paths = sorted(one for folder in folders for one in images_in(folder))
    if not paths:
        raise fail("no image in this folder", printable(path), f"known suffixes: {', '.join(sorted(SUFFIXES))}")
    return paths
