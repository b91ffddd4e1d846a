"""DRAEM against its published figures, its equations, and recorded outputs of the official code."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage

from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods.synthesis import Batch
from afrad_bench.methods.textures import ENVIRONMENT
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState
from afrad_bench_baselines.draem import Config, Score, build
from afrad_bench_baselines.draem.checkpoint import our_name
from afrad_bench_baselines.draem.losses import focal, loss, ssim
from afrad_bench_baselines.draem.model import Draem
from afrad_bench_baselines.draem.networks import Discrimination, Network, Reconstruction
from afrad_bench_baselines.draem.textures import CHANGES, changed
from tests.adapters import (
    bench_at,
    check_it_resumes,
    learned_from_photographs,
    ruled32,
    ruled_images,
    small,
)

NARROW: dict[str, Any] = {"reconstruction_width": 8, "discrimination_width": 4}
QUICK = small("draem")


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> Draem:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestDraemContract(MethodContract):
    module = "afrad_bench_baselines.draem"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "draem").summary().startswith("DRAEM: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# -------------------------------------------------------------------------------------- equal to the official code


def official_layout(part: str, w: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of an official state dict; `part` is "reconstruction" or "discrimination"."""
    first = part == "reconstruction"
    suffix = "" if first else "_segment"

    def layers(name: str, *channels: int, start: int = 0) -> Iterator[tuple[str, tuple[int, ...]]]:
        for i, (inputs, outputs) in enumerate(pairwise(channels)):
            yield f"{name}.{start + 3 * i}.weight", (outputs, inputs, 3, 3)
            yield f"{name}.{start + 3 * i}.bias", (outputs,)
            for of in ("weight", "bias", "running_mean", "running_var"):
                yield f"{name}.{start + 3 * i + 1}.{of}", (outputs,)
            yield f"{name}.{start + 3 * i + 1}.num_batches_tracked", ()

    levels = [3 if first else 6, w, 2 * w, 4 * w, 8 * w, 8 * w] + ([] if first else [8 * w])
    for i in range(1, len(levels)):
        yield from layers(f"encoder{suffix}.block{i}", levels[i - 1], levels[i], levels[i])
    if first:
        stages = {"1": (8, 8, 0, 8, 4), "2": (4, 4, 0, 4, 2), "3": (2, 2, 0, 2, 1), "4": (1, 1, 0, 1, 1)}
    else:
        stages = {
            "_b": (8, 8, 8, 8, 8),
            "1": (8, 4, 8, 4, 4),
            "2": (4, 2, 4, 2, 2),
            "3": (2, 1, 2, 1, 1),
            "4": (1, 1, 1, 1, 1),
        }
    for name, counts in stages.items():
        inputs, up, beside, middle, outputs = (count * w for count in counts)
        yield from layers(f"decoder{suffix}.up{name}", inputs, up, start=1)
        yield from layers(f"decoder{suffix}.db{name}", up + beside, middle, outputs)
    outputs = 3 if first else 2
    yield f"decoder{suffix}.fin_out.0.weight", (outputs, w, 3, 3)
    yield f"decoder{suffix}.fin_out.0.bias", (outputs,)


def ruled_tensor(part: str, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """By rule; the logits are made louder, so that probabilities are spread."""
    loud = 20 if part == "discrimination" and "fin_out" in name else 1
    return loud * ruled32(f"{part}.{name}", shape)


def official_checkpoint(folder: Path, reconstruction: int = 8, discrimination: int = 4) -> str:
    """Write the two files of an official checkpoint whose tensors follow from their names; the first one's path."""
    for part, width, file in (
        ("reconstruction", reconstruction, "ruled.pckl"),
        ("discrimination", discrimination, "ruled_seg.pckl"),
    ):
        state = {name: ruled_tensor(part, name, shape) for name, shape in official_layout(part, width)}
        torch.save(state, folder / file)
    return str(folder / "ruled.pckl")


OFFICIAL_MAP = [
    [
        [0.592753, 0.557366, 0.566471, 0.562939],
        [0.587874, 0.607940, 0.600883, 0.587106],
        [0.595125, 0.588499, 0.581801, 0.608464],
        [0.542546, 0.595023, 0.609844, 0.586096],
    ],
    [
        [0.604249, 0.575836, 0.631497, 0.653183],
        [0.593991, 0.579355, 0.635359, 0.586544],
        [0.594928, 0.596586, 0.578858, 0.598047],
        [0.615029, 0.589209, 0.572969, 0.592877],
    ],
]
"""Every 16th pixel, from the 9th, of the official code's maps (VitjanZ/DRAEM, 2dbf673) with the weights and images of
the rules here, its networks 8 and 4 channels wide and fed with BGR."""
OFFICIAL_SCORES = [0.622335, 0.625334]
OFFICIAL_LOSSES = [4.11819451, 4.17588138, 4.02391935]
"""Of its first three steps on the batch of the test below, in float64."""


def test_maps_and_scores_are_those_of_the_official_code(tmp_path: Path) -> None:
    method = made(start=official_checkpoint(tmp_path), training={"epochs": 0})
    record = method.fit(ImageArray(ruled_images(2, 64)))
    prediction = method.predict(ImageArray(ruled_images(2, 64, first=50)))
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 8::16, 8::16], OFFICIAL_MAP, rtol=1e-4)
    np.testing.assert_allclose(prediction.pred_score, OFFICIAL_SCORES, rtol=1e-4)
    assert record.epochs == record.images_seen == 0
    assert any("official checkpoint ruled.pckl, sha256" in note for note in record.notes)


def test_training_steps_are_those_of_the_official_code(tmp_path: Path) -> None:
    """On a batch corrupted by rule, in float64: with batch norm and Adam, float32 strays too soon."""
    method = made(start=official_checkpoint(tmp_path))
    net = method.network().double().train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    clean, texture = (torch.from_numpy(ruled_images(4, 64, first)).double() for first in (0, 20))
    mask = (texture[:, :1] > 0.7).double()
    batch = Batch([0, 1, 2, 3], clean, torch.where(mask > 0, texture, clean), mask)
    losses = [method._step(optimizer, batch) for _ in OFFICIAL_LOSSES]
    np.testing.assert_allclose(losses, OFFICIAL_LOSSES, rtol=1e-6)


# --------------------------------------------------------------------------------------------------- published figures


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_and_layout_are_the_official_ones() -> None:
    with torch.device("meta"):
        networks = {"reconstruction": Reconstruction(128), "discrimination": Discrimination(64)}
    for part, width in (("reconstruction", 128), ("discrimination", 64)):
        official = {our_name(name): shape for name, shape in official_layout(part, width)}
        assert official == {name: tuple(tensor.shape) for name, tensor in networks[part].state_dict().items()}
    first, second = networks.values()
    assert parameters(first.encoder) == 37_622_400
    assert parameters(first) == 69_048_579
    assert parameters(second.encoder) == 14_134_272
    assert parameters(second) == 28_374_146


def test_multiply_accumulates_are_the_published_ones() -> None:
    """198.27 G at 256 pixels, and a sixteenth at 64."""
    from fvcore.nn import FlopCountAnalysis

    network = Network(Reconstruction(128), Discrimination(64), Score()).eval()
    counted = FlopCountAnalysis(network, torch.zeros(1, 3, 64, 64)).unsupported_ops_warnings(False).by_module()
    assert 16 * counted["reconstruction"] == pytest.approx(160.12e9, rel=0.002)
    assert 16 * counted["discrimination"] == pytest.approx(38.15e9, rel=0.002)
    assert 16 * counted[""] == pytest.approx(198.27e9, rel=0.002)


def test_initial_values_are_the_official_ones() -> None:
    """Convolutions N(0, 0.02), batch norms N(1, 0.02) and 0."""
    net = made(reconstruction_width=32).network()
    convolutions = torch.cat([m.weight.detach().flatten() for m in net.modules() if isinstance(m, torch.nn.Conv2d)])
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    scales = torch.cat([m.weight.detach() for m in norms])
    assert float(convolutions.std()) == pytest.approx(0.02, rel=0.01)
    assert float(scales.mean()) == pytest.approx(1.0, abs=0.002)
    assert float(scales.std()) == pytest.approx(0.02, rel=0.1)
    assert not any(m.bias.any() for m in norms)


# ---------------------------------------------------------------------------------------------- equations, in numpy


def similarity(x: npt.NDArray[Any], y: npt.NDArray[Any], extent: float) -> float:
    """SSIM of planes (h, w) by scipy's Gaussian of 11 samples with zeros around."""

    def mean(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return ndimage.gaussian_filter(values, 1.5, mode="constant", radius=5)

    c1, c2 = (0.01 * extent) ** 2, (0.03 * extent) ** 2
    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    return float((((2 * mx * my + c1) * (2 * both + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


@pytest.mark.parametrize(("scale", "shift", "extent"), [(1, 0, 1), (1, -0.8, 2), (200, 0, 255), (250, -80, 256)])
def test_similarity_takes_its_range_from_the_reconstruction(scale: float, shift: float, extent: float) -> None:
    clean = torch.from_numpy(ruled_images(2, 32)).double()
    restored = scale * torch.from_numpy(ruled_images(2, 32, first=9)).double() + shift
    planes = zip(restored.flatten(0, 1).numpy(), clean.flatten(0, 1).numpy(), strict=True)
    wanted = np.mean([similarity(x, y, extent) for x, y in planes])
    assert float(ssim(restored, clean)) == pytest.approx(wanted, rel=1e-6)
    assert float(ssim(clean, clean)) == pytest.approx(1.0)


def test_focal_loss_weighs_what_is_doubted() -> None:
    mask = (torch.from_numpy(ruled_images(2, 16))[:, :1] > 0.5).double()
    anomalous = torch.from_numpy(ruled_images(2, 16, first=5))[:, 0].double()
    probabilities = torch.stack([1 - anomalous, anomalous], dim=1)
    of_truth = torch.where(mask[:, 0] > 0, anomalous, 1 - anomalous).numpy()
    assert float(focal(probabilities, mask)) == pytest.approx(
        np.mean(-((1 - of_truth) ** 2) * np.log(of_truth)), rel=1e-3
    )
    certain = torch.cat([1 - mask, mask], dim=1)
    assert abs(float(focal(certain, mask))) < 1e-4
    whole = loss(anomalous[:, None].expand(-1, 3, -1, -1), anomalous[:, None].expand(-1, 3, -1, -1), mask, certain)
    assert abs(float(whole)) < 1e-4, "a perfect reconstruction and a perfect answer cost nothing"


def test_score_is_the_largest_mean_with_zeros_around() -> None:
    method = made()
    anomaly_map = method.predict(ImageArray(ruled_images(2, 64))).anomaly_map
    assert anomaly_map is not None
    means = ndimage.uniform_filter(anomaly_map.astype(float), (0, 21, 21), mode="constant")
    found = method.predict(ImageArray(ruled_images(2, 64))).pred_score
    np.testing.assert_allclose(found, means.max((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_of_texture_gives_a_picture_of_its_size(change: Any) -> None:
    picture = Image.fromarray((small_images(1, 48, 0).pixels[0].transpose(1, 2, 0) * 255).astype(np.uint8))
    outcomes = [np.asarray(change(picture, np.random.default_rng(seed))) for seed in range(8)]
    assert all(one.shape == (48, 48, 3) and one.dtype == np.uint8 for one in outcomes)
    assert any(np.abs(one.astype(int) - np.asarray(picture)).max() > 2 for one in outcomes), "it changes something"


def test_three_different_changes_are_drawn() -> None:
    picture = Image.fromarray((ruled_images(1, 48)[0].transpose(1, 2, 0) * 255).astype(np.uint8))
    looks = {np.asarray(changed(picture, np.random.default_rng(seed))).tobytes() for seed in range(10)}
    assert len(looks) == 10


# ------------------------------------------------------------------------------------------------------------ training


def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path) -> None:
    training = {"epochs": 3, "batch_size": 3, "lr": 1e-3}
    check_it_resumes(
        lambda bench: made(bench=bench, training=training),
        small_images(5, 32, 0),
        tmp_path,
        other=lambda bench: made(bench=bench, training={**training, "lr": 1e-4}),
    )


def test_everything_learns_and_is_needed_at_inference() -> None:
    method = made()
    weights = {name: tensor.clone() for name, tensor in method.net.named_parameters()}
    method.fit(small_images(6, 64, 0))
    still = [name for name, tensor in method.net.named_parameters() if torch.equal(tensor, weights[name])]
    assert not still, "every parameter is used, none is dead"
    assert all(p.requires_grad for p in method.network().parameters())
    assert parameters(method.network()) == sum(parameters(module) for module in method.modules().values())


def test_a_fitted_method_is_made_again_from_its_state_without_textures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    method, images = made(), small_images(2, 64, 1)
    method.fit(small_images(6, 64, 0))
    other = made(bench=bench_at(64, seed=9), textures={"source": "dtd"})
    assert not np.array_equal(other.predict(images).pred_score, method.predict(images).pred_score)
    other.restore({name: tensor.clone() for name, tensor in method.state().items()})
    assert np.array_equal(other.predict(images).pred_score, method.predict(images).pred_score)


def test_the_rate_drops_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    real = torch.optim.Adam.step

    def step(self: torch.optim.Adam) -> None:
        rates.append(self.param_groups[0]["lr"])
        real(self)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    made(side=32, training={"epochs": 11, "lr": 1.0}).fit(small_images(2, 32, 0))
    assert rates == pytest.approx([1.0] * 9 + [0.2] + [0.04], rel=1e-6), "from 8.8 and 9.9 of 11 epochs"


def test_images_are_shown_corrupted_turned_or_as_they_are() -> None:
    image = small_images(1, 64, 0).pixels[0]

    def shown(seed: int, **shares: float) -> Any:
        method = made(synthesis=shares)
        textures = method_textures(method)
        return method._corrupted(np.random.default_rng(seed), image, textures)

    plain = [shown(seed, anomalous=0, rotated=0) for seed in range(4)]
    assert all(np.array_equal(pair.corrupted, image) and not pair.mask.any() for pair in plain)
    turned = [shown(seed, anomalous=0, rotated=1) for seed in range(4)]
    assert all(pair.clean is pair.corrupted and not np.array_equal(pair.clean, image) for pair in turned)
    anomalous = [shown(seed, anomalous=1, rotated=0) for seed in range(8)]
    assert sum(bool(pair.mask.any()) for pair in anomalous) > 4
    assert all(np.array_equal(pair.clean, image) for pair in anomalous)


def method_textures(method: Draem) -> Any:
    from afrad_bench.methods.textures import find as find_textures

    return find_textures(method.config.textures, small_images(3, 64, 5))


# ------------------------------------------------------------------------------------------------- what is refused


def test_the_image_must_divide() -> None:
    with pytest.raises(UserError, match="multiple of 32, but got 80") as caught:
        made(side=80)
    assert "64 and 96" in str(caught.value)


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValidationError, match="must be odd"):
        Config.model_validate({"score": {"window": 20}})
    with pytest.raises(ValidationError, match="shares of the epochs"):
        Config.model_validate({"training": {"milestones": [560, 630]}})


def test_missing_textures_are_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(UserError, match="textures of DTD"):
        made(textures={"source": "dtd"}).fit(small_images(2, 64, 0))


def test_a_batch_of_one_image_on_one_position_is_refused() -> None:
    with pytest.raises(UserError, match="batch of one image, which 5 images in batches of 4 leave"):
        made(side=32).fit(small_images(5, 32, 0))


def test_strange_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        made(start=str(tmp_path / "none.pckl"))
    (tmp_path / "text.pckl").write_text("not a checkpoint")
    with pytest.raises(UserError, match="not a checkpoint that can be loaded safely"):
        made(start=str(tmp_path / "text.pckl"))
    torch.save([1], tmp_path / "list.pckl")
    with pytest.raises(UserError, match="holds no state dict"):
        made(start=str(tmp_path / "list.pckl"))
    start = official_checkpoint(tmp_path)
    with pytest.raises(UserError, match=r"of another model: .* tensors differ in name or shape, first"):
        made(start=start, reconstruction_width=16)
    (tmp_path / "ruled_seg.pckl").unlink()
    with pytest.raises(UserError, match=r"no such checkpoint: .*ruled_seg.pckl"):
        made(start=start)
    torch.save({"strange.weight": torch.zeros(1)}, start)
    with pytest.raises(UserError, match=r"'strange.weight' is not one of DRAEM's official code"):
        made(start=start)


# ------------------------------------------------------------------------------------------------------- real pictures


def test_it_learns_to_find_gravel_in_a_brick_wall() -> None:
    method = made(
        reconstruction_width=8,
        discrimination_width=8,
        textures={"source": "photographs"},
        training={"epochs": 10, "batch_size": 4, "lr": 2e-3},
    )
    found = learned_from_photographs(method, 64)
    assert found.loss[-1] < 0.8 * found.loss[0]
    assert found.after > max(0.8, found.before + 0.1)
