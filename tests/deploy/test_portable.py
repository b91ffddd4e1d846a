"""AFRAD outside the harness: a model that is kept, loaded and asked says what the harness says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import afrad_bench
from afrad_bench import AFRAD
from afrad_bench.backbone.features import FeatureCache
from afrad_bench.cli import app
from afrad_bench.deploy import model_file
from afrad_bench.deploy.model_file import KEY, place_of
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray, test_images, train_images
from afrad_bench.methods.afrad import Config, build
from afrad_bench.types import Bench, Seeds
from afrad_bench_baselines.padim import model as padim
from tests.conftest import DrawnPicture, drawn_dataset, mvtec_folder

SMALL: dict[str, Any] = {
    "backbone": {"name": "resnet18", "weights": "random"},
    "mfpn": {"widths": [6, 5, 4, 3]},
    "width": 7,
    "training": {"epochs": 2, "lr": 1e-2},
}


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [DrawnPicture(seed, side=50 + seed).read() for seed in range(20)]


@pytest.fixture(scope="module")
def model(images: list[np.ndarray]) -> AFRAD:
    return AFRAD(64, **SMALL).fit(images)


@pytest.fixture
def kept(model: AFRAD, tmp_path: Path) -> Path:
    return model.save(tmp_path / "new folder" / "afrad.safetensors")


def same(a: Any, b: Any) -> bool:
    return np.array_equal(a.pred_score, b.pred_score) and np.array_equal(a.anomaly_map, b.anomaly_map)


# ----------------------------------------------------------------------------------------------------- keep and load


def test_a_loaded_model_says_what_the_kept_one_said_to_the_bit(model: AFRAD, kept: Path, images: list[Any]) -> None:
    loaded = AFRAD.load(kept)
    assert same(loaded.predict(images), model.predict(images))
    assert loaded.config == model.config
    assert loaded.card == model_file.read_card(kept)
    assert (loaded.card.trained_on.images, loaded.card.trained_on.epochs) == (20, 2)


def test_the_file_of_a_cell_says_what_the_harness_says_to_the_bit(tmp_path: Path, cache_folder: Path) -> None:
    """The method predicts from cached features, the loaded model from pictures."""
    data = drawn_dataset(train=6)
    method = build(Config.model_validate(SMALL), Bench("cpu", 64, Seeds(1, 2), FeatureCache(cache_folder)))
    record = method.fit(train_images(data, 64))
    about = model_file.trained_on("drawn", data.fingerprint, 12, 0, record)
    card = model_file.card_of("afrad", method.config, 64, None, about)
    path = model_file.write(tmp_path / "m.safetensors", method, card)
    told = AFRAD.load(path).predict([sample.image.read() for sample in data.test])
    assert same(told, method.predict(test_images(data, 64)))


def test_weights_are_inside_so_that_nothing_else_is_needed(tmp_path: Path, images: list[np.ndarray]) -> None:
    import timm

    weights = tmp_path / "resnet18.pth"
    torch.manual_seed(7)
    torch.save(timm.create_model("resnet18").state_dict(), weights)
    model = AFRAD(64, **{**SMALL, "backbone": {"name": "resnet18", "weights": f"file:{weights}"}}).fit(images)
    path = model.save(tmp_path / "m.safetensors")
    wanted = model.predict(images[:3])
    weights.unlink()
    loaded = AFRAD.load(path)
    assert same(loaded.predict(images[:3]), wanted)
    assert (loaded.card.weights, len(loaded.card.weights_hash)) == ("file resnet18.pth", 64)


def test_equal_fits_make_equal_files(model: AFRAD, kept: Path, images: list[np.ndarray], tmp_path: Path) -> None:
    again = AFRAD(64, **SMALL).fit(images).save(tmp_path / "again.safetensors")
    assert again.read_bytes() == kept.read_bytes()
    other = AFRAD(64, seed=1, **SMALL).fit(images).save(tmp_path / "other.safetensors")
    assert other.read_bytes() != kept.read_bytes()


def test_a_loaded_model_can_be_kept_again_and_fitted_anew(kept: Path, images: list[np.ndarray], tmp_path: Path) -> None:
    loaded = AFRAD.load(kept)
    assert loaded.save(tmp_path / "copy.safetensors").read_bytes() == kept.read_bytes()
    assert loaded.fit(images).save(tmp_path / "fitted.safetensors").read_bytes() == kept.read_bytes()


def test_a_write_that_fails_leaves_the_old_file(model: AFRAD, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept.read_bytes()

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("afrad_bench.deploy.model_file.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        model.save(kept)
    assert kept.read_bytes() == before
    assert list(kept.parent.iterdir()) == [kept]


def test_the_network_scores_tensors(model: AFRAD, images: list[np.ndarray]) -> None:
    resized = np.stack([np.asarray(Image.fromarray(i).resize((64, 64), Image.Resampling.BILINEAR)) for i in images])
    with torch.inference_mode():
        maps, scores = model.network()(torch.from_numpy(resized.astype(np.float32).transpose(0, 3, 1, 2) / 255))
    told = model.predict(images)
    assert np.allclose(maps.numpy(), told.anomaly_map, rtol=1e-4)
    assert np.allclose(scores.numpy(), told.pred_score, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------- what comes in


def test_images_may_come_in_every_form(model: AFRAD, images: list[np.ndarray], tmp_path: Path) -> None:
    for i, pixels in enumerate(images[:3]):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    (tmp_path / "readme.txt").write_text("no image")
    wanted = model.predict(images[:3])
    assert wanted.anomaly_map.shape == (3, 64, 64)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    assert same(model.predict(paths), wanted)
    assert same(model.predict(tmp_path), wanted)
    assert same(model.predict(str(tmp_path)), wanted)
    assert same(model.predict([Image.open(path) for path in paths]), wanted)
    assert same(model.predict([images[0], str(paths[1]), Image.open(paths[2])]), wanted)
    one = model.predict(images[0])
    assert (one.pred_score.shape, one.anomaly_map.shape) == ((1,), (1, 64, 64))
    assert same(model.predict(images[0][None]), one)
    assert same(model.predict(Image.fromarray(images[0])), one)
    assert same(model.predict(paths[0]), one)


def test_fitting_on_a_folder_is_fitting_on_its_images(images: list[np.ndarray], model: AFRAD, tmp_path: Path) -> None:
    for i, pixels in enumerate(images):
        folder = tmp_path / f"{i // 10}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    told = AFRAD(64, **SMALL).fit(tmp_path)
    assert told.record is not None
    assert told.record.loss == model.record.loss
    assert same(told.predict(images), model.predict(images))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((8, 8, 3), dtype=np.float32), r"image 0: cannot use an array of float32 \(8, 8, 3\)(.|\n)*uint8"),
        (np.zeros((8, 8), dtype=np.uint8), r"array of uint8 \(8, 8\)"),
        (torch.zeros(3, 8, 8), r"cannot use a torch.Tensor as an image"),
        ([None, 3], r"image 0: cannot use a builtins.NoneType(.|\n)*image 1: cannot use a builtins.int"),
        ([], "no image was given"),
        ("nowhere.png", r"nowhere.png: no such image file or folder"),
    ],
)
def test_what_is_no_image_is_named(model: AFRAD, given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model.predict(given)


def test_files_and_folders_that_hold_no_image_are_named(model: AFRAD, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no image in this folder(.|\n)*\.png"):
        model.predict(tmp_path)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG but no more")
    with pytest.raises(UserError, match=r"broken.png: cannot be read as an image"):
        model.predict(broken)


def test_an_unfitted_model_says_what_to_do() -> None:
    fresh = AFRAD(64, **SMALL)
    for act in (lambda: fresh.predict("x.png"), fresh.network, lambda: fresh.save("x"), lambda: fresh.card):
        with pytest.raises(UserError, match=r"needs a fitted model(.|\n)*fit\(images\) first, or AFRAD.load"):
            act()


def test_wrong_fields_are_named_before_anything_is_computed() -> None:
    with pytest.raises(UserError, match=r"training.epochs: (.|\n)*unknown field 'ngbi' \(did you mean 'ngib'"):
        AFRAD(64, ngbi=False, training={"epochs": -1})
    with pytest.raises(UserError, match="no device 'tpu'"):
        AFRAD(64, device="tpu")
    with pytest.raises(UserError, match="multiple of 32, but got 72"):
        AFRAD(72, **SMALL).fit([DrawnPicture(0).read()])


# ----------------------------------------------------------------------------------------------------- files gone wrong


def rewritten(path: Path, **changes: Any) -> Path:
    """The file with another card."""
    with safe_open(path, "pt") as file:
        card = json.loads(file.metadata()[KEY])
    save_file(load_file(path), path, {KEY: json.dumps({**card, **changes})})
    return path


def test_an_absent_file_and_an_exported_one(tmp_path: Path) -> None:
    exported = tmp_path / "afrad.onnx"
    exported.write_bytes(b"\x08\x0a" * 100)
    with pytest.raises(UserError, match=r"an exported file, not a model file(.|\n)*safetensors file"):
        AFRAD.load(exported)
    with pytest.raises(UserError, match=r"nowhere: no such model file(.|\n)*--keep-models"):
        AFRAD.load("nowhere")


@pytest.mark.parametrize("cut", [0, 5, 5000, -1])
def test_a_cut_file(kept: Path, cut: int) -> None:
    kept.write_bytes(kept.read_bytes()[:cut])
    with pytest.raises(UserError, match="not a complete safetensors file"):
        AFRAD.load(kept)


def test_a_flipped_bit_in_a_tensor(kept: Path) -> None:
    raw = bytearray(kept.read_bytes())
    raw[-1000] ^= 1
    kept.write_bytes(bytes(raw))
    with pytest.raises(UserError, match="not those that were written"):
        AFRAD.load(kept)


def test_a_foreign_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=r"no model of afrad-bench(.|\n)*backbone.weights"):
        AFRAD.load(path)


def test_a_file_of_a_newer_format(kept: Path) -> None:
    with pytest.raises(UserError, match="format 99 by a newer afrad-bench"):
        AFRAD.load(rewritten(kept, format=99, something_new=1))


def test_a_configuration_that_this_version_does_not_know(kept: Path) -> None:
    config = {**model_file.read_card(kept).config, "fifth_decoder": {}}
    with pytest.raises(UserError, match="unknown field 'fifth_decoder'"):
        AFRAD.load(rewritten(kept, config=config))


def test_a_file_of_another_method(kept: Path) -> None:
    with pytest.raises(UserError, match="a model of padim, not of AFRAD"):
        AFRAD.load(rewritten(kept, method="padim"))
    with pytest.raises(UserError, match="unknown method 'padmi'"):
        model_file.load(rewritten(kept, method="padmi"))


def test_tensors_that_do_not_fit_the_configuration(kept: Path) -> None:
    config = {**model_file.read_card(kept).config, "width": 9}
    with pytest.raises(UserError, match=r"tensors do not fit afrad(.|\n)*written with afrad-bench"):
        AFRAD.load(rewritten(kept, config=config))


def test_a_model_that_computes_something_else_here(kept: Path) -> None:
    """What no tensor shows: a backbone whose code or normalisation is another one under the same name."""
    score = model_file.read_card(kept).test_score
    with pytest.raises(UserError, match=r"gives its test image .* but gave(.|\n)*timm"):
        AFRAD.load(rewritten(kept, test_score=1.01 * score))
    AFRAD.load(rewritten(kept, test_score=(1 + 1e-6) * score))


def test_a_method_without_state_is_refused(kept: Path) -> None:
    class Stateless:
        def predict(self, images: Any) -> Any: ...

    with pytest.raises(UserError, match="offers no state"):
        model_file.write(kept, Stateless(), model_file.read_card(kept))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- from the outside


def test_importing_the_package_is_light() -> None:
    code = "import sys, afrad_bench; print(sorted({'torch', 'numpy', 'pydantic', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    assert "AFRAD" in dir(afrad_bench)
    with pytest.raises(AttributeError, match="no attribute 'AFARD'"):
        _ = afrad_bench.AFARD


def test_run_keeps_models_and_says_which_it_has_not(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tmp_path / "small.yaml"
    data = mvtec_folder(tmp_path / "data")
    suite.write_text(
        f"""
suite: small
title: Small
measures: [cost]
default_profile: p
methods:
  - method: afrad
  - method: padim
profiles:
  p:
    datasets: [{{name: folder, root: "{data}"}}]
    image_size: 64
    params:
      afrad: {json.dumps(SMALL)}
      padim: {{backbone: {{name: resnet18, weights: random}}, channels: 10}}
""",
        encoding="utf-8",
    )

    monkeypatch.chdir(tmp_path)
    stateless = type("Stateless", (padim.Padim,), {"state": None})  # as a method of one's own may be
    monkeypatch.setattr(padim, "Padim", stateless)

    def run(*more: str) -> str:
        arguments = ["run", str(suite), "--store", "s", "--reports", "r", "--cache", str(cache_folder), *more]
        done = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--threads", "1"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    run()
    told = run("--keep-models")  # nothing is left to measure, so nothing is fitted
    assert "2 measured cells have no model in a file: afrad, padim" in told
    assert "--force" in told
    assert not (tmp_path / "s" / "models").exists()
    told = run("--keep-models", "--force")
    (path,) = (tmp_path / "s" / "models").iterdir()
    assert f"model of afrad, folder:data, seed 0: {Path('s', 'models', path.name)}" in told
    assert "1 measured cells have no model in a file: padim" in told
    model = AFRAD.load(path)
    assert (model.card.trained_on.dataset, model.card.trained_on.images) == ("folder:data", 16)
    good = model.predict(data / "alpha" / "test" / "good")
    bad = model.predict(data / "alpha" / "test" / "square")
    assert bad.pred_score.min() > good.pred_score.max()
    assert place_of(Path("s"), _cell_of(tmp_path / "s")).name == path.name


def _cell_of(store: Path) -> Any:
    from afrad_bench.store import Store
    from afrad_bench.types import Cell

    rows = Store(store).read("cells")
    row = rows[rows["method"] == "afrad"].iloc[-1]
    names = ("method", "params", "dataset", "dataset_params", "setting", "image_size", "seed", "profile")
    return Cell(category=None, **{name: row[name] for name in names})


def test_paper_size_of_a_file(tmp_path: Path) -> None:
    """EfficientNet-B4 and AFRAD, in float32: what README says a file takes."""
    model = AFRAD(256, backbone={"weights": "random"}, training={"epochs": 0})
    path = model.fit([DrawnPicture(0, side=256).read()]).save(tmp_path / "m.safetensors")
    count = sum(value.numel() for value in model.network().state_dict().values())
    assert path.stat().st_size == pytest.approx(4 * count, rel=0.02)
    assert path.stat().st_size < 80 * 2**20
    images = ImageArray(np.zeros((1, 3, 256, 256), dtype=np.float32))
    assert model_file.load(path).method.predict(images).anomaly_map.shape == (1, 256, 256)
