"""A measure that is missing is taken from the model that an earlier run kept, instead of from another fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from afrad_bench.deploy import model_file
from afrad_bench.running.cell_run import RunOptions
from afrad_bench.running.plan import Plan, make
from afrad_bench.running.run import run_suite
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.suite import load
from tests.conftest import mvtec_folder

SUITE = """\
suite: kept
title: Kept
measures: [{measures}]
methods:
  - method: afrad
    params:
      features: {{reductions: [4, 8]}}
      backbone: {{name: resnet18, weights: random}}
      training: {{epochs: 2, batch_size: 2}}
profiles:
  demo: {{datasets: [folder], image_size: 32, seeds: [0], threads: 1}}
"""
KEEP = RunOptions(keep_models=True)


@pytest.fixture
def workspace(tmp_path: Path, cache_folder: Path) -> Workspace:
    data = mvtec_folder(tmp_path / "data", train=4, test=2)
    return Workspace(tmp_path / "results", cache_folder, 2**30, "cpu", roots={"folder": str(data)})


def planned(workspace: Workspace, *measures: str) -> Plan:
    path = workspace.store.parent / "suite.yaml"
    path.write_text(SUITE.format(measures=", ".join(measures)), encoding="utf-8")
    return make(load(path).select(), workspace, workspace.files())


def runs(workspace: Workspace) -> list[dict]:
    return Store(workspace.store).read("cells").to_dict("records")


def value(workspace: Workspace, metric: str) -> float:
    rows = Store(workspace.store).read("measurements")
    return float(rows[rows["metric"] == metric]["value"].iloc[-1])


def test_a_missing_measure_does_not_cost_another_fit(workspace: Workspace) -> None:
    plan = planned(workspace, "accuracy", "cost")
    list(run_suite(plan, plan.open, workspace, KEEP))
    model = model_file.place_of(workspace.store, plan.cells[0].cell)
    written, fit = model.read_bytes(), value(workspace, "fit_seconds")

    more = planned(workspace, "accuracy", "cost", "complexity")
    assert [measure.name for measure in more.cells[0].open] == ["complexity"]
    (done,) = run_suite(more, more.open, workspace, KEEP)
    assert (done.status, done.model) == ("ok", model)
    assert model.read_bytes() == written
    first, second = runs(workspace)
    assert "fit" in json.loads(first["timings"])
    assert "fit" not in json.loads(second["timings"])
    assert list(json.loads(second["measures"])) == ["complexity"]
    for column in ("epochs", "images_seen", "final_loss", "resumed_at"):  # they stay those of the training
        assert first[column] == second[column], column
    note = f"measured on the model that run {first['run_id']} kept, without another fit"
    assert json.loads(second["notes"]) == [*json.loads(first["notes"]), note]
    assert value(workspace, "fit_seconds") == fit
    assert planned(workspace, "accuracy", "cost", "complexity").open == ()


def test_what_is_measured_on_a_kept_model_is_what_the_fitted_one_gave(workspace: Workspace) -> None:
    plan = planned(workspace, "accuracy")
    list(run_suite(plan, plan.open, workspace, KEEP))
    found = Store(workspace.store).read("scores")["pred_score"].to_numpy()
    other = Workspace(workspace.store.parent / "other", workspace.cache, 2**30, "cpu", roots=workspace.roots)
    list(run_suite(planned(other, "complexity"), planned(other, "complexity").open, other, KEEP))
    more = planned(other, "complexity", "accuracy")
    list(run_suite(more, more.open, other))
    assert "fit" not in json.loads(runs(other)[-1]["timings"])
    np.testing.assert_allclose(Store(other.store).read("scores")["pred_score"].to_numpy(), found, rtol=1e-5)


def test_the_cost_of_a_fit_needs_a_fit(workspace: Workspace) -> None:
    plan = planned(workspace, "complexity")
    list(run_suite(plan, plan.open, workspace, KEEP))
    more = planned(workspace, "complexity", "cost")
    list(run_suite(more, more.open, workspace, KEEP))
    assert ["fit" in json.loads(run["timings"]) for run in runs(workspace)] == [True, True]
    again = planned(workspace, "complexity", "cost")
    list(run_suite(again, again.cells, workspace, RunOptions(force=True)))
    assert "fit" in json.loads(runs(workspace)[-1]["timings"])  # `force` measures all of it anew


def test_a_model_that_stands_for_no_stored_fit_is_not_used(workspace: Workspace) -> None:
    """Nothing would tell how long that fit was."""
    plan = planned(workspace, "accuracy")
    list(run_suite(plan, plan.open, workspace, KEEP))
    for part in (workspace.store / "cells").iterdir():
        part.unlink()
    again = planned(workspace, "accuracy")
    list(run_suite(again, again.open, workspace))
    assert "fit" in json.loads(runs(workspace)[-1]["timings"])


def test_a_damaged_model_is_told_and_the_method_fitted_again(workspace: Workspace) -> None:
    plan = planned(workspace, "accuracy")
    list(run_suite(plan, plan.open, workspace, KEEP))
    model = model_file.place_of(workspace.store, plan.cells[0].cell)
    raw = bytearray(model.read_bytes())
    raw[-5] ^= 255
    model.write_bytes(raw)
    more = planned(workspace, "accuracy", "complexity")
    (done,) = run_suite(more, more.open, workspace)
    assert done.status == "ok"
    last = runs(workspace)[-1]
    assert "fit" in json.loads(last["timings"])
    assert any("the kept model cannot be used" in note for note in json.loads(last["notes"]))
