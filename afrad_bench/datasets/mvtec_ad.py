"""MVTec AD: 15 categories of objects and textures with pixel masks (Bergmann et al. 2019).

Original layout, `bottle/train/good/000.png` and so on; see `_reading.layout`. Counts that differ from the published
ones give a note, not an error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from afrad_bench.datasets._reading.assemble import About, Masks, assemble, count_note
from afrad_bench.datasets._reading.categories import category_folders
from afrad_bench.datasets._reading.faults import existing
from afrad_bench.datasets._reading.layout import mvtec_layout
from afrad_bench.datasets._reading.options import Selection, in_order_of
from afrad_bench.types import Dataset, ImageFiles

VERSION = "1"
ENVIRONMENT = "AFRAD_BENCH_MVTEC_AD"
HELP = (
    "the unpacked mvtec_anomaly_detection.tar.xz: a folder with bottle/, cable/, ... zipper/, each with train/, test/ "
    "and ground_truth/; CC BY-NC-SA 4.0, https://www.mvtec.com/company/research/datasets/mvtec-ad"
)

PUBLISHED = {
    "bottle": (209, 20, 63),
    "cable": (224, 58, 92),
    "capsule": (219, 23, 109),
    "hazelnut": (391, 40, 70),
    "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141),
    "screw": (320, 41, 119),
    "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40),
    "zipper": (240, 32, 119),
    "carpet": (280, 28, 89),
    "grid": (264, 21, 57),
    "leather": (245, 32, 92),
    "tile": (230, 33, 84),
    "wood": (247, 19, 60),
}
"""Images per category: training, normal test, anomalous test. Order of the paper's table: objects, then textures."""


class Config(Selection):
    """Options of MVTec AD."""

    categories: Annotated[tuple[str, ...] | None, AfterValidator(in_order_of(tuple(PUBLISHED)))] = Field(
        None, min_length=1, description="Names of the categories to use; all 15 by default."
    )
    masks: Masks = Field("required", description="auto: a category has all masks or none; required: all; none: unused.")


def load(config: Config, root: Path | None, files: ImageFiles) -> Dataset:
    """Load and verify the data set in this folder. Raises one `UserError` that lists all problems."""
    folder = existing(root, "mvtec_ad", ENVIRONMENT, HELP)
    folders, missing = category_folders(folder, config.categories or tuple(PUBLISHED), HELP)
    scan = mvtec_layout(folder, folders, masks=config.masks != "none")
    scan = scan.with_more(faults=missing, notes=count_note(scan.found, PUBLISHED))
    about = About("mvtec_ad", VERSION, "CC BY-NC-SA 4.0", "https://www.mvtec.com/company/research/datasets/mvtec-ad")
    return assemble(about, scan, config, config.masks, files, config)
