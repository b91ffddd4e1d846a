"""AnoDDPM against its published sizes, its equations, and recorded outputs of the official code."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.instruments.metrics import auroc
from afrad_bench.measures import complexity
from afrad_bench.methods import fitting
from afrad_bench.methods.diffusion.unet import Unet
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import (
    Bench,
    Cell,
    Dataset,
    HasLoop,
    HasModules,
    HasNetwork,
    HasParts,
    HasState,
    Subject,
    TrainingRecord,
)
from afrad_bench_baselines.anoddpm import Config, build
from afrad_bench_baselines.anoddpm.model import Anoddpm, follow
from afrad_bench_baselines.anoddpm.simplex import Octaves, Simplex, permutations
from tests.adapters import bench_at, check_it_resumes, photographs, ruled_images, ruled_unet, small

TINY = small("anoddpm")
RECORDED: dict[str, Any] = {
    "unet": {"width": 32, "multipliers": [1, 2, 4], "attention": [2]},
    "steps": 30,
    "training": {"lr": 1e-3, "average": 0.5},
    "score": {"image_sigma": 0},
}
"""The small network with which the official code was run."""
OFFICIAL = Simplex(Octaves(6, 0.8, 64.0))


def made(side: int = 32, bench: Bench | None = None, **changes: Any) -> Anoddpm:
    return build(Config.model_validate({**TINY, **changes}), bench or bench_at(side))


class TestAnoddpmContract(MethodContract):
    module = "afrad_bench_baselines.anoddpm"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "anoddpm").summary().startswith("AnoDDPM: ")
    method = made()
    for capability in (HasNetwork, HasLoop, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# ------------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(("channels", "count"), [(1, 131_649_793), (3, 131_654_403)])
def test_the_network_is_as_large_as_the_official_one(channels: int, count: int) -> None:
    with torch.device("meta"):
        net = Unet(Config().unet, 256, channels).net

    def size(*parts: torch.nn.Module) -> int:
        return sum(p.numel() for part in parts for p in part.parameters())

    assert size(net) == count
    assert size(net.time_embedding, net.mid_block, net.up_blocks) == 328_704 + 11_020_288 + 81_910_144
    if channels == 3:
        assert size(net.conv_in, net.down_blocks) == 38_391_552
        assert size(net.conv_norm_out, net.conv_out) == 3_715


def test_one_forward_costs_what_the_official_one_costs() -> None:
    with torch.device("meta"):
        net = Unet(Config().unet, 256).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 256, 256), torch.zeros(1))
    assert counter.get_total_flops() / 2e9 == pytest.approx(282.62, rel=0.02)


def test_an_image_costs_all_its_denoising_steps() -> None:
    found: dict[int, dict[str, float]] = {}
    images = ImageArray(ruled_images(1, 32))
    for turns in (1, 3, 9):
        method = made(steps=turns)
        cell = Cell("anoddpm", "{}", "d", "{}", "unified", None, 32, 0, "demo")
        subject = Subject(
            cell, method, Dataset("d", "1", (), (), ""), images, images, TrainingRecord(), 0, None, "cpu", 1
        )
        found[turns] = {row.metric: row.value or 0.0 for row in complexity.measure(subject, complexity.Config())}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made().net.unet(torch.from_numpy(images.pixels), torch.zeros(1))
    one = counter.get_total_flops() / 2e9
    assert found[9]["gmacs"] - found[1]["gmacs"] == pytest.approx(4 * (found[3]["gmacs"] - found[1]["gmacs"]))
    assert 8 * one < found[9]["gmacs"] - found[1]["gmacs"] < 10 * one, "the rest: norms, and the noise of each step"
    assert found[9]["params_inference"] == found[1]["params_inference"] == found[1]["params_trainable"]


def test_a_loop_has_the_networks_modules() -> None:
    method = made(steps=5)
    loop = method.loop()
    short = loop.shortened(2)
    assert loop.turns == 5
    assert dict(short.named_parameters()).keys() == dict(method.network().named_parameters()).keys()
    calls = []
    handle = method.net.unet.register_forward_hook(lambda *_: calls.append(1))
    images = torch.from_numpy(ruled_images(1, 32))
    with torch.no_grad():
        short(images)
        assert len(calls) == 2
        method.network()(images)
        assert len(calls) == 2 + 5
        assert torch.equal(method.net.shortened(0).repaired(images), images), "no step, no change"
    handle.remove()


# ------------------------------------------------------------------------------------------------------ simplex noise


def official_permutation(seed: int) -> torch.Tensor:
    """OpenSimplex's permutation of a seed, by a linear congruential generator of 64 bits."""

    def following(state: int) -> int:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return state - 2**64 if state >= 2**63 else state

    source, permutation = list(range(256)), [0] * 256
    for _ in range(3):
        seed = following(seed)
    for i in reversed(range(256)):
        seed = following(seed)
        at = (seed + 31) % (i + 1)
        permutation[i], source[at] = source[at], source[i]
    return torch.tensor(permutation, dtype=torch.uint8)


# The official code's noise of the seeds 101, 102, 103 (one per channel) at step 199, every tenth of 32 x 32 pixels.
FIELD = """
    -0.166527 -0.103806 -0.803443 -0.464723 0.583414 0.074166 0.463876 0.227129 0.502763 0.520187 0.806012 0.694808
    0.849442 0.564946 1.620175 1.046627 0.531393 -0.509984 -0.602955 -0.934320 0.037390 -0.324249 -1.040534 -0.851306
    -0.786085 -0.926568 -0.638701 -0.616705 -0.822583 -1.330110 -0.681818 -0.545344 0.124547 -0.992802 -0.728321
    -0.604046 -0.106897 -0.582718 -0.377278 0.069699 -0.886873 -0.596368 -0.576716 -0.543906 -0.577280 0.052547
    -0.785113 -0.138169
"""


def test_the_noise_is_the_official_codes() -> None:
    chance = torch.stack([official_permutation(seed) for seed in (101, 102, 103)])
    found = OFFICIAL(chance, 199.0, (32, 32))
    np.testing.assert_allclose(found[:, 1::10, 1::10].flatten(), np.array(FIELD.split(), float), atol=1e-4)


def test_the_noise_is_the_packages() -> None:
    opensimplex = pytest.importorskip("opensimplex")
    package = opensimplex.OpenSimplex(seed=7)
    found = Simplex(Octaves(2, 0.5, 8.0))(official_permutation(7)[None], 45.0, (6, 9))[0]
    x, y = np.arange(9.0), np.arange(6.0)
    wanted = package.noise3array(x / 8, y / 8, np.array([45 / 8]))[0]
    wanted = wanted + 0.5 * package.noise3array(x / 4, y / 4, np.array([45 / 4]))[0]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_fields_have_the_spread_of_simplex_noise_and_are_independent() -> None:
    drawn = permutations(6, torch.Generator().manual_seed(0))
    assert all(sorted(one.tolist()) == list(range(256)) for one in drawn)
    found = OFFICIAL(drawn, 199.0, (128, 128))
    assert 0.4 < float(found.std()) < 0.6
    assert 1.2 < float(found.abs().max()) < 2.2
    off_diagonal = torch.corrcoef(found.flatten(1)) - torch.eye(6)
    assert off_diagonal.abs().max() < 0.5
    assert sum(0.8**k for k in range(6)) == pytest.approx(3.689, abs=1e-3)
    neighbours = torch.corrcoef(torch.stack([found[0, :, 1:].flatten(), found[0, :, :-1].flatten()]))[0, 1]
    assert neighbours > 0.5, "not white"


# -------------------------------------------------------------------------------------- equal to the official code


def official_file(path: Path, prefix: str = "") -> str:
    """A checkpoint as the official code saves it, with the arguments and the last weights that are not needed."""
    weights = ruled_unet(Config.model_validate(RECORDED).unet, prefix=prefix)
    arguments: defaultdict[str, object] = defaultdict(str)
    arguments.update({"img_size": [256, 256], "T": 1000, "num_heads": 2})
    other = {name: tensor + 1 for name, tensor in weights.items()}
    torch.save({"n_epoch": 3000, "model_state_dict": other, "ema": weights, "args": arguments}, path)
    return str(path)


# The official code's reconstruction of an image after 30 steps, at every ninth of 32 x 32 pixels.
REPAIRED = """
    0.058168 -0.613139 -0.437224 0.234818 -0.536336 -0.106646 0.368223 0.289629 0.351651 0.525456 0.168038 -0.328636
    0.801938 -0.324370 -0.464130 -0.183817 0.024802 0.774141 0.532026 -0.394917 0.809611 -0.165378 -0.378319 -0.016221
    -0.070235 -0.447538 0.189751 0.767863 -0.275231 0.683693 0.819533 -0.378989 0.801091 -0.573769 -0.503844 0.488100
    -0.644808 -0.250200 0.985247 -0.232762 0.343496 0.908456 -0.290404 -0.540339 0.098984 -0.889176 -0.459345 0.678195
"""


def test_the_repaired_image_and_its_map_are_the_official_codes(tmp_path: Path) -> None:
    method = made(start=official_file(tmp_path / "params-final.pt"), **RECORDED)
    seeds = iter(range(1, 1000))
    order = [0, *reversed(range(1, 30))]  # first the noise of the image, then that of the steps 29 ... 1
    for place in order:
        method.net.chance[place] = torch.stack([official_permutation(next(seeds)) for _ in range(3)])
    image = torch.from_numpy(ruled_images(1, 32))
    with torch.no_grad():
        repaired = method.net.repaired(2 * image - 1)
        anomaly_map, score = method.network()(image)
    found = repaired[0, :, 3::9, 3::9].flatten()
    np.testing.assert_allclose(found, np.array(REPAIRED.split(), float), atol=1e-3)
    assert float(anomaly_map.mean()) == pytest.approx(0.0163109, rel=1e-3)
    assert torch.equal(score, anomaly_map.amax((1, 2)))
    assert method.notes[0].startswith("starts from the official checkpoint params-final.pt, sha256 ")


def test_three_training_steps_are_the_official_codes(tmp_path: Path) -> None:
    method = made(start=official_file(tmp_path / "params-final.pt"), **RECORDED)
    before = {name: tensor.clone() for name, tensor in method.unet.state_dict().items()}
    config = method.config.training
    optimizer = torch.optim.AdamW(method.unet.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    x = 2 * torch.from_numpy(ruled_images(3, 32)) - 1
    losses = []
    for i, t in enumerate((3, 400, 799)):
        drawn = torch.stack([official_permutation(seed) for seed in range(201 + 3 * i, 204 + 3 * i)])
        loss = method.loss(x[i : i + 1], torch.tensor([t]), drawn[None])
        losses.append(float(fitting.stepped(loss, optimizer, config.clip)))
        follow(method.net.unet, method.unet, config.average)
    np.testing.assert_allclose(losses, [0.4512640, 0.5499505, 0.1669373], rtol=2e-4)
    for net, total, first, last in (
        (method.unet, 3.898035, 0.05627212, 0.06154939),
        (method.net.unet, 2.919287, 0.04225152, 0.04589828),
    ):
        changes = {name: tensor - before[name] for name, tensor in net.state_dict().items()}
        assert float(torch.stack([c.square().sum() for c in changes.values()]).sum().sqrt()) == pytest.approx(
            total, rel=1e-3
        )
        assert float(changes["net.conv_in.weight"].norm()) == pytest.approx(first, rel=1e-3)
        assert float(changes["net.conv_out.weight"].norm()) == pytest.approx(last, rel=1e-3)
    np.testing.assert_allclose(
        (method.unet.net.conv_out.weight - before["net.conv_out.weight"]).detach().flatten()[:5],
        [0.00259015, 0.00253071, 0.00244805, 0.00270835, 0.00270098],
        atol=2e-6,
    )


# ----------------------------------------------------------------------------------------------------- the equations


def test_the_schedule_is_the_published_one() -> None:
    kept = made().net.scheduler.alphas_cumprod
    assert float(kept[199]) == pytest.approx(0.659039, abs=1e-6)
    assert float(kept[249]) == pytest.approx(0.524085, abs=1e-6)


def test_a_denoising_step_is_that_of_diffusers_but_for_the_noise() -> None:
    method = made()
    x = torch.from_numpy(ruled_images(2, 32)) * 2.4 - 1.2
    for parameter in method.net.unet.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1, torch.Generator().manual_seed(parameter.numel()))
    with torch.no_grad():
        for t in (199, 1, 0):
            estimate = method.net.unet(x, torch.tensor([t, t]))
            noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(t))
            wanted = method.net.scheduler.step(estimate, t, x, torch.Generator().manual_seed(t)).prev_sample
            found = method.net.denoised(x, t, noise if t else None)
            torch.testing.assert_close(found, wanted, atol=3e-4, rtol=1e-4)  # theirs cancels in float32


def test_the_map_is_the_squared_difference_and_the_score_its_smoothed_maximum() -> None:
    method, images = made(score={"sigma": 0, "image_sigma": 2}), ruled_images(2, 32)
    with torch.no_grad():
        x = 2 * torch.from_numpy(images) - 1
        wanted = (x - method.net.repaired(x)).square().mean(1).numpy()
    found = method.predict(ImageArray(images))
    np.testing.assert_allclose(found.anomaly_map, wanted, rtol=1e-4, atol=1e-6)
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(wanted, (0, 2, 2))
    np.testing.assert_allclose(found.pred_score, smooth.max((1, 2)), rtol=1e-4)


# ----------------------------------------------------------------------------------------------------------- training


def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path) -> None:
    training = {"epochs": 3, "iterations": 2, "lr": 1e-3, "average": 0.5}
    params = {"training": training, "unet": {**TINY["unet"], "dropout": 0.3}}
    record = check_it_resumes(lambda bench: made(bench=bench, **params), small_images(3, 32, 0), tmp_path)
    assert record.images_seen == 6


def test_every_image_is_shown_before_any_again() -> None:
    method = made(training={"epochs": 4, "iterations": 3, "batch_size": 2})
    shown = [indices.tolist() for epoch in range(4) for indices in method._order(5, epoch)]
    assert len(shown) == 12
    for i in range(0, 12, 2):  # a pass is two batches; the fifth image is left out of it
        assert len({*shown[i], *shown[i + 1]}) == 4
    assert len({(*shown[i], *shown[i + 1]) for i in range(0, 12, 2)}) > 1, "each pass has its own order"


def test_the_trained_weights_follow_the_loss_and_the_scored_ones_follow_them() -> None:
    method = made()
    first = {name: tensor.clone() for name, tensor in method.unet.named_parameters()}
    method.fit(small_images(4, 32, 0))
    still = [name for name, tensor in method.unet.named_parameters() if torch.equal(tensor, first[name])]
    assert all(name.endswith("to_k.bias") for name in still), "all is trained but what softmax cannot see"
    trained, averaged = (dict(module.named_parameters()) for module in method.modules().values())
    assert all(tensor.requires_grad for tensor in trained.values())
    assert not any(tensor.requires_grad for tensor in averaged.values())
    assert all(not torch.equal(averaged[name], tensor) for name, tensor in trained.items() if name not in still)
    last = made(training={**TINY["training"], "average": 0})
    last.fit(small_images(4, 32, 0))
    for a, b in zip(*(module.parameters() for module in last.modules().values()), strict=True):
        torch.testing.assert_close(a, b)


def test_it_learns_what_bricks_look_like() -> None:
    train, test, marked = photographs(64)
    train, test, marked = train[..., ::2, ::2], test[4:, :, ::2, ::2], marked[4:, ::2, ::2]
    training = {"epochs": 1, "iterations": 120, "batch_size": 2, "lr": 2e-3, "average": 0.9}
    method = made(unet={**TINY["unet"], "attention": []}, steps=60, training=training)
    source = torch.Generator().manual_seed(0)
    x, t = 2 * torch.from_numpy(test.copy()) - 1, torch.tensor([50, 200, 400, 700])
    drawn = permutations(12, source).unflatten(0, (4, 3))

    def found() -> tuple[float, float]:
        with torch.no_grad():
            loss = float(method.loss(x, t, drawn))
        anomaly_map = method.predict(ImageArray(test)).anomaly_map
        assert anomaly_map is not None
        return loss, auroc(anomaly_map.ravel(), marked.ravel())

    loss_before, before = found()
    method.fit(ImageArray(train))
    loss_after, after = found()
    assert loss_after < 0.7 * loss_before
    assert after > before + 0.1


# ------------------------------------------------------------------------------------------------- what is refused


def test_the_image_must_divide() -> None:
    with pytest.raises(UserError, match="AnoDDPM needs an image size that is a multiple of 2, but got 33"):
        made(side=33)


def test_more_images_per_step_than_there_are_are_refused() -> None:
    with pytest.raises(UserError, match="cannot draw batches of 4 from 3 images"):
        made(training={"batch_size": 4}).fit(small_images(3, 32, 0))


@pytest.mark.parametrize("change", [{"steps": 0}, {"steps": 1001}, {"training": {"below": 1001}}])
def test_steps_outside_the_diffusion_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(change)


def test_without_diffusers_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afrad_bench.methods.diffusion.find_spec", lambda name: None)
    with pytest.raises(UserError, match="AnoDDPM needs diffusers") as caught:
        made()
    assert "pip install 'afrad-bench[diffusion]'" in str(caught.value)


def test_strange_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        made(start=str(tmp_path / "none.pt"))
    torch.save({"model_state_dict": {}}, tmp_path / "raw.pt")
    with pytest.raises(UserError, match="it has no entry `ema`"):
        made(start=str(tmp_path / "raw.pt"))
    with pytest.raises(UserError, match="not one of AnoDDPM's official code"):
        made(start=official_file(tmp_path / "params-final.pt"))  # of three levels, into two
