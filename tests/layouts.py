"""Data sets in their published file formats, small and generated from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from afrad_bench.datasets import cifar10
from afrad_bench.hashing import seed_for


def python2_batch(planes: np.ndarray, labels: list[int]) -> bytes:
    """A pickle in Python 2 format, like the published batches: byte strings for text, numbers for dtype flags."""
    raw = planes.tobytes()
    return b"".join(
        [
            b"\x80\x02}(U\x0bbatch_labelU\x04testU\x04data",
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR",
            b"(K\x01J" + len(planes).to_bytes(4, "little") + b"J" + (3072).to_bytes(4, "little") + b"\x86",
            b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb",
            b"U\x06labels](" + b"".join(b"K" + bytes([label]) for label in labels) + b"eu.",
        ]
    )


def cifar_batches(folder: Path) -> dict[str, np.ndarray]:
    """Write all batch files, each with one image of each class 0 to 9 in order; returns file name -> pixels."""
    folder.mkdir(parents=True)
    written = {}
    for name in cifar10.BATCHES:
        planes = np.random.default_rng(seed_for(name)).integers(0, 256, (10, 3072), dtype=np.uint8)
        (folder / name).write_bytes(python2_batch(planes, list(range(10))))
        written[name] = planes
    return written
