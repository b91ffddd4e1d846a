"""Cost reports what the harness noted, with its meaning; the memory of a prediction on CUDA only."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from afrad_bench.images import ImageArray
from afrad_bench.measures import cost
from afrad_bench.types import Cell, Dataset, Prediction, Subject, TrainingRecord


class Method:
    def __init__(self):
        self.predictions = 0

    def fit(self, train):
        return TrainingRecord()

    def predict(self, images):
        self.predictions += 1
        return Prediction(np.zeros(len(images)), None)


def rows(record=None, peak=None, device="cpu", method=None):
    images = ImageArray(np.zeros((1, 3, 8, 8), dtype=np.float32))
    cell = Cell("m", "{}", "d", "{}", "unified", None, 8, 0, "demo")
    data = Dataset("d", "1", (), (), "")
    subject = Subject(cell, method or Method(), data, images, images, record or TrainingRecord(), 12.5, peak, device, 2)
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
    assert "allocated by torch on the device" in found["predict_peak_memory"].note
    assert "allocated by torch on the device" in found["fit_peak_memory"].note


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_the_memory_of_a_prediction_is_not_guessed_elsewhere(device):
    method = Method()
    found = rows(device=device, method=method)
    assert found["predict_peak_memory"].value is None
    assert device in found["predict_peak_memory"].note
    assert method.predictions == 0
