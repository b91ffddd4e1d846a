"""The overview in docs/baselines.md is what the measure `complexity` finds, and agrees with the official codes.

The table is written anew by running this file as a script: `python -m tests.baselines.test_baselines_table --write`."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from afrad_bench import registry
from afrad_bench.images.sets import ImageArray
from afrad_bench.measures import complexity
from afrad_bench.types import Cell, Dataset, Subject, TrainingRecord
from tests.adapters import bench_at, ruled_images
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "baselines.md"
SIDE = 256
RANDOM: dict[str, Any] = {"backbone": {"weights": "random"}}


@dataclass(frozen=True)
class Official:
    """Figures of the original code for what its scores need: 10⁶ parameters, 10⁹ multiply-accumulates of an image."""

    module: str
    label: str
    params: float
    gmacs: float
    config: dict[str, Any]


# Counted by hooks on the original modules with every product, beside ours (the page's sections say more).
OFFICIAL = (
    Official("padim", "PaDiM", 2.783, 1.879, RANDOM),
    Official("patchcore", "PatchCore, bank of 204", 24.863, 12.248, RANDOM),
    Official(
        "reconpatch",
        "ReConPatch, bank of 20",
        25.387,
        12.582,
        {**RANDOM, "training": {"epochs": 0}},
    ),
    Official("uniformaly", "Uniformaly, bank of 204", 71.631, 88.997, {**RANDOM, "mask": False}),
    Official("rd4ad", "RD4AD", 108.665, 30.53, RANDOM),
    Official("uniad", "UniAD", 11.415, 3.573, RANDOM),
    Official("simplenet", "SimpleNet", 28.800, 16.10, RANDOM),
    Official("destseg", "DeSTSeg", 35.154, 38.50, RANDOM),
    Official("draem", "DRAEM", 97.423, 198.27, {}),
    Official("hvq_trans", "HVQ-Trans, one category", 19.627, 6.313, RANDOM),
    Official("fcdd", "FCDD", 1.185, 0.249, {}),
    Official("fcdd_oe", "FCDD+OE", 1.185, 0.249, {"outliers": "photographs"}),
    Official("panda", "PANDA, bank of 2", 58.144, 11.557, {**RANDOM, "training": {"epochs": 0}}),
    Official("efficientad", "EfficientAD, S", 8.058, 37.95, {"teacher": {"weights": "random"}}),
    Official("mkd", "MKD", 15.059, 20.956, RANDOM),
)
HEAD = (
    "| | parameters, total / trained / inference (M) | official, inference (M) | GMAC | official | difference |",
    "| --- | --- | --- | --- | --- | --- |",
)


def measured(official: Official) -> dict[str, float]:
    """Metric -> its value for the default configuration at 256 pixels; what has a bank is fitted on two images."""
    module = importlib.import_module(f"afrad_bench_baselines.{official.module}")
    method = module.build(module.Config.model_validate(official.config), bench_at(SIDE))
    images = ImageArray(ruled_images(2, SIDE))
    if official.module in ("padim", "patchcore", "reconpatch", "uniformaly", "panda"):
        method.fit(images)
    cell = Cell(official.module, "{}", "d", "{}", "unified", None, SIDE, 0, "demo")
    data = Dataset("d", "1", (), (), "")
    subject = Subject(cell, method, data, images, images, TrainingRecord(), 0.0, None, "cpu", 1)
    found = complexity.measure(subject, complexity.Config())
    return {row.metric: row.value for row in found if row.value is not None}


def line(official: Official, found: dict[str, float]) -> str:
    params = " / ".join(f"{found[f'params_{kind}']:.3f}" for kind in ("total", "trainable", "inference"))
    share = 100 * (found["gmacs"] / official.gmacs - 1)
    difference = f"{share:+.1f} %".replace("-", "−") if abs(share) >= 0.05 else "0.0 %"
    cells = (
        official.label,
        params,
        f"{official.params:.3f}",
        f"{found['gmacs']:.3f}",
        f"{official.gmacs:g}",
        difference,
    )
    return f"| {' | '.join(cells)} |"


def claimed(page: str) -> list[str]:
    """The labels of the table's rows."""
    (rows,) = re.findall("\n".join(map(re.escape, HEAD)) + r"\n((?:\|.*\n)*)", page)
    return [row.split("|")[1].strip() for row in rows.splitlines()]


@pytest.mark.parametrize("official", OFFICIAL, ids=lambda official: official.module)
def test_sizes_agree_with_the_official_code_and_with_the_page(official: Official) -> None:
    found = measured(official)
    assert found["params_inference"] == pytest.approx(official.params, rel=0.005)
    assert found["gmacs"] == pytest.approx(official.gmacs, rel=0.02)
    assert line(official, found) in PAGE.read_text(encoding="utf-8").splitlines(), "written anew by --write"


def test_every_official_count_is_of_a_baseline_that_is_there() -> None:
    gone = [official.module for official in OFFICIAL if not registry.entries("method").get(official.module)]
    assert not gone, f"OFFICIAL counts {', '.join(gone)}, but baselines/ has no such method"


def test_the_table_claims_only_what_is_compared() -> None:
    """A baseline needs no row; one that has a row needs the official count that the row is compared with."""
    claims = claimed(PAGE.read_text(encoding="utf-8"))
    labels = [official.label for official in OFFICIAL]
    bare = [label for label in claims if label not in labels]
    assert not bare, f"docs/baselines.md gives sizes of {', '.join(bare)}, which OFFICIAL in this file must count, too"
    assert claims == labels, "written anew by --write"


def test_a_row_without_an_official_count_is_found() -> None:
    text = PAGE.read_text(encoding="utf-8").replace(
        HEAD[1], f"{HEAD[1]}\n| Mean image | 1 / 1 / 1 | 1 | 1 | 1 | 0.0 % |"
    )
    assert claimed(text)[0] == "Mean image"


def write() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = "\n".join((*HEAD, *(line(official, measured(official)) for official in OFFICIAL)))
    pattern = re.escape(HEAD[0]) + r"\n(\|.*\n)*"
    assert len(re.findall(pattern, text)) == 1
    PAGE.write_text(re.sub(pattern, lambda _: table + "\n", text), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.baselines.test_baselines_table --write")
    write()
