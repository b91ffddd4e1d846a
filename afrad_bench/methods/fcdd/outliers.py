"""Outlier exposure: images of other data that are shown as anomalies.

Sources, as written in a suite:

    cifar100      the training images of CIFAR-100, as officially; its unpacked folder is in AFRAD_BENCH_CIFAR100
    folder:PATH   any folder of images, searched with its subfolders
    photographs   photographs in scikit-image's package (extra `demo`), cut into random squares

Nothing here downloads anything."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from afrad_bench.errors import fail
from afrad_bench.images.folders import content
from afrad_bench.images.pickled_arrays import ArrayUnpickler
from afrad_bench.methods.textures import find_folder, find_photographs

if TYPE_CHECKING:
    import numpy as np

    from afrad_bench.types import ByteArray

ENVIRONMENT = "AFRAD_BENCH_CIFAR100"
HINT = (
    f"set {ENVIRONMENT} to the unpacked folder of cifar-100-python.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html)"
    "\nor use other images that are not normal, which results then name: outliers: folder:PATH (or photographs)"
)


class Outliers(Protocol):
    """Images of other data that are on this machine."""

    @property
    def note(self) -> str:
        """Description for the notes of the result."""

    def draw(self, rng: np.random.Generator, side: int) -> ByteArray:
        """One of them, (side, side, 3) uint8 RGB."""


@dataclass(frozen=True, slots=True)
class FromBatch:
    """The training images of CIFAR-100."""

    planes: ByteArray = field(repr=False)
    """(N, 3072): 1024 red values, then green, then blue."""
    note: str

    def draw(self, rng: np.random.Generator, side: int) -> ByteArray:
        import numpy as np
        from PIL import Image

        picture = self.planes[rng.integers(len(self.planes))].reshape(3, 32, 32).transpose(1, 2, 0)
        if side == 32:
            return np.ascontiguousarray(picture)
        return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR))


def find(source: str) -> Outliers:
    """The outliers on this machine; raises a `UserError` that says what is missing and how to supply it."""
    if source == "photographs":
        return find_photographs("outliers: instead of CIFAR-100")
    if source != "cifar100":
        folder = Path(source.removeprefix("folder:")).expanduser()
        if not folder.is_dir():
            raise fail(f"no such folder of outliers: {folder}", hint=HINT)
        return find_folder(folder, "outliers: instead of CIFAR-100", HINT)
    named = os.environ.get(ENVIRONMENT)
    if not named:
        raise fail("the images of CIFAR-100, which serve as outliers, are not on this machine", hint=HINT)
    folder = Path(named).expanduser()
    for place in (folder, folder / "cifar-100-python"):
        if (place / "train").is_file():
            return _batch(place / "train")
    raise fail("holds no `train` of CIFAR-100's Python version", str(folder), HINT)


def _batch(path: Path) -> FromBatch:
    import numpy as np

    raw = content(path)
    try:
        loaded = ArrayUnpickler(io.BytesIO(raw), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise fail(f"not the training batch of CIFAR-100: {error or 'truncated'}", str(path), HINT) from error
    planes = loaded.get("data", loaded.get(b"data")) if isinstance(loaded, Mapping) else None
    if not isinstance(planes, np.ndarray) or planes.dtype != np.uint8 or planes.shape[1:] != (3072,) or not len(planes):
        raise fail("not the training batch of CIFAR-100: it holds no array of 32 x 32 pictures", str(path), HINT)
    digest = hashlib.sha256(raw).hexdigest()[:12]
    return FromBatch(planes, f"outliers: {len(planes)} training images of CIFAR-100, sha256 {digest}")
