"""Demo: real solar cells (ELPV) and photographed textures with planted defects, all from installed packages.

`elpv_mono` and `elpv_poly` have real defects and image labels only. `texture_brick`, `texture_grass` and
`texture_gravel` are crops of real photographs (scikit-image), training and test crops from disjoint parts. A seeded
generator plants cracks, holes, foreign patches, scratches and stains on test crops, with exact masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from afrad_bench.datasets._reading import faults as kinds
from afrad_bench.datasets._reading.assemble import About, Verified, finish, verify
from afrad_bench.datasets._reading.elpv_cells import (
    LICENCE,
    SOURCE,
    TYPES,
    Choice,
    cells,
    installed_folder,
)
from afrad_bench.datasets._reading.faults import Fault, problems
from afrad_bench.datasets._reading.installed import package_folder
from afrad_bench.datasets._reading.options import Limits, in_order_of
from afrad_bench.datasets._reading.textures import PHOTOGRAPH, TEXTURES, test_crops, training_crops
from afrad_bench.errors import Problem, UserError, fail
from afrad_bench.images.pictures import FilePicture
from afrad_bench.types import Dataset, ImageFiles, Sample

VERSION = "1"
ENVIRONMENT: str | None = None
HELP = (
    "nothing: the images come with `pip install 'afrad-bench[demo]'`; solar cells (elpv-dataset) "
    f"{LICENCE}, {SOURCE}; textures (scikit-image) CC0 1.0, https://scikit-image.org"
)
CATEGORIES = (*(f"elpv_{name}" for name in TYPES), *(f"texture_{name}" for name in TEXTURES))
CELLS = Choice(anomalous_from="1", train_fraction=0.7, split_seed=0)


class Config(BaseModel):
    """Options of the demo."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    categories: Annotated[tuple[str, ...] | None, AfterValidator(in_order_of(CATEGORIES))] = Field(
        None, min_length=1, description="Names of the categories to use; all 5 by default."
    )
    train: int = Field(60, ge=1, le=10_000, description="Training images per category.")
    test: int = Field(30, ge=1, le=10_000, description="Normal test images per category, and as many anomalous ones.")
    seed: int = Field(0, ge=0, description="Seed for the choice of cells and crops and for the planted defects.")


def load(config: Config, root: Path | None, files: ImageFiles) -> Dataset:
    """Load and verify the data set. Raises one `UserError` that lists all problems."""
    if root is not None:
        raise fail("the data set 'demo' takes no folder: its images come with packages", str(root), "omit the folder")
    wanted = config.categories or CATEGORIES
    cells_at = installed_folder() if any(name.startswith("elpv_") for name in wanted) else None
    package = package_folder("skimage", "scikit-image")
    missing = [one for one in (cells_at, package) if isinstance(one, Problem)]
    if isinstance(cells_at, Problem) or isinstance(package, Problem):
        raise UserError(*missing)
    parts = (_cells(config, cells_at, wanted, files), _textures(config, package / "data", wanted, files))
    about = About("demo", VERSION, f"solar cells {LICENCE}; textures CC0 1.0", "elpv-dataset and scikit-image (PyPI)")
    train, test, notes = ([one for part in parts for one in getattr(part, name)] for name in ("train", "test", "notes"))
    return finish(about, train, test, notes)


def _cells(config: Config, folder: Path | None, wanted: tuple[str, ...], files: ImageFiles) -> Verified:
    types = [name for name in TYPES if f"elpv_{name}" in wanted]
    if folder is None:
        return Verified((), (), ())
    limits = Limits(limit_train=config.train, limit_test=config.test, limit_seed=config.seed)
    return verify(cells(folder, CELLS, types, prefix="elpv_"), limits, "none", files)


def _textures(config: Config, folder: Path, wanted: tuple[str, ...], files: ImageFiles) -> Verified:
    chosen = [name for name in TEXTURES if f"texture_{name}" in wanted]
    if not chosen:
        return Verified((), (), ())
    photographs = _photographs(folder, files)
    train: list[Sample] = []
    test: list[Sample] = []
    for name in chosen:
        category, others = f"texture_{name}", tuple(photographs[one] for one in TEXTURES if one != name)
        train += training_crops(category, photographs[name], config.train, config.seed)
        test += test_crops(category, photographs[name], others, config.test, config.seed)
    notes = (
        "texture_*: real photographs, but the defects are planted; their masks are exact",
        "texture_*: crops of one photograph, training and test ones from disjoint parts; within a part they overlap",
    )
    return Verified(tuple(train), tuple(test), notes)


def _photographs(folder: Path, files: ImageFiles) -> dict[str, FilePicture]:
    """The photographs by name. Raises `UserError` if one cannot be read or does not have the expected size."""
    found = dict(zip(TEXTURES, files.facts([folder / f"{name}.png" for name in TEXTURES]), strict=True))
    faults = []
    for facts in found.values():
        size = (facts.width, facts.height)
        wrong = facts.error or (f"{size[0]}x{size[1]} pixels" if size != (PHOTOGRAPH, PHOTOGRAPH) else "")
        if wrong:
            faults.append(Fault(kinds.UNREADABLE, facts.path.name, wrong))
    if faults:
        raise UserError(*problems(folder, faults))
    return {name: FilePicture(facts.path, facts.sha256) for name, facts in found.items()}
