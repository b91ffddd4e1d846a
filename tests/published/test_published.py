"""The paper's tables as data: nothing missing, nothing twice, sums checked by hand against the printed tables."""

from __future__ import annotations

import doctest
from collections import Counter
from math import isclose
from types import ModuleType
from zlib import crc32

import pytest

from afrad_bench import published, registry
from afrad_bench.errors import UserError
from afrad_bench.published import elsewhere, statements
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

# CRC-32 over "data category metric value" of every figure of a row, taken from the printed page, not from the files.
# The sums above find a wrong figure; these find two that change places.
CHECKSUMS = {
    "table1": {
        "rd4ad": "3ef29ba6",
        "simplenet": "310cbf67",
        "destseg": "01965618",
        "draem": "99b9a82a",
        "uniad": "e3b013f0",
        "diad": "85dfc125",
        "afrad": "3e67dafd",
    },
    "table2": {
        "draem": "26737fe4",
        "simplenet": "f842bbdb",
        "destseg": "9af3fa89",
        "uniad": "9c724bc7",
        "diad": "3a38c51f",
        "afrad": "8156a211",
    },
    "table3": {
        "us": "94112571",
        "fcdd": "b0a74cfd",
        "fcdd_oe": "66856851",
        "panda": "e0ca5e7d",
        "mkd": "6c5071b9",
        "uniad": "94d49059",
        "afrad": "1b580b7d",
    },
    "table4": {
        "destseg": "dc1b1ffa",
        "simplenet": "c8083d2b",
        "draem": "357199de",
        "afrad": "af9870cf",
        "rd4ad": "fc521977",
        "hvq_trans": "452c1425",
        "uniad": "b18d0e13",
        "efficientad": "24213a77",
        "patchcore": "0992f6f8",
        "reconpatch": "bf3dc025",
        "uniformaly": "cf434ac7",
        "diad": "a1df1655",
        "ddad": "f695ba27",
        "anoddpm": "0e0976ec",
    },
    "table5": {
        "no_fld": "66331d54",
        "no_cd": "91e38509",
        "no_sad": "479d15bb",
        "no_ngib": "e44e9ae0",
        "full": "3b4fb8a2",
    },
    "table6": {
        "fld12_cd12_sad34": "894b4723",
        "fld12_cd23_sad34": "894b4723",
        "fld12_cd23_sad1234": "1e80ce17",
        "fld1234_cd12_sad1234": "dc08b96c",
        "fld12_cd12_sad1234": "1c0670d8",
    },
    "table7": {
        "no_frm": "0c4a5e76",
        "frm": "ccbc2e75",
    },
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


@pytest.mark.parametrize(("table", "row"), [(t, r) for t, sums in CHECKSUMS.items() for r in sums])
def test_each_row_is_the_printed_one(table: str, row: str) -> None:
    told = sorted(
        f"{figure.dataset or ''} {figure.category or ''} {figure.metric} {figure.value:.1f}"
        for figure in published.figures(table)
        if figure.row == row
    )
    assert f"{crc32(chr(10).join(told).encode()):08x}" == CHECKSUMS[table][row]


def test_every_row_has_a_checksum() -> None:
    assert {table: tuple(rows) for table, rows in CHECKSUMS.items()} == {
        t: published.rows(t) for t in published.tables()
    }


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
    assert (terms.image_size, terms.setting, terms.batch) == (256, "unified", 1)
    afrad = registry.find("method", "afrad").load()
    epochs = {
        name: afrad.Config.model_validate(dict(one.params)).training.epochs
        for one in afrad.RECIPES
        for name in one.datasets
    }
    assert epochs == {"mvtec_ad": 1000, "visa": 1000, "cifar10": 200}
    assert {name.partition(".")[0] for one in afrad.RECIPES for name in one.backbones} == {
        "efficientnet_b4",
        "tf_efficientnet_b4",
    }


@pytest.mark.parametrize("module", [published, elsewhere, statements], ids=lambda module: module.__name__)
def test_examples_in_the_docstrings_run(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.attempted > 0, found.failed) == (True, 0)


# ---------------------------------------------------------------------------------------------------------- statements


def test_claims_speak_of_what_the_tables_have() -> None:
    """A claim about a row or a figure that does not exist would never be checked."""
    for claim in published.claims():
        assert claim.table in published.tables()
        rows = published.rows(claim.table)
        if claim.test not in ("categories", "sum"):
            assert claim.row in rows, claim
        if claim.test == "better":
            assert claim.against, claim
            assert set(claim.against) <= set(rows), claim
        assert (claim.value != "") is (claim.test in ("value", "categories", "sum")), claim
        known = {f.category for f in published.figures(claim.table)} | {"every", None}
        assert claim.category in known | set(published.GROUPS.get(claim.table, ())), claim


def test_the_text_is_read_to_its_end() -> None:
    """Every section of the paper that states a result is among the claims."""
    found = tuple(dict.fromkeys(claim.section for claim in published.claims()))
    results = ("abstract", "1", "3.4", "3.5", "4.1", "4.3.1", "4.3.2", "4.3.3", "4.4", "4.5.1", "4.5.2", "4.5.3", "5")
    assert found == results


def test_groups_hold_every_category_once() -> None:
    for table, dataset in (("table1", "mvtec_ad"), ("table2", "visa")):
        members = [category for group in published.GROUPS[table].values() for category in group]
        assert tuple(members) == published.categories(dataset)


def test_marks_are_on_figures_that_exist() -> None:
    figures = {
        (f.table, f.row, f.category, f.dataset, f.metric) for t in published.tables() for f in published.figures(t)
    }
    places = [(m.table, m.row, m.category, m.dataset, m.metric) for m in published.marks()]
    assert len(places) == len(set(places)) == 213
    assert set(places) <= figures
    assert Counter((m.table, m.place) for m in published.marks()) == {
        ("table1", "best"): 54,
        ("table1", "second"): 77,
        ("table2", "best"): 34,
        ("table2", "second"): 46,
        ("table3", "second"): 2,
    }


def test_complete_rows_are_rows() -> None:
    for table, row in published.COMPLETE.items():
        assert row in published.rows(table)


# ----------------------------------------------------------------------------------------------------------- elsewhere


# Sums over all methods of a source's table: I-AUROC, P-AUROC, P-AUPRO. Added up from the source's page.
ELSEWHERE = {
    ("ADer", 100, "mvtec_ad"): (1414.3, 1406.3, 1207.4),
    ("ADer", 300, "mvtec_ad"): (1396.1, 1375.5, 1166.4),
    ("ADer", 100, "visa"): (1247.3, 1309.1, 1036.9),
    ("ADer", 300, "visa"): (1272.1, 1322.0, 1049.3),
    ("ADer", 100, "real_iad"): (1043.5, 1220.1, 962.8),
    ("MambaAD", None, "mvtec_ad"): (472.8, 479.7, 423.8),
    ("MambaAD", None, "visa"): (444.1, 485.3, 401.3),
    ("MambaAD", None, "real_iad"): (380.5, 452.9, 314.0),
}


def test_independent_figures_are_whole_and_single() -> None:
    found = published.independent()
    places = Counter((f.source, f.epochs, f.method, f.dataset, f.category, f.metric) for f in found)
    assert max(places.values()) == 1
    lines = Counter((f.source, f.epochs, f.dataset) for f in found)
    assert lines == {
        ("ADer", 100, "mvtec_ad"): 16 * 3,
        ("ADer", 300, "mvtec_ad"): 16 * 3,
        ("ADer", 100, "visa"): 15 * 3,
        ("ADer", 300, "visa"): 15 * 3,
        ("ADer", 100, "real_iad"): 14 * 3,
        ("MambaAD", None, "mvtec_ad"): 5 * 3,
        ("MambaAD", None, "visa"): 5 * 3,
        ("MambaAD", None, "real_iad"): 5 * 3,
    }
    for figure in found:
        assert 0 < figure.value <= 100
        assert (figure.unit, figure.category, figure.setting, figure.image_size) == ("%", MEAN, "unified", 256)
        assert figure.metric in ACCURACY
        assert figure.confidence in ("T", "A", "r", "M")
        assert "arXiv:" in figure.citation


@pytest.mark.parametrize("place", ELSEWHERE, ids=str)
def test_each_table_of_another_source_adds_up(place: tuple[str, int | None, str]) -> None:
    for metric, expected in zip(ACCURACY, ELSEWHERE[place], strict=True):
        found = (
            f.value for f in published.independent() if (f.source, f.epochs, f.dataset, f.metric) == (*place, metric)
        )
        assert isclose(sum(found), expected, abs_tol=0.01), metric


@pytest.mark.parametrize(
    ("label", "method", "dataset", "expected"),
    [
        ("ADer, 100 epochs", "draem", "mvtec_ad", (54.5, 47.6, 14.3)),
        ("ADer, 100 epochs", "simplenet", "mvtec_ad", (95.4, 96.8, 86.9)),
        ("ADer, 300 epochs", "simplenet", "mvtec_ad", (79.2, 82.4, 62.0)),
        ("ADer, 100 epochs", "patchcore", "mvtec_ad", (98.8, 98.3, 94.2)),
        ("ADer, 100 epochs", "rd4ad", "mvtec_ad", (93.6, 95.8, 91.2)),
        ("ADer, 300 epochs", "rd4ad", "mvtec_ad", (90.5, 95.9, 91.2)),
        ("ADer, 100 epochs", "uniad", "visa", (89.0, 98.3, 86.5)),
        ("ADer, 100 epochs", "destseg", "mvtec_ad", (96.4, 92.0, 83.4)),
        ("ADer, 300 epochs", "destseg", "visa", (89.0, 84.8, 57.5)),
        ("ADer, 100 epochs", "diad", "mvtec_ad", (88.9, 89.3, 63.9)),
        ("ADer, 300 epochs", "diad", "mvtec_ad", (92.0, 89.3, 64.4)),
        ("ADer, 100 epochs", "vitad", "real_iad", (82.7, 97.2, 84.8)),
        ("ADer, 300 epochs", "mambaad", "mvtec_ad", (98.5, 97.6, 93.6)),
        ("MambaAD", "uniad", "visa", (88.8, 98.3, 85.5)),
        ("MambaAD", "diad", "mvtec_ad", (97.2, 96.8, 90.7)),
    ],
)
def test_independent_values(label: str, method: str, dataset: str, expected: tuple[float, ...]) -> None:
    found = {
        f.metric: f.value for f in published.independent() if (f.label, f.method, f.dataset) == (label, method, dataset)
    }
    assert tuple(found[metric] for metric in ACCURACY) == expected


def test_two_sources_differ_by_27_points() -> None:
    (paper,) = (
        f.value for f in published.figures("table1") if (f.row, f.category, f.metric) == ("diad", MEAN, "pixel_aupro")
    )
    lowest = min(
        f.value
        for f in published.independent()
        if (f.method, f.dataset, f.metric) == ("diad", "mvtec_ad", "pixel_aupro")
    )
    assert isclose(paper - lowest, 26.8, abs_tol=1e-9)
