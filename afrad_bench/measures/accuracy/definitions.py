"""The metrics of accuracy: title, unit and description of each. Full definitions: docs/metrics.md."""

from __future__ import annotations

from dataclasses import replace

from afrad_bench.types import Metric


def _metric(title: str, description: str, headline: bool = False) -> Metric:
    return Metric(title, "fraction", True, description, decimals=1, percent=True, headline=headline)


METRICS: dict[str, Metric] = {
    "image_auroc": _metric("I-AUROC", "area under the ROC curve of the image scores; ties count half", headline=True),
    "image_ap": _metric("I-AP", "average precision of the image scores, without interpolation"),
    "image_f1_max": _metric("I-F1max", "largest F1 of the image scores over all thresholds, chosen on the test labels"),
    "pixel_auroc": _metric(
        "P-AUROC", "area under the ROC curve over the pixels of all test images of a category", headline=True
    ),
    "pixel_ap": _metric("P-AP", "average precision over the same pixels, without interpolation"),
    "pixel_f1_max": _metric("P-F1max", "largest F1 over the same pixels, at a threshold chosen on the test masks"),
    "pixel_iou_max": _metric("P-IoUmax", "intersection over union at the threshold of P-F1max, its largest value"),
    "pixel_aupro": _metric(
        "P-AUPRO",
        "area under the per-region overlap up to a false positive rate of 0.3 (unless the note says otherwise), "
        "divided by that limit; every connected region counts the same",
        headline=True,
    ),
    "image_auroc_pooled": _metric(
        "I-AUROC pooled", "I-AUROC over the images of all categories together: one threshold for all of them"
    ),
    "image_f1_max_pooled": _metric(
        "I-F1max pooled", "I-F1max over the images of all categories together: one threshold for all of them"
    ),
    "pixel_auroc_pooled": _metric(
        "P-AUROC pooled", "P-AUROC over the pixels of all categories together: one threshold for all of them"
    ),
    "pixel_f1_max_pooled": _metric(
        "P-F1max pooled", "P-F1max over the pixels of all categories together: one threshold for all of them"
    ),
}


def _elsewhere(title: str, description: str) -> Metric:
    return replace(_metric(title, description), on_request=True)


_ADER = "by ADer's convention: masks by bilinear >= 0.5, image score the maximum of the map"
_STEPS = "at 21 equal steps of the score"
METRICS |= {
    "ader_image_auroc": _elsewhere("I-AUROC (ADer)", f"I-AUROC {_ADER}"),
    "ader_image_ap": _elsewhere("I-AP (ADer)", f"I-AP {_ADER}"),
    "ader_image_f1_max": _elsewhere("I-F1max (ADer)", f"I-F1max {_ADER}"),
    "ader_pixel_auroc": _elsewhere("P-AUROC (ADer)", f"P-AUROC {_ADER}"),
    "ader_pixel_ap": _elsewhere("P-AP (ADer)", f"P-AP {_ADER}"),
    "ader_pixel_f1_max": _elsewhere("P-F1max (ADer)", f"largest F1 {_STEPS}, {_ADER}"),
    "ader_pixel_iou_max": _elsewhere("P-IoUmax (ADer)", f"largest intersection over union {_STEPS}, {_ADER}"),
    "ader_pixel_aupro": _elsewhere(
        "P-AUPRO (ADer)", f"per-region overlap at 200 equal steps of the score, rescaled below FPR 0.3, {_ADER}"
    ),
    "mvtec_image_auroc": _elsewhere(
        "I-AUROC (MVTec)", "I-AUROC of the maximum of the map at the original size, as MVTec AD's own evaluation has it"
    ),
    "mvtec_pixel_aupro": _elsewhere(
        "P-AUPRO (MVTec)", "P-AUPRO at the original size, as MVTec AD's own evaluation has it"
    ),
    "uniad_image_auroc": _elsewhere(
        "I-AUROC (UniAD)",
        "I-AUROC by UniAD's convention: of the maximum of the map after 16x16 average pooling, below 0.5 reflected",
    ),
    "uniad_pixel_auroc": _elsewhere("P-AUROC (UniAD)", "P-AUROC by UniAD's convention: below 0.5 reflected"),
}
