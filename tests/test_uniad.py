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

from adapters import bench_at, photographs, ruled, ruled_images, ruled_weights
from afrad_bench import fitting
from afrad_bench.errors import UserError
from afrad_bench.features import FeatureCache
from afrad_bench.images import ImageArray
from afrad_bench.metrics import auroc
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState, Seeds
from afrad_bench_baselines.uniad import Config, Score, Transformer, build
from afrad_bench_baselines.uniad.model import Uniad
from afrad_bench_baselines.uniad.reconstruction import Attention, Reconstruction, hidden_neighbours
from afrad_bench_baselines.uniad.scoring import Head

SMALL = {"name": "mobilenetv3_small_050", "weights": "random"}
TINY = {"width": 16, "heads": 2, "hidden": 32, "encoder_layers": 1, "decoder_layers": 2, "neighbours": 3}
QUICK: dict[str, Any] = {
    "backbone": SMALL,
    "features": {"grid": 8},
    "transformer": TINY,
    "training": {"epochs": 2, "batch_size": 4},
}


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> Uniad:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestUniadContract(MethodContract):
    module = "afrad_bench_baselines.uniad"
    params = QUICK


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
    """Tensors of one of timm's EfficientNets under the names of the official code's, whose blocks are counted through."""
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
"""Every 32nd pixel, from the 9th, of the official code's maps (zhiyuanyou/UniAD, a5b9d9d) with the weights and images of
the rules here, on EfficientNet-B4 at 128 px."""
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
