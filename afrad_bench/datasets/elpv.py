"""ELPV: electroluminescence images of 2,624 solar cells, mono- and polycrystalline (Deitsch et al. 2019), offline.

The images are part of the PyPI package `elpv-dataset` (300x300, greyscale). Experts labelled each with the probability
of a defect: 0, 1/3, 2/3 or 1. There are no masks. The split is specific to this benchmark: normal cells are divided by
seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from afrad_bench.datasets._reading.assemble import About, assemble
from afrad_bench.datasets._reading.elpv_cells import (
    LICENCE,
    SOURCE,
    TYPES,
    Choice,
    Threshold,
    cells,
    installed_folder,
)
from afrad_bench.datasets._reading.faults import existing
from afrad_bench.datasets._reading.options import Selection, in_order_of
from afrad_bench.errors import Problem, UserError
from afrad_bench.types import Dataset, ImageFiles

VERSION = "1"
ENVIRONMENT: str | None = None
HELP = (
    "nothing: the images come with `pip install 'afrad-bench[demo]'`; a root is only needed for another copy, the "
    f"folder with labels.csv and images/; {LICENCE}, {SOURCE}"
)


class Config(Selection):
    """Options of the solar cells."""

    categories: Annotated[tuple[str, ...] | None, AfterValidator(in_order_of(TYPES))] = Field(
        None, min_length=1, description="Types of cells, mono and poly; both by default."
    )
    anomalous_from: Threshold = Field(
        "2/3",
        description="Lowest defect probability of an anomalous cell: 1/3, 2/3 or 1. Normal cells have 0; cells in "
        "between are left out.",
    )
    train_fraction: float = Field(0.7, gt=0, lt=1, description="Fraction of the normal cells used for training.")
    split_seed: int = Field(0, ge=0, description="Seed that divides the normal cells into training and test cells.")


def load(config: Config, root: Path | None, files: ImageFiles) -> Dataset:
    """Load and verify the data set. Raises one `UserError` that lists all problems."""
    folder = installed_folder() if root is None else existing(root, "elpv", ENVIRONMENT, HELP)
    if isinstance(folder, Problem):
        raise UserError(folder)
    choice = Choice(config.anomalous_from, config.train_fraction, config.split_seed)
    scan = cells(folder, choice, config.categories or TYPES)
    return assemble(About("elpv", VERSION, LICENCE, SOURCE), scan, config, "none", files, config)
