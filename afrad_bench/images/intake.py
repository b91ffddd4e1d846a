"""Images that a caller passes in: paths, folders, PIL images, arrays. Converted here for the harness."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from afrad_bench.errors import Problem, UserError, fail
from afrad_bench.hashing import digest
from afrad_bench.images.pictures import SUFFIXES, FilePicture, rgb
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


def pictures(images: Image | Sequence[Image]) -> list[Picture]:
    """One picture per image; a folder gives all images below it, sorted by path. One `UserError` lists all problems."""
    found: list[Picture] = []
    problems: list[Problem] = []
    each: Sequence[Any] = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    for i, image in enumerate(each):
        try:
            found += _pictures(image, f"image {i}")
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    if not found:
        raise fail("no image was given", hint=f"give {KINDS}")
    return found


def training_set(images: Image | Sequence[Image], side: int) -> ImageSet:
    """Normal training images, resized as in the harness; the fingerprint is a digest of their content."""
    found = pictures(images)
    samples = tuple(Sample(f"{i}:{each.name}", "", each, False) for i, each in enumerate(found))
    content = digest(*(each.fingerprint() for each in found))
    return ImageSet(samples, side, digest(content, "train", PREPROCESSING, str(side)))


def batches(images: Image | Sequence[Image], side: int, size: int) -> Iterator[ImageArray]:
    """The images in order, `size` at a time, resized as in the harness; nothing is cached."""
    found = pictures(images)
    samples = tuple(Sample(f"{i}:{each.name}", "", each, False) for i, each in enumerate(found))
    for batch in ImageSet(samples, side, "").batches(size):
        yield ImageArray(batch.array())


def _pictures(image: Any, name: str) -> list[Picture]:
    import numpy as np
    from PIL import Image

    if isinstance(image, str | Path):
        return _files(Path(image).expanduser())
    if isinstance(image, Image.Image):
        return [HeldPicture(rgb(image), name)]
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (3, 4) or image.shape[-1] != 3:
            raise fail(f"cannot use an array of {image.dtype} {image.shape} as an image", name, f"give {KINDS}")
        return [HeldPicture(np.ascontiguousarray(each), name) for each in (image if image.ndim == 4 else [image])]
    raise fail(f"cannot use a {type(image).__module__}.{type(image).__name__} as an image", name, f"give {KINDS}")


def _files(path: Path) -> list[Picture]:
    if path.is_dir():
        paths = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
        if not paths:
            raise fail("no image in this folder", str(path), f"known suffixes: {', '.join(sorted(SUFFIXES))}")
    elif path.is_file():
        paths = [path]
    else:
        raise fail("no such image file or folder", str(path))
    return [FilePicture(one, hashlib.sha256(one.read_bytes()).hexdigest()) for one in paths]
