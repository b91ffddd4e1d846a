"""Images from elsewhere, for synthetic anomalies and for the training of teachers: sources, and drawing one at a time.

Sources, as written in a suite:

    dtd           the Describable Textures Dataset, which synthetic anomalies use; its folder is in AFRAD_BENCH_DTD
    imagenet      ImageNet's training images, which teachers learn from; their folder is in AFRAD_BENCH_IMAGENET
    folder:PATH   any folder of images, searched with its subfolders
    photographs   photographs in scikit-image's package (extra `demo`), cut into random squares
    training      the training images themselves: in the unified setting mostly of another category
    none          no images, where a method can do without

What replaces the published source is named in the notes of the result. Nothing here downloads anything."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

from afrad_bench.errors import fail, unknown
from afrad_bench.hashing import digest
from afrad_bench.images.folders import folders_below, images_below, left_out_in, printable
from afrad_bench.images.pictures import FilePicture
from afrad_bench.types import Images

if TYPE_CHECKING:
    import numpy as np

    from afrad_bench.types import ByteArray

ENVIRONMENT = "AFRAD_BENCH_DTD"
IMAGENET = "AFRAD_BENCH_IMAGENET"
SOURCES = ("dtd", "photographs", "training")
STAND_INS = "or use other textures, which the notes of the result then name: source: photographs (or training)"
PHOTOGRAPHS = (
    "astronaut.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
"""Without brick, grass and gravel, from which the data set `demo` is made."""


class TextureConfig(BaseModel):
    """Where textures come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usual: ClassVar[str] = "DTD"
    """What methods were published with."""
    sources: ClassVar[tuple[str, ...]] = SOURCES

    source: str = Field("dtd", description="dtd, folder:PATH, photographs or training")

    @field_validator("source")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in cls.sources and not (value.startswith("folder:") and len(value) > len("folder:")):
            raise ValueError(str(unknown("source of textures", value, [*cls.sources, "folder:PATH"])))
        return value


class NaturalImages(TextureConfig):
    """Where the images come from with which a teacher and its students are trained beside the training images."""

    usual: ClassVar[str] = "ImageNet"
    sources: ClassVar[tuple[str, ...]] = ("imagenet", "photographs", "training", "none")

    source: str = Field("imagenet", description="imagenet, folder:PATH, photographs, training or none")


class Textures(Protocol):
    """A source of textures that is available on this machine."""

    @property
    def note(self) -> str:
        """Description for the notes of the result."""

    def draw(self, rng: np.random.Generator, side: int) -> ByteArray:
        """A texture (side, side, 3) uint8 RGB."""


def find(config: TextureConfig, train: Images) -> Textures:
    """The source on this machine (not `none`); raises a `UserError` that says what is missing and how to provide it."""
    if config.source == "training":
        return FromTraining(train, f"textures: instead of {config.usual} other training images")
    return _foreign(config)


def must_be_here(config: TextureConfig) -> None:
    """Raise the error of `find`, if there is one, before there are training images."""
    if config.source not in ("training", "none"):
        _foreign(config)


def _foreign(config: TextureConfig) -> FromFiles:
    if config.source == "photographs":
        return find_photographs(f"textures: instead of {config.usual}")
    if config.source == "imagenet":
        named = os.environ.get(IMAGENET)
        if not named:
            raise fail(
                "ImageNet's training images, with which the teacher and its students are trained, are not on this "
                "machine",
                hint=f"set {IMAGENET} to their folder (https://www.image-net.org), or name any folder of natural "
                f"images: textures: {{source: folder:PATH}}\n{STAND_INS}",
            )
        return find_folder(Path(named), "textures: ImageNet", STAND_INS)
    if config.source == "dtd":
        named = os.environ.get(ENVIRONMENT)
        if not named:
            raise fail(
                "the textures of DTD, from which synthetic anomalies are made, are not on this machine",
                hint=f"set {ENVIRONMENT} to the unpacked folder (https://www.robots.ox.ac.uk/~vgg/data/dtd/), or name "
                f"any folder of images: textures: {{source: folder:PATH}}\n{STAND_INS}",
            )
        return find_folder(Path(named), "textures: DTD", STAND_INS)
    return find_folder(Path(config.source.removeprefix("folder:")), f"textures: instead of {config.usual}:", STAND_INS)


def find_folder(folder: Path, what: str, hint: str) -> FromFiles:
    """All images of a folder; `what` begins their note. Raises a `UserError` with this hint if there are none."""
    folder = folder.expanduser()
    if not folder.is_dir():
        raise fail(f"no such folder of textures: {folder}", hint=hint)
    paths = tuple(sorted(images_below(folder)))
    if not paths:
        raise fail("holds no images to take textures from", str(folder), hint)
    try:
        content = digest(*(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}" for path in paths))
    except OSError as error:
        raise fail(
            f"cannot be read: {error.strerror}", printable(error.filename), "replace or remove the file"
        ) from error
    note = f"{what} {len(paths)} images of the folder {folder.name}, names and sizes {content[:12]}"
    if left_out := sum(len(left_out_in(below)) for below in folders_below(folder)):
        note += f"; {left_out} files that look like images are left out, since their format is not read"
    return FromFiles(paths, note, cut=False)


def find_photographs(what: str) -> FromFiles:
    """Squares of scikit-image's photographs; `what` begins their note. Raises `UserError` if they are not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise fail(
            "the photographs of scikit-image are not installed",
            hint="pip install scikit-image\nor all packages of the demo: pip install 'afrad-bench[demo]'",
        )
    paths = tuple(Path(spec.origin).parent / "data" / name for name in PHOTOGRAPHS)
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise fail(f"this version of scikit-image lacks the photographs {', '.join(missing)}")
    return FromFiles(paths, f"{what} squares of {len(paths)} photographs of scikit-image", cut=True)


@dataclass(frozen=True, slots=True)
class FromFiles:
    """Image files, whole or, with `cut`, random squares of them, where possible no smaller than the requested side."""

    paths: tuple[Path, ...]
    note: str
    cut: bool

    def draw(self, rng: np.random.Generator, side: int) -> ByteArray:
        import numpy as np
        from PIL import Image

        image = Image.fromarray(_decoded(self.paths[rng.integers(len(self.paths))]))
        box = None
        if self.cut:
            edge = int(rng.integers(min(side, *image.size), min(image.size) + 1))
            left, top = (int(rng.integers(extent - edge + 1)) for extent in image.size)
            box = (left, top, left + edge, top + edge)
        return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box))


@dataclass(frozen=True, slots=True)
class FromTraining:
    """Training images, whole."""

    train: Images
    note: str

    def draw(self, rng: np.random.Generator, side: int) -> ByteArray:
        import numpy as np
        from PIL import Image

        pixels = self.train.subset([int(rng.integers(len(self.train)))]).array()[0].transpose(1, 2, 0)
        image = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
        return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


@lru_cache(maxsize=2 * len(PHOTOGRAPHS))
def _decoded(path: Path) -> ByteArray:
    return FilePicture(path, sha256="").read()
