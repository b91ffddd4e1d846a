"""The paper's figures as data: every cell of Tables 1 to 7, and how they were measured.

One tidy CSV per table, with the columns `table, row, category, dataset, metric, value, unit`:

- `row` is the name of a method as in suites (Tables 1 to 4), or the configuration of an ablation: what is left out
  (Table 5), the stages of each decoder (Table 6), with or without the FRM (Table 7).
- `category` and `dataset` are the names that the data sets use; the paper's mean is the category "mean". Latency
  (Table 4) belongs to neither, so both are empty.
- `value` is the printed number, in the printed unit (percent, not a fraction); it is never corrected. Tables 5 and 6 do
  not name their data set; their complete row repeats Table 1's mean, so they are assigned to MVTec-AD.

This package also contains other statements of the paper that a table can check (`claims()`, `marks()`, `GROUPS`), and
figures that other sources print for the same methods (`independent()`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from afrad_bench.errors import UserError, unknown
from afrad_bench.published._read import lines
from afrad_bench.published.elsewhere import Independent, independent
from afrad_bench.published.statements import COMPLETE, GROUPS, Claim, Mark, claims, marks
from afrad_bench.types import MEAN

__all__ = [
    "CAPTIONS",
    "COLUMNS",
    "COMPLETE",
    "GROUPS",
    "METRICS",
    "PROTOCOL",
    "Claim",
    "Figure",
    "Independent",
    "Mark",
    "Protocol",
    "categories",
    "claims",
    "figures",
    "independent",
    "marks",
    "printed",
    "rows",
    "tables",
]

COLUMNS = ("table", "row", "category", "dataset", "metric", "value", "unit")

METRICS: Mapping[str, str] = MappingProxyType(
    {
        "image_auroc": "I-AUROC",
        "pixel_auroc": "P-AUROC",
        "pixel_aupro": "P-AUPRO",
        "latency_median": "ms/image",
    }
)
"""The name of each metric in the paper."""

CAPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "table1": "Table 1, MVTec-AD",
        "table2": "Table 2, VisA",
        "table3": "Table 3, CIFAR-10",
        "table4": "Table 4, inference time",
        "table5": "Table 5, ablation of the decoders and the NGIB",
        "table6": "Table 6, ablation of the stages of each decoder",
        "table7": "Table 7, ablation of the FRM",
    }
)

_PRINTED: Mapping[str, str] = MappingProxyType(
    {
        "afrad": "AFRAD",
        "anoddpm": "AnoDDPM",
        "ddad": "DDAD",
        "destseg": "DeSTSeg",
        "diad": "DiAD",
        "draem": "DRAEM",
        "efficientad": "EfficientAD",
        "fcdd": "FCDD",
        "fcdd_oe": "FCDD+OE",
        "hvq_trans": "HVQ-Trans",
        "mkd": "MKD",
        "padim": "PaDiM",
        "panda": "PANDA",
        "patchcore": "PatchCore",
        "rd4ad": "RD4AD",
        "reconpatch": "ReConPatch",
        "simplenet": "SimpleNet",
        "uniad": "UniAD",
        "uniformaly": "Uniformaly",
        "us": "US",
        "full": "complete",
        "no_fld": "without FLD",
        "no_cd": "without CD",
        "no_sad": "without SAD",
        "no_ngib": "without NGIB",
        "frm": "with FRM",
        "no_frm": "without FRM",
        "fld12_cd12_sad34": "FLD 1,2 · CD 1,2 · SAD 3,4",
        "fld12_cd23_sad34": "FLD 1,2 · CD 2,3 · SAD 3,4",
        "fld12_cd23_sad1234": "FLD 1,2 · CD 2,3 · SAD 1-4",
        "fld1234_cd12_sad1234": "FLD 1-4 · CD 1,2 · SAD 1-4",
        "fld12_cd12_sad1234": "FLD 1,2 · CD 1,2 · SAD 1-4",
    }
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One printed number."""

    table: str
    row: str
    category: str | None
    """A category of the data set; "mean" for the printed mean; None if the figure belongs to no category."""
    dataset: str | None
    metric: str
    value: float
    unit: str
    """"%" or "ms/image"."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How the paper measured its figures (section 4.2): what holds for all methods. Their configurations are declared
    beside them (`methods.recipes`). The section on training names the GPU; Table 4 does not."""

    image_size: int = 256
    setting: str = "unified"
    device_name: str = "RTX 4090"
    batch: int = 1


PROTOCOL = Protocol()


def tables() -> tuple[str, ...]:
    """Names of the tables: "table1" to "table7"."""
    return tuple(CAPTIONS)


@cache
def figures(table: str) -> tuple[Figure, ...]:
    """Every figure of a table, row by row. Raises `UserError` for an unknown table.

    >>> [(f.row, f.value) for f in figures("table5") if f.metric == "pixel_aupro"][-1]
    ('full', 91.3)
    """
    if table not in CAPTIONS:
        raise UserError(unknown("table of the paper", table, CAPTIONS))
    return tuple(
        Figure(
            line["table"],
            line["row"],
            line["category"] or None,
            line["dataset"] or None,
            line["metric"],
            float(line["value"]),
            line["unit"],
        )
        for line in lines(table)
    )


def rows(table: str) -> tuple[str, ...]:
    """The rows of a table, in printed order."""
    return tuple(dict.fromkeys(figure.row for figure in figures(table)))


def printed(row: str) -> str:
    """The display name of a row, e.g. "HVQ-Trans" for `hvq_trans`."""
    return _PRINTED[row]


@cache
def categories(dataset: str) -> tuple[str, ...]:
    """The categories that the paper's mean of a data set averages; empty for a data set that it does not use."""
    found = (
        figure.category
        for table in ("table1", "table2", "table3")
        for figure in figures(table)
        if figure.dataset == dataset and figure.category not in (None, MEAN)
    )
    return tuple(dict.fromkeys(name for name in found if name))
