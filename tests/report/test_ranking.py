"""Ranks over categories: Friedman, Nemenyi and Wilcoxon against other code, groups, too few categories, the pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from afrad_bench.errors import UserError
from afrad_bench.report import ranking_report, write
from afrad_bench.report.ranking import FEWEST, rank
from afrad_bench.types import MEAN
from tests.report.test_report import Bookkeeper, row, suite


def made(methods: int, categories: int, step: float = 0.5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(methods, categories)) + step * np.arange(methods)[:, None]


def names(count: int) -> list[str]:
    return [f"m{i}" for i in range(count)]


def test_nemenyi_is_that_of_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    values = made(4, 12)
    found = rank(names(4), values.tolist(), names(12), higher_is_better=True)
    order = [int(label[1:]) for label in found.labels]
    expected = posthocs.posthoc_nemenyi_friedman(values[order].T).to_numpy()
    assert np.array(found.p) == pytest.approx(expected, abs=1e-6)


def test_the_best_comes_first_and_equal_ones_are_tied() -> None:
    values = np.vstack([made(1, 12), made(1, 12) + 0.001, made(1, 12) + 5])
    found = rank(["a", "b", "c"], values.tolist(), names(12), higher_is_better=True, test="wilcoxon")
    assert found.labels == ("c", "b", "a")
    assert found.mean_ranks == (1.0, 2.0, 3.0)
    assert found.friedman is not None
    assert found.friedman < 1e-4
    assert found.groups == ()  # also a thousandth everywhere is a difference to Wilcoxon's test
    assert rank(["a", "b", "c"], values.tolist(), names(12), higher_is_better=False).labels == ("a", "b", "c")
    tied = rank(["a", "b", "c"], values[[0, 0, 2]].tolist(), names(12), higher_is_better=True)
    assert tied.mean_ranks == (1.0, 2.5, 2.5)
    assert tied.groups == ((1, 2),)


def test_what_is_alike_is_one_group() -> None:
    found = rank(names(3), made(3, 12, step=0.0).tolist(), names(12), higher_is_better=True)
    assert found.friedman is not None
    assert found.friedman > 0.05
    assert found.groups == ((0, 1, 2),)


def test_too_few_categories_are_not_tested() -> None:
    found = rank(names(3), made(3, FEWEST - 1, step=9).tolist(), names(FEWEST - 1), higher_is_better=True)
    assert (found.friedman, found.p, found.groups) == (None, (), ())
    assert "too few" in found.note
    some = rank(names(3), made(3, FEWEST, step=9).tolist(), names(FEWEST), higher_is_better=True)
    assert some.p
    assert "approximate" in some.note


def test_two_methods_are_told_apart_by_wilcoxon() -> None:
    found = rank(["a", "b"], made(2, 10, step=5).tolist(), names(10), higher_is_better=True)
    assert (found.friedman, found.test, found.groups) == (None, "wilcoxon", ())
    assert found.p[0][1] == pytest.approx(2 / 2**10)


def test_the_report_shows_ranks_and_draws_them(tmp_path: Path) -> None:
    book = Bookkeeper(tmp_path / "store")
    spec = suite(*(row(label) for label in ("good", "bad", "worse")))
    for level, each in zip((0.9, 0.8, 0.7), spec.rows, strict=True):
        values = {("image_auroc", f"c{i}"): level + 0.01 * (i % 3) for i in range(8)}
        book.run(each.cells[0], {"accuracy": {**values, ("image_auroc", MEAN): level}}, label=each.label)
    frames = book.store.read_all(["cells", "measurements"])
    report, found = ranking_report(spec, frames["cells"], frames["measurements"], "image_auroc", "nemenyi", 0.05)
    assert found.labels == ("good", "bad", "worse")
    assert len(found.categories) == 8
    assert report.answer == (
        "good ranks first in I-AUROC with a mean rank of 1.00 over 8 categories.",
        "It cannot be told from bad.",
    )
    written = write(report, tmp_path / "out")
    assert {path.suffix for path in written} == {".md", ".html", ".svg", ".png"}
    text = (tmp_path / "out" / "ranking_image_auroc.md").read_text(encoding="utf-8")
    assert "| good | 1.00 | 90" in text
    few = frames["measurements"][frames["measurements"]["category"].isin(["c0", "c1"])]
    report, _ = ranking_report(spec, frames["cells"], few, "image_auroc", "nemenyi", 0.05)
    assert report.answer[0].endswith("over 2 categories, without a test.")
    assert report.answer[1].startswith("2 categories are too few for a test")
    with pytest.raises(UserError, match="did you mean 'image_auroc'"):
        ranking_report(spec, frames["cells"], frames["measurements"], "image_aurok", "nemenyi", 0.05)
