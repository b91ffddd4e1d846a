"""Export: what is written runs in its own runtime, for any batch, and says what the model says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from afrad_bench import AFRAD
from afrad_bench.cli import app
from afrad_bench.deploy import export
from afrad_bench.errors import UserError
from tests.conftest import DrawnPicture

SIDE = 32
QUICK = "torchscript" if hasattr(torch.jit, "trace") else "pt2"
"""The format that is written soonest."""
TINY: dict[str, Any] = {
    "backbone": {"name": "resnet18", "weights": "random"},
    "features": {"reductions": [2, 4], "grid": 4},
    "mfpn": {"widths": [6, 5], "kernels": [3, 3], "strides": [1, 2]},
    "sad": {"stages": [1, 2], "repeats": [1, 1]},
    "width": 7,
    "training": {"epochs": 2},
}


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [DrawnPicture(seed, side=SIDE).read() for seed in range(7)]


@pytest.fixture(scope="module")
def model(images: list[np.ndarray]) -> AFRAD:
    return AFRAD(SIDE, **TINY).fit(images)


@pytest.fixture(scope="module")
def kept(model: AFRAD, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.save(tmp_path_factory.mktemp("kept") / "m.safetensors")


def as_input(images: list[np.ndarray]) -> np.ndarray:
    """What a program in another language has to do: values in [0, 1], channels first."""
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255


def check(done: export.Exported, path: Path, form: str) -> None:
    assert (done.path, done.format, done.image_size, done.bytes) == (path, form, SIDE, path.stat().st_size)
    assert [each.batch for each in done.checks] == [1, 3]
    assert all(max(each.map_difference, each.score_difference) <= 1e-4 for each in done.checks)
    assert list(path.parent.iterdir()) == [path]


def agrees(found: tuple[Any, Any], model: AFRAD, images: list[np.ndarray]) -> None:
    told = model.predict(images)
    assert np.allclose(np.asarray(found[0]), told.anomaly_map, rtol=1e-4, atol=1e-4)
    assert np.allclose(np.asarray(found[1]), told.pred_score, rtol=1e-4, atol=1e-4)


def test_onnx(kept: Path, model: AFRAD, images: list[np.ndarray], tmp_path: Path) -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    path = tmp_path / "new" / "m.onnx"
    check(export.export(kept, path), path, "onnx")
    session = runtime.InferenceSession(str(path))
    (entry,) = session.get_inputs()
    assert (entry.name, entry.type, entry.shape[1:]) == ("images", "tensor(float)", [3, SIDE, SIDE])
    assert isinstance(entry.shape[0], str)  # a free axis has a name in place of a size
    assert [each.name for each in session.get_outputs()] == ["anomaly_map", "pred_score"]
    for count in (1, 2, 7):
        agrees(session.run(None, {"images": as_input(images[:count])}), model, images[:count])
    props = {each.key: each.value for each in onnx.load(str(path)).metadata_props}
    assert '"method":"afrad"' in props["afrad_bench"]


def test_pt2_runs_without_this_package(kept: Path, model: AFRAD, images: list[np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.pt2"
    check(export.export(kept, path), path, "pt2")
    np.save(tmp_path / "in.npy", as_input(images))
    code = (
        "import sys, numpy, torch; net = torch.export.load(sys.argv[1]).module(); "
        "found = [m.detach().numpy() for m in net(torch.from_numpy(numpy.load('in.npy')))]; "
        "numpy.savez('out.npz', *found); assert 'afrad_bench' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=tmp_path, capture_output=True)
    out = np.load(tmp_path / "out.npz")
    agrees((out["arr_0"], out["arr_1"]), model, images)


@pytest.mark.skipif(not hasattr(torch.jit, "trace"), reason="this torch has no TorchScript any more")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_torchscript(kept: Path, model: AFRAD, images: list[np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.pt"
    check(export.export(kept, path), path, "torchscript")
    with torch.no_grad():
        for count in (1, 7):
            agrees(torch.jit.load(str(path))(torch.from_numpy(as_input(images[:count]))), model, images[:count])


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_a_file_that_computes_something_else_is_not_left_behind(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    """An exporter that gets an operator wrong: the file is refused, with the difference, and the old one stays."""
    path = tmp_path / "m.pt2"
    path.write_text("the old one")
    honest = export._as_runner
    seen: list[Any] = []

    def wrong(network: torch.nn.Module) -> Any:
        seen.append(network)
        run = honest(network)
        return run if len(seen) > 1 else lambda images: tuple(factor * each for each in run(images))

    monkeypatch.setattr(export, "_as_runner", wrong)
    with pytest.raises(UserError, match=r"batch of 1: (.|\n)*(1.0e-03|inf)(.|\n)*batch of 3(.|\n)*onnx"):
        export.export(kept, path)
    assert [(one, one.read_text()) for one in tmp_path.iterdir()] == [(path, "the old one")]


def test_packages_that_are_missing_are_named(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name.startswith("onnx") else object())
    with pytest.raises(UserError, match=r"needs onnx, onnxscript, onnxruntime(.|\n)*afrad-bench\[export\]"):
        export.export(kept, tmp_path / "m.onnx")


def test_the_format_is_that_of_the_suffix_or_said(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no export format has the suffix '.tflite'(.|\n)*\.onnx \(onnx\)"):
        export.export(kept, tmp_path / "m.tflite")
    done = export.export(kept, tmp_path / "m.bin", QUICK)
    assert (done.format, done.path.name) == (QUICK, "m.bin")


def test_the_command_tells_the_interface_and_the_difference(kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.bin"
    done = CliRunner().invoke(app, ["export", str(kept), str(out), "--format", QUICK], catch_exceptions=False)
    assert (done.exit_code, out.is_file()) == (0, True)
    assert f"(B, 3, {SIDE}, {SIDE}) float32" in done.output
    assert done.output.count("largest difference") == 2
