"""Statements of the paper besides its figures: claims in the text, rank marks in the tables, groups of categories."""

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
"""The row of each ablation that is the complete AFRAD; its figures should repeat those of Tables 1 and 2."""

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
"""The groups of categories in Tables 1 and 2; no table prints the mean of a group."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of the text that a table can confirm or contradict. `test` says what is checked:

    - `value`: the text gives `value` for a row, a category and a metric;
    - `highest`, `lowest`: the row has the best (worst) figure of all rows, without ties;
    - `better`: the row is better than each row of `against`; a lower time is better;
    - `rows`: the table compares `row` with the rows of `against`, and with no others;
    - `categories`: the table, or its group `category`, has `value` categories;
    - `sum`: the parts in `against` add up to `value`; no table is needed."""

    section: str
    says: str
    """The statement, paraphrased."""
    test: Test
    table: str
    row: str
    against: tuple[str, ...]
    category: str | None
    """"mean", a category, a group of `GROUPS` (its mean is meant), "every" for each category; None: not by category."""
    dataset: str | None
    metric: str | None
    value: str
    """The number as written in the text; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A rank mark on one printed figure. The captions of Tables 1 to 3 define the marks: bold is the best, underlined
    the second best.

    The tables were read from a text version of the paper. It keeps underlines. Bold type is lost, but it leaves spaces
    around the figure if several figures share a cell. If a figure is alone in its cell, or the whole cell is bold, bold
    cannot be detected: the marks listed here were seen, but others may be missing."""

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
    """The rank marks that could be read, table by table."""
    return tuple(
        Mark(each["table"], each["row"], each["category"], each["dataset"], each["metric"], cast(Place, each["mark"]))
        for each in lines("marks")
    )
