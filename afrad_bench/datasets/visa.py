"""VisA: 12 categories of boards, foods and candles with pixel masks (Zou et al. 2022).

The split is the published one-class split (1cls). Two layouts are supported: the original one, whose split is the list
`split_csv/1cls.csv`, and the converted one (`candle/train/good`, `test/good`, `test/bad`, `ground_truth/bad`). Ids are
the same in both; fingerprints differ, because the conversion rewrites the masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from afrad_bench.datasets._reading.assemble import About, Masks, assemble, count_note
from afrad_bench.datasets._reading.categories import category_folders
from afrad_bench.datasets._reading.faults import existing
from afrad_bench.datasets._reading.layout import Found, ScanResult, mvtec_layout
from afrad_bench.datasets._reading.options import Selection, in_order_of
from afrad_bench.datasets._reading.visa_list import SPLIT_LIST, missing_list, original_layout
from afrad_bench.types import Dataset, ImageFiles

VERSION = "1"
ENVIRONMENT = "AFRAD_BENCH_VISA"
HELP = (
    "the unpacked VisA_20220922.tar: a folder with candle/, capsules/, ... and split_csv/1cls.csv; or its conversion "
    "with candle/train/good, candle/test/good, candle/test/bad and candle/ground_truth/bad; "
    "CC BY 4.0, https://github.com/amazon-science/spot-diff"
)

PUBLISHED = {
    "pcb1": (904, 100, 100),
    "pcb2": (901, 100, 100),
    "pcb3": (905, 101, 100),
    "pcb4": (904, 101, 100),
    "macaroni1": (900, 100, 100),
    "macaroni2": (900, 100, 100),
    "capsules": (542, 60, 100),
    "candle": (900, 100, 100),
    "cashew": (450, 50, 100),
    "chewinggum": (453, 50, 100),
    "fryum": (450, 50, 100),
    "pipe_fryum": (450, 50, 100),
}
"""Images per category: training, normal test, anomalous test. Complex structure, multiple instances, single
instances, in the order of the paper's table."""


class Config(Selection):
    """Options of VisA."""

    categories: Annotated[tuple[str, ...] | None, AfterValidator(in_order_of(tuple(PUBLISHED)))] = Field(
        None, min_length=1, description="Names of the categories to use; all 12 by default."
    )
    layout: Literal["auto", "original", "converted"] = Field(
        "auto", description="auto: the original layout if the root has split_csv/1cls.csv, else the converted one."
    )
    masks: Masks = Field("required", description="auto: a category has all masks or none; required: all; none: unused.")


def load(config: Config, root: Path | None, files: ImageFiles) -> Dataset:
    """Load and verify the data set in this folder. Raises one `UserError` that lists all problems."""
    folder = existing(root, "visa", ENVIRONMENT, HELP)
    listed = (folder / SPLIT_LIST).is_file()
    if config.layout == "original" and not listed:
        raise missing_list(folder, HELP)
    folders, missing = category_folders(folder, config.categories or tuple(PUBLISHED), HELP)
    if config.layout == "auto" and not listed and any((one / "Data" / "Images").is_dir() for one in folders.values()):
        raise missing_list(folder, HELP)
    if config.layout == "converted" or (config.layout == "auto" and not listed):
        scan = _renamed(mvtec_layout(folder, folders, masks=config.masks != "none"))
    else:
        scan = original_layout(folder, tuple(folders), tuple(PUBLISHED), masks=config.masks != "none")
    scan = scan.with_more(missing, count_note(scan.found, PUBLISHED))
    about = About("visa", VERSION, "CC BY 4.0", "https://github.com/amazon-science/spot-diff")
    return assemble(about, scan, config, config.masks, files, config)


def _renamed(scan: ScanResult) -> ScanResult:
    """Rename `bad`, the only kind of defect in the converted layout, to `anomaly`, its name in the original layout."""
    return replace(scan, found=tuple(_anomaly(one) if one.defect == "bad" else one for one in scan.found))


def _anomaly(one: Found) -> Found:
    return replace(one, id=f"{one.category}/test/anomaly/{one.image.stem}", defect="anomaly")
