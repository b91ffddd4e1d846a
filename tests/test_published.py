"""The paper's tables as data: nothing missing, nothing twice, sums checked by hand against the printed tables."""

from __future__ import annotations

import doctest
from collections import Counter
from math import isclose

import pytest

from afrad_bench import published
from afrad_bench.errors import UserError
from afrad_bench.types import MEAN

MVTEC = (
    *("bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "transistor", "zipper"),
    *("carpet", "grid", "leather", "tile", "wood"),
)
VISA = (
    *("pcb1", "pcb2", "pcb3", "pcb4"),
    *("macaroni1", "macaroni2", "capsules", "candle"),
    *("cashew", "chewinggum", "fryum", "pipe_fryum"),
)
ACCURACY = ("image_auroc", "pixel_auroc", "pixel_aupro")

# Sums over the printed line of a category, all methods and metrics; then over the printed column of a method, all
# categories and the mean, per metric. Added up from the printed page, not from the files.
LINES = {
    "table1": {
        "bottle": 1969.9,
        "cable": 1757.1,
        "capsule": 1783.8,
        "hazelnut": 1961.2,
        "metal_nut": 1846.6,
        "pill": 1843.3,
        "screw": 1871.6,
        "toothbrush": 1871.9,
        "transistor": 1765.2,
        "zipper": 1980.2,
        "carpet": 2018.8,
        "grid": 2011.5,
        "leather": 2042.1,
        "tile": 1956.1,
        "wood": 1964.9,
        MEAN: 1909.2,
    },
    "table2": {
        "pcb1": 1574.9,
        "pcb2": 1557.8,
        "pcb3": 1519.7,
        "pcb4": 1586.3,
        "macaroni1": 1535.9,
        "macaroni2": 1426.5,
        "capsules": 1417.2,
        "candle": 1605.2,
        "cashew": 1493.7,
        "chewinggum": 1574.6,
        "fryum": 1524.0,
        "pipe_fryum": 1593.3,
        MEAN: 1536.2,
    },
    "table3": {"01234": 478.1, "56789": 479.9, "02468": 548.3, "13579": 532.7, MEAN: 509.7},
}
METHODS = {
    "table1": {
        "rd4ad": (1513.3, 1536.2, 1458.3),
        "simplenet": (1524.1, 1550.8, 1384.0),
        "destseg": (1427.1, 1490.0, 1035.9),
        "draem": (1409.2, 1394.7, 1138.1),
        "uniad": (1544.2, 1548.8, 1451.6),
        "diad": (1563.6, 1548.2, 1451.8),
        "afrad": (1572.4, 1549.7, 1461.4),
    },
    "table2": {
        "draem": (1040.2, 1110.4, 768.6),
        "simplenet": (1133.3, 1258.8, 1058.5),
        "destseg": (1156.0, 1249.6, 876.1),
        "uniad": (1111.5, 1247.3, 982.3),
        "diad": (1127.9, 1248.5, 977.7),
        "afrad": (1177.7, 1281.0, 1139.9),
    },
    "table3": {
        "us": (279.2,),
        "fcdd": (278.8,),
        "fcdd_oe": (394.7,),
        "panda": (362.2,),
        "mkd": (360.7,),
        "uniad": (436.1,),
        "afrad": (437.0,),
    },
    "table5": {
        "no_fld": (91.7, 95.1, 87.6),
        "no_cd": (91.6, 94.6, 87.4),
        "no_sad": (91.2, 94.7, 87.6),
        "no_ngib": (90.9, 94.8, 87.8),
        "full": (98.3, 96.9, 91.3),
    },
    "table6": {
        "fld12_cd12_sad34": (96.4, 96.5),
        "fld12_cd23_sad34": (96.4, 96.5),
        "fld12_cd23_sad1234": (95.9, 96.6),
        "fld1234_cd12_sad1234": (95.6, 96.5),
        "fld12_cd12_sad1234": (98.3, 96.9),
    },
    "table7": {"no_frm": (168.2, 189.7), "frm": (182.0, 193.5)},
}
LATENCY = {
    "destseg": 9.4,
    "simplenet": 13.0,
    "draem": 22.2,
    "afrad": 24.5,
    "rd4ad": 41.0,
    "hvq_trans": 50.0,
    "uniad": 85.0,
    "efficientad": 125.0,
    "patchcore": 148.0,
    "reconpatch": 150.0,
    "uniformaly": 200.0,
    "diad": 675.0,
    "ddad": 1192.0,
    "anoddpm": 11950.0,
}


def total(table: str, **chosen: str | None) -> float:
    return sum(f.value for f in published.figures(table) if all(getattr(f, k) == v for k, v in chosen.items()))


def value(table: str, row: str, category: str | None, metric: str, dataset: str | None) -> float:
    (found,) = (
        f.value
        for f in published.figures(table)
        if (f.row, f.category, f.metric, f.dataset) == (row, category, metric, dataset)
    )
    return found


@pytest.mark.parametrize(
    ("table", "cells"),
    [
        ("table1", 16 * 7 * 3),
        ("table2", 13 * 6 * 3),
        ("table3", 5 * 7),
        ("table4", 14),
        ("table5", 5 * 3),
        ("table6", 5 * 2),
        ("table7", 2 * 2 * 2),
    ],
)
def test_every_cell_is_there_once(table: str, cells: int) -> None:
    found = published.figures(table)
    assert len(found) == cells
    assert max(Counter((f.row, f.category, f.dataset, f.metric) for f in found).values()) == 1
    assert {f.table for f in found} == {table}


def test_tables_are_the_papers() -> None:
    assert published.tables() == tuple(f"table{number}" for number in range(1, 8))


@pytest.mark.parametrize(("table", "category"), [(t, c) for t, sums in LINES.items() for c in sums])
def test_each_printed_line_adds_up(table: str, category: str) -> None:
    assert isclose(total(table, category=category), LINES[table][category], abs_tol=0.01)


@pytest.mark.parametrize(("table", "row"), [(t, r) for t, sums in METHODS.items() for r in sums])
def test_each_printed_method_adds_up(table: str, row: str) -> None:
    for metric, expected in zip(ACCURACY, METHODS[table][row], strict=False):
        assert isclose(total(table, row=row, metric=metric), expected, abs_tol=0.01), metric


def test_rows_keep_the_printed_order() -> None:
    for table, sums in METHODS.items():
        assert published.rows(table) == tuple(sums)
    assert published.rows("table4") == tuple(LATENCY)


def test_latency_is_in_milliseconds_and_belongs_to_no_data_set() -> None:
    assert {f.row: f.value for f in published.figures("table4")} == LATENCY
    assert {(f.metric, f.unit, f.category, f.dataset) for f in published.figures("table4")} == {
        ("latency_median", "ms/image", None, None)
    }


def test_categories_are_named_as_in_the_data_sets() -> None:
    assert published.categories("mvtec_ad") == tuple(MVTEC)
    assert published.categories("visa") == tuple(VISA)
    assert published.categories("cifar10") == ("01234", "56789", "02468", "13579")
    assert published.categories("demo") == ()


@pytest.mark.parametrize(
    ("table", "row", "category", "metric", "dataset", "expected"),
    [
        ("table1", "afrad", "metal_nut", "pixel_auroc", "mvtec_ad", 96.2),
        ("table1", "simplenet", "bottle", "image_auroc", "mvtec_ad", 100.0),
        ("table1", "rd4ad", "hazelnut", "image_auroc", "mvtec_ad", 60.8),
        ("table1", "diad", "wood", "pixel_aupro", "mvtec_ad", 97.5),
        ("table1", "afrad", "tile", "pixel_aupro", "mvtec_ad", 78.1),
        ("table1", "afrad", MEAN, "image_auroc", "mvtec_ad", 98.3),
        ("table1", "rd4ad", MEAN, "pixel_aupro", "mvtec_ad", 91.1),
        ("table2", "afrad", "pipe_fryum", "pixel_aupro", "visa", 94.3),
        ("table2", "uniad", "capsules", "image_auroc", "visa", 55.6),
        ("table2", "draem", "pcb3", "pixel_aupro", "visa", 43.0),
        ("table2", "afrad", MEAN, "pixel_aupro", "visa", 87.7),
        ("table2", "draem", MEAN, "image_auroc", "visa", 80.5),
        ("table3", "fcdd_oe", "02468", "image_auroc", "cifar10", 85.3),
        ("table3", "uniad", "13579", "image_auroc", "cifar10", 90.6),
        ("table6", "fld12_cd23_sad1234", MEAN, "pixel_auroc", "mvtec_ad", 96.6),
        ("table7", "frm", MEAN, "image_auroc", "visa", 83.7),
        ("table7", "no_frm", MEAN, "pixel_auroc", "mvtec_ad", 93.9),
    ],
)
def test_spot_values(table: str, row: str, category: str, metric: str, dataset: str, expected: float) -> None:
    assert value(table, row, category, metric, dataset) == expected


def test_the_papers_contradictions_are_kept_as_printed() -> None:
    assert value("table2", "afrad", MEAN, "image_auroc", "visa") == 90.6
    assert value("table7", "frm", MEAN, "image_auroc", "visa") == 83.7


def test_units_and_ranges() -> None:
    for table in published.tables():
        for figure in published.figures(table):
            assert figure.unit == ("ms/image" if table == "table4" else "%")
            assert figure.metric in (*ACCURACY, "latency_median")
            assert 0 < figure.value <= (20000 if table == "table4" else 100)


def test_every_row_has_a_name_for_people() -> None:
    for table in published.tables():
        for row in published.rows(table):
            assert published.printed(row)


def test_an_unknown_table_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'table"):
        published.figures("table55")


def test_the_terms_are_those_of_section_4_2() -> None:
    terms = published.PROTOCOL
    assert (terms.image_size, terms.backbone, terms.setting, terms.batch) == (256, "efficientnet_b4", "unified", 1)
    assert dict(terms.epochs) == {"mvtec_ad": 1000, "visa": 1000, "cifar10": 200}


def test_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(published).failed == 0
