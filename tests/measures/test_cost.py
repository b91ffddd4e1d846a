"""Cost reports what the harness noted, with its meaning; the memory of a prediction on CUDA only."""

from __future__ import annotations

from time import sleep

import numpy as np
import pytest
import torch

from afrad_bench.images.sets import ImageArray
from afrad_bench.instruments import clock
from afrad_bench.measures import cost
from afrad_bench.running.plan import make
from afrad_bench.running.run import run_suite
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.suite import load
from afrad_bench.types import Cell, Dataset, Prediction, Subject, TrainingRecord
from tests.busy import busy
from tests.conftest import mvtec_folder

SUITE = """\
suite: tiny
title: Tiny
measures: [cost]
methods:
  - method: padim
    params: {backbone: {name: resnet18, weights: random}}
    variants:
      - {label: first, params: {channels: 8}}
      - {label: second, params: {channels: 9}}
profiles:
  one:
    datasets: [{name: folder, root: ROOT}]
    image_size: 64
"""


class Method:
    def __init__(self):
        self.predictions = 0

    def fit(self, train):
        return TrainingRecord()

    def predict(self, images):
        self.predictions += 1
        return Prediction(np.zeros(len(images)), None)


def rows(record=None, peak=None, device="cpu", method=None, **features):
    images = ImageArray(np.zeros((1, 3, 8, 8), dtype=np.float32))
    cell = Cell("m", "{}", "d", "{}", "unified", None, 8, 0, "demo")
    data = Dataset("d", "1", (), (), "")
    subject = Subject(
        cell, method or Method(), data, images, images, record or TrainingRecord(), 12.5, peak, device, 2, **features
    )
    found = list(cost.measure(subject, cost.Config()))
    assert sorted(row.metric for row in found) == sorted(cost.METRICS)
    assert all(row.unit == cost.METRICS[row.metric].unit for row in found)
    assert all(row.note for row in found if row.value is None)
    return {row.metric: row for row in found}


def test_figures_of_the_fit():
    found = rows(TrainingRecord(epochs=3, images_seen=300, notes=("coreset 1 %",)), peak=5 * 2**20)
    assert found["fit_seconds"].value == 12.5
    assert found["fit_seconds"].note == "cpu, 2 threads; coreset 1 %"
    assert found["fit_images"].value == 300
    assert found["fit_epochs"].value == 3
    assert found["fit_peak_memory"].value == 5.0
    assert "resident memory" in found["fit_peak_memory"].note


def test_a_fit_that_found_its_features_says_so_and_one_that_computed_them_how_long():
    found = rows(peak=2**20, features_found=True)
    assert found["fit_seconds"].note == "cpu, 2 threads; backbone features were found in the cache"
    assert found["fit_feature_seconds"].value == 0.0
    assert "found in the cache" in found["fit_peak_memory"].note
    computed = rows(peak=2**20, feature_seconds=3.21, features_found=True)
    assert computed["fit_seconds"].value == 12.5
    assert computed["fit_feature_seconds"].value == 3.21
    for name in ("fit_seconds", "fit_peak_memory"):
        assert "the backbone ran during the fit, for 3.2 s" in computed[name].note
    assert rows()["fit_feature_seconds"].value is None


def test_the_harness_tells_features_of_the_fit_apart(tmp_path):
    """The first of two cells with one backbone computes the features, the second finds them."""
    mvtec_folder(tmp_path / "data", train=2, test=1)
    (tmp_path / "suite.yaml").write_text(SUITE.replace("ROOT", str(tmp_path / "data")))
    store = Store(tmp_path / "store")
    workspace = Workspace(tmp_path / "store", tmp_path / "cache", 2**30, "cpu", 1)
    plan = make(load(tmp_path / "suite.yaml").select(), workspace, workspace.files())
    assert [done.error for done in run_suite(plan, plan.cells, workspace)] == ["", ""]
    found = store.read("measurements").set_index(["label", "metric"])
    assert found.loc[("first", "fit_feature_seconds"), "value"] > 0
    assert "the backbone ran during the fit" in found.loc[("first", "fit_seconds"), "note"]
    assert found.loc[("second", "fit_feature_seconds"), "value"] == 0
    assert "found in the cache" in found.loc[("second", "fit_seconds"), "note"]


def test_what_a_card_computes_after_the_fit_has_returned_belongs_to_the_fit(tmp_path, monkeypatch):
    card = clock.WallClock("a card that is busy for a while", synchronise=lambda: sleep(0.5))
    monkeypatch.setattr(clock, "clock_for", lambda device: card)
    mvtec_folder(tmp_path / "data", train=2, test=1)
    (tmp_path / "suite.yaml").write_text(SUITE.replace("ROOT", str(tmp_path / "data")))
    workspace = Workspace(tmp_path / "store", None, 2**30, "cpu", 1)
    plan = make(load(tmp_path / "suite.yaml").select(), workspace, workspace.files())
    (done,) = run_suite(plan, plan.cells[:1], workspace)
    found = Store(tmp_path / "store").read("measurements").set_index("metric")["value"]
    assert done.error == ""
    assert found["fit_seconds"] >= 0.5


def test_times_of_a_fit_on_a_loaded_machine_are_marked():
    load = "other processes used 1.4 of 2 cores while this was timed"
    found = rows(TrainingRecord(resumed_at=7), peak=2**20, features_found=True, fit_doubts=(load,))
    assert found["fit_seconds"].note.startswith(f"unreliable: {load}; resumed at epoch 7")
    assert found["fit_feature_seconds"].note == f"unreliable: {load}; backbone features were found in the cache"
    assert "unreliable" not in found["fit_peak_memory"].note + found["fit_images"].note


def test_the_harness_notices_a_load_during_a_fit_of_an_instant(tmp_path):
    mvtec_folder(tmp_path / "data", train=2, test=1)
    (tmp_path / "suite.yaml").write_text(SUITE.replace("ROOT", str(tmp_path / "data")))
    workspace = Workspace(tmp_path / "store", tmp_path / "cache", 2**30, "cpu", 1)
    plan = make(load(tmp_path / "suite.yaml").select(), workspace, workspace.files())
    with busy():
        assert [done.error for done in run_suite(plan, plan.cells, workspace)] == ["", ""]
    found = Store(tmp_path / "store").read("measurements").set_index(["label", "metric"])["note"]
    for label in ("first", "second"):
        assert found[label, "fit_seconds"].startswith("unreliable: other processes used ")
        assert "cores while this was timed; cpu, 1 thread" in found[label, "fit_seconds"].replace("core ", "cores ")


def test_an_unknown_peak_is_none_with_a_reason():
    found = rows(peak=None)
    assert found["fit_peak_memory"].value is None
    assert "not measured" in found["fit_peak_memory"].note


def test_a_resumed_fit_does_not_pass_for_a_whole_one():
    found = rows(TrainingRecord(epochs=10, resumed_at=7), peak=2**20)
    for name in ("fit_seconds", "fit_peak_memory"):
        assert found[name].note.startswith("resumed at epoch 7: of the last run only")


def test_the_memory_of_a_prediction_is_taken_after_a_warm_up_on_cuda(monkeypatch):
    method = Method()
    log = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: log.append(method.predictions))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: log.append(method.predictions) or 3 * 2**20)
    found = rows(peak=2**20, device="cuda:0", method=method)
    assert log == [1, 2]
    assert found["predict_peak_memory"].value == 3.0
    assert rows(device="cuda:0", method=method, bytes_before=2**20)["predict_peak_memory"].value == 2.0
    assert "allocated by torch on the device" in found["predict_peak_memory"].note
    assert "allocated by torch on the device" in found["fit_peak_memory"].note


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_the_memory_of_a_prediction_is_not_guessed_elsewhere(device):
    method = Method()
    found = rows(device=device, method=method)
    assert found["predict_peak_memory"].value is None
    assert device in found["predict_peak_memory"].note
    assert method.predictions == 0
