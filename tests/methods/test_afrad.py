"""AFRAD against its equations: a small independent implementation in numpy, and what ablations must change."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import erf

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray, test_images, train_images
from afrad_bench.methods.afrad import Config, build
from afrad_bench.methods.afrad.config import Features, Score
from afrad_bench.methods.afrad.method import Afrad
from afrad_bench.methods.afrad.network import Reconstruction, Scorer
from afrad_bench.methods.afrad.readings import CHOICES
from afrad_bench.methods.afrad.scoring import (
    error_map,
    image_score,
    pixel_map,
    relative_errors,
    stage_errors,
    stage_means,
    stage_sizes,
    stage_weights,
)
from afrad_bench.methods.afrad.training import masked, reconstruction_loss
from afrad_bench.methods.fitting import jittered, rate_factor
from afrad_bench.testing import MethodContract
from afrad_bench.types import Bench, Dataset, Seeds
from tests.adapters import small
from tests.conftest import drawn_dataset

SMALL = small("afrad")

SMALL_DECODERS = ("stage_adaptive", "focused_local", "compensation")


def config(**changes: Any) -> Config:
    return Config.model_validate({**SMALL, **changes})


# ------------------------------------------------------------------------- the equations again, in numpy, on (C, H, W)


def linear(x: np.ndarray, p: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Linear layer on the channels of each token."""
    return np.einsum("oc,chw->ohw", p[f"{name}.weight"], x) + p[f"{name}.bias"][:, None, None]


def layer_norm(x: np.ndarray, p: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = x - x.mean(axis=0)
    scaled = centred / np.sqrt((centred**2).mean(axis=0) + 1e-5)
    return scaled * p[f"{name}.weight"][:, None, None] + p[f"{name}.bias"][:, None, None]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def mlp(x: np.ndarray, p: dict[str, np.ndarray], name: str) -> np.ndarray:
    """LayerNorm, Linear, GELU, Linear."""
    return linear(gelu(linear(layer_norm(x, p, f"{name}.norm"), p, f"{name}.expand")), p, f"{name}.project")


def refinement(x: np.ndarray, p: dict[str, np.ndarray], name: str, times: int, skip: bool = True) -> np.ndarray:
    """Eq. 2, repeated: S' = Φ(H) + H, or Φ(H) alone."""
    for k in range(times):
        x = mlp(x, p, f"{name}.steps.{k}") + (x if skip else 0)
    return x


def convolution(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int = 1, depthwise: bool = False
) -> np.ndarray:
    """k x k with zero padding k // 2, one output value at a time."""
    k = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    rows = range(0, x.shape[1], stride)
    columns = range(0, x.shape[2], stride)
    out = np.empty((weight.shape[0], len(rows), len(columns)))
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            patch = padded[:, r : r + k, c : c + k]
            for o in range(weight.shape[0]):
                seen = patch[o] if depthwise else patch
                kernel = weight[o, 0] if depthwise else weight[o]
                out[o, i, j] = (seen * kernel).sum() + bias[o]
    return out


def bilinear(x: np.ndarray, side: int) -> np.ndarray:
    """To side x side; sample positions at pixel centres, clamped at the border."""
    scale = x.shape[1] / side
    at = np.clip((np.arange(side) + 0.5) * scale - 0.5, 0, None)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, x.shape[1] - 1)
    part = at - low
    rows = x[:, low] * (1 - part)[None, :, None] + x[:, high] * part[None, :, None]
    return rows[:, :, low] * (1 - part) + rows[:, :, high] * part


def reference(f: np.ndarray, p: dict[str, np.ndarray], c: Config) -> np.ndarray:
    """F_ori -> F_rec by eq. 1-13."""
    side = f.shape[1]
    stages, source = [], f
    for i, stride in enumerate(c.mfpn.strides):
        conv = f"mfpn.embeddings.{i}.conv"
        if c.mfpn.embedding == "separable":
            spread = convolution(source, p[f"{conv}.0.weight"], p[f"{conv}.0.bias"], stride, depthwise=True)
            h = convolution(spread, p[f"{conv}.1.weight"], p[f"{conv}.1.bias"])
        else:
            h = convolution(source, p[f"{conv}.weight"], p[f"{conv}.bias"], stride)
        h = layer_norm(h, p, f"mfpn.embeddings.{i}.norm")  # eq. 1
        source = refinement(h, p, f"mfpn.refinements.{i}", 1)  # eq. 2
        stages.append(source)
    name = "decoders.stage_adaptive"
    refined = [  # eq. 3, with the skip of eq. 2 or bare
        refinement(s, p, f"{name}.refinements.{i}", c.sad.repeats[i], c.sad.skip) for i, s in enumerate(stages)
    ]
    sad = linear(np.concatenate([bilinear(s, side) for s in refined]), p, f"{name}.fuse")  # eq. 4-6
    name = "decoders.focused_local"
    joined = np.concatenate([stages[0], bilinear(stages[1], side)])  # eq. 7
    branches = []
    for k in range(len(c.fld.kernels)):  # eq. 8
        block = f"{name}.branches.{k}.block"
        x = joined
        for layer, depthwise in ((0, False), (1, True), (2, False)):
            x = convolution(x, p[f"{block}.{layer}.weight"], p[f"{block}.{layer}.bias"], depthwise=depthwise)
        branches.append(x)
    fld = linear(np.concatenate(branches), p, f"{name}.fuse")  # eq. 9-10
    name = "decoders.compensation"
    decoded = [
        bilinear(mlp(refinement(stages[i], p, f"{name}.refinements.{i}", 1), p, f"{name}.decode.{i}"), side)
        for i in (0, 1)
    ]
    cd = linear(np.concatenate(decoded), p, f"{name}.fuse")  # section 3.5
    joined = np.concatenate([sad, fld, cd])  # eq. 11
    fused = mlp(joined, p, "integrate.mlp") + (joined if c.ngib_skip else 0)  # eq. 12, with the skip of eq. 2 or bare
    return linear(fused, p, "integrate.project.linear")  # eq. 13


def parameters(net: torch.nn.Module) -> dict[str, np.ndarray]:
    state = {key: value.double().numpy() for key, value in net.state_dict().items()}
    return {key.replace("fuse.linear", "fuse"): value for key, value in state.items()}


@pytest.mark.parametrize(
    "changes",
    [
        *({"reading": reading} for reading in ("printed", "faithful", "tuned")),
        {"mfpn": {**SMALL["mfpn"], "embedding": "full"}},
        {"ngib_skip": False},
        {"sad": {"skip": False}},
    ],
)
def test_reconstruction_equals_the_equations(changes: dict[str, Any]) -> None:
    c = config(fld={"activation": False}, **changes)
    torch.manual_seed(0)
    net = Reconstruction(9, (8, 8), c).double().eval()
    f = torch.randn(2, 9, 8, 8, dtype=torch.float64)
    with torch.inference_mode():
        ours = net(f).numpy()
    for b in range(2):
        assert np.allclose(ours[b], reference(f[b].numpy(), parameters(net), c), atol=1e-10)


def test_the_hidden_layer_of_the_ngib_counts_all_that_it_integrates() -> None:
    """So an ablation that takes a decoder away does not make the NGIB relatively wider."""
    for decoders, joined in ((SMALL_DECODERS, 21), (SMALL_DECODERS[:2], 14)):
        net = Reconstruction(9, (8, 8), config(decoders=decoders))
        assert net.integrate.mlp.expand.weight.shape == (2 * joined, joined)


# ------------------------------------------------------------------------------------------------------------- readings


def test_printed_and_faithful_keep_what_the_paper_prints() -> None:
    for reading in ("printed", "faithful"):
        c = Config(reading=reading)
        assert (c.score.weigh, c.score.weigh_image) == ("channels", "channels")  # eq. 14, 3.7
        assert (c.score.relative, c.score.relative_image) == (0, 0)  # eq. 14
        assert not c.ngib_skip  # eq. 12
        assert len(set(c.mfpn.kernels)) == 4  # "different kernel sizes", section 3.2
        assert (c.training.lr, c.training.epochs, c.training.loss) == (1e-4, 1000, "per_scale")  # 4.2
        assert c.fld.kernels == (5, 7)  # 3.4
        assert (c.fld.stages, c.cd.stages, c.sad.stages) == ((1, 2), (1, 2), (1, 2, 3, 4))  # Table 6
    assert not Config(reading="printed").sad.skip  # eq. 3


def test_a_reading_differs_from_the_tuned_one_in_the_listed_fields_only() -> None:
    tuned = flat(Config().model_dump())
    for reading in ("printed", "faithful"):
        other = flat(Config(reading=reading).model_dump())
        listed = {one.field: getattr(one, reading) for one in CHOICES}
        found = {name: value for name, value in other.items() if value != tuned.get(name)}
        skip = {"sad.skip": True} if reading == "faithful" else {}  # written down where a reading is
        wanted = {name: value for name, value in listed.items() if value != tuned.get(name)}
        for unwritten in ("training.mask", "score.relative_image"):  # 0, and the same as `score.relative`
            assert wanted.pop(unwritten) == 0
        assert found == wanted | skip | {"reading": reading}
        c = Config(reading=reading)
        assert (c.training.mask, c.score.relative_image) == (0, 0)


def flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return out


def test_single_fields_override_a_reading() -> None:
    c = Config.model_validate({"reading": "printed", "features": {"grid": 8}, "score": {"relative": 0.25}})
    assert (c.features.grid, c.features.scale, c.features.reductions) == (8, "raw", (2, 4, 8, 16))
    assert (c.score.relative, c.score.relative_image, c.score.weigh) == (0.25, 0, "channels")
    in_python = Config(reading="printed", features=Features(grid=8), score=Score(relative=0.25))
    assert in_python == c


@pytest.mark.parametrize("reading", ["printed", "faithful", "tuned"])
def test_a_reading_survives_json_whatever_overrides_it(reading: str) -> None:
    for skip in (None, True, False):
        given: dict[str, Any] = {"reading": reading} | ({} if skip is None else {"sad": {"skip": skip}})
        c = Config.model_validate(given)
        assert Config.model_validate_json(c.model_dump_json()) == c
        assert Config.model_validate(c.model_dump(mode="json")) == c
        if skip is not None:
            assert c.sad.skip is skip


def test_the_tuned_reading_is_written_as_it_was_before_readings_had_names() -> None:
    """So that a cell keeps its id, and what was measured before is found and called stale."""
    assert "reading" not in Config().model_dump()
    assert "skip" not in Config().model_dump()["sad"]
    assert Config().model_dump() == Config(reading="tuned").model_dump()


def test_an_unknown_reading_is_refused() -> None:
    with pytest.raises(ValidationError, match="'printed', 'faithful' or 'tuned'"):
        Config.model_validate({"reading": "literal"})
    with pytest.raises(ValidationError, match="'printed', 'faithful' or 'tuned'"):
        Config.model_validate({"reading": ["printed"]})


# ---------------------------------------------------------------------------------------------------------------- parts


def test_anomaly_score_equals_eq_14() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 5, 4, 4))
    means, weights = stage_means((1, 4)).double(), stage_weights((1, 4), "channels").double()
    errors = error_map(stage_errors(torch.from_numpy(a), torch.from_numpy(b), means), weights)
    by_hand = np.empty((3, 4, 4))
    for n, i, j in np.ndindex(by_hand.shape):
        by_hand[n, i, j] = math.sqrt(sum((a[n, :, i, j] - b[n, :, i, j]) ** 2))
    assert np.allclose(errors.numpy(), by_hand)
    pixels = pixel_map(errors, (16, 16))
    assert np.allclose(pixels.numpy(), bilinear(by_hand, 16))
    scores = config(score={"pool": 3}).score
    windows = np.lib.stride_tricks.sliding_window_view(bilinear(by_hand, 16), (3, 3), axis=(1, 2))
    assert np.allclose(image_score(errors, pixels, scores).numpy(), windows.mean(axis=(3, 4)).max(axis=(1, 2)))
    plain = config(score={"pool": 1, "on": "map", "reduce": "mean"}).score
    assert np.allclose(image_score(errors, pixels, plain).numpy(), by_hand.mean(axis=(1, 2)))
    whole = config(score={"pool": 99}).score
    assert np.allclose(image_score(errors, pixels, whole).numpy(), pixels.numpy().mean(axis=(1, 2)))


def test_stages_weigh_the_same_in_the_score_as_in_the_loss() -> None:
    a, b = torch.randn(2, 2, 5, 3, 3)
    weights = stage_weights((1, 4), "stages")
    assert weights.tolist() == [2.5, 2.5]
    assert stage_weights((1, 4), "channels").tolist() == [1.0, 4.0]
    assert torch.allclose(stage_weights((1, 4), "root"), torch.tensor([5 / 3, 10 / 3]))
    by_hand = 2.5 * (a[:, 0] - b[:, 0]) ** 2 + 2.5 * ((a[:, 1:] - b[:, 1:]) ** 2).mean(dim=1)
    errors = error_map(stage_errors(a, b, stage_means((1, 4))), weights)
    assert torch.allclose(errors, by_hand.sqrt())
    assert torch.isclose(errors.square().mean(), 2.5 * reconstruction_loss(a, b, (1, 4), "per_scale"))


def test_a_relative_error_is_eq_14_on_features_scaled_token_by_token() -> None:
    original, restored = torch.randn(2, 2, 5, 3, 3)
    size = torch.cat(
        [original[:, :1].square(), original[:, 1:].square().mean(1, keepdim=True).expand(2, 4, 3, 3)], dim=1
    )
    scale = (size + 0.1) ** -0.25
    by_hand = torch.linalg.vector_norm((restored - original) * scale, dim=1)
    means = stage_means((1, 4))
    errors = relative_errors(stage_errors(restored, original, means), stage_sizes(original, means), 0.5)
    assert torch.allclose(error_map(errors, stage_weights((1, 4), "channels")), by_hand, atol=1e-6)


def test_loss_is_the_sum_over_scales() -> None:
    a, b = torch.randn(2, 2, 5, 3, 3)
    by_hand = ((a[:, :2] - b[:, :2]) ** 2).mean() + ((a[:, 2:] - b[:, 2:]) ** 2).mean()
    assert torch.isclose(reconstruction_loss(a, b, (2, 3), "per_scale"), by_hand)
    assert torch.isclose(reconstruction_loss(a, b, (2, 3), "joint"), ((a - b) ** 2).mean())


def test_jitter_has_uniads_scale() -> None:
    features = torch.full((4, 50, 20, 20), 2.0)
    noise = jittered(features, 20.0, torch.Generator().manual_seed(0)) - features
    wanted = 20.0 * math.sqrt(50 * 4.0) / 50  # α·|f|/C
    assert noise.std().item() == pytest.approx(wanted, rel=0.01)


def test_a_mask_hides_whole_tokens_of_the_input_in_training() -> None:
    features = torch.rand(8, 5, 30, 30) + 0.1
    hidden = masked(features, 0.3, torch.Generator().manual_seed(0))
    gone = hidden == 0
    assert torch.equal(gone, gone[:, :1].expand_as(gone))
    assert gone[:, 0].double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(hidden[~gone], features[~gone])
    assert len({tuple(each.flatten().tolist()) for each in gone[:, 0]}) == 8, "each image has a mask of its own"


def test_cells_from_before_a_younger_field_keep_their_ids_and_are_read_as_what_they_were() -> None:
    for config in (Config(reading="faithful"), Config(reading="printed"), Config(training={"mask": 0, "epochs": 3})):
        stored = config.model_dump(mode="json")
        assert "mask" not in stored["training"]
        assert Config.model_validate(stored) == config
    same = Config(score={"relative": 0.5})  # as the default was, with one exponent for map and image score
    stored = same.model_dump(mode="json")
    assert "relative_image" not in stored["score"]
    assert Config.model_validate(stored) == same
    stored["score"]["relative"] = 0.75
    assert Config.model_validate(stored).score.relative_image == 0.75
    stored = Config().model_dump(mode="json")
    assert stored["score"]["relative_image"] == 0.5 == 2 * stored["score"]["relative"]
    assert Config(training={"epochs": 3}).training.mask == 0.3
    assert Config.model_validate(Config().model_dump(mode="json")).training.mask == 0.3


def test_schedules() -> None:
    assert [rate_factor("step", e, 10) for e in (0, 7, 8, 9)] == [1.0, 1.0, 0.1, 0.1]
    assert rate_factor("constant", 9, 10) == 1.0
    assert rate_factor("cosine", 0, 10) == 1.0
    assert rate_factor("cosine", 5, 10) == pytest.approx(0.5)


# ---------------------------------------------------------------------------------------------- what the fields change


def names_of(c: Config) -> set[str]:
    return {
        name.partition(".")[0] + "." + name.split(".")[1] for name, _ in Reconstruction(9, (8, 8), c).named_parameters()
    }


def test_ablations_remove_what_they_name() -> None:
    full = names_of(config())
    assert {"decoders.stage_adaptive", "decoders.focused_local", "decoders.compensation", "integrate.mlp"} <= full
    assert "decoders.focused_local" not in names_of(config(decoders=["stage_adaptive", "compensation"]))
    assert "integrate.mlp" not in names_of(config(ngib=False))
    without = Reconstruction(9, (8, 8), config(frm={"enabled": False}))
    assert not any("steps" in name for name, _ in without.named_parameters())


@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_without_ngib_the_decoders_are_fused_linearly(fusion: str) -> None:
    net = Reconstruction(9, (8, 8), config(ngib=False, fusion=fusion)).eval()
    maps = [torch.randn(1, 7, 8, 8) for _ in range(3)]
    joined = sum(maps) if fusion == "sum" else torch.cat(maps, dim=1)
    layer = net.integrate.project.linear
    wanted = torch.einsum("oc,bchw->bohw", layer.weight, joined) + layer.bias[:, None, None]
    assert torch.allclose(net.integrate(maps), wanted, atol=1e-6)


@pytest.mark.parametrize("relative", [(0.0, 0.0), (0.25, 0.5)])
@pytest.mark.parametrize("weigh", ["channels", "root", "stages"])
@pytest.mark.parametrize("weigh_image", ["channels", "root", "stages"])
def test_map_and_image_score_each_have_their_own_sum(
    weigh: str, weigh_image: str, relative: tuple[float, float]
) -> None:
    """Both are eq. 14, by hand, with the weights and the exponent that the configuration names for each."""
    scales = (2, 6)
    score = {"weigh": weigh, "weigh_image": weigh_image, "pool": 4}
    score |= {"relative": relative[0], "relative_image": relative[1]}
    scorer = Scorer(scales, (8, 8), (32, 32), config(score=score))
    features = torch.randn(2, 8, 8, 8)
    with torch.no_grad():
        pixels, scores = scorer.eval()([features])
        squares = (scorer.reconstruction(features) - features).square()
    shallow, deep = (part.square().mean(1, keepdim=True) for part in features.split(scales, dim=1))
    sizes = torch.cat([shallow.expand(2, 2, 8, 8), deep.expand(2, 6, 8, 8)], dim=1)

    def by_hand(kind: str, exponent: float) -> torch.Tensor:
        each = {"channels": (1.0, 1.0), "root": (2**-0.5, 6**-0.5), "stages": (1 / 2, 1 / 6)}[kind]
        w = torch.tensor([each[0]] * 2 + [each[1]] * 6)
        w *= 8 / w.sum()
        errors = (squares * w.view(1, -1, 1, 1) / (sizes + 0.1) ** exponent).sum(dim=1).sqrt()
        return torch.nn.functional.interpolate(errors[:, None], (32, 32), mode="bilinear")[:, 0]

    assert torch.allclose(pixels, by_hand(weigh, relative[0]), atol=1e-5)
    pooled = torch.nn.functional.avg_pool2d(by_hand(weigh_image, relative[1]), 4, stride=1)
    assert torch.allclose(scores, pooled.amax(dim=(1, 2)), atol=1e-5)


def test_stages_that_no_decoder_sees_are_not_made() -> None:
    """Without SAD only the first two stages are used (Table 5): the others would be dead weight."""
    net = Reconstruction(9, (8, 8), config(decoders=["focused_local", "compensation"]))
    assert len(net.mfpn.embeddings) == 2


def test_pyramid_topologies() -> None:
    f = torch.randn(1, 9, 16, 16)
    for topology in ("cascade", "parallel"):
        net = Reconstruction(
            9, (16, 16), config(mfpn={**SMALL["mfpn"], "topology": topology, "embedding": "full"})
        ).eval()
        assert [tuple(s.shape[1:]) for s in net.mfpn(f)] == [(6, 16, 16), (5, 8, 8), (4, 4, 4), (3, 2, 2)]
        assert net(f).shape == f.shape
    inputs = {e.conv.in_channels for e in net.mfpn.embeddings}
    assert inputs == {9}  # parallel: every patch embedding sees F_ori


@pytest.mark.parametrize(
    "changes",
    [
        {"mfpn": {"widths": [6, 5, 4, 3], "embedding": "full"}},
        {"mfpn": {"widths": [6, 5, 4, 3], "strides": [2, 2, 2, 2]}},
        {"frm": {"depth": 2, "token_mixing": True}},
        {"sad": {"stages": [3, 4]}},
        {"cd": {"stages": [2, 3]}, "fld": {"stages": [1, 2, 3, 4], "kernels": [3]}},
        {"decoders": ["compensation"], "ngib": False},
        {"sad": {"repeats": [0, 0, 1, 2]}},
    ],
)
def test_every_reading_reconstructs(changes: dict[str, Any]) -> None:
    net = Reconstruction(9, (8, 8), config(**changes))
    out = net(torch.randn(2, 9, 8, 8))
    assert out.shape == (2, 9, 8, 8)
    out.sum().backward()
    assert all(value.grad is not None for value in net.parameters() if value.requires_grad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mfpn": {"widths": [8, 8]}}, "same stages"),
        ({"mfpn": {"kernels": [4, 3, 3, 3]}}, "odd"),
        ({"fld": {"stages": [1, 5]}}, "1..4"),
        ({"sad": {"repeats": [1]}}, "each of the 4 stages"),
        ({"decoders": []}, "at least 1"),
        ({"decoders": ["compensation", "compensation"]}, "distinct"),
        ({"epochs": 3}, "Extra inputs"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_image_size_must_fit_the_grid(bench: Bench) -> None:
    with pytest.raises(UserError, match=r"multiple of 32, but got 72(.|\n)*64 and 96"):
        build(config(), replace(bench, image_size=72))


# ------------------------------------------------------------------------------------------------- fitting, predicting


def fitted(bench: Bench, dataset: Dataset, **changes: Any) -> Afrad:
    method = build(config(**changes), bench)
    method.fit(train_images(dataset, 64))
    return method


def weights(method: Afrad) -> list[torch.Tensor]:
    return list(method.scorer.state_dict().values())


def test_the_loss_falls_and_defects_score_higher(bench: Bench) -> None:
    dataset = drawn_dataset(train=24)
    method = build(config(training={"epochs": 12, "lr": 1e-2}), bench)
    record = method.fit(train_images(dataset, 64))
    assert (record.epochs, record.images_seen, len(record.loss)) == (12, 12 * 48, 12)
    assert record.loss[-1] < 0.7 * record.loss[0]
    prediction = method.predict(test_images(dataset, 64))
    label = np.array([sample.gt_label for sample in dataset.test])
    assert prediction.pred_score[label].min() > prediction.pred_score[~label].max()
    inside = prediction.anomaly_map[label][:, 8:24, 8:24].mean()
    assert inside > 1.5 * prediction.anomaly_map[label][:, 40:, 40:].mean()


def test_same_seed_same_bits(bench: Bench, dataset: Dataset) -> None:
    jitter = {"training": {"epochs": 2, "jitter": 20.0}}
    first, second = fitted(bench, dataset, **jitter), fitted(bench, dataset, **jitter)
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    for seeds in (Seeds(init=9, order=2), Seeds(init=1, order=9)):
        other = fitted(replace(bench, seeds=seeds), dataset, **jitter)
        assert not all(torch.equal(a, b) for a, b in zip(weights(first), weights(other), strict=True))


def test_an_interrupted_fit_resumes_to_the_same_bits(
    bench: Bench, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afrad_bench.methods.fitting.CHECKPOINT_SECONDS", 0.0)
    changes = {"training": {"epochs": 5, "jitter": 20.0}}
    whole = fitted(bench, dataset, **changes)

    def stop_after_3(done: int, total: int, what: str, loss: float | None = None) -> None:
        if what == "training" and done == 4:
            raise KeyboardInterrupt

    path = tmp_path / "cell.pt"
    with pytest.raises(KeyboardInterrupt):
        fitted(replace(bench, checkpoint=path, watch=stop_after_3), dataset, **changes)
    method = build(config(**changes), replace(bench, checkpoint=path))
    record = method.fit(train_images(dataset, 64))
    assert record.resumed_at == 3
    assert len(record.loss) == 5
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(method), strict=True))


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_foreign_checkpoint_is_not_taken_up(
    bench: Bench, dataset: Dataset, tmp_path: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afrad_bench.methods.fitting.CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "cell.pt"
    if content is None:  # of another learning rate
        fitted(replace(bench, checkpoint=path), dataset, training={"epochs": 1, "lr": 0.1})
    else:
        path.write_bytes(content)
    method = build(config(), replace(bench, checkpoint=path))
    assert method.fit(train_images(dataset, 64)).resumed_at == 0


def test_the_network_is_what_predicts(bench: Bench, dataset: Dataset) -> None:
    method = fitted(bench, dataset)
    images = test_images(dataset, 64)
    prediction = method.predict(images)
    with torch.inference_mode():
        maps, scores = method.network()(torch.from_numpy(images.array()))
    assert np.allclose(maps.numpy(), prediction.anomaly_map, rtol=1e-4, atol=1e-5)
    assert np.allclose(scores.numpy(), prediction.pred_score, rtol=1e-4)
    assert maps.shape == (16, 64, 64)


def test_standardised_features_have_unit_scale(bench: Bench, dataset: Dataset) -> None:
    images = train_images(dataset, 64)
    method = fitted(bench, dataset)
    (features,) = bench.features.read(method.extractor, images)
    scaled = method.scorer.standardise(torch.from_numpy(features)).numpy()
    assert np.abs(scaled.mean(axis=(0, 2, 3))).max() < 1e-4
    deviation = scaled.std(axis=(0, 2, 3))
    assert np.all((np.abs(deviation - 1) < 1e-3) | (deviation < 1e-6))
    raw = fitted(bench, dataset, features={"scale": "raw"})
    assert torch.equal(raw.scorer.standardise.deviation, torch.ones(1, raw.channels, 1, 1))


def test_a_diverging_fit_says_so(bench: Bench, dataset: Dataset) -> None:
    with pytest.raises(FloatingPointError, match="loss became"):
        fitted(bench, dataset, training={"epochs": 30, "lr": 1e30, "clip": None})


@pytest.mark.parametrize(("reductions", "channels"), [([4, 8, 16, 32], 696), ([2, 4, 8, 16], 272)])
def test_backbone_stages_of_b4(cache_folder: Path, reductions: list[int], channels: int) -> None:
    """32 x 32 tokens; 272 channels as UniAD, whose set-up the paper follows, or one stage further."""
    bench = Bench("cpu", 256, Seeds(0, 0), FeatureCache(cache_folder))
    config = {"backbone": {"weights": "random"}, "features": {"reductions": reductions, "grid": 8}}
    method = build(Config.model_validate(config), bench)
    assert method.extractor.shapes == ((channels, 32, 32),)
    prediction = method.predict(ImageArray(np.zeros((1, 3, 256, 256), dtype=np.float32)))
    assert prediction.anomaly_map.shape == (1, 256, 256)


class TestContract(MethodContract):
    module = "afrad_bench.methods.afrad"
