"""Numbers what is appended to a table, so that "newer" does not depend on a clock.

The next number is one more than the largest in the table. A small file beside the parts remembers it with a digest of
their names, so that they are read again only when others have come or gone. Two processes that append at the same
moment may take the same number: then neither is the later one."""

from __future__ import annotations

import json
from pathlib import Path

from afrad_bench import writing
from afrad_bench.hashing import digest
from afrad_bench.store.parts import SUFFIX, Unusable, read_part

LARGEST = 2**62
"""Larger numbers were not given by this program, and leave no room for the next ones."""


def take(folder: Path, name: str) -> int:
    """The number of the part that is about to be written to this table's folder. Raises `DiskFull`."""
    table = folder.name
    names = {path.name for path in folder.glob(f"*{SUFFIX}")}
    last, listed = _remembered(folder)
    if listed != _listing(names):
        last = max([last, *(_largest(folder / each, table) for each in names)])
    with writing.replacing(_memory(folder), writing.STORE) as scratch:
        scratch.write_text(json.dumps({"last": last + 1, "parts": _listing({*names, name})}), "utf-8")
    return last + 1


def _memory(folder: Path) -> Path:
    return folder / ".sequence"


def _listing(names: set[str]) -> str:
    return digest(*sorted(names))[:16]


def _remembered(folder: Path) -> tuple[int, str]:
    """The last number, and the digest of the parts at that time; (0, "") without a usable file."""
    try:
        kept = json.loads(_memory(folder).read_text("utf-8"))
        last = int(kept["last"])
        return (last, str(kept["parts"])) if 0 < last < LARGEST else (0, "")
    except (OSError, ValueError, OverflowError, KeyError, TypeError, RecursionError):
        return 0, ""  # it only saves time: the parts have all numbers


def _largest(path: Path, table: str) -> int:
    """The largest number in a part; 0 if it has none, cannot be used, or is taken away by a compaction meanwhile."""
    import pyarrow.compute as pc

    try:
        return int(pc.max(read_part(path, table, ["sequence"])["sequence"]).as_py() or 0)
    except (Unusable, FileNotFoundError):
        return 0
