"""Decisions: the threshold stays with the model, and every exported file decides like the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from afrad_bench import AFRAD
from afrad_bench.cli import app
from afrad_bench.deploy import deciding, export, model_file
from afrad_bench.errors import UserError
from afrad_bench.instruments.operating import is_anomalous, normalised
from tests.conftest import DrawnPicture
from tests.deploy.test_export import SIDE, TINY, as_input

NORMAL = [DrawnPicture(seed, side=SIDE).read() for seed in range(20)]
ANOMALOUS = [DrawnPicture(100 + seed, side=SIDE, defect=True).read() for seed in range(4)]


@pytest.fixture(scope="module")
def fitted() -> AFRAD:
    return AFRAD(SIDE, **TINY).fit(NORMAL[:7])


@pytest.fixture
def kept(fitted: AFRAD, tmp_path: Path) -> Path:
    return fitted.save(tmp_path / "m.safetensors")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of normal and anomalous images."""
    made = tmp_path / "good", tmp_path / "bad"
    for folder, images in zip(made, (NORMAL, ANOMALOUS), strict=True):
        folder.mkdir()
        for i, pixels in enumerate(images):
            Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return made


def test_the_threshold_is_kept_beside_the_same_tensors(kept: Path) -> None:
    before = load_file(kept)
    assert model_file.read_card(kept).operating_point is None
    assert model_file.read_card(kept).format == 1
    point = deciding.calibrate(kept, NORMAL, rate=0.1, data="good")
    card = model_file.read_card(kept)
    assert (card.operating_point, card.format, point.split, point.normal) == (point, 2, "held_out", 20)
    after = load_file(kept)
    assert all(torch.equal(before[name], after[name]) for name in before)
    found = deciding.decide(kept, [*NORMAL, *ANOMALOUS])
    assert found.is_anomalous[:20].sum() <= 2
    assert np.array_equal(found.is_anomalous, is_anomalous(found.pred_score, point))
    assert found.pred_score == pytest.approx(AFRAD.load(kept).predict([*NORMAL, *ANOMALOUS]).pred_score, rel=1e-5)


def test_the_model_in_python_decides_too(kept: Path) -> None:
    deciding.calibrate(kept, NORMAL, ANOMALOUS, None, "held_out", "mine")
    assert AFRAD.load(kept).card.operating_point == model_file.read_card(kept).operating_point
    assert AFRAD.load(kept).save(kept.with_name("copy.safetensors")).read_bytes() == kept.read_bytes()


def test_too_few_images_are_said(kept: Path) -> None:
    before = kept.read_bytes()
    with pytest.raises(UserError, match=r"good: a false-alarm rate of 0.01 needs 99 normal images, there are 20"):
        deciding.calibrate(kept, NORMAL, data="good")
    assert kept.read_bytes() == before


def test_a_model_without_a_threshold_decides_nothing(kept: Path) -> None:
    with pytest.raises(UserError, match=r"no operating point(.|\n)*afrad-bench calibrate"):
        deciding.decide(kept, NORMAL[:1])


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_exported_files_decide_like_the_model(kept: Path, tmp_path: Path, suffix: str) -> None:
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime")
    point = deciding.calibrate(kept, NORMAL, rate=0.1)
    path = tmp_path / f"m{suffix}"
    export.export(kept, path)
    images = [*NORMAL, *ANOMALOUS]
    maps, score, shown, anomalous = export._runner("onnx" if suffix == ".onnx" else "pt2", path)(as_input(images))
    told = deciding.decide(kept, images)
    assert maps.shape == (24, SIDE, SIDE)
    assert (shown.dtype, anomalous.dtype) == (np.float32, np.bool_)
    assert score == pytest.approx(told.pred_score, rel=1e-4)
    assert shown == pytest.approx(normalised(told.pred_score, point), abs=1e-3)
    assert np.array_equal(anomalous, told.is_anomalous)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_onnx_files(kept: Path, tmp_path: Path, precision: export.Precision) -> None:
    pytest.importorskip("onnxruntime")
    deciding.calibrate(kept, NORMAL, rate=0.1)
    done = export.export(kept, tmp_path / "small.onnx", precision=precision, images=NORMAL)
    assert done.bytes < 0.75 * kept.stat().st_size
    assert done.tolerance == {"fp16": 2e-2, "int8": None}[precision]
    outputs = export._runner("onnx", done.path)(as_input(NORMAL[:3]))
    assert [each.shape for each in outputs] == [(3, SIDE, SIDE), (3,), (3,), (3,)]
    assert not list(tmp_path.glob(".*"))
    assert b"site-packages" not in done.path.read_bytes()  # no trace of the machine that wrote it


def test_what_a_precision_needs_is_said(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="int8 is scaled by normal images"):
        export.export(kept, tmp_path / "m.onnx", precision="int8")
    with pytest.raises(UserError, match="fp16 is offered for ONNX only"):
        export.export(kept, tmp_path / "m.pt2", precision="fp16")


def test_the_commands(kept: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    good, bad = map(str, folders)

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    told = call("calibrate", str(kept), "--normal", good, "--false-alarms", "0.1")
    assert "at most 10 % false alarms, decided on 20 normal images of good (held out)" in told
    assert "caution" not in told
    told = call("calibrate", str(kept), "--normal", good, "--anomalous", bad, "--best-f1", "--split", "test")
    assert "best F1, decided on 20 normal and 4 anomalous images of good, bad (test labels)" in told
    assert "caution: the threshold was decided on test labels" in told
    shown = call("predict", str(kept), good, bad)
    assert "caution: the threshold was decided on test labels" in shown
    read = json.loads(call("predict", str(kept), bad, "--json"))
    assert [Path(each["image"]).name for each in read["images"]] == [f"{i:02}.png" for i in range(4)]
    assert read["operating_point"]["split"] == "test"
    assert shown.count("\nanomalous") + shown.startswith("anomalous") == int(
        deciding.decide(kept, folders).is_anomalous.sum()
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--best-f1",), "give --best-f1 and --anomalous together"),
        (("--anomalous", "x"), "give --best-f1 and --anomalous together"),
        (("--best-f1", "--anomalous", "x", "--false-alarms", "0.1"), "two rules for one threshold"),
    ],
)
def test_rules_that_contradict_are_refused(kept: Path, arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError, match=told):
        CliRunner().invoke(app, ["calibrate", str(kept), "--normal", "x", *arguments], catch_exceptions=False)
