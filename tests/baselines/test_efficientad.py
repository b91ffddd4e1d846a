"""EfficientAD against its published sizes, its equations, and recorded outputs of the most used implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import ValidationError

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods import textures
from afrad_bench.methods.fitting import stepped
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState, Seeds
from afrad_bench_baselines.efficientad import ENVIRONMENT, Config, build, check, must_be_here
from afrad_bench_baselines.efficientad import teacher as distillation
from afrad_bench_baselines.efficientad.jitter import blended, jittered, natural
from afrad_bench_baselines.efficientad.model import EfficientAd
from afrad_bench_baselines.efficientad.networks import Autoencoder, Network, describer, padded
from tests.adapters import (
    bench_at,
    check_it_resumes,
    learned_from_photographs,
    ruled32,
    ruled_images,
    small,
)

QUICK = small("efficientad")
TINY = {"name": "mobilenetv3_small_050", "weights": "random"}
FEW = {"weights": "distilled", "backbone": TINY, "steps": 3, "batch_size": 2, "statistics": 4}


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> EfficientAd:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestEfficientAdContract(MethodContract):
    module = "afrad_bench_baselines.efficientad"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "efficientad").summary().startswith("EfficientAD: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# ---------------------------------------------------------------------------------- equal to the most used code


def ruled_network(pad: str = "after") -> EfficientAd:
    """At 256 px, narrow, without dropout; weights follow from their names."""
    method = made(256, width=16, textures={"source": "none"}, score={"pad": pad})
    net = method.net
    for part in ("teacher", "student", "autoencoder"):
        module = net.get_submodule(part)
        module.load_state_dict({k: 2 * ruled32(f"{part}.{k}", tuple(v.shape)) for k, v in module.state_dict().items()})
    for module in net.autoencoder:
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    train = ImageArray(ruled_images(3, 256))
    method._standardise(train.subset([0, 1]))
    method._calibrate(train.subset([2]))
    return method


MAP = [
    [
        [-0.198688, -0.195965, -0.177932, -0.183489],
        [-0.185901, -0.126343, -0.054635, -0.089807],
        [-0.105586, 0.017103, -0.004604, -0.108819],
        [-0.15139, -0.163235, -0.182057, -0.182445],
    ],
    [
        [-0.19664, -0.187813, -0.119207, -0.069936],
        [-0.17076, -0.045684, 0.052758, -0.159348],
        [-0.126292, 0.021226, -0.071755, -0.137475],
        [-0.149138, -0.123641, -0.187303, -0.203559],
    ],
]
"""Every 56th pixel, from the 41st, of the maps of nelson1425/EfficientAD (fcab514), an eighth as wide, with the weights
and images of the rules here."""
SCORES = [0.035751, 0.094103]
MAP_BEFORE = [
    [
        [-0.1736, -0.171616, -0.154959, -0.160337],
        [-0.16227, -0.10822, -0.041478, -0.070523],
        [-0.086616, 0.026415, 0.005519, -0.09099],
        [-0.129688, -0.140931, -0.158591, -0.159119],
    ],
    [
        [-0.171868, -0.16429, -0.096991, -0.048162],
        [-0.148671, -0.031756, 0.063348, -0.138326],
        [-0.107274, 0.031112, -0.058506, -0.117887],
        [-0.126799, -0.103299, -0.162982, -0.178247],
    ],
]
"""The same of anomalib 2.7.0."""
SCORES_BEFORE = [0.043551, 0.100514]
LOSSES = [16728.5352, 9956.4785, 3588.9844]
"""Of three steps of the former, and some of its weights after them."""
WEIGHTS = {
    "student.3.weight": [-0.0133785, 0.1551207, -0.1678879, -0.1049765],
    "student.8.bias": [-0.3476761, 0.0143205, -0.1902291, 0.32703],
    "autoencoder.0.weight": [-0.166037, -0.4470609, 0.1856364, -0.3426884],
    "autoencoder.38.weight": [-0.0780095, 0.0924341, 0.1175861, 0.0710051],
}


def sample(tensor: torch.Tensor) -> npt.NDArray[np.floating[Any]]:
    """Four values, spread over a tensor."""
    flat = tensor.detach().flatten()
    return flat[:: max(1, flat.numel() // 4)][:4].numpy()


@pytest.mark.parametrize(("pad", "wanted", "scores"), [("after", MAP, SCORES), ("before", MAP_BEFORE, SCORES_BEFORE)])
def test_maps_and_scores_are_those_of_the_references(pad: str, wanted: Any, scores: list[float]) -> None:
    """`after`: nelson1425/EfficientAD; `before`: anomalib 2.7.0."""
    prediction = ruled_network(pad).predict(ImageArray(ruled_images(2, 256, first=50)))
    assert prediction.anomaly_map is not None
    largest = np.abs(wanted).max()
    np.testing.assert_allclose(prediction.anomaly_map[:, 40::56, 40::56], wanted, atol=1e-4 * largest)
    np.testing.assert_allclose(prediction.pred_score, scores, atol=1e-4 * largest)


def test_training_steps_are_those_of_the_reference() -> None:
    """Three steps with a penalty, the last at a tenth of the rate: losses, and weights afterwards."""
    method = ruled_network()
    net = method.net.train()
    optimizer = torch.optim.Adam([*net.student.parameters(), *net.autoencoder.parameters()], 1e-4, weight_decay=1e-5)
    images = torch.from_numpy(ruled_images(9, 256))
    losses = []
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 1e-4 if step < 2 else 1e-5
        losses.append(float(stepped(method._loss(*images[3 * step : 3 * step + 3].split(1)), optimizer)))
    np.testing.assert_allclose(losses, LOSSES, rtol=1e-5)
    for name, values in WEIGHTS.items():
        np.testing.assert_allclose(sample(net.get_parameter(name)), values, atol=1e-6)


# --------------------------------------------------------------------------------------------------- published figures


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("size", "teacher", "student"), [("S", 2_694_144, 4_267_392), ("M", 8_026_624, 11_615_488)])
def test_parameters_are_the_published_ones(size: str, teacher: int, student: int) -> None:
    with torch.device("meta"):
        net = Network(Config.model_validate({"size": size}), 256)
    assert parameters(net.teacher) == teacher
    assert parameters(net.student) == student
    assert parameters(net.autoencoder) == 1_096_320
    assert not any(p.requires_grad for p in net.teacher.parameters())


def test_multiply_accumulates_are_the_published_ones() -> None:
    """37.95 G (S) and 117.71 G (M) at 256 pixels; the paper's table counts multiplications and additions."""
    from torch.utils.flop_counter import FlopCounterMode

    for size, wanted in (("S", 37.95e9), ("M", 117.71e9)):
        with torch.device("meta"), FlopCounterMode(display=False) as counted:
            Network(Config.model_validate({"size": size}), 256).eval()(torch.zeros(1, 3, 256, 256))
        assert counted.get_total_flops() / 2 == pytest.approx(wanted, rel=0.001)


@pytest.mark.parametrize("side", [64, 96, 128, 224, 256, 320])
def test_all_maps_have_one_size(side: int) -> None:
    image = torch.zeros(1, 3, side, side)
    for size in ("S", "M"):
        assert describer(size, 2, 3)(image).shape == (1, 3, side // 4 - 8, side // 4 - 8)
        assert padded(describer(size, 2, 3))(image).shape == (1, 3, side // 4, side // 4)
    assert Autoencoder(side, 3).eval()(image).shape == (1, 3, side // 4 - 8, side // 4 - 8)


# ------------------------------------------------------------------------------------------------------- equations


def test_hard_distances_are_those_above_the_quantile() -> None:
    """The loss of student and teacher alone: the two others are subtracted."""
    method = made()
    net = method.net
    torch.manual_seed(0)
    image, changed = torch.rand(2, 1, 3, 64, 64)
    with torch.no_grad():
        loss = float(method._loss(image, changed))
        one, two = net.normalised(image), net.normalised(changed)
        distance = (net.target(one) - net.student(one)[:, :8]).square()
        hard = distance[distance >= torch.quantile(distance, 0.999)].mean()
        drawn = net.autoencoder(two)
        rest = (net.target(two) - drawn).square().mean() + (drawn - net.student(two)[:, 8:]).square().mean()
    assert loss == pytest.approx(float(hard + rest), rel=1e-5)


def test_a_tenth_of_the_held_out_positions_is_above_zero() -> None:
    method = made()
    held = ImageArray(ruled_images(4, 64))
    method._calibrate(held)
    with torch.no_grad():
        scaled = 0.1 * (method.net.distances(torch.from_numpy(held.pixels)) - method.net.start) / method.net.span
    for pair in scaled.unbind(1):
        assert float((pair > 0).float().mean()) == pytest.approx(0.1, abs=0.005)
        assert float((pair > 0.1).float().mean()) == pytest.approx(0.005, abs=0.004)


def test_changes_of_colour_are_torchvisions() -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    image = ruled_images(1, 32)[0]
    for kind, name in enumerate(("brightness", "contrast", "saturation")):
        for factor in (0.8, 1.17):
            wanted = getattr(functional, f"adjust_{name}")(torch.from_numpy(image), factor).numpy()
            np.testing.assert_allclose(blended(image, kind, factor), wanted, atol=2e-6)


def test_images_are_changed_a_little_and_penalties_are_crops_sometimes_grey() -> None:
    image = ruled_images(1, 64)[0]
    far = [float(np.abs(jittered(np.random.default_rng(seed), image) - image).max()) for seed in range(9)]
    assert min(far) > 0
    assert max(far) < 0.25
    source = textures.find(textures.NaturalImages(source="photographs"), ImageArray(ruled_images(1, 64)))
    shown = [natural(np.random.default_rng(seed), source, 32, 0.3, crop=True) for seed in range(60)]
    assert all(one.shape == (3, 32, 32) and one.min() >= 0 and one.max() <= 1 for one in shown)
    of_colour = [np.random.default_rng(0), np.random.default_rng(0)]
    grey, colour = (
        natural(rng, source, 32, share, crop=True) for rng, share in zip(of_colour, (1.0, 0.0), strict=True)
    )
    assert np.ptp(grey, axis=0).max() == 0
    np.testing.assert_allclose(grey[0], np.tensordot([0.299, 0.587, 0.114], colour, 1), atol=0.005)


# ------------------------------------------------------------------------------------------------------------- teacher


def teacher_file(path: Path, size: str, names: str = "") -> torch.nn.Sequential:
    """Write a teacher as published (`names` "conv": as anomalib does), width 8, and return it."""
    net = describer(size, 8, 8)
    state = net.state_dict()
    if names:
        places = list(dict.fromkeys(name.partition(".")[0] for name in state))
        state = {f"{names}{places.index(k.partition('.')[0]) + 1}.{k.partition('.')[2]}": v for k, v in state.items()}
    torch.save(state, path)
    return net


@pytest.mark.parametrize("size", ["S", "M"])
@pytest.mark.parametrize("names", ["", "conv"])
def test_published_teachers_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, names: str) -> None:
    file = {"S": "teacher_small.pth", "M": "pretrained_teacher_medium.pth"}[size]
    wanted = teacher_file(tmp_path / file, size, names)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    for weights in ("published", f"file:{tmp_path / file}"):
        method = made(size=size, teacher={"weights": weights}, training={"epochs": 0})
        images = torch.rand(1, 3, 64, 64)
        torch.testing.assert_close(method.net.teacher(images), wanted(images))
        assert any(f"teacher of the file {file}, sha256" in note for note in method.fit(small_images(2, 64, 0)).notes)


def test_a_missing_or_strange_teacher_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    for config in (Config(), Config.model_validate({"teacher": {"weights": f"file:{tmp_path / 'none.pth'}"}})):
        with pytest.raises(UserError, match=r"not on this machine|no such teacher") as caught:
            must_be_here(config)
        assert "teacher_small.pth" in str(caught.value)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    with pytest.raises(UserError, match="holds neither teacher_small"):
        build(Config(), bench_at(64))
    teacher_file(tmp_path / "teacher_small.pth", "S")
    with pytest.raises(UserError, match=r"of another teacher: .* tensors differ"):
        made(teacher={"weights": "published"}, width=16)
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "teacher_small.pth")
    with pytest.raises(UserError, match=r"'fc.weight' is not one of EfficientAD's teachers"):
        made(teacher={"weights": "published"})


def test_a_teacher_is_distilled_and_says_so() -> None:
    method = made(teacher=FEW)
    before = {name: tensor.clone() for name, tensor in method.net.teacher.state_dict().items()}
    record = method.fit(small_images(4, 64, 0))
    still = [name for name, tensor in method.net.teacher.state_dict().items() if torch.equal(before[name], tensor)]
    assert not still
    assert not any(p.requires_grad for p in method.modules()["teacher"].parameters())
    assert "teacher: distilled from mobilenetv3_small_050 (random) in 3 steps" in record.notes
    assert any("instead of ImageNet squares of 14 photographs" in note for note in record.notes)


def test_distillation_comes_nearer_to_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "CHUNK", 20)
    losses: list[float] = []

    def watch(done: int, total: int, what: str, loss: float | None = None) -> None:
        losses.extend([] if loss is None else [loss])

    few = {**FEW, "steps": 60, "lr": 3e-3}
    bench = Bench("cpu", 64, Seeds(1, 2), FeatureCache(None), watch=watch)
    made(bench=bench, teacher=few, training={"epochs": 0}).fit(small_images(2, 64, 0))
    assert len(losses) == 3
    assert losses[-1] < 0.9 * losses[0]


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("teacher", [{"weights": "random"}, FEW])
def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path, teacher: dict[str, Any]) -> None:
    params = {"teacher": teacher, "training": {"epochs": 3}}
    check_it_resumes(lambda bench: made(bench=bench, **params), small_images(5, 64, 0), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"fit.pt", ".fit.pt.teacher"}


def test_steps_in_place_of_epochs_and_the_late_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    real = torch.optim.Adam.step

    def step(self: torch.optim.Adam) -> None:
        rates.append(self.param_groups[0]["lr"])
        real(self)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    record = made(training={"steps": 20, "lr": 1e-3}).fit(small_images(7, 64, 0))  # 6 of them are trained on
    assert rates == pytest.approx([1e-3] * 19 + [1e-4])
    assert (record.epochs, record.images_seen) == (4, 20)


def test_a_fit_that_a_search_looks_at_has_its_quantiles(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = []
    method: EfficientAd

    def look(record: object) -> bool:
        spans.append(method.net.span.clone())
        return True

    method = made(bench=Bench("cpu", 64, Seeds(1, 2), FeatureCache(None), should_continue=look))
    method.fit(small_images(4, 64, 0))
    assert len(spans) == 1
    assert float(spans[0].max()) != pytest.approx(0.1)


# ------------------------------------------------------------------------------------------------- what is refused


def test_image_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of 32, but got 80"):
        made(80)
    with pytest.raises(UserError, match="64 px or more"):
        made(32)


def test_wrong_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="unknown kind of teacher 'distiled'"):
        Config.model_validate({"teacher": {"weights": "distiled"}})
    with pytest.raises(ValidationError, match="needs images to learn from"):
        Config.model_validate({"teacher": {"weights": "distilled"}, "textures": {"source": "none"}})
    with pytest.raises(UserError, match="would forbid the student to learn them"):
        check(Config.model_validate({"textures": {"source": "training"}}), 64)
    with pytest.raises(UserError, match="no single feature map with reduction"):
        check(Config.model_validate({"teacher": {**FEW, "backbone": {"name": "vit_tiny_patch16_224"}}}), 64)
    with pytest.raises(UserError, match="at least two training images"):
        made().fit(small_images(1, 64, 0))
    monkeypatch.delenv(textures.IMAGENET, raising=False)
    with pytest.raises(UserError, match="ImageNet's training images") as caught:
        made(textures={"source": "imagenet"}).fit(small_images(2, 64, 0))
    assert textures.IMAGENET in str(caught.value)
    assert "no penalty on natural images" in made(textures={"source": "none"}).fit(small_images(2, 64, 0)).notes


# ------------------------------------------------------------------------------------------------------- real pictures


def test_it_learns_to_find_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("skimage")
    method = made(128, width=16, channels=16, training={"epochs": 2, "lr": 1e-3})
    found = learned_from_photographs(method, 128)
    assert found.loss[-1] < 0.8 * found.loss[0]
    assert found.after > max(0.9, found.before + 0.1)
    assert found.images == 1.0
