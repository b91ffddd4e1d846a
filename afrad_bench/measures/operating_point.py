"""Operating point: false alarms and detections at a threshold that was chosen by a declared rule on declared images.

AUROC and F1max tell how well the scores could be separated; this tells what a user gets who has to decide. One
threshold for all categories, as in a deployment. `run --keep-models` keeps it in the model file. Every note names the
images that decided; on `decided_on: test` the figures are marked, since the same labels chose and judge it. On
`decided_on: test_share`, a share of the test images decides, and the figures are those of the others alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from afrad_bench.measures._subject.decided_by import DecidedBy, check
from afrad_bench.types import MEAN, Measurement, Metric, OperatingPoint, Subject

if TYPE_CHECKING:
    from afrad_bench.types import BoolArray

__all__ = ["METRICS", "TERMS", "VERSION", "Config", "check", "measure"]

VERSION = "1"
TERMS: tuple[str, ...] = ()


def _share(title: str, higher: bool, description: str) -> Metric:
    return Metric(title, "fraction", higher, description, percent=True)


METRICS: Mapping[str, Metric] = {
    "false_alarm_rate": _share("False alarms", False, "share of the normal test images above the threshold"),
    "detection_rate": _share("Detected", True, "share of the anomalous test images above the threshold"),
    "f1_at_threshold": _share("F1 at threshold", True, "F1 of the test images at the threshold"),
    "threshold": Metric("Threshold", "score", True, "the threshold of the score", decimals=4, headline=False),
}
Config = DecidedBy


def measure(subject: Subject, config: DecidedBy) -> Iterator[Measurement | OperatingPoint]:
    """Choose the threshold, and count the decisions on the test images by category."""
    from afrad_bench.instruments.metrics import Undefined
    from afrad_bench.instruments.operating import is_anomalous
    from afrad_bench.measures._subject.deciding import deciding_images, labels_of, point_of, test_scores

    scores, labels = test_scores(subject), labels_of(subject)
    try:
        point = point_of(subject, config, scores)
    except Undefined as undefined:
        for name, metric in METRICS.items():
            yield Measurement(name, None, metric.unit, None if name == "threshold" else MEAN, undefined.reason)
        return
    judging = ~deciding_images(subject, config)
    rest = "" if judging.all() else f"counted on the other {judging.sum()} test images"
    note = "; ".join(filter(None, [str(point), point.caution, rest]))
    yield point
    yield Measurement("threshold", point.threshold, "score", note=note)
    flagged, of = is_anomalous(scores, point), [sample.category for sample in subject.dataset.test]
    found: list[Measurement] = []
    for category in subject.dataset.categories:
        mine = [i for i, name in enumerate(of) if name == category and judging[i]]
        found += _counted(flagged[mine], labels[mine], category, note)
    yield from found
    for name in ("false_alarm_rate", "detection_rate", "f1_at_threshold"):
        yield _mean(name, [one for one in found if one.metric == name], note)


def _counted(flagged: BoolArray, labels: BoolArray, category: str, note: str) -> Iterator[Measurement]:
    """The three shares of one category; undefined without normal or anomalous images."""
    hits, normal, anomalous = (flagged & labels).sum(), (~labels).sum(), labels.sum()
    shares = {
        "false_alarm_rate": ((flagged & ~labels).sum(), normal, "no normal image"),
        "detection_rate": (hits, anomalous, "no anomalous image"),
        "f1_at_threshold": (2 * hits, flagged.sum() + anomalous if anomalous else 0, "no anomalous image"),
    }
    for name, (part, whole, why) in shares.items():
        value = float(part / whole) if whole else None
        yield Measurement(name, value, "fraction", category, note if whole else f"{why}; {note}")


def _mean(name: str, of_categories: Sequence[Measurement], note: str) -> Measurement:
    values = [one.value for one in of_categories if one.value is not None]
    if len(values) < len(of_categories):
        note = f"over {len(values)} of {len(of_categories)} categories; {note}"
    return Measurement(name, sum(values) / len(values) if values else None, "fraction", MEAN, note)
