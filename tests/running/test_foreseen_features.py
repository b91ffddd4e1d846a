"""What a plan says of the features that its cells will keep, and that a run keeps exactly that, in one pass."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from afrad_bench.backbone.entries import Entries
from afrad_bench.cli.screen import planned as planned_screen
from afrad_bench.images.sets import ImageSet
from afrad_bench.running.foreseen_features import FeatureSizes, sizes
from afrad_bench.running.plan import Plan, make
from afrad_bench.running.run import run_suite
from afrad_bench.running.workspace import Workspace
from afrad_bench.suite.suite import load
from tests.conftest import mvtec_folder

SUITE = """
suite: small
title: Small
measures: [accuracy]
methods:
  - {method: padim, label: PaDiM, params: {channels: 8}}
  - {method: patchcore, label: PatchCore, params: {batch_norm: pretrained, width: 16, stage_width: 16}}
  - {method: simplenet, label: SimpleNet, params: {training: {epochs: 1}}}
  - {method: draem, label: DRAEM, params: {training: {epochs: 0}}}
profiles:
  demo:
    datasets: [folder]
    image_size: 64
    threads: 1
    shared: {backbone: {name: resnet18, weights: random}}
"""
OF_PADIM = 64 * 16 * 16 + 128 * 8 * 8 + 256 * 4 * 4
MOVED = 128 * 8 * 8 + 256 * 4 * 4
"""SimpleNet's batch norms are moved by an image of ones: its maps are other ones than PatchCore's."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    data = mvtec_folder(tmp_path / "data", train=4, test=2)
    return Workspace(tmp_path / "results", tmp_path / "cache", 2**30, "cpu", roots={"folder": str(data)})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images of the batches that are decoded."""
    found: list[int] = []
    real = ImageSet.array
    monkeypatch.setattr(ImageSet, "array", lambda inner: (found.append(len(inner)), real(inner))[1])
    return found


def planned(workspace: Workspace, suite: str = SUITE) -> Plan:
    path = workspace.store.parent / "suite.yaml"
    path.write_text(suite, encoding="utf-8")
    return make(load(path).select(), workspace, workspace.files())


def foretold(plan: Plan, workspace: Workspace) -> FeatureSizes:
    found = sizes(plan, plan.open, workspace)
    assert found is not None
    return found


def test_a_run_keeps_what_was_foretold_in_one_pass(workspace: Workspace, decoded: list[int]) -> None:
    plan = planned(workspace)
    found = foretold(plan, workspace)
    images = len(plan.datasets[0].train) + len(plan.datasets[0].test)
    assert found.bytes == found.missing == 4 * images * (OF_PADIM + MOVED)
    assert found.problems == ()
    assert [(one.part.reduction, one.part.after_ones, one.rows) for one in found.kept] == [
        (4, False, ("PaDiM",)),
        (8, False, ("PaDiM", "PatchCore")),
        (16, False, ("PaDiM", "PatchCore")),
        (8, True, ("SimpleNet",)),
        (16, True, ("SimpleNet",)),
    ]
    outcomes = list(run_suite(plan, [one for one in plan.cells if one.cell.method != "draem"], workspace))
    assert [done.error for done in outcomes] == ["", "", ""]
    assert sum(decoded) == 2 * images  # once as the backbone is, once with moved norms
    assert workspace.cache is not None
    entries = Entries(workspace.cache / "features", 2**30).listed()
    assert 0 < sum(entry.bytes for entry in entries) - found.bytes < 1000 * len(entries)
    again = sizes(plan, plan.cells, workspace)
    assert again is not None
    assert again.missing == 0
    assert foretold(replace(plan, cells=plan.cells), workspace).bytes == found.bytes


def test_methods_that_move_norms_alike_share_the_pass(workspace: Workspace, decoded: list[int]) -> None:
    plan = planned(workspace, SUITE.replace("batch_norm: pretrained", "batch_norm: official"))
    cells = [one for one in plan.cells if one.cell.method in ("patchcore", "simplenet")]
    found = sizes(plan, cells, workspace)
    assert found is not None
    assert [one.rows for one in found.kept] == [("PatchCore", "SimpleNet")] * 2
    assert [done.error for done in run_suite(plan, cells, workspace)] == ["", ""]
    assert sum(decoded) == len(plan.datasets[0].train) + len(plan.datasets[0].test)


def test_a_transformer_of_a_methods_own_is_foretold(workspace: Workspace) -> None:
    start, end = SUITE.split("methods:\n")[0], SUITE.split("profiles:\n")[1]
    row = "  - {method: uniformaly, label: Uniformaly, params: {layers: [1, 2]}}\n"
    plan = planned(workspace, f"{start}methods:\n{row}profiles:\n{end}".replace("resnet18", "test_vit"))
    cells = [one for one in plan.cells if one.cell.method == "uniformaly"]
    found = sizes(plan, cells, workspace)
    assert found is not None
    assert [(one.part.backbone, one.part.shape) for one in found.kept] == [
        ("test_vit tokens", (64, 4, 4)),
        ("test_vit attention", (1, 4, 4)),
    ]
    assert [done.error for done in run_suite(plan, cells, workspace)] == [""]
    assert workspace.cache is not None
    entries = Entries(workspace.cache / "features", 2**30).listed()
    assert 0 < sum(entry.bytes for entry in entries) - found.bytes < 1000 * len(entries)


def test_nothing_is_said_of_methods_that_keep_nothing(workspace: Workspace) -> None:
    plan = planned(workspace)
    assert sizes(plan, [one for one in plan.cells if one.cell.method == "draem"], workspace) is None
    assert sizes(plan, plan.cells, replace(workspace, cache=None)) is None


def test_what_does_not_fit_is_said_with_what_to_do(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(workspace)
    whole = foretold(plan, workspace).bytes
    (text,) = foretold(plan, replace(workspace, cache_limit=whole - 1)).problems
    assert "the least recently used are removed" in text
    assert text.endswith("`--cache-limit 1` keeps them all")
    (text,) = foretold(plan, replace(workspace, cache_limit=1000)).problems
    assert "some are not kept, but computed for each batch" in text
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=whole - 1))
    (text,) = foretold(plan, workspace).problems
    assert "by `--cache`" in text


def test_it_is_shown(workspace: Workspace) -> None:
    plan, out = planned(workspace), Console(file=io.StringIO(), width=130)
    planned_screen.show_plan(out, plan, foretold(plan, replace(workspace, cache_limit=1000)))
    shown = out.file.getvalue()
    head = shown.partition("cell ")[0]
    assert "features to keep: 2.5 MiB; limit of the cache 0.0 MiB; free on its" in head
    assert "caution: features of 2.5 MiB exceed" in head
    assert "reduction 16, 4 x 4, moved norms" in shown
    assert "PaDiM and 1 more" in shown
    assert shown.count("to compute") == 5
