"""Finding the folders of a data set's categories, and errors for missing ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from afrad_bench.datasets._reading import faults as kinds
from afrad_bench.datasets._reading.faults import Fault
from afrad_bench.errors import fail, nearest
from afrad_bench.images.folders import subfolders


def category_folders(root: Path, wanted: Sequence[str], what: str) -> tuple[dict[str, Path], list[Fault]]:
    """The folders of these categories in the root, and a fault for each that is missing.

    Raises `UserError` if none of them exists, because then the root is probably the wrong folder. `what` describes the
    expected root."""
    here = [one.name for one in subfolders(root)]
    present = {name: root / name for name in wanted if name in here}
    if not present:
        found = f"found: {', '.join(here[:20]) or 'no folders'}"
        raise fail("holds none of the categories", str(root), f"{_probable_root(root, wanted)}expected {what}\n{found}")
    missing = [name for name in wanted if name not in present]
    return present, [Fault(kinds.NO_CATEGORY, name, _like(name, here)) for name in missing]


def _like(name: str, here: Sequence[str]) -> str:
    match = nearest(name, here)
    return f"is it {match!r}?" if match else ""


def _probable_root(root: Path, wanted: Sequence[str]) -> str:
    """A line that names the folder that was probably meant, or an empty string."""
    near = [*subfolders(root), root.parent]
    right = [str(folder) for folder in near if any((folder / name).is_dir() for name in wanted)]
    return f"did you mean {' or '.join(right)}?\n" if right else ""
