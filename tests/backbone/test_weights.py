"""Frozen backbones: which weights, found where, loaded whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from skimage import data

from afrad_bench.backbone.extractor import Extractor, state_dict
from afrad_bench.backbone.weights import PACKAGED, BackboneConfig, PretrainedFile, known_models, locate
from afrad_bench.errors import UserError
from afrad_bench.writing import DiskFull
from tests.full_disk import no_file_above


@pytest.fixture(scope="module")
def models(cache_folder: Path) -> dict[str, PretrainedFile]:
    return known_models(cache_folder)


def extractor(config: BackboneConfig, models: dict[str, PretrainedFile], *args: object, **kwargs: object) -> Extractor:
    return Extractor(config, locate(config, models), *args, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_packaged_weights_recognise_real_pictures(name: str, models: dict[str, PretrainedFile]) -> None:
    """Mapped onto timm's network by order, they call a cat a cat and an espresso an espresso."""
    weights = locate(BackboneConfig(name=name, weights="packaged"), models)
    net = timm.create_model(name, pretrained=False)
    net.load_state_dict(state_dict(name, weights))
    net.eval()
    side = net.pretrained_cfg["input_size"][-1]
    pictures = []
    for picture in (data.chelsea(), data.coffee()):
        height, width = picture.shape[:2]
        crop = min(height, width)
        top, left = (height - crop) // 2, (width - crop) // 2
        image = Image.fromarray(picture[top : top + crop, left : left + crop])
        pictures.append(np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32) / 255)
    batch = (torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) - 0.5) / 0.5
    with torch.inference_mode():
        cat, coffee = net(batch).argmax(dim=1).tolist()
    assert cat in range(281, 286)  # ImageNet: tabby, tiger cat, Persian, Siamese, Egyptian
    assert coffee == 967  # espresso


def test_normalisation_follows_the_weights(models: dict[str, PretrainedFile]) -> None:
    lite = extractor(BackboneConfig(name="tf_efficientnet_lite0", weights="packaged"), models, (16,), 64)
    resnet = extractor(BackboneConfig(name="resnet18", weights="random"), models, (16,), 64)
    assert lite.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert resnet.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_paper_backbone_gives_uniads_channels(models: dict[str, PretrainedFile]) -> None:
    net = extractor(BackboneConfig(name="efficientnet_b4", weights="random"), models, (2, 4, 8, 16), 256, grid=16)
    assert net.map_channels == (24, 32, 56, 160)
    assert net.shapes == ((272, 16, 16),)


def test_what_is_behind_the_last_map_is_cut(models: dict[str, PretrainedFile]) -> None:
    """timm's EfficientNets would run the stages behind the last feature map for nothing."""
    config = BackboneConfig(name="efficientnet_b4", weights="random")
    net = extractor(config, models, (2, 4, 8, 16), 64)
    whole = extractor(config, models, (2, 4, 8, 16, 32), 64)
    count = sum(value.numel() for value in net.parameters())
    # stem and blocks 0-21 of EfficientNet-B4, as measured on the official UniAD
    assert count == pytest.approx(3_635_984, rel=0.005)
    image = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(net(image), whole(image), strict=False):
        assert torch.equal(ours, theirs)


def test_maps_equal_timms(models: dict[str, PretrainedFile], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = timm.create_model("resnet18", pretrained=False).eval()
    path = tmp_path / "weights.pth"
    torch.save(net.state_dict(), path)
    ours = extractor(BackboneConfig(name="resnet18", weights=f"file:{path}"), models, (4, 8, 16), 64)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        theirs = net.forward_intermediates((images - ours.mean) / ours.std, indices=[1, 2, 3], intermediates_only=True)
        for a, b in zip(ours(images), theirs, strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_safetensors_and_wrapped_state_dicts_load(models: dict[str, PretrainedFile], tmp_path: Path) -> None:
    net = timm.create_model("resnet18", pretrained=False)
    safetensors.torch.save_file(net.state_dict(), tmp_path / "a.safetensors")
    wrapped = {"state_dict": {f"module.{key}": value for key, value in net.state_dict().items()}}
    torch.save(wrapped, tmp_path / "b.pth")
    made = [
        extractor(BackboneConfig(name="resnet18", weights=f"file:{tmp_path / name}"), models, (16,), 64)
        for name in ("a.safetensors", "b.pth")
    ]
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(made[0](image)[0], made[1](image)[0])


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


@pytest.mark.parametrize("kind", ["other network", "text", "pickle", "truncated"])
def test_a_file_that_does_not_fit_is_refused(
    kind: str, models: dict[str, PretrainedFile], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pth"
    if kind == "other network":
        torch.save(timm.create_model("resnet34", pretrained=False).state_dict(), path)
        torch.save({key: value for key, value in torch.load(path).items() if "layer3" not in key}, path)
    elif kind == "text":
        path.write_text("not a state dict")
    elif kind == "pickle":
        torch.save({"state_dict": _Evil()}, path)
    else:
        torch.save(timm.create_model("resnet18", pretrained=False).state_dict(), path)
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"weights\.pth"):
        extractor(BackboneConfig(name="resnet18", weights=f"file:{path}"), models, (16,), 64)
    assert "executed" not in capsys.readouterr().out


def test_missing_weights_say_how_to_get_them(models: dict[str, PretrainedFile]) -> None:
    with pytest.raises(UserError, match=r"timm/efficientnet_b4\.ra2_in1k(.|\n)*file:PATH(.|\n)*weights: random"):
        locate(BackboneConfig(name="efficientnet_b4"), models)
    with pytest.raises(UserError, match="no such weights file"):
        locate(BackboneConfig(name="resnet18", weights="file:/nowhere.pth"), models)
    with pytest.raises(UserError, match="did you mean 'tf_efficientnet_lite2'"):
        locate(BackboneConfig(name="tf_efficientnet_lite4", weights="packaged"), models)
    with pytest.raises(UserError, match="did you mean 'efficientnet_b4'"):
        locate(BackboneConfig(name="efficientnet_b44"), models)


def test_timms_cache_is_used_without_a_network(
    models: dict[str, PretrainedFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = PretrainedFile(None, None, "https://example.org/models/resnet18-abc.pth")
    assert file.cached() is None
    assert "download https://example.org" in file.how_to_get()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(timm.create_model("resnet18", pretrained=False).state_dict(), folder / "resnet18-abc.pth")
    weights = locate(BackboneConfig(name="resnet18"), {**models, "resnet18": file})
    assert weights.path == folder / "resnet18-abc.pth"
    assert len(weights.sha256) == 64


def test_random_weights_are_the_same_everywhere(models: dict[str, PretrainedFile]) -> None:
    config = BackboneConfig(name="resnet18", weights="random")
    torch.manual_seed(1)
    first = extractor(config, models, (16,), 64)
    state = torch.random.get_rng_state()
    second = extractor(config, models, (16,), 64)
    assert torch.equal(state, torch.random.get_rng_state())
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(first(image)[0], second(image)[0])
    assert locate(config, models).label == "random"


def test_a_backbone_without_such_maps_is_refused(models: dict[str, PretrainedFile]) -> None:
    with pytest.raises(UserError, match=r"reduction 3(.|\n)*reductions 2, 4, 8, 16, 32"):
        extractor(BackboneConfig(name="resnet18", weights="random"), models, (3, 4), 64)


def test_the_list_of_models_survives_damage(tmp_path: Path) -> None:
    made, notes = known_models(tmp_path), list[str]()
    (path,) = tmp_path.glob("timm-*.json")
    whole = path.read_text("utf-8")
    assert known_models(tmp_path, notes) == made
    assert notes == []
    damaged = (
        "",
        "{",
        "{}",
        "[]",
        "3",
        '"text"',
        "null",
        whole[:-9],
        whole.replace("resnet18", "resnet81"),
        "[" * 99999,
    )
    for text in (*damaged, '{"digest": 1, "models": 2}', '{"digest": "", "models": {"resnet18": [1, 2, 3, 4]}}'):
        path.write_text(text, "utf-8")
        notes.clear()
        assert known_models(tmp_path, notes) == made
        assert notes == [f"{path} was damaged and has been made again"]
        assert path.read_text("utf-8") == whole
    path.write_bytes(b"\xff\xfe\x00")
    assert known_models(tmp_path) == made


def test_a_list_of_models_that_does_not_fit_on_the_disk_is_an_error_to_fix(tmp_path: Path) -> None:
    with no_file_above(4096), pytest.raises(DiskFull, match="--cache FOLDER"):
        known_models(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "mambaout_femto"])
def test_maps_that_timm_gives_channels_last_come_channels_first(name: str, models: dict[str, PretrainedFile]) -> None:
    config = BackboneConfig(name=name, weights="random")
    net = extractor(config, models, (4, 8), 64)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        theirs = net.net((images - net.mean) / net.std)
        ours = net(images)
    channels = net.map_channels
    assert [tuple(m.shape) for m in theirs] == [(2, 16, 16, channels[0]), (2, 8, 8, channels[1])]
    assert net.shapes == ((channels[0], 16, 16), (channels[1], 8, 8))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b.permute(0, 3, 1, 2), atol=1e-5)
        assert a.var(dim=(0, 2, 3)).shape == (a.shape[1],)
    on_grid = extractor(config, models, (4, 8), 64, grid=8)
    assert on_grid.shapes == ((sum(channels), 8, 8),)
    with torch.inference_mode():
        joined = on_grid(images)[0]
    assert torch.allclose(joined[:, channels[0] :], ours[1], atol=1e-5)


def test_each_kind_of_maps_has_its_own_key(models: dict[str, PretrainedFile]) -> None:
    """Maps that an earlier version cached channels-last are not taken for channels-first ones."""
    first, last = (extractor(BackboneConfig(name="mambaout_femto", weights="random"), models, (4,), 64) for _ in "ab")
    assert first.key == last.key
    plain = extractor(BackboneConfig(name="resnet18", weights="random"), models, (4,), 64)
    assert (first.channels_last, plain.channels_last) == (True, False)


def test_a_frozen_backbone_stays_frozen(models: dict[str, PretrainedFile]) -> None:
    net = extractor(BackboneConfig(name="resnet18", weights="random"), models, (16,), 64)
    net.train()
    assert not any(module.training for module in net.modules())
    assert not any(value.requires_grad for value in net.parameters())
