"""Uniformaly against recorded outputs of the official code and the literal steps of its backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods import coreset
from afrad_bench.methods.coreset import farthest_first
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench_baselines.uniformaly import Config, build, check, warn
from afrad_bench_baselines.uniformaly.backbone import class_attention, interpolated
from afrad_bench_baselines.uniformaly.model import Uniformaly, foreground
from tests.adapters import bench_at, photographs, ruled, ruled_images

SMALL = {"backbone": {"name": "test_vit", "weights": "random"}, "layers": (1, 2, 3)}


class TestUniformalyContract(MethodContract):
    module = "afrad_bench_baselines.uniformaly"


class TestUniformalyContractWithoutMask(MethodContract):
    module = "afrad_bench_baselines.uniformaly"
    params = {**SMALL, "fraction": 1.0, "mask": False, "neighbours": 3, "top": 0.5}


def test_it_is_registered_under_its_folder() -> None:
    assert find("method", "uniformaly").summary().startswith("Uniformaly: ")


# -------------------------------------------------------------------------------------- equal to the official code

# YoojLee/Uniformaly at 44ec1e8, its transformer with 64 values, 6 blocks, 2 heads and patches of 16 px, made for 160
# and used at 256 px, on the weights and images of this test, one image at a time: every 13th value of every 51st token,
# the masked patches of the first test image, the coreset, every 64th pixel of the maps from the 33rd, and the scores.
OFFICIAL_TOKENS = [
    [0.163628, -4.415318, 0.108679, -3.543685, 1.695212],
    [-4.05142, -1.138567, 3.842742, 1.89744, -0.491769],
    [-3.103806, -2.896550, -0.273156, 2.812845, 4.017364],
    [1.14435, 1.271575, 0.388382, -0.752694, 1.274294],
    [-1.529244, -1.26234, 3.028371, 3.10976, 2.962295],
    [-2.116013, 0.087722, -0.180409, -2.94195, 1.795489],
]
OFFICIAL_BACKGROUND = [10, 11, 80, 81, 95, 96, 97, 112]
OFFICIAL_CORESET = [
    *(265, 918, 369, 615, 461, 705, 116, 313, 842, 258, 237, 1000, 379, 509, 895, 405, 443, 495, 73, 199, 937, 367),
    *(706, 893, 319, 484, 531, 840, 910, 991, 444, 206, 984, 919, 652, 477, 494, 562, 605, 623, 812, 508, 613, 736),
    *(750, 516, 176, 340, 284, 338, 1004, 975, 245, 868, 312, 988, 510, 364, 556, 669, 414, 800, 430, 964, 948, 760),
    *(642, 244, 676, 167, 882, 459, 363, 827, 378, 145, 392, 670, 349, 540, 5, 814, 185, 947, 400, 925, 178, 699),
    *(436, 751, 894, 35, 961, 630, 798, 13, 944, 155, 636, 71, 346),
]
OFFICIAL_MAP = [
    [
        [221.5818, 300.5680, 166.5329, 207.3042],
        [109.7587, 315.2399, 256.2491, 252.1427],
        [270.2450, 253.6927, 369.1999, 194.1884],
        [305.4255, 198.7771, 240.6376, 212.7996],
    ],
    [
        [312.8018, 163.1315, 0.0, 0.0],
        [207.1239, 66.1140, 357.4026, 309.1780],
        [0.2060, 248.1930, 279.3422, 163.3290],
        [0.0, 263.7723, 217.8568, 0.0003],
    ],
]
OFFICIAL_SCORES = [437.7173156738281, 422.8583984375]


def ruled_transformer(path: Path, bench_side: int, **fields: object) -> Uniformaly:
    """A transformer whose weights follow from a rule; queries and keys are large, so that attention is uneven."""
    with torch.device("meta"):
        wanted = timm.create_model("test_vit", pretrained=False).state_dict()
    tensors = {name: ruled(name, tuple(like.shape)) for name, like in wanted.items()}
    torch.save({name: 3 * value if "qkv.weight" in name else value for name, value in tensors.items()}, path)
    backbone = {"name": "test_vit", "weights": f"file:{path}"}
    method = build(Config.model_validate({"backbone": backbone, "layers": (1, 2, 3), **fields}), bench_at(bench_side))
    for name, values in {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}.items():
        setattr(method.extractor, name, torch.tensor(values).view(1, 3, 1, 1))  # ImageNet's; test_vit has others
    return method


def test_tokens_masks_coreset_maps_and_scores_are_those_of_the_official_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = ruled_transformer(tmp_path / "ruled.pth", 256)
    matrix = np.random.Generator(np.random.PCG64(5)).uniform(-1 / 8, 1 / 8, (64, 128)).astype(np.float32)
    monkeypatch.setattr(coreset, "mapper", lambda *names: (torch.from_numpy(matrix), torch.Generator()))
    monkeypatch.setattr(coreset, "draw", lambda total, starts, generator: torch.arange(10) * (total // 10))
    chosen: list[Tensor] = []

    def remembered(*arguments: Tensor) -> Tensor:
        chosen.append(farthest_first(*arguments))  # type: ignore[arg-type]
        return chosen[-1]

    monkeypatch.setattr(coreset, "farthest_first", remembered)
    record = method.fit(ImageArray(ruled_images(4, 256)))
    assert record.notes == ("bank of 101 of 1019 patches in the mask, of 1024 patches, 0.0 MiB",)
    assert chosen[0].tolist()[:20] == OFFICIAL_CORESET[:20]
    assert set(chosen[0].tolist()) == set(OFFICIAL_CORESET)
    test = ruled_images(2, 256, first=50)
    with torch.inference_mode():
        tokens, attention = method.extractor(torch.from_numpy(test))
        mask = foreground(attention, method.config)
    np.testing.assert_allclose(tokens[0].flatten(1).T.numpy()[::51, ::13], OFFICIAL_TOKENS, rtol=1e-4, atol=1e-5)
    assert torch.nonzero(~mask[0])[:, 0].tolist() == OFFICIAL_BACKGROUND
    prediction = method.predict(ImageArray(test))
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 32::64, 32::64], OFFICIAL_MAP, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(prediction.pred_score, OFFICIAL_SCORES, rtol=1e-5)


def test_at_its_own_size_the_transformer_is_timms(tmp_path: Path) -> None:
    """One block: its output is timm's, and the attention that of its keys and queries written out."""
    method = ruled_transformer(tmp_path / "ruled.pth", 160, layers=(0, 4))
    net = timm.create_model("test_vit", pretrained=False).eval()
    net.load_state_dict(torch.load(tmp_path / "ruled.pth", weights_only=True))
    images = torch.from_numpy(ruled_images(2, 160))
    extractor = method.extractor
    with torch.inference_mode():
        tokens, attention = extractor(images)
        wanted = net.forward_intermediates((images - extractor.mean) / extractor.std, [0, 4], intermediates_only=True)
        torch.testing.assert_close(tokens, (wanted[0] + wanted[1]) / 2, rtol=1e-4, atol=1e-5)
        assert attention.shape == (2, 1, 10, 10)
        some = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(0))
        part, normed = net.blocks[4].attn, net.blocks[4].norm1(some)
        query, key, _ = part.qkv(normed).reshape(2, 7, 3, part.num_heads, -1).permute(2, 0, 3, 1, 4)
        whole = (query @ key.transpose(2, 3) * part.scale).softmax(3).mean(1)
        torch.testing.assert_close(class_attention(net.blocks[4], some), whole[:, 0, 1:])


def test_mask_is_what_exceeds_a_share_of_the_images_own_largest_pooled_attention() -> None:
    attention = torch.zeros(2, 1, 9, 9)
    attention[0, 0, 4, 4] = 1.0
    attention[1, 0, 0, 0] = 100.0
    attention[1, 0, 8, 8] = 9.0
    mask = foreground(attention, Config(pooling=3)).unflatten(1, (9, 9))
    assert mask[0].nonzero().amin(0).tolist() == [3, 3]
    assert mask[0].nonzero().amax(0).tolist() == [5, 5]
    assert int(mask[0].sum()) == 9
    assert torch.equal(mask[1].nonzero(), torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))
    assert bool(foreground(attention, Config(mask=False)).all())


def test_image_score_is_the_mean_of_the_highest_in_the_mask(tmp_path: Path) -> None:
    images = ruled_images(2, 256, first=50)
    maps = {}
    for masked_map in (True, False):
        method = ruled_transformer(tmp_path / "ruled.pth", 256, sigma=0.0, fraction=0.2, masked_map=masked_map)
        method.fit(ImageArray(ruled_images(3, 256)))
        prediction = method.predict(ImageArray(images))
        with torch.inference_mode():
            tokens, attention = method.extractor(torch.from_numpy(images))
            bank = method._fitted().bank
            vectors = tokens.flatten(2).transpose(1, 2).double()
            scores = torch.cdist(vectors, (bank.vectors + bank.centre).double()).amin(2).square()
            mask = foreground(attention, method.config)
        assert 0 < int(mask[1].sum()) < 256
        wanted = (scores * mask).sort(1, descending=True).values[:, :13].mean(1)  # 5 % of 256, rounded
        np.testing.assert_allclose(prediction.pred_score, wanted.numpy(), rtol=1e-5)
        shown = (scores * mask if masked_map else scores).unflatten(1, (16, 16))
        pixels = F.interpolate(shown[:, None], (256, 256), mode="bilinear")[:, 0]
        assert prediction.anomaly_map is not None
        np.testing.assert_allclose(prediction.anomaly_map, pixels.numpy(), rtol=1e-4, atol=1e-3)
        maps[masked_map] = prediction.anomaly_map
    assert (maps[True] == 0).any()
    assert not (maps[False] == 0).any()


def test_positions_are_interpolated_as_in_dino() -> None:
    positions = torch.rand(1, 26, 3, generator=torch.Generator().manual_seed(0))
    assert interpolated(positions, 5) is positions
    larger = interpolated(positions, 8)
    assert larger.shape == (1, 65, 3)
    assert torch.equal(larger[:, 0], positions[:, 0])
    plain = F.interpolate(positions[:, 1:].mT.unflatten(2, (5, 5)), (8, 8), mode="bicubic").flatten(2).mT
    assert 0 < float((larger[:, 1:] - plain).abs().max()) < 0.1  # the sides are 8.1 / 5 apart, not 8 / 5


def test_a_file_of_dinos_layout_is_loaded_and_another_is_refused(tmp_path: Path) -> None:
    method = ruled_transformer(tmp_path / "ruled.pth", 64)
    held = torch.load(tmp_path / "ruled.pth", weights_only=True)
    assert torch.equal(method.extractor.net.get_submodule("blocks.2.mlp.fc1").weight, held["blocks.2.mlp.fc1.weight"])
    torch.save({name: value for name, value in held.items() if "blocks.5" not in name}, tmp_path / "other.pth")
    backbone = {"name": "test_vit", "weights": f"file:{tmp_path / 'other.pth'}"}
    with pytest.raises(UserError, match="the weights do not fit test_vit"):
        build(Config.model_validate({**SMALL, "backbone": backbone}), bench_at(64))


def test_a_kept_model_scores_as_before() -> None:
    config = Config.model_validate({**SMALL, "fraction": 0.3})
    method = build(config, bench_at(64))
    method.fit(small_images(4, 64, 1))
    images = small_images(3, 64, 2)
    other = build(config, bench_at(64, seed=9))
    other.restore(method.state())
    assert np.array_equal(other.predict(images).pred_score, method.predict(images).pred_score)


def test_it_tells_gravel_from_brick_even_untrained() -> None:
    train, test, _ = photographs(128)
    method = build(Config.model_validate({**SMALL, "mask": False}), bench_at(128))
    method.fit(ImageArray(train))
    scores = method.predict(ImageArray(test)).pred_score
    assert scores[4:].mean() > scores[:4].mean()


def test_an_exported_network_takes_any_number_of_images() -> None:
    method = build(Config.model_validate({**SMALL, "fraction": 0.3}), bench_at(64))
    method.fit(small_images(4, 64, 1))
    network, images = method.network(), torch.from_numpy(small_images(3, 64, 2).pixels)
    batch = ({0: torch.export.Dim("batch")},)
    with torch.no_grad():
        found = torch.export.export(network, (images[:2],), dynamic_shapes=batch).module()(images)
        torch.testing.assert_close(found, network(images), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------------ what it refuses


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling": 4}, "side must be odd"),
        ({"layers": (3, 2)}, "ascending order"),
        ({"threshold": 0.0}, "greater than 0"),
        ({"top": 0.0}, "greater than 0"),
    ],
)
def test_bad_configuration_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "side", "message"),
    [
        ({"backbone": {"name": "resnet18"}}, 64, "no vision transformer with a class token"),
        ({"backbone": {"name": "vit_small_patch14_dinov2"}, "layers": (12,)}, 224, "has no block 12"),
        ({"backbone": {"name": "vit_base_patch16_siglip_224"}}, 224, "no vision transformer with a class token"),
        ({}, 260, "needs an image size that is a multiple of 8"),
    ],
)
def test_what_cannot_be_built_is_refused_before(fields: dict[str, object], side: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(Config.model_validate(fields), side)


def test_missing_weights_are_refused_with_the_way_to_get_them() -> None:
    with pytest.raises(UserError, match=r"does not hold the weights of vit_base_patch8_224\.dino") as caught:
        build(Config(), bench_at(224))
    assert "weights: file:PATH" in str(caught.value)


def test_an_empty_and_a_large_bank_are_errors() -> None:
    method = build(Config.model_validate({**SMALL, "fraction": 0.001}), bench_at(64))
    with pytest.raises(UserError, match="Uniformaly's bank would be empty"):
        method.fit(small_images(2, 64, 0))
    method = build(Config.model_validate({**SMALL, "max_bank_bytes": 100}), bench_at(64))
    with pytest.raises(UserError, match="more than `max_bank_bytes`"):
        method.fit(small_images(2, 64, 0))
    with pytest.raises(RuntimeError, match="not fitted yet"):
        method.predict(small_images(2, 64, 0))


def test_plan_warns_of_a_large_bank() -> None:
    assert warn(Config(), 224, 10) is None
    line = warn(Config(fraction=0.05), 224, 3629)
    assert line is not None
    assert "a bank of 142,256 of 2,845,136 patches" in line
