"""Other code bases' conventions against implementations of their own: thresholds in a loop, scikit-learn, torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from sklearn import metrics as sk
from torchvision.transforms import functional as vision

from afrad_bench.measures import accuracy
from afrad_bench.types import MEAN, Prediction
from tests.measures.test_accuracy import SAMPLES, ArrayPicture, Fake, Noise, measured, sample

SIDE = 24
ADER = [name for name in accuracy.METRICS if name.startswith("ader_")]
ELSEWHERE = [name for name, metric in accuracy.METRICS.items() if metric.on_request]


def disc(y, x, radius, side):
    rows, columns = np.mgrid[:side, :side]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def sketched(name, anomalous, side, *discs):
    mask = np.logical_or.reduce([disc(*one, side) for one in discs]) if discs else None
    return sample(name, anomalous, None if mask is None else ArrayPicture(mask), side=side)


SET = (
    sketched("bolt/good/0", False, 50),
    sketched("bolt/good/1", False, 40),
    sketched("bolt/bad/0", True, 50, (12, 12, 6), (35, 30, 8)),
    sketched("bolt/bad/1", True, 61, (30, 30, 12)),
    sketched("bolt/bad/2", True, 40, (5, 33, 4), (30, 8, 5)),
)


class Tailed:
    """Maps that know the defects but for noise; `tail` stretches the upper scores and changes no ranking."""

    def __init__(self, tail=0.0, sign=1.0):
        self.tail, self.sign = tail, sign
        self.maps = {}
        for i, one in enumerate(SET):
            truth = np.zeros((SIDE, SIDE)) if one.mask is None else ader_mask(one).astype(float)
            noise = np.random.default_rng(i).normal(size=truth.shape)
            normal = sign * (2 * ndimage.gaussian_filter(truth, 1) + noise)
            self.maps[one.id] = (np.exp(tail * normal) if tail else normal).astype(np.float32)

    def predict(self, images):
        maps = np.stack([self.maps[name] for name in images.ids])
        return Prediction(maps.mean(axis=(1, 2)), maps)


def ader_mask(one):
    grey = Image.fromarray(one.mask.pixels.astype(np.uint8) * 255)
    resized = vision.resize(grey, [SIDE, SIDE], vision.InterpolationMode.BILINEAR)
    return (vision.to_tensor(resized)[0] > 0.5).numpy()


def ader(method):
    """Every threshold, every region, read aloud from its description."""
    maps = np.stack([method.maps[one.id] for one in SET]).astype(np.float64)
    masks = np.stack([np.zeros((SIDE, SIDE), bool) if one.mask is None else ader_mask(one) for one in SET])
    labels, scores = masks.any(axis=(1, 2)), maps.max(axis=(1, 2))
    low, high = maps.min(), maps.max()
    points = []
    for k in range(200):
        marked = maps > low + k * (high - low) / 200
        found = []
        for mark, mask in zip(marked, masks, strict=True):
            regions, count = ndimage.label(mask, np.ones((3, 3)))
            found += [mark[regions == region].mean() for region in range(1, count + 1)]
        points.append((marked[~masks].mean(), np.mean(found)))
    below = sorted(point for point in points if point[0] < 0.3)
    fpr, pro = np.array(below).T
    scaled = (maps - low) / (high - low)
    f1, iou = [], []
    for level in np.linspace(0, 1, 21):
        f1.append(sk.f1_score(masks.ravel(), (scaled > level).ravel(), zero_division=0))
        iou.append(sk.jaccard_score(masks.ravel(), (scaled > level).ravel(), zero_division=0))
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    return {
        "ader_image_auroc": sk.roc_auc_score(labels, scores),
        "ader_image_ap": sk.average_precision_score(labels, scores),
        "ader_image_f1_max": (2 * precision * recall / (precision + recall)).max(),
        "ader_pixel_auroc": sk.roc_auc_score(masks.ravel(), maps.ravel()),
        "ader_pixel_ap": sk.average_precision_score(masks.ravel(), maps.ravel()),
        "ader_pixel_f1_max": max(f1),
        "ader_pixel_iou_max": max(iou),
        "ader_pixel_aupro": sk.auc((fpr - fpr.min()) / (fpr.max() - fpr.min()), pro),
    }


@pytest.mark.parametrize("tail", [0.0, 0.5, 3.0])
def test_ader_is_what_its_description_says(tail):
    method = Tailed(tail)
    values, _ = measured(method, SET, side=SIDE, also=["ader"])
    assert {name: values[name, "bolt"].value for name in ADER} == pytest.approx(ader(method), abs=1e-9)
    assert values["ader_pixel_aupro", "bolt"].note == "at 24x24, ADer at 256x256"


def test_a_heavy_tail_ruins_equal_steps_and_not_ours():
    light = measured(Tailed(0.0), SET, side=SIDE, also=["ader"])[0]
    heavy = measured(Tailed(3.0), SET, side=SIDE, also=["ader"])[0]
    for name in ("pixel_aupro", "pixel_f1_max"):
        assert heavy[name, "bolt"].value == pytest.approx(light[name, "bolt"].value, abs=1e-3)
        assert heavy[f"ader_{name}", "bolt"].value < 0.6 * light[f"ader_{name}", "bolt"].value


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_uniad_pools_and_reflects(sign):
    method = Tailed(sign=sign)
    values, _ = measured(method, SET, side=SIDE, also=["uniad"])
    maps = torch.from_numpy(np.stack([method.maps[one.id] for one in SET]))
    near = [
        np.zeros((SIDE, SIDE), bool)
        if one.mask is None
        else np.asarray(Image.fromarray(one.mask.pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST))
        for one in SET
    ]
    pixel = sk.roc_auc_score(np.stack(near).ravel(), maps.numpy().ravel())
    scores = torch.nn.functional.avg_pool2d(maps[:, None].double(), 16, stride=1).amax(dim=(1, 2, 3)).numpy()
    image = sk.roc_auc_score([one.gt_label for one in SET], scores)
    assert (pixel > 0.5) is (sign > 0)
    assert values["uniad_pixel_auroc", "bolt"].value == pytest.approx(max(pixel, 1 - pixel), abs=1e-9)
    assert values["uniad_image_auroc", "bolt"].value == pytest.approx(max(image, 1 - image), abs=1e-9)
    assert values["pixel_auroc", "bolt"].value == pytest.approx(pixel, abs=1e-9)  # ours is not reflected
    assert values["uniad_pixel_auroc", "bolt"].note == "at 24x24, UniAD at 224x224"


@pytest.mark.parametrize("batch_size", [2, 16])
def test_mvtec_compares_at_the_original_size(batch_size):
    method = Tailed(0.5)
    values, _ = measured(method, SET, side=SIDE, also=["mvtec"], batch_size=batch_size)
    scores, truth, weights, regions, best = [], [], [], 0, []
    for one in SET:
        side = len(one.image.pixels)
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(method.maps[one.id])[None, None], (side, side), mode="bilinear", align_corners=False
        )[0, 0].numpy()
        mask = np.zeros((side, side), bool) if one.mask is None else one.mask.pixels
        numbered, count = ndimage.label(mask, np.ones((3, 3)))
        weight = np.ones(mask.shape)
        for region in range(1, count + 1):
            weight[numbered == region] /= (numbered == region).sum()
        scores.append(resized.ravel())
        truth.append(mask.ravel())
        weights.append(weight.ravel())
        regions += count
        best.append(resized.max())
    fpr, pro, _ = sk.roc_curve(*map(np.concatenate, (truth, scores)), sample_weight=np.concatenate(weights))
    kept = fpr <= 0.3
    area = sk.auc(np.append(fpr[kept], 0.3), np.append(pro[kept], np.interp(0.3, fpr, pro))) / 0.3
    assert values["mvtec_pixel_aupro", "bolt"].value == pytest.approx(area, abs=1e-5)  # resized in another float32
    image = sk.roc_auc_score([one.gt_label for one in SET], best)
    assert values["mvtec_image_auroc", "bolt"].value == pytest.approx(image, abs=1e-9)
    assert values["mvtec_image_auroc", "bolt"].note == ""


def test_ours_stay_as_they_are_and_the_others_come_beside():
    alone, both = (
        measured(Tailed(), SET, side=SIDE)[0],
        measured(Tailed(), SET, side=SIDE, also=["uniad", "ader", "mvtec"])[0],
    )
    assert {key: both[key] for key in alone} == alone
    assert {metric for metric, _ in both.keys() - alone.keys()} == set(ELSEWHERE)
    assert all(both[name, MEAN].value == both[name, "bolt"].value for name in ELSEWHERE)
    assert not any(accuracy.METRICS[name].headline for name in ELSEWHERE)


def test_a_defect_lost_with_its_mask_is_a_good_image_to_those_who_look_at_masks():
    samples = [*SET, sketched("bolt/bad/3", True, 200, (100, 100, 1))]
    values, _ = measured(Noise(), samples, side=SIDE, also=["ader", "mvtec", "uniad"])
    lost = "1 anomalous image has no marked pixel, and counts as good"
    assert values["ader_image_auroc", "bolt"].note == f"at 24x24, ADer at 256x256; {lost}"
    assert values["mvtec_image_auroc", "bolt"].note == ""
    maps = Noise()
    first, _ = measured(maps, samples, side=SIDE, also=["ader"])
    labels = [one.gt_label and one.id != "bolt/bad/3" for one in samples]
    truth = sk.roc_auc_score(labels, [maps.kept[one.id].max() for one in samples])
    assert first["ader_image_auroc", "bolt"].value == pytest.approx(truth)


def test_what_is_undefined_elsewhere_says_why():
    values, _ = measured(also=["ader", "mvtec", "uniad"])
    assert {values[name, "nut"].note for name in ELSEWHERE} == {"no masks"}
    assert values["ader_image_auroc", "cap"].note == "no anomalous image"
    assert values["ader_pixel_aupro", "cap"].note == "no defective pixel"
    assert values["uniad_pixel_auroc", "bolt"].note == "maps of 4x4 are smaller than the pooling"
    assert values["mvtec_pixel_aupro", MEAN].note.startswith("over 1 of 3 categories; undefined: no masks (nut)")
    values, _ = measured(Fake(maps=False), [one for one in SAMPLES if one.category == "bolt"], also=["ader"])
    assert {values[name, "bolt"].note for name in ADER} == {"the method gives no anomaly map"}
    values, _ = measured(Fake(pixels={}), SAMPLES, also=["ader"])
    assert values["ader_pixel_auroc", "bolt"].value == 0.5
    assert values["ader_pixel_f1_max", "bolt"].note == "all pixels have the same score"
    values, _ = measured(Fake(pixels={("bolt/bad/0", 0, 0): 2}), SAMPLES, also=["ader"])  # all thresholds are one
    assert values["ader_pixel_aupro", "bolt"].note.startswith("no two of 200 equal steps")


def test_a_missing_mask_leaves_a_category_out():
    samples = [replace(one, mask=None) if one.id == "bolt/bad/1" else one for one in SET]
    values, _ = measured(Noise(), samples, side=SIDE, also=["mvtec"])
    assert values["mvtec_pixel_aupro", "bolt"].note == "1 of 3 anomalous images have no mask"


def test_the_choice_is_a_set_and_stored_only_if_there_is_one():
    assert accuracy.Config(also=["uniad", "ader", "uniad"]).also == ("ader", "uniad")
    assert "also" not in accuracy.Config().model_dump(mode="json")
    assert accuracy.Config(also=["mvtec"]).model_dump(mode="json")["also"] == ["mvtec"]
    with pytest.raises(ValueError, match="also"):
        accuracy.Config(also=["sum"])
