"""The accuracy measure on a data set small enough to work out by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn import metrics as sk

from afrad_bench.images.sets import resized_mask
from afrad_bench.images.sets import test_images as images_at
from afrad_bench.instruments.metrics import pixel_metrics
from afrad_bench.measures import accuracy
from afrad_bench.types import (
    MEAN,
    Cell,
    Curve,
    Dataset,
    Measurement,
    Prediction,
    Sample,
    Score,
    Subject,
    TrainingRecord,
)

SIDE = 4


@dataclass(frozen=True, eq=False)
class ArrayPicture:
    """An image or mask held in memory."""

    pixels: np.ndarray
    name: str = "array"

    def fingerprint(self):
        return self.pixels.tobytes().hex()

    def read(self):
        return self.pixels


def marked(*pixels, side=SIDE):
    mask = np.zeros((side, side), bool)
    for row, column in pixels:
        mask[row, column] = True
    return ArrayPicture(mask)


def sample(id, anomalous, mask=None, side=SIDE):
    black = ArrayPicture(np.zeros((side, side, 3), np.uint8))
    return Sample(id, id.partition("/")[0], black, anomalous, "dent" if anomalous else "good", mask)


# bolt has masks, nut has none, cap has no anomalous image; the categories are interleaved on purpose.
SAMPLES = (
    sample("bolt/good/0", False),
    sample("nut/bad/0", True),
    sample("bolt/bad/0", True, marked((0, 0), (0, 1))),
    sample("cap/good/0", False),
    sample("bolt/good/1", False),
    sample("nut/good/0", False),
    sample("bolt/bad/1", True, marked((3, 3))),
)
SCORES = {
    "bolt/good/0": 0.1,
    "bolt/good/1": 0.6,
    "bolt/bad/0": 0.5,
    "bolt/bad/1": 0.9,
    "nut/bad/0": 0.3,
    "nut/good/0": 0.3,
    "cap/good/0": 0.7,
}


@dataclass
class Fake:
    """Gives each image the score under its id, and a map that is 1 but where `pixels` says otherwise."""

    pixels: dict = field(
        default_factory=lambda: {("bolt/bad/0", 0, 0): 2, ("bolt/bad/0", 0, 1): 2, ("bolt/bad/1", 3, 3): 0}
    )
    maps: bool = True
    seen: list = field(default_factory=list)

    def predict(self, images):
        self.seen.append(images.ids)
        scores = np.array([SCORES[name] for name in images.ids], np.float64)
        if not self.maps:
            return Prediction(scores, None)
        maps = np.ones((len(images), *images.size), np.float32)
        for (name, row, column), value in self.pixels.items():
            if name in images.ids:
                maps[images.ids.index(name), row, column] = value
        return Prediction(scores, maps)


def subject(method, samples=SAMPLES, side=SIDE, watch=None):
    dataset = Dataset("tiny", "1", (), tuple(samples), "f")
    images = images_at(dataset, side)
    cell = Cell("fake", "{}", "tiny", "{}", "unified", None, side, 0, "demo")
    whole = Subject(cell, method, dataset, images, images, TrainingRecord(), 0.0, None, "cpu", 1)
    return replace(whole, watch=watch) if watch else whole


def measured(method=None, samples=SAMPLES, side=SIDE, **config):
    found = list(accuracy.measure(subject(method or Fake(), samples, side), accuracy.Config(**config)))
    values = [one for one in found if isinstance(one, Measurement)]
    assert {one.metric for one in values} <= set(accuracy.METRICS)
    assert len({(one.metric, one.category) for one in values}) == len(values)
    return {(one.metric, one.category): one for one in values}, [one for one in found if isinstance(one, Score)]


def test_the_values_of_a_category_are_those_worked_by_hand():
    values, _ = measured()
    expected = {
        "image_auroc": 3 / 4,  # 0.5 loses to 0.6 and wins the other, 0.9 wins both
        "image_ap": 1 / 2 * 1 + 1 / 2 * 2 / 3,
        "image_f1_max": 2 * 2 / (2 * 2 + 1),
        "pixel_auroc": 2 / 3,  # two of three pixels above all background, one below
        "pixel_ap": 2 / 3 * 1 + 1 / 3 * 3 / 64,
        "pixel_f1_max": 2 * 2 / (2 * 2 + 1),
        "pixel_iou_max": 2 / 3,
        "pixel_aupro": 1 / 2,  # one region of two found
    }
    for metric, value in expected.items():
        assert values[metric, "bolt"].value == pytest.approx(value, abs=1e-12), metric
        assert values[metric, "bolt"].note == ""


def test_what_is_undefined_says_why():
    values, _ = measured()
    for metric in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_iou_max", "pixel_aupro"):
        assert (values[metric, "nut"].value, values[metric, "nut"].note) == (None, "no masks")
        assert (values[metric, "cap"].value, values[metric, "cap"].note) == (None, "no defective pixel")
    assert values["image_auroc", "nut"].value == 0.5  # a tie
    for metric in ("image_auroc", "image_ap", "image_f1_max"):
        assert (values[metric, "cap"].value, values[metric, "cap"].note) == (None, "no anomalous image")


def test_the_mean_is_over_the_defined_and_says_so():
    values, _ = measured()
    mean = values["image_auroc", MEAN]
    assert mean.value == pytest.approx((0.75 + 0.5) / 2)
    assert mean.note == "over 2 of 3 categories; undefined: no anomalous image (cap)"
    mean = values["pixel_aupro", MEAN]
    assert mean.value == pytest.approx(0.5)
    assert mean.note == "over 1 of 3 categories; undefined: no masks (nut); no defective pixel (cap)"


def test_a_mean_of_nothing_is_undefined():
    values, _ = measured(samples=[one for one in SAMPLES if one.category == "nut"])
    assert values["pixel_aupro", MEAN].value is None
    assert values["pixel_aupro", MEAN].note == "over 0 of 1 categories; undefined: no masks"
    values, scores = measured(samples=[])
    assert scores == []
    assert (values["image_auroc", MEAN].value, values["image_auroc", MEAN].note) == (None, "no test images")
    assert values["image_auroc_pooled", None].value is None


def test_a_mean_of_all_categories_needs_no_note():
    values, _ = measured(samples=[one for one in SAMPLES if one.category == "bolt"])
    assert (values["pixel_auroc", MEAN].value, values["pixel_auroc", MEAN].note) == (pytest.approx(2 / 3), "")


def test_the_pooled_values_share_one_threshold():
    values, _ = measured()
    # Anomalous 0.5, 0.9, 0.3 against 0.1, 0.6, 0.3, 0.7: 2 + 4 + 1.5 of 12. At 0.3: 3 of 3 found with 3 false alarms.
    assert values["image_auroc_pooled", None].value == pytest.approx(7.5 / 12)
    assert values["image_f1_max_pooled", None].value == pytest.approx(2 * 3 / (2 * 3 + 3))


def test_every_test_image_has_its_score_once():
    _, scores = measured(batch_size=2)
    assert {one.image_id: one.pred_score for one in scores} == SCORES
    assert len(scores) == len(SAMPLES)
    first = scores[0]
    assert first == Score("bolt", "bolt/good/0", False, 0.1, "good")
    assert {one.image_id: one.defect for one in scores}["nut/bad/0"] == "dent"


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_batches_hold_one_category_and_change_nothing(batch_size):
    method = Fake()
    values, _ = measured(method, batch_size=batch_size)
    assert max(map(len, method.seen)) <= batch_size
    assert all(len({name.partition("/")[0] for name in batch}) == 1 for batch in method.seen)
    assert sorted(name for batch in method.seen for name in batch) == sorted(SCORES)
    assert values == measured()[0]


def test_a_method_without_maps_has_image_metrics_only():
    values, scores = measured(Fake(maps=False))
    assert values["image_auroc", "bolt"].value == 0.75
    assert len(scores) == len(SAMPLES)
    for metric in ("pixel_auroc", "pixel_aupro"):
        assert (values[metric, "bolt"].value, values[metric, "bolt"].note) == (None, "the method gives no anomaly map")
    assert values["pixel_auroc", MEAN].value is None


def test_some_missing_masks_leave_the_pixels_undefined():
    samples = [replace(one, mask=None) if one.id == "bolt/bad/1" else one for one in SAMPLES]
    values, _ = measured(samples=samples)
    assert values["pixel_auroc", "bolt"].value is None
    assert values["pixel_auroc", "bolt"].note == "1 of 2 anomalous images have no mask"


def test_defects_lost_by_resizing_are_told():
    large = 16
    samples = [
        sample("bolt/good/0", False, side=large),
        sample("bolt/bad/0", True, marked(*((r, c) for r in range(8) for c in range(8)), side=large), side=large),
        sample("bolt/bad/1", True, marked((0, 0), side=large), side=large),  # gone at a quarter of the size
    ]
    values, _ = measured(samples=samples)
    assert values["pixel_auroc", "bolt"].value is not None
    assert values["pixel_auroc", "bolt"].note == "1 anomalous image has no marked pixel at 4x4"
    assert "no marked pixel" in values["pixel_auroc", MEAN].note
    assert values["image_auroc", "bolt"].note == ""


def test_a_marked_normal_image_counts_as_marked():
    samples = [replace(one, mask=marked((2, 2))) if one.id == "bolt/good/0" else one for one in SAMPLES]
    values, _ = measured(Fake(pixels={("bolt/good/0", 2, 2): 5}), samples=samples)
    assert values["pixel_auroc", "bolt"].value == pytest.approx(1 / 4 + 3 / 4 * 0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_names_its_image(bad):
    with pytest.raises(ValueError, match=r"anomaly_map is not finite.*1 of 64 values.*in bolt/bad/0$"):
        measured(Fake(pixels={("bolt/bad/0", 1, 2): bad}))


def test_maps_are_checked_even_where_no_mask_needs_them():
    with pytest.raises(ValueError, match="in cap/good/0"):
        measured(Fake(pixels={("cap/good/0", 0, 0): np.nan}))


def test_an_image_score_that_is_not_finite_names_its_image(monkeypatch):
    monkeypatch.setitem(SCORES, "nut/good/0", float("nan"))
    with pytest.raises(ValueError, match=r"pred_score is not finite.*in nut/good/0$"):
        measured()


def test_many_offenders_are_counted(monkeypatch):
    samples = [sample(f"bolt/good/{i}", False) for i in range(9)]
    for one in samples:
        monkeypatch.setitem(SCORES, one.id, float("inf"))
    with pytest.raises(ValueError, match=r"9 of 9 values.*bolt/good/4 and 4 more"):
        measured(samples=samples)


def test_predictions_of_a_wrong_shape_are_refused():
    class Wrong(Fake):
        def predict(self, images):
            right = super().predict(images)
            return replace(right, **{self.part: getattr(right, self.part)[..., None]})

    for part, shape in (
        ("pred_score", r"\(4, 1\) instead of \(4,\)"),
        ("anomaly_map", r"\(4, 4, 4, 1\) instead of \(4, 4, 4\)"),
    ):
        wrong = Wrong()
        wrong.part = part
        with pytest.raises(ValueError, match=f"{part} has shape {shape} for bolt/good/0, "):
            measured(wrong)


def test_another_limit_or_connectivity_is_noted_at_aupro_only():
    tied = Fake(pixels={("bolt/bad/0", 0, 0): 2, ("bolt/bad/0", 0, 1): 2})  # the other defect ties with the background
    usual, other = measured(tied)[0], measured(tied, fpr_limit=0.5, connectivity=4)[0]
    assert usual["pixel_aupro", "bolt"].value == pytest.approx(0.5 + 0.5 * 0.15)
    assert usual["pixel_aupro", "bolt"].note == ""
    assert other["pixel_aupro", "bolt"].value == pytest.approx(0.5 + 0.5 * 0.25)
    assert other["pixel_aupro", "bolt"].note == "up to FPR 0.5; 4-connected regions"
    assert other["pixel_auroc", "bolt"] == usual["pixel_auroc", "bolt"]


def test_above_the_memory_bound_scores_lie_on_disk_and_it_is_said():
    held, on_disk = measured()[0], measured(memory_gib=1e-12)[0]
    assert on_disk["pixel_aupro", "bolt"].value == held["pixel_aupro", "bolt"].value
    assert on_disk["pixel_aupro", "bolt"].note == "pixel scores kept in a temporary file (0.0 GiB)"


def test_progress_is_shown():
    steps = []
    list(accuracy.measure(subject(Fake(), watch=lambda *step: steps.append(step)), accuracy.Config(batch_size=2)))
    assert [done for done, *_ in steps] == [2, 4, 6, 7]
    assert {(total, what) for _, total, what in steps} == {(len(SAMPLES), "scoring test images")}


@pytest.mark.parametrize(
    "wrong",
    [
        {"fpr_limit": 0},
        {"fpr_limit": 1.5},
        {"connectivity": 6},
        {"batch_size": 0},
        {"resolution": "half"},
        {"resolution": "original", "mask_rule": "any"},
        {"image_score": "sum"},
        {"top_share": 0},
        {"x": 1},
    ],
)
def test_a_wrong_configuration_is_refused(wrong):
    with pytest.raises(ValidationError):
        accuracy.Config(**wrong)


def test_the_headline_is_what_papers_report():
    headline = {name: one.title for name, one in accuracy.METRICS.items() if one.headline}
    assert headline == {"image_auroc": "I-AUROC", "pixel_auroc": "P-AUROC", "pixel_aupro": "P-AUPRO"}
    assert all(one.percent and one.higher_is_better for one in accuracy.METRICS.values())


def test_the_curves_of_a_category_follow_its_measurements():
    curves = [one for one in accuracy.measure(subject(Fake()), accuracy.Config()) if isinstance(one, Curve)]
    assert [(one.category, one.kind) for one in curves] == [("bolt", "pixel_roc"), ("bolt", "pro")]  # nut has no masks
    roc, pro = curves
    area = sum((b - a) * (u + v) / 2 for a, b, u, v in zip(roc.x, roc.x[1:], roc.y, roc.y[1:], strict=False))
    assert area == pytest.approx(2 / 3)
    assert (pro.x[0], pro.x[-1]) == (0.0, 0.3)
    assert max(pro.y) <= 0.65  # one region of two is found at once, the other with the last of the background
    assert not [one for one in accuracy.measure(subject(Fake(maps=False)), accuracy.Config()) if isinstance(one, Curve)]


# ---------------------------------------------------------------------------------------------------------- conventions


@dataclass
class Noise:
    """Random maps of the images' size, the same for an image in every batch, and their mean as the score."""

    kept: dict = field(default_factory=dict)

    def predict(self, images):
        for name in images.ids:
            seed = sum(map(ord, name))
            self.kept.setdefault(name, np.random.default_rng(seed).normal(size=images.size).astype(np.float32))
        maps = np.stack([self.kept[name] for name in images.ids])
        return Prediction(maps.mean(axis=(1, 2)), maps)


LARGE = (
    sample("bolt/good/0", False, side=12),
    sample("bolt/bad/0", True, marked((0, 0), (0, 1), (5, 5), side=12), side=12),
    sample("bolt/bad/1", True, marked((3, 3), side=9), side=9),
    sample("nut/bad/0", True, marked((3, 3), (4, 4), (4, 5), side=8), side=8),
    sample("nut/good/0", False, side=8),
)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_at_the_original_resolution_maps_are_brought_to_each_mask(batch_size):
    method = Noise()
    values, _ = measured(method, LARGE, resolution="original", batch_size=batch_size)
    scores, truth = [], []
    for one in LARGE[:3]:
        side = len(one.image.pixels)
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(method.kept[one.id])[None, None], (side, side), mode="bilinear", align_corners=False
        )
        scores.append(resized.numpy().ravel())
        truth.append(np.zeros(side * side, bool) if one.mask is None else one.mask.pixels.ravel())
    found = values["pixel_auroc", "bolt"]
    assert found.value == pytest.approx(sk.roc_auc_score(np.concatenate(truth), np.concatenate(scores)), abs=1e-9)
    assert found.note == "at the size of each mask, maps resized bilinearly"
    assert values["pixel_auroc", MEAN].note == found.note
    assert values["image_auroc", "bolt"].note == ""


def test_masks_get_to_the_input_size_by_the_declared_rule():
    """Of 8x8 pixels, one new pixel covers 2x2: one with four marked, one with one, one with three."""
    mask = marked((0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (6, 6), (6, 7), (7, 7), side=8)
    one = sample("a/bad/0", True, mask, side=8)
    covered = mask.pixels.reshape(4, 2, 4, 2).any(axis=(1, 3))
    assert (resized_mask(one, 4, "any") == covered).all()
    assert (resized_mask(one, 4) == mask.pixels[1::2, 1::2]).all()
    # Antialiased bilinear from 8 to 4: weights 1, 3, 3, 1 (of 8) over four pixels, fewer at the border.
    weights = np.zeros((4, 8))
    for i in range(4):
        for k, weight in enumerate((1, 3, 3, 1)):
            if 0 <= 2 * i - 1 + k < 8:
                weights[i, 2 * i - 1 + k] = weight
    weights /= weights.sum(axis=1, keepdims=True)
    assert (resized_mask(one, 4, "bilinear") == (weights @ mask.pixels @ weights.T > 0.5)).all()
    for rule in ("nearest", "bilinear", "any"):
        assert (resized_mask(one, 8, rule) == mask.pixels).all()
    values, _ = measured(Noise(), LARGE, mask_rule="any")
    assert values["pixel_aupro", "nut"].note == "masks by any marked pixel"


@pytest.mark.parametrize(
    ("config", "literal", "told"),
    [
        ({"image_score": "max"}, lambda a: a.max(), "image score: maximum of the map"),
        (
            {"image_score": "pool", "pool": 3},
            lambda a: max(a[r : r + 3, c : c + 3].mean() for r in range(4) for c in range(4)),
            "image score: maximum of the map after 3x3 average pooling",
        ),
        (
            {"image_score": "pool", "pool": 2},
            lambda a: max(a[r : r + 2, c : c + 2].mean() for r in range(5) for c in range(5)),
            "image score: maximum of the map after 2x2 average pooling",
        ),
        (
            {"image_score": "top", "top_share": 0.25},
            lambda a: np.sort(a.ravel())[-9:].mean(),
            "image score: mean of the highest 25.00% of the map",
        ),
    ],
    ids=["max", "pool 3", "pool 2", "top"],
)
def test_an_image_may_be_scored_by_its_map(config, literal, told):
    method = Noise()
    values, scores = measured(method, LARGE, side=6, **config)
    for one in scores:
        assert one.pred_score == pytest.approx(literal(method.kept[one.image_id].astype(np.float64)), abs=1e-12)
    assert values["image_auroc", "nut"].note == values["image_auroc_pooled", None].note == told
    assert values["pixel_auroc", "nut"].note == ""


def test_a_score_from_a_map_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'max', but the method gives no anomaly map"):
        measured(Fake(maps=False), image_score="max")
    with pytest.raises(ValueError, match="pooling by 16x16 needs maps"):
        measured(image_score="pool")


def test_pixels_of_all_categories_are_also_ranked_together():
    method = Noise()
    values, _ = measured(method, LARGE, side=12)
    maps = np.stack([method.kept[one.id] for one in LARGE])
    masks = np.stack([resized_mask(one, 12) for one in LARGE])
    assert values["pixel_auroc_pooled", None].value == pytest.approx(
        sk.roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-9
    )
    assert values["pixel_f1_max_pooled", None].value == pytest.approx(pixel_metrics(maps, masks).f1_max, abs=1e-12)
    assert values["pixel_auroc_pooled", None].note == ""
    alone, _ = measured(method, LARGE, side=12, pool_pixels=False)
    assert ("pixel_auroc_pooled", None) not in alone


def test_pooled_pixels_without_masks_or_maps_say_so():
    values, _ = measured()
    assert values["pixel_auroc_pooled", None].note == "without nut: masks are missing"
    assert values["pixel_auroc_pooled", None].value is not None
    values, _ = measured(Fake(maps=False))
    assert values["pixel_f1_max_pooled", None].value is None
    assert values["pixel_f1_max_pooled", None].note == "the method gives no anomaly map"
    values, _ = measured(samples=[one for one in SAMPLES if one.category == "nut"])
    assert values["pixel_auroc_pooled", None].note == "no masks"
