"""The metric engine against scikit-learn, against literal implementations, and against cases worked by hand."""

from __future__ import annotations

import doctest
import tracemalloc
from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from sklearn import metrics as sk

from afrad_bench.instruments.metrics import (
    PixelScores,
    Undefined,
    auroc,
    average_precision,
    f1_max,
    pixel_metrics,
)
from afrad_bench.instruments.metrics import curves as curves_module
from afrad_bench.instruments.metrics import image as image_module
from afrad_bench.instruments.metrics import pixel as pixel_module
from afrad_bench.instruments.metrics import sweep as sweep_module
from afrad_bench.instruments.metrics.regions import regions

EXACT = 1e-9
STRUCTURE = {4: np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]), 8: np.ones((3, 3))}


# ------------------------------------------------------------------------------------------ independent implementations


def regions_of(masks, connectivity):
    """One bool array like `masks` for each connected region of each image."""
    found = []
    for i, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, STRUCTURE[connectivity])
        for k in range(1, count + 1):
            region = np.zeros(masks.shape, bool)
            region[i] = labelled == k
            found.append(region)
    return found


def literal_aupro(scores, masks, limit=0.3, connectivity=8):
    """The definition, read aloud: all distinct scores as thresholds, every region looked at for each."""
    regions = regions_of(masks, connectivity)
    x, y, area = 0.0, 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        marked = scores >= threshold
        next_x = marked[~masks].sum() / (~masks).sum()
        next_y = sum(marked[region].sum() / region.sum() for region in regions) / len(regions)
        if next_x > limit:
            at_limit = y + (next_y - y) * (limit - x) / (next_x - x)
            return (area + (limit - x) * (y + at_limit) / 2) / limit
        area += (next_x - x) * (y + next_y) / 2
        x, y = next_x, next_y
    return area / limit


def weighted_aupro(scores, masks, limit=0.3, connectivity=8):
    """AUPRO from scikit-learn's ROC curve, in which each region weighs the same; for maps too large for the above."""
    regions = regions_of(masks, connectivity)
    weight = np.ones(masks.shape)
    for region in regions:
        weight[region] = 1 / region.sum() / len(regions)
    fpr, pro, _ = sk.roc_curve(masks.ravel(), scores.ravel(), sample_weight=weight.ravel(), drop_intermediate=False)
    x = np.concatenate((fpr[fpr <= limit], [limit]))
    beyond = int((fpr <= limit).sum())
    y = pro[:beyond]
    last = y[-1]
    if beyond < len(fpr):
        last += (pro[beyond] - y[-1]) * (limit - fpr[beyond - 1]) / (fpr[beyond] - fpr[beyond - 1])
    y = np.append(y, last)
    return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2 / limit)


def literal_f1_max(scores, labels):
    best = 0.0
    for threshold in np.unique(scores):
        marked = scores >= threshold
        hits = (marked & labels).sum()
        best = max(best, 2 * hits / (marked.sum() + labels.sum()))
    return best


@contextmanager
def small_blocks(block=3, step=4, worth_a_thread=10):
    """Tiny blocks, samples and shares of threads, so that a few pixels reach every seam that millions would."""
    with ExitStack() as stack:
        for module in (sweep_module, pixel_module, curves_module):
            stack.enter_context(mock.patch.object(module, "BLOCK", block))
        stack.enter_context(mock.patch.object(sweep_module, "_STEP", step))
        stack.enter_context(mock.patch.object(pixel_module, "_WORTH_A_THREAD", worth_a_thread))
        yield


def blobs(images=12, side=48, defects=2, seed=0, levels=None):
    """Smooth maps with elliptical defects of about 3 %; every third image is good."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    masks = np.zeros((images, side, side), bool)
    for i in range(images):
        for _ in range(defects if i % 3 else 0):
            y, x = rng.integers(0, side, 2)
            a, b = rng.uniform(1, max(side / 9, 2), 2)
            masks[i] |= ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1
    noise = ndimage.gaussian_filter(rng.standard_normal(masks.shape), (0, 2, 2))
    scores = noise / noise.std() + 2 * ndimage.gaussian_filter(masks.astype(float), (0, 1.5, 1.5))
    if levels:
        scores = np.round(scores * levels) / levels
    return scores.astype(np.float32), masks


# ---------------------------------------------------------------------------------------------------------- strategies

few_levels = st.integers(-3, 3).map(float)
any_score = st.floats(-1e6, 1e6, width=32)


@st.composite
def images(draw):
    size = draw(st.integers(2, 40))
    scores = draw(hnp.arrays(np.float64, size, elements=draw(st.sampled_from([few_levels, any_score]))))
    labels = draw(hnp.arrays(bool, size))
    assume(labels.any() and not labels.all())
    return scores, labels


@st.composite
def maps(draw):
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    scores = draw(hnp.arrays(np.float32, shape, elements=draw(st.sampled_from([few_levels, any_score]))))
    masks = draw(hnp.arrays(bool, shape))
    assume(masks.any() and not masks.all())
    return scores, masks


limits = st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.3, 0.5, 1 / 3, 0.999, 1.0])
connectivities = st.sampled_from([4, 8])


# --------------------------------------------------------------------------------------------------------- image level


@settings(max_examples=150, deadline=None)
@given(images())
def test_image_metrics_agree_with_scikit_learn(case):
    scores, labels = case
    assert auroc(scores, labels) == pytest.approx(sk.roc_auc_score(labels, scores), abs=EXACT)
    assert average_precision(scores, labels) == pytest.approx(sk.average_precision_score(labels, scores), abs=EXACT)
    assert f1_max(scores, labels) == pytest.approx(literal_f1_max(scores, labels), abs=EXACT)


def test_image_metrics_of_a_case_worked_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.7, 0.6, 0.1])
    labels = np.array([True, False, True, False, True, False])
    # Of 9 pairs, 0.9 wins 3, 0.7 wins 1 and ties 1, 0.6 wins 1: 5.5. Steps of AP: 1/3 at 1, at 2/4, and at 3/5.
    assert auroc(scores, labels) == pytest.approx(5.5 / 9, abs=1e-15)
    assert average_precision(scores, labels) == pytest.approx((1 + 2 / 4 + 3 / 5) / 3, abs=1e-15)
    assert f1_max(scores, labels) == pytest.approx(2 * 3 / (2 * 3 + 2 + 0), abs=1e-15)


def test_constant_image_scores_say_nothing():
    labels = np.array([True, False, False, False])
    assert auroc(np.ones(4), labels) == 0.5
    assert average_precision(np.ones(4), labels) == 0.25
    assert f1_max(np.ones(4), labels) == pytest.approx(2 * 0.25 / 1.25)


def test_a_reversed_ranking_is_not_reflected():
    assert auroc(np.array([0.0, 1.0]), np.array([True, False])) == 0.0


@pytest.mark.parametrize("metric", [auroc, average_precision, f1_max])
def test_image_metrics_need_both_kinds(metric):
    with pytest.raises(Undefined, match="no anomalous image") as caught:
        metric(np.array([0.1, 0.2]), np.array([False, False]))
    assert caught.value.reason == "no anomalous image"
    with pytest.raises(Undefined, match="no normal image"):
        metric(np.array([0.1, 0.2]), np.array([True, True]))
    with pytest.raises(Undefined, match="no anomalous image"):
        metric(np.array([]), np.array([], dtype=bool))


@pytest.mark.parametrize("metric", [auroc, average_precision, f1_max])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_image_scores_that_are_not_finite_are_refused(metric, bad):
    with pytest.raises(ValueError, match="1 of 3 image scores are not finite"):
        metric(np.array([0.1, bad, 0.3]), np.array([False, True, True]))


def test_image_arguments_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="bool labels"):
        auroc(np.array([True, False]), np.array([0.3, 0.4]))
    with pytest.raises(ValueError, match=r"\(2,\) and bool \(3,\)"):
        auroc(np.array([0.3, 0.4]), np.array([True, False, True]))


def test_the_examples_in_the_docstrings_hold():
    tried = doctest.testmod(image_module)
    assert tried.failed == 0
    assert tried.attempted >= 3


# --------------------------------------------------------------------------------------- pixel level: independent peers


@settings(max_examples=200, deadline=None)
@given(maps(), limits, connectivities)
@example((np.zeros((2, 3, 3), np.float32), np.eye(3, dtype=bool)[None].repeat(2, 0)), 0.3, 4)
@example((np.float32([[[2, 1, 1, 1, 0]]]), np.array([[[1, 1, 0, 0, 0]]], bool)), 1 / 3, 8)
@example((np.float32([[[1, 1, 1, 1, 0]]]), np.array([[[1, 0, 0, 0, 0]]], bool)), 0.3, 8)
def test_pixel_metrics_agree_with_literal_implementations(case, limit, connectivity):
    scores, masks = case
    peers = (
        sk.roc_auc_score(masks.ravel(), scores.ravel()),
        sk.average_precision_score(masks.ravel(), scores.ravel()),
        literal_f1_max(scores.ravel(), masks.ravel()),
        literal_aupro(scores, masks, limit, connectivity),
    )
    ours = pixel_metrics(scores, masks, limit, connectivity)
    assert (ours.auroc, ours.ap, ours.f1_max, ours.aupro) == pytest.approx(peers, abs=EXACT)
    with small_blocks():
        cut = pixel_metrics(scores, masks, limit, connectivity, threads=3)
    assert (cut.auroc, cut.ap, cut.f1_max, cut.aupro) == pytest.approx(peers, abs=EXACT)


@pytest.mark.parametrize("levels", [None, 8])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_larger_maps_agree_with_scikit_learn(levels, connectivity):
    scores, masks = blobs(images=24, side=64, seed=3, levels=levels)
    ours = pixel_metrics(scores, masks, 0.3, connectivity)
    assert ours.auroc == pytest.approx(sk.roc_auc_score(masks.ravel(), scores.ravel()), abs=EXACT)
    assert ours.ap == pytest.approx(sk.average_precision_score(masks.ravel(), scores.ravel()), abs=EXACT)
    precision, recall, _ = sk.precision_recall_curve(masks.ravel(), scores.ravel())
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert ours.f1_max == pytest.approx(f1.max(), abs=EXACT)
    for limit in (0.01, 0.05, 0.3, 1.0):
        ours = pixel_metrics(scores, masks, limit, connectivity)
        assert ours.aupro == pytest.approx(weighted_aupro(scores, masks, limit, connectivity), abs=EXACT)


# (P-AUROC, P-AUPRO) of the maps below by other code, run once: anomalib 2.7.0 in float32, MVTec 3D-AD's script at 5000
# ranks of the background, ADEval 1.1.0 with 1000 bins. The second maps have eight distinct scores.
ELSEWHERE = [
    (None, "anomalib", None, 0.5307570099830627, 1e-6),
    (None, "MVTec 3D-AD", None, 0.5307668587941441, 2e-5),
    (None, "ADEval", 0.8250446198667607, 0.5306922492963166, 1e-4),
    (8, "anomalib", None, 0.5304096341133118, 1e-6),
    (8, "ADEval", 0.8246404723742862, 0.5304096338522533, 1e-8),
]


@pytest.mark.parametrize(("levels", "code", "area", "overlap", "within"), ELSEWHERE)
def test_other_code_agrees_as_far_as_it_approximates(levels, code, area, overlap, within):
    ours = pixel_metrics(*blobs(images=24, side=64, seed=3, levels=levels))
    assert ours.aupro == pytest.approx(overlap, abs=within)
    if area is not None:
        assert ours.auroc == pytest.approx(area, abs=within)


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))), connectivities)
def test_regions_are_those_of_scipy(masks, connectivity):
    where = np.flatnonzero(masks)
    count, region = regions(where, masks.shape[1], masks.shape[2], connectivity)
    expected = regions_of(masks, connectivity)
    assert count == len(expected)
    ours = {frozenset(where[region == k].tolist()) for k in range(count)}
    assert ours == {frozenset(np.flatnonzero(one).tolist()) for one in expected}


def test_iou_max_is_reached_where_f1_max_is():
    scores, masks = blobs(images=6, side=24, levels=4)
    best = max(((scores >= t) & masks).sum() / ((scores >= t) | masks).sum() for t in np.unique(scores))
    assert pixel_metrics(scores, masks).iou_max == pytest.approx(best, abs=EXACT)


# ----------------------------------------------------------------------------------------- pixel level: worked by hand


def test_a_perfect_map_scores_one_exactly():
    _, masks = blobs(images=9, side=32)
    perfect = pixel_metrics(masks.astype(np.float32), masks)
    assert (perfect.auroc, perfect.ap, perfect.f1_max, perfect.iou_max, perfect.aupro) == (1, 1, 1, 1, 1)
    rng = np.random.default_rng(0)
    uneven = pixel_metrics(masks + 0.5 * rng.random(masks.shape), masks)  # defects apart from the rest, all different
    assert (uneven.auroc, uneven.f1_max, uneven.aupro) == (1, 1, 1)
    assert uneven.ap == pytest.approx(1, abs=1e-15)


def test_a_constant_map_is_a_coin():
    _, masks = blobs(images=9, side=32)
    prevalence = masks.mean()
    constant = pixel_metrics(np.full(masks.shape, 7, np.float32), masks)
    assert constant.auroc == 0.5
    assert constant.aupro == pytest.approx(0.15, abs=1e-15)  # the diagonal up to 0.3: 0.045 / 0.3
    assert constant.ap == pytest.approx(prevalence, abs=1e-15)
    assert constant.f1_max == pytest.approx(2 * prevalence / (1 + prevalence), abs=1e-15)


def test_an_inverted_map_scores_zero_and_is_not_reflected():
    _, masks = blobs(images=9, side=32)
    inverted = pixel_metrics(1 - masks.astype(np.float32), masks)
    assert (inverted.auroc, inverted.aupro) == (0, 0)


def test_a_small_region_counts_as_much_as_a_large_one():
    masks = np.zeros((2, 20, 20), bool)
    masks[0, 5:16, 5:14] = True  # 99 pixels, found
    masks[1, 0, 0] = True  # 1 pixel, below everything
    scores = np.where(masks, 2.0, 1.0).astype(np.float32)
    scores[1, 0, 0] = 0
    found = pixel_metrics(scores, masks)
    assert found.aupro == pytest.approx(0.5, abs=1e-15)
    assert found.auroc == pytest.approx(0.99, abs=1e-15)


def test_a_tie_between_defect_and_background_is_one_point_of_the_curve():
    """Two defect pixels (one region) and ten of background, one of each at 5: straight from (0, 0.5) to (0.1, 1)."""
    scores = np.float32([[[9, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]]])
    masks = np.array([[[1, 1] + [0] * 10]], bool)
    tied = pixel_metrics(scores, masks)
    assert tied.aupro == pytest.approx((0.1 * 0.75 + 0.2) / 0.3, abs=1e-15)
    assert tied.auroc == pytest.approx(1 - 0.5 / 20, abs=1e-15)
    swapped = pixel_metrics(scores[:, :, ::-1], masks[:, :, ::-1])
    assert swapped == tied


def test_a_limit_inside_a_run_of_ties_is_interpolated():
    """Half of the background shares the defect's score: up to 0.3 the curve climbs by 2 per unit of FPR."""
    scores = np.float32([[[3, 3, 3, 3, 3, 3, 0, 0, 0, 0, 0]]])
    masks = np.array([[[1] + [0] * 10]], bool)
    assert pixel_metrics(scores, masks).aupro == pytest.approx(0.3 * 0.6 / 2 / 0.3, abs=1e-15)
    assert pixel_metrics(scores, masks, fpr_limit=1.0).aupro == pytest.approx(0.5 / 2 + 0.5, abs=1e-15)


def test_diagonal_pixels_are_one_region_or_several():
    masks = np.zeros((1, 4, 8), bool)
    masks[0, [0, 1, 2], [0, 1, 2]] = True  # three diagonal pixels
    masks[0, 1:3, 6:8] = True  # and a square of four
    scores = masks.astype(np.float32)
    scores[0, 0, 0] = -1  # the first diagonal pixel is missed
    assert pixel_metrics(scores, masks, connectivity=8).aupro == pytest.approx((2 / 3 + 1) / 2)
    assert pixel_metrics(scores, masks, connectivity=4).aupro == pytest.approx(3 / 4)


def test_regions_end_with_their_image_and_row():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, 1] = masks[1, 0] = True  # bottom row of one image, top row of the next
    masks[1, 1, 0] = True
    assert regions(np.flatnonzero(masks), 2, 3, 8)[0] == 2
    wrapped = np.array([[[0, 0, 1], [0, 0, 0], [1, 0, 0]]], bool)  # neighbours in memory, not in the picture
    wrapped[0, 1, 0] = True
    assert regions(np.flatnonzero(wrapped), 3, 3, 8)[0] == 2


def test_with_one_region_and_no_limit_aupro_is_auroc():
    scores, masks = blobs(images=1, side=40, levels=3)
    masks = np.zeros_like(masks)
    masks[0, 10:20, 12:30] = True
    one = pixel_metrics(scores, masks, fpr_limit=1.0)
    assert one.aupro == pytest.approx(one.auroc, abs=1e-12)


# -------------------------------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize(
    "change",
    [lambda a: np.exp(10 * a), lambda a: 3 * a + 5, np.arctan, lambda a: a**3, lambda a: 1 / (1 + np.exp(-a))],
    ids=["exp(10 a)", "affine", "arctan", "cube", "sigmoid"],
)
def test_a_strictly_increasing_transform_changes_nothing(change):
    scores, masks = blobs(levels=16)
    before, after = (
        pixel_metrics(scores.astype(np.float64), masks),
        pixel_metrics(change(scores.astype(np.float64)), masks),
    )
    assert (after.auroc, after.ap, after.f1_max, after.aupro) == pytest.approx(
        (before.auroc, before.ap, before.f1_max, before.aupro), abs=1e-12
    )


def test_the_order_of_images_and_pixels_is_free():
    scores, masks = blobs(levels=6)
    before = pixel_metrics(scores, masks)
    shuffled = np.random.default_rng(1).permutation(len(scores))
    for again in (
        pixel_metrics(scores[shuffled], masks[shuffled]),
        pixel_metrics(scores[:, ::-1, ::-1], masks[:, ::-1, ::-1]),
        pixel_metrics(scores.transpose(0, 2, 1), masks.transpose(0, 2, 1)),
    ):
        assert (again.auroc, again.ap, again.f1_max) == (before.auroc, before.ap, before.f1_max)
        assert again.aupro == pytest.approx(before.aupro, abs=1e-13)


def test_the_number_of_threads_changes_nothing():
    scores, masks = blobs(images=30, levels=50)
    with small_blocks(block=200, step=128, worth_a_thread=1000):
        one, two, four = (pixel_metrics(scores, masks, threads=n) for n in (1, 2, 4))
    assert one == two == four


def test_nothing_is_changed_in_the_arguments():
    scores, masks = blobs(images=3, side=20)
    kept = scores.copy(), masks.copy()
    pixel_metrics(scores, masks)
    assert np.array_equal(scores, kept[0])
    assert np.array_equal(masks, kept[1])


def test_negative_zero_ties_with_zero():
    masks = np.array([[[True, False, False]]])
    assert pixel_metrics(np.float32([[[-0.0, 0.0, -0.0]]]), masks).auroc == 0.5


# ----------------------------------------------------------------------------------------------------------- precision


def test_scores_are_compared_in_the_precision_they_come_in():
    near = np.array([[[1.0, 1.0 + 1e-12]]])
    masks = np.array([[[False, True]]])
    assert pixel_metrics(near, masks).auroc == 1.0
    assert pixel_metrics(near.astype(np.float32), masks).auroc == 0.5
    held = PixelScores(2)
    held.add(near, masks)
    assert held.metrics().auroc == 0.5  # held as float32, as its documentation says


@pytest.mark.parametrize("dtype", [np.float16, np.uint8])
def test_narrow_scores_are_taken_as_they_are(dtype):
    scores, masks = blobs(levels=4)
    narrow = np.clip(scores * 4 + 100, 0, 255).astype(dtype)
    assert pixel_metrics(narrow, masks) == pixel_metrics(narrow.astype(np.float32), masks)


# ----------------------------------------------------------------------------------------------------------- streaming


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.booleans())
def test_batches_give_what_one_call_gives(sizes, look_between):
    scores, masks = blobs(images=sum(sizes) + 2, side=16)
    held = PixelScores(scores.size)
    at = 0
    for size in [*sizes, 2]:
        held.add(scores[at : at + size], masks[at : at + size])
        at += size
        if look_between and masks[:at].any():
            assert held.metrics() == pixel_metrics(scores[:at], masks[:at])
    streamed, whole = held.metrics(), pixel_metrics(scores, masks)
    assert (streamed.auroc, streamed.ap, streamed.f1_max) == (whole.auroc, whole.ap, whole.f1_max)
    assert streamed.aupro == pytest.approx(whole.aupro, abs=1e-13)


def test_maps_of_several_sizes_may_be_pooled():
    small, large = blobs(images=3, side=16), blobs(images=3, side=24, seed=1)
    held = PixelScores(small[0].size + large[0].size)
    held.add(*small)
    held.add(*large)
    labels = np.concatenate((small[1].ravel(), large[1].ravel()))
    scores = np.concatenate((small[0].ravel(), large[0].ravel()))
    assert held.metrics().auroc == pytest.approx(sk.roc_auc_score(labels, scores), abs=EXACT)
    regions = [r for one in (small, large) for r in zip([one[0]] * 99, regions_of(one[1], 8), strict=False)]
    threshold = np.sort(scores[~labels])[::-1][int(0.3 * (~labels).sum())]
    plateau = np.mean([(s[r] > threshold).mean() for s, r in regions])
    assert 0 < held.metrics().aupro <= plateau


@pytest.mark.parametrize("threads", [1, 4])
def test_memory_stays_within_1_3_of_the_raw_maps(threads):
    side, images = 256, 128
    rng = np.random.default_rng(0)
    masks = np.zeros((images, side, side), bool)
    masks[:, 20:62, 20:62] = True  # 2.7 %
    assert 0.026 < masks.mean() < 0.028
    batch = rng.standard_normal((16, side, side), dtype=np.float32)
    tracemalloc.start()
    try:
        held = PixelScores(images * side * side)
        for i in range(0, images, 16):
            held.add(batch, masks[i : i + 16])
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        held.metrics(threads=threads)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    raw = images * side * side * 4
    assert before < 1.06 * raw
    assert peak < 1.3 * raw


def test_scores_may_lie_in_a_scratch_file(tmp_path):
    scores, masks = blobs()
    held = PixelScores(scores.size, scratch=tmp_path)
    held.add(scores, masks)
    assert held.metrics() == pixel_metrics(scores, masks)
    del held
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_written(tmp_path):
    usage = mock.Mock(return_value=mock.Mock(free=1000))
    with (
        mock.patch.object(pixel_module.shutil, "disk_usage", usage),
        pytest.raises(OSError, match="no room for 1000000 pixel"),
    ):
        PixelScores(1_000_000, scratch=tmp_path)


# ------------------------------------------------------------------------------------------------- what has no value


def test_pixel_metrics_need_defects_and_background():
    scores, masks = blobs(images=2, side=8)
    with pytest.raises(Undefined, match="no defective pixel"):
        pixel_metrics(scores, np.zeros_like(masks))
    with pytest.raises(Undefined, match="no background pixel"):
        pixel_metrics(scores, np.ones_like(masks))
    with pytest.raises(Undefined, match="no defective pixel"):
        pixel_metrics(np.empty((0, 8, 8), np.float32), np.empty((0, 8, 8), bool))
    with pytest.raises(Undefined, match="no defective pixel"):
        PixelScores(0).metrics()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("on_defect", [True, False])
def test_maps_that_are_not_finite_are_refused_and_named(bad, on_defect):
    scores, masks = blobs(images=5, side=12)
    scores = scores.astype(np.float64)
    scores[4][np.nonzero(masks[4] == on_defect)[0][0], np.nonzero(masks[4] == on_defect)[1][0]] = bad
    held = PixelScores(scores.size)
    with pytest.raises(ValueError, match=r"not finite \(as float32\) in 1 maps, at positions 4 \(1 of 144 pixels\)"):
        held.add(scores, masks)
    held.add(np.zeros_like(scores), masks)  # the refused batch has left no trace
    assert held.metrics().auroc == 0.5


def test_what_does_not_fit_is_refused():
    scores, masks = blobs(images=2, side=8)
    with pytest.raises(ValueError, match=r"got \(2, 8, 8\) and int64"):
        pixel_metrics(scores, masks.astype(np.int64))
    with pytest.raises(ValueError, match=r"bool \(1, 8, 8\)"):
        pixel_metrics(scores, masks[:1])
    with pytest.raises(ValueError, match=r"bool masks \(B, H, W\)"):
        pixel_metrics(scores[0], masks[0])
    for limit in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="FPR limit"):
            pixel_metrics(scores, masks, fpr_limit=limit)
    with pytest.raises(ValueError, match="connectivity is 4 or 8"):
        pixel_metrics(scores, masks, connectivity=6)
    with pytest.raises(ValueError, match="room for 100 pixels, but 128 were added"):
        PixelScores(100).add(scores, masks)
    with pytest.raises(ValueError, match="held as float32 or float64"):
        PixelScores(100, dtype=np.int32)


# ------------------------------------------------------------------------------------------------- curves for drawing


def area(line):
    return float(np.sum(np.diff(line.x) * (line.y[1:] + line.y[:-1]) / 2))


def maps(images, side, size, shift, seed, decimals=None):
    """Noise with a square in every second image, raised there by `shift`; rounded, it is full of ties."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((images, side, side), bool)
    for i in range(0, images, 2):
        row, column = rng.integers(0, side - size + 1, 2)
        masks[i, row : row + size, column : column + size] = True
    scores = (rng.normal(size=masks.shape) + shift * masks).astype(np.float32)
    return (scores if decimals is None else np.round(scores, decimals)), masks


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 12),
    st.integers(6, 40),
    st.integers(1, 6),
    st.floats(-2, 4),
    st.sampled_from([None, 0, 1]),
    st.sampled_from([0.05, 0.3, 1.0]),
    st.integers(0, 10**6),
)
def test_curves_keep_the_areas_and_change_no_value(images, side, size, shift, decimals, limit, seed):
    scores, masks = maps(images, side, size, shift, seed, decimals)
    held = PixelScores(scores.size)
    held.add(scores, masks)
    metrics, curves = held.metrics_and_curves(limit)
    assert metrics == held.metrics(limit) == pixel_metrics(scores, masks, limit)
    assert area(curves.roc) == pytest.approx(metrics.auroc, abs=1e-3)
    assert area(curves.pro) / limit == pytest.approx(metrics.aupro, abs=1e-3)
    for line, end in ((curves.roc, 1.0), (curves.pro, limit)):
        assert (line.x[0], line.y[0]) == (0.0, 0.0)
        assert line.x[-1] == pytest.approx(end)
        assert (np.diff(line.x) >= 0).all()
        assert (np.diff(line.y) >= -1e-12).all()
        assert line.y.max() <= 1.0


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.5, 3.0])
def test_large_curves_are_few_points_of_the_exact_ones(shift):
    scores, masks = maps(40, 128, 40, shift, 5)
    held = PixelScores(scores.size)
    held.add(scores, masks)
    metrics, curves = held.metrics_and_curves()
    assert max(len(curves.roc.x), len(curves.pro.x)) <= 200
    assert area(curves.roc) == pytest.approx(metrics.auroc, abs=1e-3)
    assert area(curves.pro) / 0.3 == pytest.approx(metrics.aupro, abs=1e-3)
    background = np.sort(scores[~masks])[::-1]
    regions = [scores[i][masks[i]] for i in range(0, 40, 2)]
    for x, y in list(zip(curves.pro.x, curves.pro.y, strict=True))[1:-1:7]:
        alarms = round(x * background.size)  # the threshold lies between this background pixel and the one before
        least = np.mean([(r >= background[alarms - 1]).mean() for r in regions]) if alarms else 0.0
        most = np.mean([(r > background[alarms]).mean() for r in regions])
        assert least - 1e-6 <= y <= most + 1e-6


def test_the_curves_of_a_case_worked_by_hand():
    scores = np.array([[[0.9, 0.8], [0.1, 0.5]]], np.float32)
    masks = np.array([[[True, False], [False, True]]])
    held = PixelScores(4)
    held.add(scores, masks)
    _, curves = held.metrics_and_curves(1.0, threads=1)
    points = list(dict.fromkeys(zip(curves.roc.x.tolist(), curves.roc.y.tolist(), strict=True)))
    assert points == [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]
