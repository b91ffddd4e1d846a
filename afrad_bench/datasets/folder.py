"""Any folder in MVTec layout, one category or several; masks are not needed.

A category is a folder with `train/good` and `test/<good or defect>`. The root is either one such category, named after
the root, or a folder that contains several."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from afrad_bench.datasets._reading.assemble import About, Masks, assemble
from afrad_bench.datasets._reading.faults import existing
from afrad_bench.datasets._reading.layout import mvtec_layout, unused
from afrad_bench.datasets._reading.options import Selection
from afrad_bench.errors import UserError, fail, unknown
from afrad_bench.images.folders import images_in, subfolders
from afrad_bench.types import Dataset, ImageFiles

VERSION = "1"
ENVIRONMENT: str | None = None
HELP = (
    "a folder with <category>/train/good, <category>/test/good, <category>/test/<defect> and, where there are masks, "
    "<category>/ground_truth/<defect>/<stem>_mask.png; or one such category itself"
)


class Config(Selection):
    """Options of a folder in MVTec layout."""

    good: str = Field("good", min_length=1, description="Name of the folders of normal images, e.g. `ok` (BTAD).")
    masks: Masks = Field("auto", description="auto: a category has all masks or none; required: all; none: unused.")


def load(config: Config, root: Path | None, files: ImageFiles) -> Dataset:
    """Load and verify the data set in this folder. Raises one `UserError` that lists all problems."""
    folder = existing(root, "folder", ENVIRONMENT, HELP)
    categories = _categories(folder)
    wrong = [name for name in config.categories or () if name not in categories]
    if wrong:
        raise UserError(*(unknown("category", name, categories, str(folder)) for name in wrong))
    chosen = {name: at for name, at in categories.items() if name in (config.categories or categories)}
    scan = mvtec_layout(folder, chosen, config.good, config.masks != "none")
    if folder not in categories.values():
        scan = scan.with_more(notes=unused(folder, (one for one in subfolders(folder) if one.name not in categories)))
    about = About(f"folder:{folder.name}", VERSION, "as its owner says", "a folder in MVTec layout")
    return assemble(about, scan, config, config.masks, files, config)


def _categories(folder: Path) -> dict[str, Path]:
    """Categories by name, sorted: the folder itself, or its subfolders that contain train/ or test/."""
    if _is_category(folder):
        return {folder.name: folder}
    found = {one.name: one for one in subfolders(folder) if _is_category(one)}
    if not found:
        here = subfolders(folder)[:20]
        names = ", ".join(one.name for one in here) or f"no folders, {len(images_in(folder))} images"
        deeper = next((one for one in here if any(map(_is_category, subfolders(one)))), None)
        hint = f"\n{deeper} holds such categories: name that folder" if deeper else ""
        raise fail("contains no category in MVTec layout", str(folder), f"expected {HELP}\nfound: {names}{hint}")
    return found


def _is_category(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()
