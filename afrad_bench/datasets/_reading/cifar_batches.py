"""CIFAR-10's Python batches, read safely: a pickle can run code, so only arrays are unpickled."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.datasets._reading import faults as kinds
from afrad_bench.datasets._reading.faults import Fault, problems
from afrad_bench.datasets._reading.layout import Split
from afrad_bench.errors import UserError
from afrad_bench.hashing import digest
from afrad_bench.images.folders import content
from afrad_bench.images.pickled_arrays import ArrayUnpickler

if TYPE_CHECKING:
    from afrad_bench.types import ByteArray

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""MD5 of the published files."""


@dataclass(frozen=True, slots=True)
class PlanarPicture:
    """A 32x32 image as stored in the batches: 1024 red values, then green, then blue, row by row."""

    name: str
    """Batch and row, e.g. "data_batch_1-00017"."""
    planes: bytes = field(repr=False)

    def fingerprint(self) -> str:
        return digest(self.planes)

    def read(self) -> ByteArray:
        import numpy as np

        planes = np.frombuffer(self.planes, dtype=np.uint8).reshape(3, SIDE, SIDE)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))


def read_batches(folder: Path) -> tuple[list[tuple[Split, int, PlanarPicture]], tuple[str, ...]]:
    """Split, class and picture of every image in the order of the batches, and a note on files that are not the
    published ones. Raises one `UserError` that lists every batch that cannot be used."""
    pictures: list[tuple[Split, int, PlanarPicture]] = []
    faults: list[Fault] = []
    others: list[str] = []
    for name, md5 in BATCHES.items():
        try:
            raw = content(folder / name)
            planes, labels = _checked(ArrayUnpickler(io.BytesIO(raw), encoding="latin1").load())
        except _WRONG as error:
            faults.append(Fault(kinds.BAD_BATCH, name, getattr(error, "strerror", None) or str(error) or "truncated"))
            continue
        if hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5:
            others.append(name)
        split: Split = "test" if name == "test_batch" else "train"
        for row, (plane, label) in enumerate(zip(planes, labels, strict=True)):
            pictures.append((split, label, PlanarPicture(f"{name}-{row:05d}", plane.tobytes())))
    if faults:
        raise UserError(*problems(folder, faults))
    return pictures, (f"not the published files, by MD5: {', '.join(others)}",) if others else ()


_WRONG = (
    OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError,
    OverflowError, MemoryError,
)  # fmt: skip
"""Exceptions that reading a damaged pickle may raise."""


def _checked(batch: object) -> tuple[ByteArray, list[int]]:
    """Planes (N, 3072) uint8 and N labels of a batch. Raises `ValueError` if the content is anything else."""
    import numpy as np

    if not isinstance(batch, Mapping):
        raise ValueError("holds no dictionary")
    entries: dict[str, Any] = {key.decode() if isinstance(key, bytes) else str(key): batch[key] for key in batch}
    planes, labels = entries.get("data"), entries.get("labels")
    if not isinstance(planes, np.ndarray) or planes.dtype != np.uint8 or planes.shape[1:] != (3 * SIDE * SIDE,):
        raise ValueError(f"data is not an array of uint8 with {3 * SIDE * SIDE} columns")
    if not isinstance(labels, list) or not all(type(one) is int and 0 <= one <= 9 for one in labels):
        raise ValueError("labels is not a list of classes from 0 to 9")
    if not len(planes) == len(labels) > 0:
        raise ValueError(f"{len(planes)} images, {len(labels)} labels")
    return planes, labels
