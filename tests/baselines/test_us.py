"""US against its sizes, its equations, and recorded outputs of the most used implementation."""

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
from afrad_bench_baselines.us import Config, build, must_be_here
from afrad_bench_baselines.us import teacher as distillation
from afrad_bench_baselines.us.model import Us
from afrad_bench_baselines.us.networks import Describer, Network
from afrad_bench_baselines.us.teacher import compactness, patch
from tests.adapters import (
    bench_at,
    check_it_resumes,
    learned_from_photographs,
    ruled32,
    ruled_images,
    small,
)

QUICK = small("us") | {"receptive_fields": [17]}
FEW = {
    "teacher": {"weights": "distilled", "steps": 3, "batch_size": 4},
    "backbone": {"name": "mobilenetv3_small_050", "weights": "random"},
    "textures": {"source": "photographs"},
}


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> Us:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestUsContract(MethodContract):
    module = "afrad_bench_baselines.us"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "us").summary().startswith("US: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# ---------------------------------------------------------------------------------- equal to the most used code


def official_layout(field: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network of denguir's code, with its 128 channels replaced by `width`."""
    found: dict[str, tuple[int, ...]] = {}
    for i, convolution in enumerate(Describer(field, width, decodes=False).convolutions):
        found[f"conv{i + 1}.weight"] = tuple(convolution.weight.shape)
        found[f"conv{i + 1}.bias"] = (convolution.weight.shape[0],)
    return {**found, "decode.weight": (512, width), "decode.bias": (512,)}


def ruled_network(path: Path, name: str, field: int, width: int) -> None:
    """Write such a network, whose tensors follow from their names."""
    shapes = official_layout(field, width)
    torch.save({k: (2 if len(v) > 1 else 1) * ruled32(f"{name}.{k}", v) for k, v in shapes.items()}, path)


def ruled_us(folder: Path, field: int) -> Us:
    """In double precision, a sixteenth as wide, standardised and calibrated on three images of 80 px."""
    ruled_network(folder / f"teacher_{field}_net.pt", "teacher", field, 8)
    method = made(
        80,
        receptive_fields=[field],
        width=8,
        students=3,
        decoded=True,
        teacher={"weights": f"folder:{folder}"},
        held_out=0,
    )
    scale = method.net.scales[str(field)]
    for i, student in enumerate(scale.students):
        ruled_network(folder / "student.pt", f"student{i}", field, 8)
        distillation.load(student, folder / "student.pt")
    method.net.double()
    train = Doubles(ruled_images(3, 80).astype(np.float64))
    method._standardise(train)
    method._calibrate(train)
    return method


class Doubles(ImageArray):
    """Images in double precision."""

    def array(self) -> Any:
        return self.pixels

    def batches(self, size: int) -> Any:
        return (Doubles(self.pixels[i : i + size]) for i in range(0, len(self), size))


MAPS: dict[int, list[list[float]]] = {
    17: [
        [0.8665836, -2.0061752, 0.2529977, 4.6996902, -0.2165495],
        [0.7346548, 4.0132193, -0.9050296, 0.9863605, 2.0633294],
        [-1.9555286, 0.2434851, 2.3754482, -1.0386728, -1.2799269],
        [2.0709042, -0.8424002, -1.2077958, 1.4012511, 1.1717777],
        [-1.534569, 2.2973544, 0.2812708, 2.1319334, -0.5366424],
    ],
    33: [
        [-1.3669164, -1.2750059, 2.3975052, 6.5991798, 1.4080657],
        [0.5392635, 4.5052988, 2.0203982, -0.0992064, 0.1424369],
        [0.6308797, 0.8282068, -0.0886913, -0.5363674, 3.4820928],
        [0.0726352, -1.2980441, 2.7050563, 6.889369, 4.1108124],
        [-0.6611253, 3.7163149, 4.0095079, 0.5466889, 0.4389249],
    ],
    65: [
        [-0.7838258, 1.3916609, 4.2145503, 3.1740615, 0.3874335],
        [3.1620844, 4.7543937, 2.5912475, 0.0472433, -0.873717],
        [-0.039941, 0.3036653, 0.1562265, 1.8694413, 1.2860093],
        [-0.7682967, 1.9744441, 4.8832268, 5.7170483, 3.2974821],
        [-0.6995017, 3.6444829, 4.9861146, 2.2367871, -1.0337716],
    ],
}
"""Every 16th pixel, from the 9th, of the maps of denguir's code (fc279ef) with weights and images by the rules here."""
SCORES: dict[int, float] = {17: 9.1981388, 33: 9.9345817, 65: 8.5288554}
LOSSES: dict[int, list[float]] = {
    17: [5214.82353, 2492.55676, 3730.01732, 6283.34708, 1658.65685, 2963.22067, 5118.94872, 2641.06306, 3790.49277],
    33: [10535.00374, 1634.21029, 3818.92369, 12735.44306, 2036.63984, 5011.95944, 12236.93874, 1822.20395, 5025.26574],
    65: [
        42626.61582,
        30509.63997,
        60238.98629,
        37776.93806,
        48677.22304,
        62361.99463,
        50226.30005,
        34463.86108,
        57364.12579,
    ],
}
"""Of three steps of each of its students, and some weights of the first afterwards."""
WEIGHTS: dict[int, list[float]] = {
    17: [-0.224907169, 0.312210409, 0.146942955, 0.027401803],
    33: [-0.270484319, 0.047717357, 0.13618379, -0.262412861],
    65: [-0.270471264, 0.047711521, 0.136097516, -0.262244808],
}


def sample(tensor: torch.Tensor) -> npt.NDArray[np.floating[Any]]:
    """Four values, spread over a tensor."""
    flat = tensor.detach().flatten()
    return flat[:: max(1, flat.numel() // 4)][:4].numpy()


@pytest.mark.parametrize("field", [17, 33, 65])
def test_maps_scores_and_training_steps_are_those_of_the_reference(field: int, tmp_path: Path) -> None:
    method = ruled_us(tmp_path, field)
    images = torch.from_numpy(ruled_images(1, 80, first=50)).double()
    with torch.no_grad():
        maps, scores = method.net(images)
    np.testing.assert_allclose(maps[0, 8::16, 8::16].numpy(), MAPS[field], atol=1e-6)
    assert float(scores) == pytest.approx(SCORES[field], abs=1e-6)
    scale = method.net.scales[str(field)].train()
    optimizers = [torch.optim.Adam(one.parameters(), 1e-4, weight_decay=1e-5) for one in scale.students]
    losses = []
    steps = 3 if field == 33 else 1  # the others take too long for a test
    for image in torch.from_numpy(ruled_images(steps, 80)).double().split(1):
        pixels = method.net.pixels(image)
        losses += [float(stepped(scale.loss(pixels, scale.target(pixels), i), optimizers[i])) for i in range(3)]
    np.testing.assert_allclose(losses, LOSSES[field][: 3 * steps], rtol=1e-7)
    if steps == 3:
        np.testing.assert_allclose(sample(scale.students[0].convolutions[0].weight), WEIGHTS[field], atol=1e-7)


@pytest.mark.parametrize("field", [17, 33, 65])
def test_each_pixel_is_described_by_the_patch_around_it(field: int) -> None:
    torch.manual_seed(0)
    describer, half = Describer(field, 4, decodes=False), field // 2
    image = torch.randn(2, 3, 80, 80)
    with torch.no_grad():
        dense = describer.dense(image)
        assert dense.shape == (2, 4, 80, 80)
        for y, x in ((half, half), (half + 3, half + 6), (79 - half, 41)):
            window = image[..., y - half : y + half + 1, x - half : x + half + 1]
            torch.testing.assert_close(describer.patches(window), dense[..., y, x], rtol=1e-4, atol=1e-6)


# --------------------------------------------------------------------------------------------------- published figures


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("field", "wanted"), [(17, 3_062_528), (33, 1_682_048), (65, 2_386_688)])
def test_parameters_are_those_of_the_reference(field: int, wanted: int) -> None:
    assert parameters(Describer(field, 128, decodes=True)) == wanted
    assert parameters(Describer(field, 128, decodes=False)) == wanted - 66_048


@pytest.mark.parametrize(("decoded", "wanted"), [(True, 2051.06e9), (False, 2051.06e9 - 12 * 65_536 * 65_536)])
def test_multiply_accumulates_are_those_of_the_dense_reference(decoded: bool, wanted: float) -> None:
    """At 256 pixels, all receptive fields; without the decoded values each network saves a layer."""
    from torch.utils.flop_counter import FlopCounterMode

    config = Config.model_validate({"decoded": decoded, "teacher": {"weights": "random"}})
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        Network(config)(torch.zeros(1, 3, 256, 256))
    assert counted.get_total_flops() / 2 == pytest.approx(wanted, rel=0.001)


# ------------------------------------------------------------------------------------------------------- equations


def test_the_map_is_standardised_error_plus_variance_averaged_over_fields() -> None:
    method = made(receptive_fields=[17, 33], students=3)
    train = small_images(4, 64, 0)
    method.fit(train)
    images = small_images(2, 64, 1)
    pixels = torch.from_numpy(images.pixels) * 2 - 1
    held = method._parted(train)[1]
    assert len(held) == 1
    maps = []
    for scale in method.net.scales.values():
        values = []
        for shown in (torch.from_numpy(held.array()) * 2 - 1, pixels):
            with torch.no_grad():
                teacher = ((scale.teacher(shown) - scale.mean) / scale.std).double().numpy()
                students = np.stack([student(shown).double().numpy() for student in scale.students])
            error = ((students.mean(0) - teacher) ** 2).sum(1)
            variance = (students**2).sum(2).mean(0) - (students.mean(0) ** 2).sum(1)
            values.append((error, variance))
        normal, found = values
        maps.append(sum((one - base.mean()) / base.std() for one, base in zip(found, normal, strict=True)))
    prediction = method.predict(images)
    assert prediction.anomaly_map is not None
    wanted = np.mean(maps, axis=0)
    np.testing.assert_allclose(prediction.anomaly_map, wanted, atol=1e-3 * np.abs(wanted).max())
    np.testing.assert_allclose(prediction.pred_score, wanted.max((1, 2)), rtol=1e-3)


def test_teachers_are_standardised_over_the_images_that_are_trained_on() -> None:
    method, train = made(held_out=0.0), small_images(3, 64, 0)
    method.fit(train)
    (scale,) = method.net.scales.values()
    with torch.no_grad():
        target = scale.target(torch.from_numpy(train.pixels) * 2 - 1)
    torch.testing.assert_close(target.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(target.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)


def test_compactness_is_the_sum_of_squared_correlations() -> None:
    values = np.random.default_rng(0).normal(size=(20, 5))
    correlations = np.corrcoef(values.T)
    wanted = (correlations**2).sum() - 5
    assert float(compactness(torch.from_numpy(values))) == pytest.approx(wanted, rel=1e-9)


def test_patches_are_cut_from_natural_images() -> None:
    source = textures.find(textures.NaturalImages(source="photographs"), ImageArray(ruled_images(1, 64)))
    shown = [patch(np.random.default_rng(seed), source, 17) for seed in range(40)]
    assert all(one.shape == (3, 17, 17) for one in shown)
    assert sum(float(np.ptp(one, axis=0).max()) == 0 for one in shown) < 30
    assert len({one.tobytes() for one in shown}) == 40


# ------------------------------------------------------------------------------------------------------------- teacher


def test_teachers_of_the_reference_are_loaded_and_named(tmp_path: Path) -> None:
    for field in (17, 33):
        ruled_network(tmp_path / f"teacher_{field}_net.pt", "teacher", field, 4)
    method = made(receptive_fields=[17, 33], teacher={"weights": f"folder:{tmp_path}"}, training={"epochs": 0})
    weight = method.net.scales["33"].teacher.convolutions[1].weight
    torch.testing.assert_close(weight.contiguous(), 2 * ruled32("teacher.conv2.weight", tuple(weight.shape)))
    notes = method.fit(small_images(2, 64, 0)).notes
    assert any("teacher of the file teacher_33_net.pt, sha256" in note for note in notes)


def test_missing_and_strange_teachers_are_refused(tmp_path: Path) -> None:
    config = Config.model_validate({"teacher": {"weights": f"folder:{tmp_path}"}})
    with pytest.raises(UserError, match=r"no such teacher: .*teacher_17_net\.pt"):
        must_be_here(config)
    ruled_network(tmp_path / "teacher_17_net.pt", "teacher", 17, 8)
    with pytest.raises(UserError, match="of another teacher"):
        made(teacher={"weights": f"folder:{tmp_path}"})
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "teacher_17_net.pt")
    with pytest.raises(UserError, match=r"'fc.weight' is not one of denguir's code"):
        made(teacher={"weights": f"folder:{tmp_path}"})


@pytest.mark.parametrize("decoded", [False, True])
def test_teachers_are_distilled_and_say_so(decoded: bool) -> None:
    method = made(**FEW, decoded=decoded, training={"epochs": 1})
    teacher = method.net.scales["17"].teacher
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    record = method.fit(small_images(3, 64, 0))
    assert not [name for name, tensor in teacher.state_dict().items() if torch.equal(before[name], tensor)]
    assert not any(p.requires_grad for p in teacher.parameters())
    assert "teachers: distilled from mobilenetv3_small_050 in 3 steps" in record.notes
    assert any("instead of ImageNet squares of 14 photographs" in note for note in record.notes)


def test_distillation_comes_nearer_to_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "CHUNK", 15)
    losses: list[float] = []

    def watch(done: int, total: int, what: str, loss: float | None = None) -> None:
        losses.extend([] if loss is None else [loss])

    few = {**FEW, "teacher": {"weights": "distilled", "steps": 45, "batch_size": 16, "lr": 3e-3, "compactness": 0}}
    bench = Bench("cpu", 64, Seeds(1, 2), FeatureCache(None), watch=watch)
    made(bench=bench, **few, training={"epochs": 0}).fit(small_images(2, 64, 0))
    assert len(losses) == 3
    assert losses[-1] < 0.9 * losses[0]


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("params", [{}, FEW])
def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path, params: dict[str, Any]) -> None:
    params = {**params, "training": {"epochs": 3, "lr": 1e-3}}
    check_it_resumes(lambda bench: made(bench=bench, **params), small_images(4, 64, 0), tmp_path)


def test_students_learn_apart_and_the_teacher_does_not() -> None:
    method = made(students=3)
    scale = method.net.scales["17"]
    before = {name: tensor.clone() for name, tensor in scale.state_dict().items()}
    method.fit(small_images(3, 64, 0))
    changed = {name for name, tensor in scale.state_dict().items() if not torch.equal(before[name], tensor)}
    assert {name for name in changed if name.startswith("students.")} == {
        n for n in before if n.startswith("students.")
    }
    assert not {name for name in changed if name.startswith("teacher.")}
    first, second = (one.convolutions[0].weight for one in scale.students[:2])
    assert not torch.equal(first, second)


def test_a_fit_that_a_search_looks_at_is_calibrated() -> None:
    seen = []
    method: Us

    def look(record: object) -> bool:
        seen.append(method.net.scales["17"].moments.clone())
        return True

    method = made(bench=Bench("cpu", 64, Seeds(1, 2), FeatureCache(None), should_continue=look))
    method.fit(small_images(3, 64, 0))
    assert len(seen) == 1
    assert float(seen[0][0, 0]) > 0


# ------------------------------------------------------------------------------------------------- what is refused


def test_wrong_configurations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="some of 17, 33 and 65, ascending"):
        Config.model_validate({"receptive_fields": [33, 17]})
    with pytest.raises(ValidationError, match="unknown kind of teacher 'distiled'"):
        Config.model_validate({"teacher": {"weights": "distiled"}})
    with pytest.raises(UserError, match="patches of 65 px do not fit into images of 64 px"):
        made(receptive_fields=[17, 65])
    with pytest.raises(UserError, match="needs images to learn from"):
        made(**{**FEW, "textures": {"source": "none"}})
    with pytest.raises(UserError, match="no single feature map with reduction 32"):
        made(**{**FEW, "backbone": {"name": "vit_tiny_patch16_224", "weights": "random"}})
    with pytest.raises(UserError, match="none is left to train on"):
        made().fit(small_images(1, 64, 0))
    monkeypatch.delenv(textures.IMAGENET, raising=False)
    with pytest.raises(UserError, match="ImageNet's training images"):
        made(**{**FEW, "textures": {"source": "imagenet"}}).fit(small_images(2, 64, 0))


# ------------------------------------------------------------------------------------------------------- real pictures


def test_it_learns_to_find_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("skimage")
    method = made(width=8, training={"epochs": 2, "lr": 1e-3})
    found = learned_from_photographs(method, 64, every=2)
    assert found.loss[-1] < 0.9 * found.loss[0]
    assert found.after > max(0.8, found.before + 0.1)
