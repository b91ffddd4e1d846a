"""DDAD against its published sizes, its equations, and recorded outputs of the official code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage
from torch.utils.flop_counter import FlopCounterMode

from afrad_bench.deploy import export, model_file
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.instruments.metrics import auroc
from afrad_bench.methods import fitting
from afrad_bench.methods.diffusion.config import UnetConfig
from afrad_bench.methods.diffusion.unet import Unet
from afrad_bench.methods.recipes import differences
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasLoop, HasModules, HasNetwork, HasParts, HasState, Seeds, TrainingRecord
from afrad_bench_baselines import ddad
from afrad_bench_baselines.ddad import Config, build
from afrad_bench_baselines.ddad.model import Ddad
from tests.adapters import (
    bench_at,
    interrupted,
    photographs,
    ruled32,
    ruled_images,
    ruled_unet,
    small,
)

SMALL = {"name": "resnet18", "weights": "random"}
UNET: dict[str, Any] = {"width": 32, "multipliers": [1, 2], "attention": [2], "blocks": 1}
TINY = small("ddad")


def made(side: int = 32, bench: Bench | None = None, **changes: Any) -> Ddad:
    return build(Config.model_validate({**TINY, **changes}), bench or bench_at(side))


class TestDdadContract(MethodContract):
    module = "afrad_bench_baselines.ddad"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "ddad").summary().startswith("DDAD: ")
    method = made()
    for capability in (HasNetwork, HasLoop, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# ------------------------------------------------------------------------------------------------------------- sizes


def test_the_network_is_as_large_as_the_official_one() -> None:
    with torch.device("meta"):
        net = Unet(Config().unet, 256).net
        small = Unet(UnetConfig(width=32, heads=2, dropout=0.3), 256)

    def size(*parts: torch.nn.Module) -> int:
        return sum(p.numel() for part in parts for p in part.parameters())

    assert size(net) == 32_952_707
    assert size(small) == 8_257_731
    assert size(net.time_embedding) == 82_432
    assert size(net.conv_in, net.down_blocks) == 9_611_136
    assert size(net.mid_block) == 2_757_632
    assert size(net.up_blocks) == 20_499_648
    assert size(net.conv_norm_out, net.conv_out) == 1_859


@pytest.mark.parametrize(("width", "heads", "gmacs"), [(64, 4, 71.79), (32, 2, 18.51)])
def test_one_forward_costs_what_the_official_one_costs(width: int, heads: int, gmacs: float) -> None:
    with torch.device("meta"):
        net = Unet(UnetConfig(width=width, heads=heads), 256).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 256, 256), torch.zeros(1))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.02)


def test_a_loop_has_the_networks_modules() -> None:
    method = made(steps=5)
    loop = method.loop()
    short, calls = loop.shortened(2), []
    assert loop.turns == 5
    assert dict(short.named_parameters()).keys() == dict(method.network().named_parameters()).keys()
    handle = method.net.unet.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        for network, turns in ((short, 2), (method.network(), 5)):
            calls.clear()
            network(torch.from_numpy(ruled_images(1, 32)))
            assert len(calls) == turns
    handle.remove()


# -------------------------------------------------------------------------------------- equal to the official code


def official_file(path: Path) -> str:
    """A checkpoint of the U-Net as the official code saves it, its output a third as large as `ruled_unet`'s."""
    state = ruled_unet(UnetConfig.model_validate(UNET), prefix="module.")
    torch.save({name: 0.3 * tensor if ".out.2." in name else tensor for name, tensor in state.items()}, path)
    return str(path)


def official_extractor(path: Path) -> str:
    """An adapted extractor as the official code saves it, with the last stage and the classifier."""
    import timm

    with torch.device("meta"):
        wanted = timm.create_model("resnet18", pretrained=False).state_dict()
    torch.save({f"module.{name}": ruled32(name, tuple(like.shape)) for name, like in wanted.items()}, path)
    return str(path)


def official_noise(count: int, shape: tuple[int, ...], first: int = 0) -> torch.Tensor:
    """The draws number `first`, `first` + 1, ... that the official code was given."""
    draws = [np.random.Generator(np.random.PCG64(1000 + i)).standard_normal(shape) for i in range(first, first + count)]
    return torch.from_numpy(np.stack(draws)).float()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Ddad:
    """DDAD at 64 px with the weights that the official code was run with, ten steps, w = 3."""
    folder = tmp_path_factory.mktemp("official")
    start, extractor = official_file(folder / "2000"), official_extractor(folder / "feat4")
    return made(64, unet=UNET, start=start, steps=10, w=3.0, adaptation={"epochs": 1, "start": extractor})


def values(text: str) -> np.ndarray:
    return np.array(text.split(), float)


# The official code's reconstructions, at every 18th of 64 x 64 pixels: of an image guided by itself, and by another.
REPAIRED = """
    -0.522627 -0.579820 -1.127472 -0.259431 0.196751 0.474800 0.255607 0.455486 0.840724 0.296544 0.717933 0.075277
    0.640207 0.224689 -0.995515 0.005459 -0.259515 0.686163 0.382691 -0.507993 1.123603 -0.199809 -0.599148 -0.516391
    -0.339924 -0.677753 0.200979 0.988752 -1.004686 0.605198 0.135007 0.372187 0.545331 -0.928864 -0.677888 0.428755
    -1.133628 0.098061 1.054793 0.494444 0.733996 0.820208 -0.727075 -1.068107 0.535435 -0.752108 -0.268873 0.159239
"""
OTHER = """
    0.013320 -0.161496 -1.234953 -0.865875 -0.083070 0.190178 0.441431 0.244576 1.198291 -0.008723 -0.163045 0.351197
    -0.809220 0.259393 0.279052 0.659160 0.104978 -0.668938 0.439446 -0.174044 -0.493286 -0.289730 0.409478 -0.992543
    -0.362889 0.283323 -0.032045 0.234774 -0.229371 0.195743 -0.850875 1.065161 -0.443257 -1.002945 0.229290 0.439629
    -0.586309 1.049011 0.968472 0.647565 1.037613 0.244585 -1.002564 -1.002454 -0.355521 -0.543667 -0.165412 -0.149161
"""
# Its map of that image, at the same places.
MAP = """
    0.0715960 0.0626260 0.0745435 0.0821824 0.0648180 0.0682478 0.0795393 0.0869070 0.0692974 0.0701357 0.0785428
    0.0963616 0.0716972 0.0677935 0.0876388 0.1063143
"""


def test_the_repaired_image_is_the_official_codes(recorded: Ddad) -> None:
    x = 2 * torch.from_numpy(ruled_images(1, 64)) - 1
    other = 2 * torch.from_numpy(ruled_images(1, 64, first=4)) - 1
    noise = official_noise(10, (1, 3, 64, 64))
    with torch.no_grad():
        for target, wanted in ((x, REPAIRED), (other, OTHER)):
            found = recorded.net.repaired(x, target, 3.0, noise)[0, :, 5::18, 5::18]
            np.testing.assert_allclose(found.flatten(), values(wanted), atol=2e-4)


def test_map_and_score_are_the_official_codes(recorded: Ddad) -> None:
    recorded.net.noise.copy_(official_noise(10, (3, 64, 64)))
    with torch.no_grad():
        anomaly_map, score = recorded.network()(torch.from_numpy(ruled_images(1, 64)))
    np.testing.assert_allclose(anomaly_map[0, 5::18, 5::18].flatten(), values(MAP), rtol=2e-3)
    assert float(anomaly_map.mean()) == pytest.approx(0.07613239, rel=1e-3)
    assert float(score) == pytest.approx(0.10631434, rel=1e-3)


def test_three_training_steps_are_the_official_codes(tmp_path: Path) -> None:
    method = made(32, unet=UNET, start=official_file(tmp_path / "2000"))
    unet, config = method.net.unet, method.config.training
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    optimizer = torch.optim.Adam(unet.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    x = 2 * torch.from_numpy(ruled_images(6, 32)) - 1
    losses = []
    for i, t in enumerate(((3, 400), (999, 100), (0, 799))):
        (noise,) = official_noise(1, (2, 3, 32, 32), first=500 + i)
        losses.append(float(fitting.stepped(method.loss(x[2 * i : 2 * i + 2], torch.tensor(t), noise), optimizer)))
    np.testing.assert_allclose(losses, [3055.32837, 3092.22852, 3100.45313], rtol=1e-4)
    changes = {name: tensor - before[name] for name, tensor in unet.state_dict().items()}
    total = torch.stack([change.square().sum() for change in changes.values()]).sum().sqrt()
    assert float(total) == pytest.approx(0.56379020, rel=1e-3)
    assert float(changes["net.conv_in.weight"].norm()) == pytest.approx(0.02228714, rel=1e-3)
    np.testing.assert_allclose(
        changes["net.conv_out.weight"].flatten()[:5],
        [0.00089108, -0.00090065, -0.00063729, 0.00087623, 0.00083758],
        atol=2e-6,
    )


def test_two_steps_of_adaptation_are_the_official_codes(tmp_path: Path) -> None:
    start, extractor = official_file(tmp_path / "2000"), official_extractor(tmp_path / "feat4")
    method = made(64, unet=UNET, start=start, steps=10, adaptation={"epochs": 1, "start": extractor})
    phi = method.net.extractor
    method.frozen.net.load_state_dict(phi.net.state_dict())
    before = {name: tensor.clone() for name, tensor in phi.net.state_dict().items()}
    optimizer = torch.optim.AdamW(phi.parameters(), lr=method.config.adaptation.lr)
    images = 2 * torch.from_numpy(ruled_images(4, 64)) - 1
    phi.net.train()
    losses = []
    for first in (0, 11):  # the official code draws noise in the last step as well, and does not use it
        noise = official_noise(10, (2, 3, 64, 64), first)
        losses.append(float(fitting.stepped(method.adaptation_loss(images[2:], images[:2], noise), optimizer)))
    np.testing.assert_allclose(losses, [1.1049658, 1.0242023], rtol=1e-3)
    after = phi.net.state_dict()
    for name, change in (("conv1.weight", 0.0154874), ("layer3.1.conv2.weight", 0.1243164)):
        assert float((after[name] - before[name]).norm()) == pytest.approx(change, rel=5e-3)
    name = "layer2.0.bn1.running_mean"
    assert float((after[name] - before[name]).norm()) == pytest.approx(3.5683386, rel=1e-3), "statistics move"


# ----------------------------------------------------------------------------------------------------- the equations


def test_the_schedule_is_the_published_one() -> None:
    kept = made().net.scheduler.alphas_cumprod
    wanted = [
        0.521423,
        0.588678,
        0.656347,
        0.722703,
        0.785887,
        0.843988,
        0.895142,
        0.937624,
        0.969951,
        0.990965,
        0.9999,
    ]
    np.testing.assert_allclose(kept[[250, 225, 200, 175, 150, 125, 100, 75, 50, 25, 0]], wanted, atol=1e-6)


def test_a_step_in_numbers() -> None:
    method = made(steps=10)
    estimate = torch.full((1, 3, 32, 32), 0.3)
    method.net.unet.forward = lambda *_: estimate  # type: ignore[method-assign]
    x, y, zero = torch.full_like(estimate, 0.5), torch.full_like(estimate, 0.2), torch.zeros(1)
    still = method.net.denoised(x, y, 225, 3.0, zero)
    assert float(still.mean()) == pytest.approx(0.426690, abs=1e-6)
    noisy = method.net.denoised(x, y, 225, 3.0, zero + 1)
    assert float((noisy - still).mean()) == pytest.approx(0.293493, abs=1e-6)
    last = [method.net.denoised(x, y, 0, 3.0, zero + noise) for noise in (0, 1)]
    assert torch.equal(*last), "the last step adds no noise"


def test_the_smoothing_mirrors_the_border_and_the_score_is_sought_in_the_centre() -> None:
    method, images = made(), ruled_images(2, 32)
    with torch.no_grad():
        features, pixels = method.net.measured(torch.from_numpy(images))
    ratio = features.amax((1, 2), keepdim=True) / pixels.amax((1, 2), keepdim=True)
    wanted = ndimage.gaussian_filter((features + ratio * pixels).numpy(), (0, 4, 4), mode="mirror")
    found = method.predict(ImageArray(images))
    np.testing.assert_allclose(found.anomaly_map, wanted, rtol=1e-4)
    np.testing.assert_allclose(found.pred_score, wanted[:, 2:30, 2:30].max((1, 2)), rtol=1e-4)


def test_maxima_of_the_training_images_are_found_after_the_fit() -> None:
    train = small_images(5, 32, 0)
    method = made(score={"balance": "training"}, eval_batch=2)
    method.fit(train)
    with torch.no_grad():
        features, pixels = method.net.measured(torch.from_numpy(train.pixels))
    np.testing.assert_allclose(method.net.largest, [float(features.max()), float(pixels.max())], rtol=1e-4)


def test_published_choices_are_named_and_none_is_used() -> None:
    names = [recipe.name for recipe in ddad.RECIPES]
    assert len(names) == 1 + 14 + 11 + 1  # screw is the configuration file; pcb3 and pcb4 have equal choices
    assert "official code, VisA, pcb3 and pcb4" in names
    bottle = {"w": 3, "training": {"epochs": 1000}, "adaptation": {"epochs": 5}}
    found = differences(ddad, Config.model_validate(bottle).model_dump(mode="json"), "mvtec_ad", 256)
    assert str(found) == "as published (official code, MVTec AD, bottle)"
    for data in ("mvtec_ad", "visa", "demo"):
        default = differences(ddad, Config().model_dump(mode="json"), data, 256)
        assert str(default) == "as published (official configuration file)"


# ----------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("place", ["training", "adaptation"])
def test_a_resumed_fit_is_the_same_to_the_bit(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)
    train, images = small_images(5, 32, 0), small_images(2, 32, 1)
    epochs = {"training": 3 if place == "training" else 1, "adaptation": 1 if place == "training" else 3}
    changes: dict[str, Any] = {
        "unet": {**TINY["unet"], "dropout": 0.3},
        **{part: {**TINY[part], "epochs": count} for part, count in epochs.items()},
    }

    def fitted(**more: Any) -> tuple[Ddad, Any]:
        method = made(bench=Bench("cpu", 32, Seeds(1, 2), bench_at(32).features, **more), **changes)
        return method, method.fit(train)

    whole, record = fitted()
    with pytest.raises(KeyboardInterrupt):
        fitted(checkpoint=tmp_path / "fit.pt", watch=interrupted(1))
    saved = {path.name for path in tmp_path.iterdir()}
    assert saved == ({"fit.pt"} if place == "training" else {"fit.pt", ".fit.pt.adaptation"})
    resumed, again = fitted(checkpoint=tmp_path / "fit.pt")
    assert again.resumed_at == 1
    assert (again.loss, again.notes) == (record.loss, record.notes)
    assert np.array_equal(resumed.predict(images).pred_score, whole.predict(images).pred_score)


def test_both_networks_learn_and_the_shared_extractor_stays() -> None:
    method = made(training={**TINY["training"], "epochs": 5}, adaptation={**TINY["adaptation"], "epochs": 3})
    shared = {name: tensor.clone() for name, tensor in method.frozen.state_dict().items()}
    first = {name: tensor.clone() for name, tensor in method.net.state_dict().items()}
    record = method.fit(small_images(6, 32, 0))
    assert all(torch.equal(tensor, shared[name]) for name, tensor in method.frozen.state_dict().items())
    still = [name for name, tensor in method.net.named_parameters() if torch.equal(tensor, first[name])]
    assert all(name.endswith("to_k.bias") for name in still), "all is trained but what softmax cannot see"
    assert not torch.equal(method.net.state_dict()["extractor.net.bn1.running_mean"], shared["net.bn1.running_mean"])
    assert list(method.modules()) == ["U-Net", "extractor", "frozen extractor"]
    assert record.images_seen == 5 * 4 + 3 * 4
    assert record.notes[-1].startswith("extractor adapted in 3 epochs, loss ")


def test_without_adaptation_the_extractor_is_the_shared_one() -> None:
    method = made(adaptation={"epochs": 0})
    record = method.fit(small_images(6, 32, 0))
    assert method.net.extractor is method.frozen
    assert list(method.modules()) == ["U-Net", "extractor"]
    assert not any(p.requires_grad for p in method.net.extractor.parameters())
    assert record.notes == ()


def test_a_small_set_is_one_batch_and_the_notes_say_so() -> None:
    method = made(training={"epochs": 1}, adaptation={"epochs": 1})
    record = method.fit(small_images(5, 32, 0))
    assert record.images_seen == 5 + 4
    assert [note for note in record.notes if note.startswith("batches of")] == [
        "batches of 5 images instead of 32: there are no more",
        "batches of 4 images instead of 16: there are no more",
    ]


def test_it_learns_what_bricks_look_like() -> None:
    train, test, marked = photographs(64)
    train, test, marked = train[..., ::2, ::2], test[4:, :, ::2, ::2], marked[4:, ::2, ::2]
    training = {"epochs": 2, "batch_size": 8, "lr": 2e-3}
    method = made(steps=2, w=0, unet=TINY["unet"], training=training, adaptation={"epochs": 0}, score={"v": 3.0})
    before = method.predict(ImageArray(test)).anomaly_map
    record = method.fit(ImageArray(train))
    after = method.predict(ImageArray(test)).anomaly_map
    assert before is not None
    assert after is not None
    assert record.loss[-1] < 0.6 * record.loss[0]
    assert auroc(after.ravel(), marked.ravel()) > auroc(before.ravel(), marked.ravel())


def test_a_kept_model_is_exported_with_its_noise(tmp_path: Path) -> None:
    method = made(adaptation={"epochs": 0}, training={"epochs": 0})
    trained_on = model_file.trained_on("none", "0", 0, 1, TrainingRecord())
    card = model_file.card_of("ddad", method.config, 32, None, trained_on)
    kept = model_file.write(tmp_path / "m.safetensors", method, card)
    done = export.export(kept, tmp_path / "m.pt")
    assert [check.batch for check in done.checks] == [1, 3]


# ------------------------------------------------------------------------------------------------- what is refused


def test_the_image_must_divide() -> None:
    with pytest.raises(UserError, match="DDAD needs an image size that is a multiple of 16, but got 40"):
        made(side=40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 7}, "7 does not divide 250"),
        ({"steps": 1, "level": 300}, "`level` / `steps` is 300"),
        ({"score": {"compared": [32]}}, r"score.compared asks for \[32\]"),
        ({"adaptation": {"batch_size": 3}}, "multiple of 2"),
    ],
)
def test_impossible_choices_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(change)


def test_one_image_cannot_guide_itself_in_the_adaptation() -> None:
    with pytest.raises(UserError, match="needs two images"):
        made(training={"epochs": 0}).fit(small_images(1, 32, 0))


def test_without_diffusers_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afrad_bench.methods.diffusion.find_spec", lambda name: None)
    with pytest.raises(UserError, match="DDAD needs diffusers") as caught:
        made()
    assert "pip install 'afrad-bench[diffusion]'" in str(caught.value)


def test_strange_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        made(start=str(tmp_path / "none"))
    torch.save([1], tmp_path / "list")
    for part in ({"start": str(tmp_path / "list")}, {"adaptation": {"start": str(tmp_path / "list")}}):
        with pytest.raises(UserError, match="not a checkpoint of DDAD's official code: it holds no state dict"):
            made(**part)
    with pytest.raises(UserError, match="of another extractor"):
        made(
            adaptation={"start": official_extractor(tmp_path / "feat")},
            backbone={"name": "resnet34", "weights": "random"},
        )
