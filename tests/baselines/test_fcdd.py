"""FCDD and FCDD+OE against published figures, the objective, and recorded outputs of the official code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.instruments.metrics import auroc
from afrad_bench.methods.fcdd.augmentation import augmented
from afrad_bench.methods.fcdd.method import Fcdd
from afrad_bench.methods.fcdd.networks import Hypersphere, Network, averaged, gaussian, objective
from afrad_bench.methods.fcdd.outliers import find
from afrad_bench.methods.fitting import stepped
from afrad_bench.methods.recipes import differences
from afrad_bench.registry import find as find_entry
from afrad_bench.testing import MethodContract, small_images
from afrad_bench.types import Bench, HasModules, HasNetwork, HasParts, HasState
from afrad_bench_baselines import fcdd, fcdd_oe
from tests.adapters import bench_at, check_it_resumes, photographs, ruled, ruled_images, small

QUICK = small("fcdd")
EXPOSED = small("fcdd_oe")


def made(side: int = 32, bench: Bench | None = None, **changes: Any) -> Fcdd:
    return fcdd.build(fcdd.Config.model_validate({**QUICK, **changes}), bench or bench_at(side))


def exposed(side: int = 32, bench: Bench | None = None, **changes: Any) -> Fcdd:
    return fcdd_oe.build(fcdd_oe.Config.model_validate({**EXPOSED, **changes}), bench or bench_at(side))


class TestFcddContract(MethodContract):
    module = "afrad_bench_baselines.fcdd"


class TestFcddOeContract(MethodContract):
    module = "afrad_bench_baselines.fcdd_oe"


def test_they_are_registered_and_offer_what_can_be_offered() -> None:
    assert find_entry("method", "fcdd").summary().startswith("FCDD: ")
    assert find_entry("method", "fcdd_oe").summary().startswith("FCDD+OE: ")
    for capability in (HasNetwork, HasModules, HasParts, HasState):
        assert isinstance(made(), capability)


# -------------------------------------------------------------------------------------- equal to the official code

OFFICIAL_SCORES = [0.0235354642, 0.0153915606, 0.0280509223]
OFFICIAL_MAP = [
    [0.00423506, 0.00750048, 0.01991983, 0.01783338],
    [0.00487861, 0.01236447, 0.00279488, 0.00135971],
    [0.00280517, 0.00109073, 0.00444621, 0.00109644],
    [0.00328476, 0.00210698, 0.00363302, 0.00077591],
]
"""Every 8th pixel, from the 4th, of the first image's map by the official code (liznerski/fcdd, 4fa8502) for weights
and images that follow from a rule; float64."""
OFFICIAL = {
    True: ([1.219968622232, 1.925162002693, 0.734239270199], [3.0010859291, 3.0238466358, 3.2824791375]),
    False: ([0.084429631668, 3.449263640005, 2.520249521158], [0.3746250540, 0.2768112793, 0.4921589514]),
}
"""With outliers or without: losses of three steps on six images, and the scores after them."""
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
OUTLIERS = [False, True, True, False, True, False]


def official_state() -> dict[str, torch.Tensor]:
    """Tensors of the official network, with the batch norm that it never calls, as rules make them."""
    with torch.device("meta"):
        state: Mapping[str, torch.Tensor] = Hypersphere().state_dict()
    shapes = {name: tuple(like.shape) for name, like in state.items()}
    unused = {f"bn2d3.{name}": (128,) for name in ("weight", "bias", "running_mean", "running_var")}
    return {name: ruled(name, shape) for name, shape in (shapes | unused | {"bn2d3.num_batches_tracked": ()}).items()}


def ruled_network() -> Network:
    network = Network(32, 1.2)
    network.sphere.load_state_dict({name: t for name, t in official_state().items() if not name.startswith("bn2d3.")})
    network.mean.copy_(torch.tensor(MEAN).view(3, 1, 1))
    network.std.copy_(torch.tensor(STD).view(3, 1, 1))
    return network.double().eval()


@pytest.mark.parametrize("mixed", [True, False])
def test_maps_scores_and_steps_are_those_of_the_official_code(mixed: bool) -> None:
    network = ruled_network()
    test = torch.from_numpy(ruled_images(3, 32, first=50)).double()
    train = (torch.from_numpy(ruled_images(6, 32)).double() - network.mean) / network.std
    with torch.no_grad():
        heat, scores = network(test)
    np.testing.assert_allclose(heat[0, 3::8, 3::8].numpy(), OFFICIAL_MAP, rtol=2e-5, atol=1e-8)
    np.testing.assert_allclose(scores.numpy(), OFFICIAL_SCORES, rtol=1e-8)
    losses, after = OFFICIAL[mixed]
    optimizer = torch.optim.Adam(network.sphere.parameters(), 1e-3, weight_decay=1e-6)
    network.train()
    labels = torch.tensor(OUTLIERS) if mixed else None
    found = [float(stepped(objective(network.sphere(train), labels), optimizer)) for _ in range(3)]
    np.testing.assert_allclose(found, losses, rtol=1e-8)
    with torch.no_grad():
        np.testing.assert_allclose(network.eval()(test)[1].numpy(), after, rtol=1e-6)


def test_an_official_snapshot_is_loaded(tmp_path: Path) -> None:
    torch.save({"net": official_state(), "opt": None, "sched": None, "epoch": 600}, tmp_path / "snapshot.pt")
    method = made(start=str(tmp_path / "snapshot.pt"), training={"epochs": 0})
    assert "official checkpoint snapshot.pt, sha256" in method.notes[-1]
    method.net.mean.copy_(torch.tensor(MEAN).view(3, 1, 1))
    method.net.std.copy_(torch.tensor(STD).view(3, 1, 1))
    scores = method.predict(ImageArray(ruled_images(3, 32, first=50))).pred_score
    np.testing.assert_allclose(scores, OFFICIAL_SCORES, rtol=1e-5)

    def refused(content: Any, match: str) -> None:
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(UserError, match=match):
            made(start=str(tmp_path / "other.pt"))

    refused({"weights": {}}, "holds no `net`")
    refused({"net": {"conv1.weight": torch.zeros(32, 3, 5, 5)}}, "another network")
    with pytest.raises(UserError, match="no such checkpoint"):
        made(start=str(tmp_path / "none.pt"))


# --------------------------------------------------------------------------------------------------- published figures


def test_size_is_the_published_one() -> None:
    """The official code has 256 parameters more, in a batch norm that it never calls."""
    from afrad_bench.instruments.counting import trace

    method = made()
    assert sum(p.numel() for p in method.network().parameters()) == 1_185_537 - 256
    with torch.no_grad():
        counted = trace(method.network(), torch.zeros(1, 3, 32, 32))
    assert counted.work.total == pytest.approx(0.249438e9, rel=0.005)


# ---------------------------------------------------------------------------------------------------------- equations


def test_the_objective_draws_normal_images_near_and_pushes_outliers_away() -> None:
    distances = torch.tensor([[[1.0, 3.0]], [[0.5, 0.5]]])
    wanted = (2.0 - np.log(1 - np.exp(-0.5))) / 2
    assert float(objective(distances, torch.tensor([False, True]))) == pytest.approx(wanted)
    assert float(objective(distances, None)) == pytest.approx((2.0 + 0.5) / 2)
    centre = torch.zeros(2, 1, 1, requires_grad=True)
    objective(centre, torch.tensor([False, True])).backward()
    assert centre.grad is not None
    assert centre.grad.isfinite().all(), "an outlier at the centre"


def test_the_map_spreads_a_distance_around_the_centre_of_its_receptive_field() -> None:
    network = Network(32, 1.2)
    distances = torch.zeros(1, 8, 8)
    distances[0, 2, 5] = 4
    heat = network.heat(distances)[0]
    assert heat.shape == (32, 32)
    assert (heat == heat.max()).nonzero().tolist() == [[9, 21], [9, 22], [10, 21], [10, 22]]
    assert float(heat.max()) == 1.0
    kernel = gaussian(21, 1.2)
    assert kernel[10, 10] == 1
    assert kernel[10, 13] == pytest.approx(np.exp(-(9 / 1.44) / 2))


def test_larger_images_are_averaged_and_their_map_is_enlarged() -> None:
    images = torch.from_numpy(ruled_images(2, 64))
    small = averaged(images, 32)
    np.testing.assert_allclose(small[:, :, 3, 5], images[:, :, 6:8, 10:12].mean((2, 3)), rtol=1e-6)
    method = made(side=64)
    maps, scores = method.network()(images)
    assert maps.shape == (2, 64, 64)
    np.testing.assert_allclose(scores.detach(), method.network()(small)[1].detach(), rtol=1e-6)
    assert method.notes == ("images are averaged from 64 to 32 px",)


# ------------------------------------------------------------------------------------------------------------ training


def test_augmentation_is_small_but_for_place_and_mirror() -> None:
    image = np.full((32, 32, 3), 100, np.uint8)
    image[8:24, 8:20] = (180, 60, 20)
    seen = np.stack([augmented(np.random.default_rng(i), image) for i in range(60)])
    assert seen.shape == (60, 3, 32, 32)
    assert seen.dtype == np.float32
    marked = seen[:, 0] > 0.55
    assert set(marked.sum((1, 2)).tolist()) == {16 * 12}, "it is moved, not scaled"
    rows = {int(one.any(1).argmax()) for one in marked}
    assert rows == set(range(4, 13)), "by up to four pixels"
    columns = {int(one.any(0).argmax()) for one in marked}
    assert min(columns) == 4
    assert max(columns) == 16, "mirrored"
    inside = seen[:, 0][marked]
    assert abs(inside.mean() * 255 - 180) < 2
    assert 0.2 < inside.std() * 255 < 3


def test_images_are_normalised_by_the_training_images() -> None:
    method, train = made(training={"epochs": 0}), small_images(6, 32, 0)
    method.fit(train)
    np.testing.assert_allclose(method.net.mean.flatten(), train.pixels.mean((0, 2, 3)), atol=1e-3)
    np.testing.assert_allclose(method.net.std.flatten(), train.pixels.std((0, 2, 3)), atol=1e-3)


def test_about_half_of_the_images_shown_are_outliers() -> None:
    method = exposed()
    pictures = np.zeros((200, 32, 32, 3), np.uint8)
    images, labels = method._shown(pictures, list(range(200)), 0)
    assert 80 < int(labels.sum()) < 120
    assert (images[~labels].abs().amax((1, 2, 3)) < 0.01).all(), "normal ones are black"
    assert (images[labels].amax((1, 2, 3)) > 0.01).float().mean() > 0.9
    assert not made()._shown(pictures, list(range(200)), 0)[1].any()


def test_the_rate_drops_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    real = torch.optim.Adam.step

    def step(self: torch.optim.Adam) -> None:
        rates.append(self.param_groups[0]["lr"])
        real(self)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    made(training={"epochs": 6, "batch_size": 4}).fit(small_images(2, 32, 0))
    assert rates == pytest.approx([1e-3] * 4 + [1e-4, 1e-5])


@pytest.mark.parametrize("make", [made, exposed])
def test_a_resumed_fit_is_the_same_to_the_bit(tmp_path: Path, make: Any) -> None:
    params = {"training": {"epochs": 3, "batch_size": 2}}
    check_it_resumes(lambda bench: make(bench=bench, **params), small_images(5, 32, 0), tmp_path)


# ------------------------------------------------------------------------------------------------------------ outliers


def test_outliers_come_from_cifar_100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    planes = np.repeat(np.arange(3, dtype=np.uint8), 1024)[None].repeat(5, 0) * 50
    (folder / "train").write_bytes(pickle.dumps({b"data": planes, b"fine_labels": [0] * 5}, protocol=2))
    for named in (folder, tmp_path):
        monkeypatch.setenv("AFRAD_BENCH_CIFAR100", str(named))
        outliers = find("cifar100")
        assert "5 training images of CIFAR-100, sha256" in outliers.note
        drawn = outliers.draw(np.random.default_rng(0), 32)
        assert drawn.shape == (32, 32, 3)
        assert drawn[3, 4].tolist() == [0, 50, 100]
        assert outliers.draw(np.random.default_rng(0), 16).shape == (16, 16, 3)
    method = exposed(outliers="cifar100")
    assert "CIFAR-100" in method.fit(small_images(4, 32, 0)).notes[0]


def test_outliers_come_from_any_folder_of_images(tmp_path: Path) -> None:
    for i in range(2):
        Image.new("RGB", (40, 50), (10, 20 * i, 30)).save(tmp_path / f"{i}.png")
    outliers = find(f"folder:{tmp_path}")
    assert outliers.note.startswith("outliers: instead of CIFAR-100 2 images of the folder")
    assert outliers.draw(np.random.default_rng(0), 32)[0, 0, 0] == 10


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"", "not the training batch"), (pickle.dumps({"data": [1]}), "no array"), (pickle.dumps(Path()), "not the")],
)
def test_a_file_that_is_not_of_cifar_100_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, match: str
) -> None:
    monkeypatch.setenv("AFRAD_BENCH_CIFAR100", str(tmp_path))
    (tmp_path / "train").write_bytes(content)
    with pytest.raises(UserError, match=match):
        find("cifar100")


def test_missing_outliers_are_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(match: str, **fields: Any) -> None:
        config = fcdd_oe.Config.model_validate(fields)
        for refuse in (fcdd_oe.must_be_here, lambda config: fcdd_oe.build(config, bench_at(32))):
            with pytest.raises(UserError, match=match) as caught:
                refuse(config)
            assert "cifar-100-python.tar.gz" in str(caught.value)

    monkeypatch.delenv("AFRAD_BENCH_CIFAR100", raising=False)
    refused("the images of CIFAR-100, which serve as outliers, are not on this machine")
    monkeypatch.setenv("AFRAD_BENCH_CIFAR100", str(tmp_path))
    refused("holds no `train`")
    refused("no such folder of outliers", outliers=f"folder:{tmp_path / 'none'}")
    refused("holds no images", outliers=f"folder:{tmp_path}")
    with pytest.raises(ValidationError, match="unknown source of outliers 'photograph'"):
        fcdd_oe.Config.model_validate({"outliers": "photograph"})
    for fields in ({"outliers": "photographs"}, {"training": {"epochs": 0}}):
        fcdd_oe.must_be_here(fcdd_oe.Config.model_validate(fields))


def test_other_outliers_are_not_the_published_ones() -> None:
    stated = differences(fcdd_oe, {"outliers": "photographs"}, "cifar10", 32)
    assert str(stated).endswith("outliers photographs instead of cifar100")


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "fields", [{"side": 30}, {"side": 8}, {"sigma": 0}, {"training": {"rate": 1}}, {"backbone": 1}]
)
def test_bad_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        fcdd.Config.model_validate(fields)


def test_images_of_other_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="FCDD needs an image size that is a multiple of 32, but got 80"):
        fcdd.check(fcdd.Config(), 80)
    with pytest.raises(UserError, match="at least 32 px, but got 16"):
        fcdd.check(fcdd.Config(), 16)
    fcdd.check(fcdd.Config(side=28), 28)


# ------------------------------------------------------------------------------------------------------- real pictures


def test_with_outliers_it_learns_to_tell_other_pictures_from_a_brick_wall() -> None:
    """Without outliers it does not: see docs/baselines.md."""
    data = pytest.importorskip("skimage.data")
    train, test, _ = photographs(128)
    others = [data.chelsea()[i : i + 128, j : j + 128] for i in (0, 100) for j in (0, 150, 300)]
    strangers = np.stack(others).transpose(0, 3, 1, 2).astype(np.float32) / 255
    images, labels = ImageArray(np.concatenate([test[:4], strangers])), np.arange(10) >= 4
    contrasts = []
    for epochs in (0, 4):
        method = exposed(side=128, training={"epochs": epochs, "batch_size": 10})
        record = method.fit(ImageArray(train[:40]))
        scores = method.predict(images).pred_score
        contrasts.append(float(scores[labels].mean() / scores[~labels].mean()))
    assert record.loss[-1] < 0.8 * record.loss[0]
    assert auroc(scores, labels) > 0.9
    assert contrasts[1] > 2 * contrasts[0]
