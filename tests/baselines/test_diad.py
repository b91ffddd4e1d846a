"""DiAD against its published sizes, its equations, and recorded outputs of the official code."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods import fitting
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasLoop, HasModules, HasNetwork, HasParts, HasState, Seeds
from afrad_bench_baselines.diad import Config, build, check, warn
from afrad_bench_baselines.diad.model import Diad
from afrad_bench_baselines.diad.networks import Denoising, autoencoder_of
from afrad_bench_baselines.diad.scoring import Network, schedule
from afrad_bench_baselines.diad.training import autoencoder_loss, denoising_loss, one_pass
from tests.adapters import bench_at, interrupted, ruled32, ruled_images, ruled_weights, small

QUICK = small("diad")
FULL = {"backbone": {"weights": "random"}, "weights": "random"}


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> Diad:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestDiadContract(MethodContract):
    module = "afrad_bench_baselines.diad"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "diad").summary().startswith("DiAD: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState, HasLoop):
        assert isinstance(method, capability)


# ------------------------------------------------------------------------------------------- equal to the official code

OFFICIAL = np.load(Path(__file__).with_name("diad_official.npz"))
"""Recorded by the official code at widths 32, 64, 64, 64 (its fusion's convolutions, whose widths it fixes at those of
Stable Diffusion, made narrower) on weights and images that follow from a rule, with ResNet-18."""
SHAPE: dict[str, Any] = {
    "denoiser": {"widths": [32, 64, 64, 64], "heads": 2, "context": 16},
    "autoencoder": {"widths": [32, 32, 64, 64], "layers": 1},
    "training": {"epochs": 0, "autoencoder": {"epochs": 0}},
}
TIMES = torch.tensor([[10, 400], [999, 0], [250, 700]])


def noise(name: str, *shape: int) -> torch.Tensor:
    """Numbers in [-1, 1] that stand for noise."""
    return 5 * ruled32(f"{name}.bias", shape)


def sample(tensor: torch.Tensor) -> npt.NDArray[np.floating[Any]]:
    """Four values, spread over a tensor."""
    flat = tensor.detach().flatten()
    return flat[:: max(1, flat.numel() // 4)][:4].numpy()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the layout of the official code, beside a file of ResNet-18."""
    folder = tmp_path_factory.mktemp("official")
    layout = json.loads(zlib.decompress(OFFICIAL["layout"].tobytes()))
    torch.save({"state_dict": {name: ruled32(name, tuple(shape)) for name, shape in layout}}, folder / "diad.ckpt")
    ruled_weights(folder / "resnet18.pt")
    return folder / "diad.ckpt"


def official(checkpoint: Path) -> Diad:
    backbone = {"name": "resnet18", "weights": f"file:{checkpoint.with_name('resnet18.pt')}"}
    params = {**SHAPE, "backbone": backbone, "weights": f"file:{checkpoint}"}
    method = build(Config.model_validate(params), bench_at(128))
    method.net.noise.copy_(noise("noise.of.scoring", 2, 4, 16, 16))
    return method


def batch(net: Network, step: int) -> torch.Tensor:
    return net.normalised(torch.from_numpy(ruled_images(6, 128, first=10)[2 * step : 2 * step + 2]))


def test_reconstruction_map_and_score_are_the_official_ones(checkpoint: Path) -> None:
    """The official code runs the network twice per step here, for its guidance of scale 9."""
    method = official(checkpoint)
    images = ruled_images(2, 128)
    with torch.inference_mode():
        restored = method.net.restored(method.net.normalised(torch.from_numpy(images)))
    np.testing.assert_allclose(restored[..., 8::16, 8::16], OFFICIAL["restored"], atol=2e-5)
    prediction = method.predict(ImageArray(images))
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 8::16, 8::16], OFFICIAL["map"], rtol=2e-5)
    np.testing.assert_allclose(prediction.pred_score, OFFICIAL["score"], rtol=1e-5)


def test_three_steps_of_stage_b_are_the_official_ones(checkpoint: Path) -> None:
    net = official(checkpoint).net
    optimizer = torch.optim.AdamW([p for p in net.denoising.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for step in range(3):
        of_posterior, noise_ = noise(f"step{step}", 2, 2, 4, 16, 16)
        loss = denoising_loss(net, batch(net, step), of_posterior, noise_, TIMES[step])
        losses.append(float(fitting.stepped(loss, optimizer)))
    np.testing.assert_allclose(losses, OFFICIAL["losses"], rtol=1e-5)
    recorded = [name for name in OFFICIAL.files if name.startswith("w:")]
    assert len(recorded) == 11
    for name in recorded:
        found = sample(net.denoising.get_parameter(name.removeprefix("w:")))
        np.testing.assert_allclose(found, OFFICIAL[name], atol=2e-6, err_msg=name)


def test_three_steps_of_stage_a_are_the_official_ones(checkpoint: Path) -> None:
    """Without LPIPS, as recorded."""
    net = official(checkpoint).net
    optimizer = torch.optim.Adam(net.autoencoder.requires_grad_(True).parameters(), lr=1e-3, betas=(0.5, 0.9))
    losses = []
    for step in range(3):
        loss = autoencoder_loss(net, batch(net, step), noise(f"stage{step}", 2, 4, 16, 16), 1e-6, None)
        losses.append(float(fitting.stepped(loss, optimizer)))
    np.testing.assert_allclose(losses, OFFICIAL["stage_a"], rtol=5e-5)
    for name in (name for name in OFFICIAL.files if name.startswith("a:")):
        found = sample(net.autoencoder.get_parameter(name.removeprefix("a:")))
        np.testing.assert_allclose(found, OFFICIAL[name], atol=2e-6, err_msg=name)


# ------------------------------------------------------------------------------------------------------ published sizes


def parameters(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def full(sff: str = "official") -> tuple[Denoising, Any]:
    config = Config.model_validate({"sff": sff})
    with torch.device("meta"):
        denoising, autoencoder = Denoising(config).eval(), autoencoder_of(config.autoencoder).eval()
    denoising.freeze()
    return denoising, autoencoder


def test_parameters_are_the_published_ones() -> None:
    denoising, autoencoder = full()
    assert parameters(denoising) == 1_331_392_084
    assert parameters(denoising.unet) == 859_520_964
    assert parameters(denoising.guidance.control) == 361_279_120
    assert parameters(denoising.guidance.fusion) == 110_592_000
    assert parameters(autoencoder.encoder, autoencoder.quant_conv) == 34_163_664
    assert parameters(autoencoder.post_quant_conv, autoencoder.decoder) == 49_490_199
    assert parameters(made(backbone={"name": "resnet50", "weights": "random"}).net.extractor) == 8_543_296


@pytest.mark.parametrize(("sff", "idle"), [("official", 110_592_000 + 4_920_960), ("paper", 1_231_360)])
def test_what_is_trained_is_what_the_official_optimizer_holds_but_for_what_never_moves(sff: str, idle: int) -> None:
    """Without fusion and zero convolutions 0 to 8 (official), or without 0 to 5, whose maps nothing uses (paper)."""
    denoising, _ = full(sff)
    trained = sum(p.numel() for p in denoising.parameters() if p.requires_grad)
    assert trained == 982_679_124 - idle


def test_multiply_accumulates_are_those_of_the_official_networks() -> None:
    """Its networks, counted by the same counter, take 33.108 G (SGN) and 90.053 G (U-Net) at 256 px; the fusion's nine
    convolutions are 1.769 G of them."""

    def macs(call: Callable[[], object]) -> float:
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counted:
            call()
        return counted.get_total_flops() / 2e9

    with torch.device("meta"):
        latents, hints, context = torch.zeros(1, 4, 32, 32), torch.zeros(1, 3, 256, 256), torch.zeros(1, 77, 768)
        times = torch.zeros(1, dtype=torch.long)
    for sff, wanted in (("paper", 33.10792704), ("official", 33.10792704 - 1.769472)):
        denoising, autoencoder = full(sff)
        assert macs(lambda: denoising.guidance(latents, times, context, hints)) == pytest.approx(wanted, rel=1e-6)  # noqa: B023
        whole = macs(lambda: denoising(latents, times, context, hints))  # noqa: B023
        assert whole == pytest.approx(wanted + 90.0532224, rel=1e-6)
    assert macs(lambda: autoencoder.encode(hints)) == pytest.approx(136.67, rel=0.005)
    assert macs(lambda: autoencoder.decode(latents)) == pytest.approx(311.70, rel=0.005)


def test_the_steps_of_ddim_are_the_official_ones() -> None:
    found = schedule()
    found.set_timesteps(10)
    assert found.timesteps.tolist() == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    assert float(found.alphas_cumprod[999]) == pytest.approx(0.00466, abs=1e-5)
    assert float(found.final_alpha_cumprod) == float(found.alphas_cumprod[0]) < 1
    assert made(steps=5).net.times == (801, 601, 401, 201, 1)


# ------------------------------------------------------------------------------------------------------------ equations


def test_guidance_by_equal_branches_changes_nothing() -> None:
    net = made().net
    latents, hints = torch.randn(1, 4, 16, 16), torch.randn(1, 3, 64, 64)
    times = torch.tensor([901])
    stir(net)
    with torch.no_grad():
        once = net.denoising(latents, times, net.context, hints)
        twice = net.denoising(
            *(one.repeat(2, *[1] * (one.dim() - 1)) for one in (latents, times)), net.context, hints.repeat(2, 1, 1, 1)
        )
    without, given = twice.chunk(2)
    torch.testing.assert_close(without + 9 * (given - without), once, rtol=1e-4, atol=1e-5)


def test_the_network_runs_once_per_step_and_the_loop_can_be_shortened() -> None:
    method = made(steps=5)
    times: list[int] = []
    method.net.denoising.register_forward_pre_hook(lambda _, inputs: times.append(int(inputs[1])))
    method.predict(small_images(1, 64, 0))
    assert times == [801, 601, 401, 201, 1]
    loop = method.loop()
    assert loop.turns == 5
    short, whole = loop.shortened(2), method.network()
    assert [name for name, _ in short.named_modules()] == [name for name, _ in whole.named_modules()]
    assert all(one is two for one, two in zip(short.parameters(), whole.parameters(), strict=True))
    times.clear()
    with torch.no_grad():
        short(torch.rand(1, 3, 64, 64))
    assert times == [801, 601]


def stir(net: Network) -> None:
    """Move all zero-initialised layers of the SGN but the fusion away from zero."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in net.denoising.guidance.control.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))


def test_the_official_fusion_never_learns_and_is_left_out_without_a_difference() -> None:
    net = made().net
    guidance = net.denoising.guidance
    inputs = torch.randn(2, 4, 16, 16), torch.tensor([901, 5]), net.context, torch.randn(2, 3, 64, 64)
    assert guidance.fusion.inert
    skipped = net.denoising(*inputs)
    guidance.fusion.inert = False
    guidance.requires_grad_(True)
    with torch.no_grad():
        for layer in guidance.control.controlnet_down_blocks[
            -guidance.maps :
        ]:  # of the encoder's, only these ever move
            layer.weight.add_(0.1)
    run = net.denoising(*inputs)
    guidance.fusion.inert = True
    assert torch.equal(net.denoising(*inputs), run)
    assert not torch.equal(skipped, run)
    run.square().mean().backward()
    assert all(not conv.weight.grad.any() for convs in guidance.fusion.convs for conv in convs)
    dead = guidance.control.controlnet_down_blocks[: -guidance.maps]
    assert all(layer.weight.grad is None or not layer.weight.grad.any() for layer in dead)
    assert all(layer.weight.grad.any() for layer in guidance.control.controlnet_down_blocks[-guidance.maps :])


def test_the_papers_fusion_learns() -> None:
    method = made(sff="paper")
    before = [parameter.clone() for parameter in method.net.denoising.guidance.fusion.parameters()]
    method.fit(small_images(4, 64, 0))
    after = list(method.net.denoising.guidance.fusion.parameters())
    assert not any(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_exactly_what_requires_gradients_is_changed_by_the_fit() -> None:
    method = made()
    net = method.net
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    needs = {name: parameter.requires_grad for name, parameter in net.named_parameters()}
    method.fit(small_images(6, 64, 0))
    moved = {name: not torch.equal(before[name], parameter) for name, parameter in net.named_parameters()}
    hint = "denoising.guidance.control.controlnet_cond_embedding"  # its last layer starts at zero
    assert [name for name in needs if needs[name] != moved[name] and not name.startswith(hint)] == []
    assert "denoising.unet.conv_out.weight" in {name for name in moved if moved[name]}
    assert not any(moved[name] for name in moved if name.startswith("extractor"))


def test_a_step_is_taken_for_several_batches() -> None:
    """Five batches, a step for two: the steps see two, two and one, each loss over two."""
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    config = Config.model_validate(QUICK).training
    seen: list[float] = []

    def loss_of(indices: list[int]) -> torch.Tensor:
        seen.append(float(weight.detach()))
        return weight + len(indices)

    mean = one_pass(bench_at(64), optimizer, 9, 0, config, loss_of)
    assert seen == [0, 0, -1, -1, -2]
    assert float(weight.detach()) == -2.5
    assert mean == pytest.approx((2 * (2 + 2 + 1 + 1) + (-2 + 1)) / 9)


def test_both_losses_fall() -> None:
    """What is found in photographs after minutes of training stands in docs/baselines.md."""
    stage_a = {**QUICK["training"]["autoencoder"], "epochs": 8, "lr": 3e-3}
    record = made(training={**QUICK["training"], "epochs": 12, "accumulate": 1, "autoencoder": stage_a}).fit(
        small_images(8, 64, 0)
    )
    first, last = (float(value) for value in record.notes[1].partition("loss ")[2].split(" to "))
    assert last < 0.8 * first
    assert np.mean(record.loss[-3:]) < 0.6 * record.loss[0]
    assert record.images_seen == 8 * (8 + 12)


# -------------------------------------------------------------------------------------------------------- determinism


def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)
    features, train, images = FeatureCache(None), small_images(5, 64, 0), small_images(2, 64, 1)

    def bench(**more: Any) -> Bench:
        return Bench("cpu", 64, Seeds(1, 2), features, **more)

    stage_a = {**QUICK["training"]["autoencoder"], "epochs": 2}
    params = {"training": {**QUICK["training"], "epochs": 3, "autoencoder": stage_a}}
    whole = made(bench=bench(), **params)
    record = whole.fit(train)
    for stage, name in (("autoencoder", ".fit.pt.autoencoder"), ("denoising", "fit.pt")):
        file = tmp_path / stage / "fit.pt"
        file.parent.mkdir()
        stop = interrupted(1) if stage == "autoencoder" else interrupted_later(2)
        with pytest.raises(KeyboardInterrupt):
            made(bench=bench(checkpoint=file, watch=stop), **params).fit(train)
        assert (file.parent / name).is_file()
        resumed = made(bench=bench(checkpoint=file), **params)
        again = resumed.fit(train)
        assert (again.resumed_at, again.loss) == (1 if stage == "denoising" else 0, record.loss)
        assert np.array_equal(resumed.predict(images).pred_score, whole.predict(images).pred_score)


def interrupted_later(epochs: int) -> Any:
    """Interrupts stage B after its second epoch: stage A has `epochs`."""
    passed = 0

    def watch(done: int, total: int, what: str, loss: float | None = None) -> None:
        nonlocal passed
        passed += loss is not None
        if passed > epochs + 1:
            raise KeyboardInterrupt

    return watch


def test_a_fitted_method_is_made_again_from_its_state() -> None:
    method, images = made(sff="paper"), small_images(2, 64, 1)
    method.fit(small_images(4, 64, 0))
    state = {name: tensor.clone() for name, tensor in method.state().items()}
    other = made(bench=bench_at(64, seed=9))
    assert not np.array_equal(other.predict(images).pred_score, method.predict(images).pred_score)
    other.restore(state)
    assert np.array_equal(other.predict(images).pred_score, method.predict(images).pred_score)


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"weights": "sd15"}, "unknown kind of weights 'sd15'"),
        ({"weights": "file:"}, "unknown kind of weights"),
        ({"autoencoder": {"weights": "random"}}, "unknown kind of autoencoder weights"),
        ({"training": {"autoencoder": {"perceptual": "lpips"}}}, "unknown source of LPIPS"),
        ({"steps": 7}, "steps must divide 1000"),
        ({"steps": 1000}, "less than or equal to 500"),
        ({"denoiser": {"heads": 7}}, "multiples of groups and of heads"),
        ({"autoencoder": {"groups": 24}}, "multiples of the 24 groups"),
        ({"denoiser": {"hint": [16, 32]}}, "halves the image 1 times and the autoencoder 3 times"),
    ],
)
def test_wrong_values_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(params)


def test_image_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of 64, but got 224"):
        check(Config.model_validate(FULL), 224)
    with pytest.raises(UserError, match="images of 128 px or more"):
        check(Config.model_validate(FULL), 64)
    with pytest.raises(UserError, match="multiple of 8, but got 68"):
        made(68)
    with pytest.raises(UserError, match="no single feature map with reduction"):
        check(Config.model_validate({**QUICK, "backbone": {"name": "vit_tiny_patch16_224"}}), 64)


def test_a_training_of_the_published_size_is_announced() -> None:
    assert "1,000 images" in str(warn(Config.model_validate({"training": {"epochs": 10}}), 256, 100))
    assert warn(Config.model_validate(QUICK), 64, 100) is None


def test_without_diffusers_the_error_names_the_command() -> None:
    code = (
        "import sys, importlib.util as util\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, *a: None if name in ('diffusers', 'transformers') else real(name, *a)\n"
        "from afrad_bench.errors import UserError\n"
        "from afrad_bench_baselines.diad import Config, build, must_be_here\n"
        "for refused in (lambda: must_be_here(Config()), lambda: build(Config(), None)):\n"
        "    try:\n        refused()\n"
        "    except UserError as error:\n        print(error)\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("DiAD needs diffusers and transformers, which are not installed") == 2
    assert done.stdout.count("pip install 'afrad-bench[diffusion]'") == 2
