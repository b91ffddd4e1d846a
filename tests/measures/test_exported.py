"""The operating point and the exported files as measures: counts worked by hand, and what a gate makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from afrad_bench.comparing.rules import Rule
from afrad_bench.comparing.side import metrics
from afrad_bench.errors import UserError
from afrad_bench.images.sets import held_out_images, test_images, train_images
from afrad_bench.instruments.operating import at_best_f1
from afrad_bench.measures import exported, operating_point
from afrad_bench.measures._subject.deciding import deciding_images
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.results import Results, Run, Value
from afrad_bench.report.model import MeasureSpec, PlannedCell, ReportInput, RowSpec
from afrad_bench.report.sections.exported import exported as section
from afrad_bench.running.held_out import without
from afrad_bench.suite.file import HoldOut
from afrad_bench.types import MEAN, Cell, Measurement, OperatingPoint, Prediction, Subject, TrainingRecord
from tests.conftest import drawn_dataset

SIDE = 16
CONFIG: dict[str, Any] = {"rate": 0.1, "repeats": 10, "warmup": 1, "warmup_seconds": 0}


class Brightness(nn.Module):
    """The map is a convolution of the image, the score its maximum."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 1, 3, padding=1)
        nn.init.constant_(self.conv.weight, factor / 27)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.conv(images)[:, 0]
        return found, found.amax((1, 2))


class Method:
    """A method without a network."""

    def __init__(self, factor: float = 1.0) -> None:
        self.module = Brightness(factor).eval()

    def fit(self, train: Any) -> TrainingRecord:
        return TrainingRecord()

    def predict(self, images: Any) -> Prediction:
        with torch.inference_mode():
            maps, scores = self.module(torch.from_numpy(images.array()))
        return Prediction(scores.numpy(), maps.numpy())


class WithNetwork(Method):
    def network(self) -> nn.Module:
        return self.module


def subject(method: Any) -> Subject:
    data = drawn_dataset(train=12, normal=10, anomalous=10)
    cell = Cell("m", "{}", "d", "{}", "unified", None, SIDE, 0, "demo")
    train, test = train_images(data, SIDE), test_images(data, SIDE)
    return Subject(cell, method, data, test, train, TrainingRecord(), 0.0, None, "cpu", 1)


def by_name(found: Sequence[Any]) -> dict[tuple[str, str | None], Measurement]:
    return {(one.metric, one.category): one for one in found if isinstance(one, Measurement)}


# ---------------------------------------------------------------------------------------------------- operating point


def test_the_point_is_yielded_and_its_decisions_counted() -> None:
    one = subject(Method())
    found = list(operating_point.measure(one, operating_point.Config(rate=0.1)))
    (point,) = [each for each in found if isinstance(each, OperatingPoint)]
    assert (point.split, point.normal, point.data) == ("train", 24, "drawn")
    rows = by_name(found)
    scores = one.method.predict(one.test).pred_score
    for category in ("a", "b"):
        mine = np.array([sample.category == category for sample in one.dataset.test])
        labels = np.array([sample.gt_label for sample in one.dataset.test])
        flagged = scores > np.float32(point.threshold)
        assert rows["false_alarm_rate", category].value == pytest.approx(flagged[mine & ~labels].mean())
        assert rows["detection_rate", category].value == pytest.approx(flagged[mine & labels].mean())
    assert rows["detection_rate", MEAN].value == 1.0
    assert rows["threshold", None].value == point.threshold
    assert "the images of the fit" in rows["false_alarm_rate", MEAN].note
    assert "expect more false alarms" in rows["false_alarm_rate", "a"].note


def test_test_labels_are_marked() -> None:
    config = operating_point.Config(rule="best_f1", decided_on="test")
    rows = by_name(list(operating_point.measure(subject(Method()), config)))
    assert rows["f1_at_threshold", MEAN].value == 1.0
    assert "(test labels); the threshold was decided on test labels" in rows["f1_at_threshold", MEAN].note


def test_a_share_of_the_test_images_decides_and_the_rest_judges() -> None:
    one = subject(Method())
    config = operating_point.Config(rule="best_f1", decided_on="test_share", share=0.3, seed=1)
    found = list(operating_point.measure(one, config))
    (point,) = [each for each in found if isinstance(each, OperatingPoint)]
    assert (point.split, point.normal, point.anomalous) == ("held_out", 6, 6)  # 3 of 10, of each category and label
    deciding = deciding_images(one, config)
    labels = np.array([sample.gt_label for sample in one.dataset.test])
    scores = one.method.predict(one.test).pred_score
    assert point.threshold == at_best_f1(scores[deciding], labels[deciding])
    mine = ~deciding & np.array([sample.category == "a" for sample in one.dataset.test])
    assert [(mine & label).sum() for label in (labels, ~labels)] == [7, 7]
    rows = by_name(found)
    flagged = scores > np.float32(point.threshold)
    assert rows["false_alarm_rate", "a"].value == pytest.approx(flagged[mine & ~labels].mean())
    note = rows["f1_at_threshold", MEAN].note
    assert "drawn, 30% of its test images (seed 1) (held out); counted on the other 28 test images" in note
    again = deciding_images(subject(Method()), config)
    assert np.array_equal(deciding, again)
    assert not np.array_equal(deciding, deciding_images(one, config.model_copy(update={"seed": 2})))


def test_a_rare_kind_always_judges() -> None:
    one = subject(Method())
    lonely = [sample for sample in one.dataset.test if not (sample.category == "a" and sample.gt_label)]
    lonely += [next(sample for sample in one.dataset.test if sample.category == "a" and sample.gt_label)]
    one = replace(one, dataset=replace(one.dataset, test=tuple(lonely)))
    deciding = deciding_images(one, operating_point.Config(decided_on="test_share", share=0.99))
    assert not deciding[-1]
    assert deciding.sum() == 27  # 9 of 10, of the three other kinds


def test_images_that_were_held_out_decide() -> None:
    plain = subject(Method())
    data = without(plain.dataset, HoldOut(share=0.25))
    assert (len(data.train), len(data.held_out)) == (18, 6)
    assert {sample.id for sample in data.train} | {s.id for s in data.held_out} == {s.id for s in plain.dataset.train}
    assert data.fingerprint != plain.dataset.fingerprint
    assert {sample.category for sample in data.only("a").held_out} == {"a"}
    config = operating_point.Config(rate=0.2, decided_on="held_out")
    one = replace(plain, dataset=data, held_out=held_out_images(data, SIDE))
    found = list(operating_point.measure(one, config))
    (point,) = [each for each in found if isinstance(each, OperatingPoint)]
    assert (point.split, point.normal, point.caution) == ("held_out", 6, "")
    empty = by_name(list(operating_point.measure(plain, config)))["false_alarm_rate", MEAN]
    assert empty.value is None
    assert "hold_out: {share: 0.2}" in empty.note
    with pytest.raises(UserError, match="a has 12 training images, too few to hold out 12"):
        without(plain.dataset, HoldOut(share=0.99))


def test_too_few_images_leave_the_values_empty_with_the_reason() -> None:
    found = list(operating_point.measure(subject(Method()), operating_point.Config(rate=0.01)))
    assert not [each for each in found if isinstance(each, OperatingPoint)]
    assert {(one.value, one.note) for one in by_name(found).values()} == {
        (None, "a false-alarm rate of 0.01 needs 99 normal images, there are 24")
    }


def test_the_best_f1_of_training_images_is_refused() -> None:
    with pytest.raises(ValidationError, match="decided_on: test_share, or test"):
        operating_point.Config(rule="best_f1")


# ------------------------------------------------------------------------------------------------------ exported files


def test_files_are_compared_with_the_method_on_all_test_images() -> None:
    pytest.importorskip("onnxruntime")
    rows = by_name(list(exported.measure(subject(WithNetwork()), exported.Config(**CONFIG))))
    assert {name for name, _ in rows} == set(exported.METRICS)
    assert rows["checkpoint_image_auroc", None].value == rows["onnx_fp32_image_auroc", None].value == 1.0
    assert rows["onnx_fp32_flips", None].value == 0
    assert "of 40 test images" in rows["onnx_fp32_flips", None].note
    fp32, fp16, int8 = (rows[f"onnx_{p}_score_difference", None].value for p in ("fp32", "fp16", "int8"))
    assert fp32 is not None
    assert fp16 is not None
    assert int8 is not None
    assert fp32 < 1e-5 < fp16 < int8
    assert all(rows[f"onnx_{p}_latency", None].value for p in ("fp32", "fp16", "int8"))


def test_a_file_whose_scores_are_not_finite_has_no_values_but_the_others_have() -> None:
    """1e6 is infinite in float16."""
    pytest.importorskip("onnxruntime")
    config = exported.Config(files=("onnx_fp16", "onnx_fp32"), **CONFIG)
    rows = by_name(list(exported.measure(subject(WithNetwork(1e7)), config)))
    assert rows["onnx_fp16_flips", None].value is None
    assert "40 of 40 image scores are not finite" in rows["onnx_fp16_flips", None].note
    assert rows["onnx_fp32_flips", None].value == 0
    assert not [name for name, _ in rows if "int8" in name]


def test_a_method_without_a_network_has_the_reason() -> None:
    pytest.importorskip("onnxruntime")
    rows = by_name(list(exported.measure(subject(Method()), exported.Config(files=("onnx_fp32",)))))
    assert {one.note for one in rows.values()} == {"the method offers no network that could be exported"}


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from afrad_bench.deploy import onnx_file

    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"exported: .*needs onnx(.|\n)*pip install 'afrad-bench\[export\]'"):
        list(exported.measure(subject(WithNetwork()), exported.Config()))


def test_a_gate_can_forbid_flips() -> None:
    rule = Rule(metric="onnx_*_flips", max=0)
    assert [name for name in metrics() if rule.fits("AFRAD", name, None)] == [
        "onnx_fp32_flips",
        "onnx_fp16_flips",
        "onnx_int8_flips",
    ]
    assert rule.breach(1.0) == "above the limit, at most 0"


def test_the_report_has_a_line_for_each_row_and_file() -> None:
    cells = {label: PlannedCell(f"id {label}", "demo", 0) for label in ("a", "b")}
    rows = tuple(RowSpec(label, "afrad", (cell,)) for label, cell in cells.items())
    numbers = {"checkpoint_image_auroc": 0.9, "onnx_fp32_image_auroc": 0.8, "onnx_fp32_flips": 3.0}
    runs, values = {}, {}
    for cell in cells.values():
        runs[cell.id] = (
            Run(cell.id, "r", {"measures": {"exported": {"version": "1", "status": "ok"}}, "status": "ok"}),
        )
        values[cell.id, "r", "exported"] = {name: {None: Value(value, "", "why")} for name, value in numbers.items()}
    spec = ReportInput("s", "S", "demo", rows, {"exported": MeasureSpec(exported.METRICS)}, "command")
    found = section(Grid(spec, Results(runs, values)))
    assert found is not None
    (table,) = found.tables
    assert [heading.text for heading in table.headings] == ["Method", "Run as", "I-AUROC", "Label flips"]
    assert [[entry.text for entry in line.entries] for line in table.lines] == [
        ["a", "fitted method (torch)", "90.0", "–"],
        ["a", "ONNX fp32", "80.0", "3"],
        ["b", "fitted method (torch)", "90.0", "–"],
        ["b", "ONNX fp32", "80.0", "3"],
    ]
    assert table.footnotes == ("why",)
    plain = replace(spec, measures={"operating_point": MeasureSpec(operating_point.METRICS)})
    assert section(Grid(plain, Results({}, {}))) is None
