"""Export: what is written runs in its own runtime, for any batch, and says what the model says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from afrad_bench import AFRAD
from afrad_bench.cli import app
from afrad_bench.deploy import export, input_file
from afrad_bench.errors import UserError
from afrad_bench.images.intake import batches
from afrad_bench.methods.afrad.method import Afrad
from afrad_bench.types import Loop
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
    assert sorted(path.parent.iterdir()) == sorted([path, done.input])


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
    monkeypatch.setattr(export.onnx_file, "find_spec", lambda name: None if name.startswith("onnx") else object())
    with pytest.raises(UserError, match=r"needs onnx, onnxscript, onnxruntime(.|\n)*afrad-bench\[export\]"):
        export.export(kept, tmp_path / "m.onnx")


def test_a_network_of_many_turns_is_refused(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = export.TURNS + 1
    monkeypatch.setattr(Afrad, "loop", lambda self: Loop(turns, lambda _: self.network()), raising=False)
    with pytest.raises(UserError, match=f"repeats a loop {turns} times"):
        export.export(kept, tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())
    turns = export.TURNS
    assert export.export(kept, tmp_path / "m.pt2").path.is_file()


def test_what_torch_cannot_export_is_said(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise torch._dynamo.exc.UserError(torch._dynamo.exc.UserErrorType.CONSTRAINT_VIOLATION, "batch <= 63\nmore")

    monkeypatch.setattr(torch.export, "export", refuses)
    with pytest.raises(UserError, match=r"for every number of images: batch <= 63\n.*onnx, torchscript"):
        export.export(kept, tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())


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
    assert "m_input.py reads images as its input" in done.output


# ------------------------------------------------------------------------------------------------------ reading images


def written(folder: Path, factor: float) -> list[Path]:
    """Grey images of more than 8 bits: 0 to 255 times a factor."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(5)]
    for path in paths:
        Image.fromarray((rng.integers(0, 256, (48, 40)) * factor).astype(np.uint16)).save(path)
    return paths


def read_elsewhere(module: Path, paths: list[Path]) -> np.ndarray:
    """What the shipped function reads in a program without this package."""
    code = (
        "import sys, pathlib, numpy, importlib; sys.path.insert(0, sys.argv[1]); "
        "numpy.save('read.npy', importlib.import_module(sys.argv[2]).images(*sys.argv[3:])); "
        "assert not {'afrad_bench', 'torch'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(module.parent), module.stem, *map(str, paths)]
    subprocess.run(command, check=True, cwd=module.parent, capture_output=True)
    found: np.ndarray = np.load(module.parent / "read.npy")
    return found


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_the_file_beside_reads_images_as_the_training_did(tmp_path: Path) -> None:
    """12 bits in 16: the exported model scores what the model scores, where `convert("RGB")` would see white."""
    paths = written(tmp_path / "train", 4095 / 255)
    model = AFRAD(SIDE, **TINY).fit(tmp_path / "train")
    out = tmp_path / "out" / "my-model.bin"
    done = export.export(model.save(tmp_path / "m.safetensors"), out, QUICK)
    assert (done.input, model.card.trained_on.white) == (tmp_path / "out" / "my_model_input.py", 4095)
    pixels = read_elsewhere(done.input, paths)
    assert (pixels.shape, pixels.dtype) == ((5, 3, SIDE, SIDE), np.float32)
    assert 0.4 < pixels.mean() < 0.6
    found = export._runner(QUICK, out)(pixels)
    told = AFRAD.load(tmp_path / "m.safetensors").predict(paths)
    assert np.allclose(found[1], told.pred_score, rtol=1e-4)


def test_the_file_beside_reads_what_the_harness_reads(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8))
    made: dict[str, Any] = {"a.png": colour, "b.png": colour.convert("L"), "c.png": colour.quantize(9), "d.jpg": colour}
    for name, image in made.items():
        image.save(tmp_path / name, exif=exif if name == "d.jpg" else b"")
    paths = [*(tmp_path / name for name in made), *written(tmp_path / "deep", 257)]
    place = input_file.place_beside(tmp_path / "m.onnx")
    input_file.write(place, SIDE, None)
    wanted = np.concatenate([batch.array() for batch in batches(paths, SIDE, 2)])
    assert np.array_equal(read_elsewhere(place, paths), wanted)


def test_an_image_of_few_bits_needs_a_model_that_knows_white(kept: Path, tmp_path: Path) -> None:
    paths = written(tmp_path / "deep", 4095 / 255)
    with pytest.raises(UserError, match=r"which one is white is not known\n  convert it to 8 bits"):
        AFRAD.load(kept).predict(paths)
    place = input_file.place_beside(tmp_path / "m.onnx")
    input_file.write(place, SIDE, None)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        read_elsewhere(place, paths)
    assert b"which one is white is not known" in caught.value.stderr


def test_a_file_of_someone_else_is_not_overwritten(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "m_input.py").write_text("mine = True\n")
    with pytest.raises(UserError, match=r"m_input.py: exists, and was not written by an export"):
        export.export(kept, tmp_path / "m.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["m_input.py"]
    input_file.write(tmp_path / "m_input.py", SIDE, None)
    assert input_file.place_beside(tmp_path / "m.pt2") == tmp_path / "m_input.py"
