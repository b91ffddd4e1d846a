"""What a measure reads and yields; see the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from afrad_bench.types.cells import Cell
from afrad_bench.types.data import Dataset, Images
from afrad_bench.types.methods import Method, TrainingRecord, Watch, unwatched

if TYPE_CHECKING:
    from pydantic import BaseModel


MEAN = "mean"
"""Category of the unweighted mean over the categories; no category of a data set may have this name."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number with its unit. `value` is None if it is undefined or could not be measured; `note` then says why."""

    metric: str
    value: float | None
    unit: str
    category: str | None = None
    """None for a value of the whole cell; `MEAN` for the mean over categories."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """The image score of one test image, stored so that statistics can be computed later without a new run."""

    category: str
    image_id: str
    gt_label: bool
    pred_score: float
    defect: str = ""


Role = Literal["chosen", "missed", "alarm"]


@dataclass(frozen=True, slots=True)
class Example:
    """One test image with its anomaly map, small enough to store: for people to look at, not for computation."""

    category: str
    image_id: str
    defect: str
    gt_label: bool
    pred_score: float
    role: Role
    """Why it is stored. "chosen": selected from the data alone, so the same for every method. Selected by the score of
    this method: "missed", an anomalous image with a low score; "alarm", a normal image with a high score."""
    rank: int
    """Rank within its category and role, from 1: the first chosen, the worst missed."""
    image: bytes
    """JPEG, (h, w) pixels."""
    mask: bytes | None
    """1-bit PNG, (h, w); None if the ground truth per pixel is not known."""
    anomaly_map: bytes | None
    """8-bit greyscale PNG, (h, w): 0 stands for `low`, 255 for `high`. None for a method without maps."""
    low: float | None
    high: float | None
    """Lowest and highest value of the stored map, on the method's own scale."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve over the pixels of one category, or the loss of a training; reduced to the points that a plot needs."""

    kind: Literal["pixel_roc", "pro", "training_loss"]
    category: str | None
    """None for a training, which is of the whole cell."""
    x: tuple[float, ...]
    """Ascending. False positive rate per pixel, from 0; a PRO curve ends at the integration limit of its area. For a
    training: the epoch, from 1 to the number of epochs."""
    y: tuple[float, ...]
    """True positive rate per pixel, mean overlap with the defective regions, or mean loss of the epoch."""


Split = Literal["train", "held_out", "test"]
"""What images are to a model: those it was fitted on, others, or those its accuracy is measured on."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold of the image score, the images that decided it, and the scale of the normalised score.

    An image is anomalous if its score is above the threshold. With z = (score - threshold) / scale, the normalised
    score is 0.5 + 0.5 z / (1 + |z|): in (0, 1), ascending, 0.5 at the threshold."""

    threshold: float
    scale: float
    """Standard deviation of the scores of the normal images, above 0."""
    rule: Literal["false_alarms", "best_f1"]
    rate: float | None
    """The accepted rate of false alarms; None for the best F1."""
    split: Split
    """What the images are to the model: those it was fitted on, others, or those its accuracy is measured on."""
    data: str
    """Name of the data set or folder."""
    normal: int
    anomalous: int

    def __str__(self) -> str:
        """ "at most 1 % false alarms, decided on 120 normal images of good (held out)"."""
        goal = "best F1" if self.rate is None else f"at most {100 * self.rate:g} % false alarms"
        more = f" and {self.anomalous} anomalous" if self.rate is None else ""
        return f"{goal}, decided on {self.normal} normal{more} images of {self.data} ({SPLITS[self.split]})"

    @property
    def caution(self) -> str:
        """What a user of this threshold must know; empty for images that were held out."""
        if self.split == "train":
            return "the threshold was decided on the images of the fit: expect more false alarms on others"
        if self.split == "test":
            return "the threshold was decided on test labels: on these images its figures are optimistic"
        return ""


SPLITS = {"train": "the images of the fit", "held_out": "held out", "test": "test labels"}
"""Split of an operating point, in words."""

Result = Measurement | Score | Example | Curve | OperatingPoint
"""What a measure may yield. An operating point is kept with the model; its numbers are measurements."""


@dataclass(frozen=True, slots=True)
class Metric:
    """How to read one metric in a report."""

    title: str
    unit: str
    higher_is_better: bool
    description: str
    decimals: int = 1
    percent: bool = False
    """Shown multiplied by 100, as papers do; stored as a fraction."""
    headline: bool = True
    """Shown in the main table; the others only in the per-category tables and the files."""
    by_part: bool = False
    """Its categories are parts of the method (`HasParts`), not categories of the data."""
    of: str = ""
    """What was measured, if not the method itself: a file made of it, "ONNX fp16". Reports show such metrics in a table
    of their own, with a line for each row and file."""
    on_request: bool = False
    """Measured only if the configuration requests it; otherwise it is left out of files, not shown as missing."""


@dataclass(frozen=True)
class Subject:
    """A fitted method and everything it may be measured on."""

    cell: Cell
    method: Method
    dataset: Dataset
    test: Images
    """The test images in the order of `dataset.test`."""
    train: Images
    record: TrainingRecord
    fit_seconds: float
    fit_peak_bytes: int | None
    device: str
    threads: int
    watch: Watch = unwatched
    bytes_before: int = 0
    """Bytes that were allocated on a CUDA device before the method was built; no peak counts them."""
    feature_seconds: float = 0.0
    """Seconds spent on backbone features during the fit; not included in `fit_seconds`."""
    features_found: bool = False
    """True if the fit read features that were already in the cache."""
    fit_doubts: tuple[str, ...] = ()
    """Reasons not to trust the times of the fit: other processes used the cores meanwhile."""
    held_out: Images | None = None
    """The images of `dataset.held_out`; None if there are none."""


class MeasureModule(Protocol):
    """What a file in `measures/` defines. It does not depend on reports or the store, and imports no other measure.

    The module may also define `check(config, holds_out)`, which raises `UserError` for options that cannot be measured
    on a data set that holds training images out of the fit, or does not. It is called before the first cell."""

    VERSION: str
    """Version of the definitions; a result of another version is measured again, never mixed with others."""
    TERMS: tuple[str, ...]
    """Names of environment fields that make results incomparable when they differ, e.g. ("device", "threads")."""
    METRICS: Mapping[str, Metric]
    Config: type[BaseModel]

    def measure(self, subject: Subject, config: Any) -> Iterator[Result]: ...
