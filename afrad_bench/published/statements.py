"""What the paper says besides its figures: claims in its text, marks of rank in its tables, groups of categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal, cast

from afrad_bench.published._read import lines

Test = Literal["value", "highest", "lowest", "better", "rows", "categories", "sum"]
Place = Literal["best", "second"]

COMPLETE: Mapping[str, str] = MappingProxyType({"table5": "full", "table6": "fld12_cd12_sad1234", "table7": "frm"})
"""The row of each ablation that is the complete AFRAD, so that its figures repeat those of Tables 1 and 2."""

GROUPS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "table1": {
            "objects": (
                *("bottle", "cable", "capsule", "hazelnut", "metal_nut"),
                *("pill", "screw", "toothbrush", "transistor", "zipper"),
            ),
            "textures": ("carpet", "grid", "leather", "tile", "wood"),
        },
        "table2": {
            "complex structure": ("pcb1", "pcb2", "pcb3", "pcb4"),
            "multiple instances": ("macaroni1", "macaroni2", "capsules", "candle"),
            "single instance": ("cashew", "chewinggum", "fryum", "pipe_fryum"),
        },
    }
)
"""The groups into which Tables 1 and 2 sort their categories; no table prints the mean of a group."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of the text that a table can confirm or contradict. `test` says how:

    - `value`: the text gives `value` for a row, a category and a metric;
    - `highest`, `lowest`: the row has the best (worst) figure of all rows, alone;
    - `better`: the row is better than each row of `against`; a lower time is better;
    - `rows`: the table compares `row` with the rows of `against`, and with no others;
    - `categories`: the table, or the group `category` of it, has `value` categories;
    - `sum`: the parts in `against` add up to `value`; no table is needed."""

    section: str
    says: str
    """In our words."""
    test: Test
    table: str
    row: str
    against: tuple[str, ...]
    category: str | None
    """"mean", a category, a group of `GROUPS` (its mean is meant), "every" for each category; None: not by category."""
    dataset: str | None
    metric: str | None
    value: str
    """The number in the text, as it is written there; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark of rank on one printed figure. The captions of Tables 1 to 3 say what marks mean: bold is the best,
    underlined the second best.

    The tables were read from a text version of the paper. It keeps underlines; bold type is lost, but has left spaces
    beside the figure where several figures share a place. A figure that stands alone in its place, or in one that is
    bold as a whole, cannot be told from a plain one: the marks that are here were seen, others may have been lost."""

    table: str
    row: str
    category: str
    dataset: str
    metric: str
    place: Place


@cache
def claims() -> tuple[Claim, ...]:
    """Every statement with a number, a rank or a list that a table can check, in the order of the text.

    >>> [(c.section, c.value) for c in claims() if c.test == "value" and c.table == "table1"]
    [('4.3.1', '98.4'), ('4.3.1', '96.9')]
    """
    return tuple(
        Claim(
            section=line["section"],
            says=line["says"],
            test=cast(Test, line["test"]),
            table=line["table"],
            row=line["row"],
            against=tuple(filter(None, line["against"].split(";"))),
            category=line["category"] or None,
            dataset=line["dataset"] or None,
            metric=line["metric"] or None,
            value=line["value"],
        )
        for line in lines("claims")
    )


@cache
def marks() -> tuple[Mark, ...]:
    """The marks of rank that could be read, table by table."""
    return tuple(
        Mark(each["table"], each["row"], each["category"], each["dataset"], each["metric"], cast(Place, each["mark"]))
        for each in lines("marks")
    )
