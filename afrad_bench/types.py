"""The nouns of the harness and the protocols that connect its rooms. Standard library only.

Data flows one way: suite -> cells -> fit -> measures -> store -> report. Everything here is a frozen value; arrays are
numpy at every border between rooms, so that no room needs to know another's device.

Shapes: B images of a batch, N images of a set, H x W pixels, always 3 channels, RGB."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from afrad_bench.hashing import digest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from pydantic import BaseModel

    FloatArray = npt.NDArray[np.floating[Any]]
    ByteArray = npt.NDArray[np.uint8]
    BoolArray = npt.NDArray[np.bool_]

Setting = Literal["unified", "one_class"]

MEAN = "mean"
"""Category of a measurement that is the unweighted mean over the categories; no data set may use it as a name."""


# ---------------------------------------------------------------------------------------------------------------- data


class Picture(Protocol):
    """One image or mask that can be read when it is needed. Implementations are frozen, picklable values."""

    @property
    def name(self) -> str:
        """What to call it in an error: a path, or how it is made."""

    def fingerprint(self) -> str:
        """A digest of its content (never of times or paths)."""

    def read(self) -> ByteArray | BoolArray:
        """(H, W, 3) uint8 RGB for an image, (H, W) bool for a mask. Raises `UserError` when unreadable."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of an image file. `error` is None if it decodes completely."""

    path: Path
    sha256: str
    width: int
    height: int
    mode: str
    blank: bool
    """As a mask, it marks no pixel."""
    error: str | None


class ImageFiles(Protocol):
    """Knows image files by content. `images.pictures.FileIndex` reads each file once in its life."""

    def facts(self, paths: Sequence[Path]) -> list[FileFacts]:
        """Facts of each path, in order; a missing or unreadable file has an `error`, it does not raise."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its truth. `defect` is "good" for normal images; `mask` is None where there is none."""

    id: str
    """Unique in the data set and stable between machines, e.g. "bottle/test/crack/000"."""
    category: str
    image: Picture
    gt_label: bool
    """True if anomalous."""
    defect: str = "good"
    mask: Picture | None = None
    """Truth per pixel, of the image's size. A normal image without a mask has none of its pixels marked."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A verified data set: the normal training images and the test images, in a fixed order."""

    name: str
    version: str
    """Of the loader and its split; part of every result's terms."""
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    fingerprint: str
    """Digest over content, labels, masks, order and split."""
    notes: tuple[str, ...] = ()
    """What every report on these data must say, e.g. "defects of texture_* are planted"."""
    licence: str = ""
    source: str = ""

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, in the order of the test split."""
        return tuple(dict.fromkeys(sample.category for sample in self.test))

    def only(self, category: str) -> Dataset:
        """The same data set restricted to one category (setting `one_class`)."""
        return replace(
            self,
            train=tuple(s for s in self.train if s.category == category),
            test=tuple(s for s in self.test if s.category == category),
            fingerprint=digest(self.fingerprint, category),
        )


@runtime_checkable
class Images(Protocol):
    """An ordered set of images, decoded and resized on demand. A batch is an `Images`, and so is a training set."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""

    @property
    def ids(self) -> tuple[str, ...]: ...

    @property
    def categories(self) -> tuple[str, ...]:
        """The category of each image. Only methods that declare it may look (the unified setting hides it)."""

    @property
    def fingerprint(self) -> str | None:
        """Of `root` and its preprocessing; None for images that exist in memory only, for which nothing is cached."""

    @property
    def root(self) -> Images:
        """The whole set that this one was taken from; itself if it is whole."""

    @property
    def indices(self) -> Sequence[int]:
        """Positions of these images in `root`."""

    def __len__(self) -> int: ...

    def subset(self, indices: Sequence[int]) -> Images:
        """The images at these positions of this set, in this order."""

    def batches(self, size: int) -> Iterator[Images]:
        """This set in order, `size` images at a time; the last batch may be smaller."""

    def array(self) -> FloatArray:
        """(N, 3, H, W) float32 in [0, 1]; decoded anew by each call."""


# ------------------------------------------------------------------------------------------------------------- methods


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a method says of B images: higher is more anomalous, any finite scale."""

    pred_score: FloatArray
    """(B,)"""
    anomaly_map: FloatArray | None
    """(B, H, W) at the size of the input images, or None for a method that only classifies images."""


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What `fit` really did, for the terms of the result."""

    epochs: int = 0
    """Passes over the training images that changed parameters; 0 for a method that fits in closed form."""
    images_seen: int = 0
    """Training images processed, with repetition: the cost of training in images."""
    loss: tuple[float, ...] = ()
    """Mean training loss of each epoch."""
    resumed_at: int = 0
    """Epoch at which an interrupted fit was taken up again; 0 if it ran in one go."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers must know, e.g. "coreset 1 % instead of the official 10 %"."""


class Stopped(Exception):
    """A fit that `Bench.should_continue` ended early; `fitting` raises it, the harness stores what was trained."""

    def __init__(self, record: TrainingRecord) -> None:
        super().__init__(f"stopped after epoch {record.epochs}")
        self.record = record


class Method(Protocol):
    """Two calls. A method made by its module's `build(config, bench)` is fitted once and then predicts."""

    def fit(self, train: Images) -> TrainingRecord:
        """Learn from normal images only. Randomness comes from `bench.seeds`, progress goes to `bench.watch`."""

    def predict(self, images: Images) -> Prediction:
        """Score a batch; what it says of an image must not depend on the other images of the batch."""


@runtime_checkable
class HasNetwork(Protocol):
    """Capability: the whole inference path as one module, for complexity, latency and export."""

    def network(self) -> torch.nn.Module:
        """In eval mode: (B, 3, H, W) float32 in [0, 1] -> (anomaly_map (B, H, W), pred_score (B,)), post-processing
        included, equal to `predict` up to rounding."""


@runtime_checkable
class HasModules(Protocol):
    """Capability: everything that the method holds or needs to train, so that its parameters can be counted."""

    def modules(self) -> Mapping[str, torch.nn.Module]:
        """Named parts, those used in training only included (discriminators, auxiliary heads). Parts may share
        parameters with each other and with `network()`. `requires_grad` tells truthfully what `fit` trains."""


@runtime_checkable
class HasParts(Protocol):
    """Capability: what the parts of the network are called, so that what each of them costs can be told."""

    def parts(self) -> Mapping[str, torch.nn.Module]:
        """Submodules of `network()`, none inside another, in the order in which they compute. Not everything need be
        named: what is left over is counted as the rest."""


@runtime_checkable
class HasState(Protocol):
    """Capability: a fitted method can be kept in a file and made again from it, without data or weights files."""

    def state(self) -> Mapping[str, torch.Tensor]:
        """What scoring an image needs beside the configuration; the weights of a frozen backbone are part of it."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the place of the fitted method that this state came from: `predict` then says the same.

        Called instead of `fit` on a method of equal configuration, image size and device type, whose backbone belongs
        to it alone. Raises `RuntimeError`, `KeyError` or `ValueError` if the state does not fit."""


class Watch(Protocol):
    """Receives the progress of a long step."""

    def __call__(self, done: int, total: int, what: str, loss: float | None = None) -> None: ...


def unwatched(done: int, total: int, what: str, loss: float | None = None) -> None:
    """A `Watch` that shows nothing."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """Where randomness comes from, by name: `order` is the same for all methods of a cell's data and seed."""

    init: int
    order: int


class Features(Protocol):
    """Lends the frozen backbone and its feature maps. `backbone.features.FeatureCache` computes each map once."""

    def extractor(
        self,
        config: Any,
        reductions: tuple[int, ...],
        image_size: int,
        device: str,
        grid: int | None = None,
        resize: Literal["bilinear", "aligned", "area"] = "bilinear",
        padded_for: int | None = None,
    ) -> Any:
        """The backbone of this `BackboneConfig` as a module (`backbone.extractor.Extractor`), shared between cells."""

    def read(self, extractor: Any, images: Images) -> tuple[FloatArray, ...]:
        """The feature maps of these images: (N, C, H, W) float32 for each output of the extractor."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What the harness lends a method: where to compute, seeds, cached features, a place for a checkpoint."""

    device: str
    """"cpu", "cuda:0", "mps"."""
    image_size: int
    """Side of the square input in pixels."""
    seeds: Seeds
    features: Features
    checkpoint: Path | None = None
    """File in which a long `fit` may keep its state, to be resumed after a kill. None: keep nothing. What is written
    beside it first is named ".<its name>.*", and goes with it when the cell is done."""
    watch: Watch = unwatched
    should_continue: Callable[[TrainingRecord], bool] | None = None
    """Asked after each epoch but the last, while the method can predict: whether training on is worth it. Methods do
    not call it themselves; `fitting.train_epochs` does. None: nobody asks."""


class MethodModule(Protocol):
    """What a file in `baselines/` (or a plug-in's module) defines. It must import quickly: torch inside `build` only.

    The module's docstring gives citation, source of the defaults and known deviations; its first line is what
    `afrad-bench list methods` shows. A field `backbone: BackboneConfig` of `Config` names a frozen backbone, whose
    weights' hash then goes into the terms of the result."""

    VERSION: str
    """Changed whenever results of an equal configuration may change; stale cells are then measured again."""
    PAPER: str
    Config: type[BaseModel]

    def build(self, config: Any, bench: Bench) -> Method: ...


# ------------------------------------------------------------------------------------------------------------ measures


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number with its unit. `value` is None when it is undefined or could not be measured, and `note` says why."""

    metric: str
    value: float | None
    unit: str
    category: str | None = None
    """None for what belongs to the whole cell; `MEAN` for the mean over categories."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """The image score of one test image, kept so that statistics can be done later without running again."""

    category: str
    image_id: str
    gt_label: bool
    pred_score: float
    defect: str = ""


Role = Literal["chosen", "missed", "alarm"]


@dataclass(frozen=True, slots=True)
class Example:
    """One test image as a method sees it, small enough to be kept: pictures for people, not for computing."""

    category: str
    image_id: str
    defect: str
    gt_label: bool
    pred_score: float
    role: Role
    """Why it is kept: "chosen" from the data alone, so the same for every method, or for the score that this method
    gave it: "missed", an anomalous image of a low score, or "alarm", a normal one of a high score."""
    rank: int
    """Place among those of its category and role, from 1: the first chosen, the worst missed."""
    image: bytes
    """JPEG, (h, w) pixels."""
    mask: bytes | None
    """1-bit PNG, (h, w); None where the truth per pixel is not known."""
    anomaly_map: bytes | None
    """8-bit greyscale PNG, (h, w): 0 stands for `low`, 255 for `high`. None for a method without maps."""
    low: float | None
    high: float | None
    """Lowest and highest value of the map as it is kept, on the method's own scale."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve over the pixels of one category, thinned to what a drawing needs."""

    kind: Literal["pixel_roc", "pro"]
    category: str
    x: tuple[float, ...]
    """False positive rate per pixel, ascending, from 0; a PRO curve ends where its area is cut off."""
    y: tuple[float, ...]
    """True positive rate per pixel, or mean overlap with the defective regions."""


Result = Measurement | Score | Example | Curve
"""What a measure may yield."""


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
    on_request: bool = False
    """Measured only where the configuration asks for it; otherwise it is left out of files, not shown as missing."""


@dataclass(frozen=True)
class Subject:
    """A fitted method and what it may be measured on."""

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
    feature_seconds: float = 0.0
    """Time of the backbone features that were computed during the fit; not in `fit_seconds`."""
    features_found: bool = False
    """Whether the fit read features that were in the cache before."""


class MeasureModule(Protocol):
    """What a file in `measures/` defines. It knows nothing of reports or stores, and imports no other measure."""

    VERSION: str
    """Of the definitions; a result of another version is measured again, never mixed."""
    TERMS: tuple[str, ...]
    """Names of environment fields that make results incomparable when they differ, e.g. ("device", "threads")."""
    METRICS: Mapping[str, Metric]
    Config: type[BaseModel]

    def measure(self, subject: Subject, config: Any) -> Iterator[Result]: ...


# --------------------------------------------------------------------------------------------------------------- cells


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One run as a value: what is fitted on what. Its id is a digest of its content; labels are not part of it."""

    method: str
    params: str = field(repr=False)
    """The whole validated configuration of the method, defaults included, as canonical JSON."""
    dataset: str
    dataset_params: str = field(repr=False)
    """Options of the data set, defaults included, as canonical JSON (its root is not part: content counts)."""
    setting: Setting
    category: str | None
    """The category of a `one_class` cell; None in the unified setting."""
    image_size: int
    seed: int
    profile: str

    @property
    def id(self) -> str:
        """16 hexadecimal digits."""
        content = [
            self.method,
            self.params,
            self.dataset,
            self.dataset_params,
            self.setting,
            self.category or "",
            str(self.image_size),
            str(self.seed),
            self.profile,
        ]
        return digest(*content)[:16]

    @property
    def config(self) -> dict[str, Any]:
        """`params` as a dictionary."""
        loaded: dict[str, Any] = json.loads(self.params)
        return loaded


class DatasetModule(Protocol):
    """What a file in `datasets/` (or a plug-in's module) defines. It must import quickly."""

    VERSION: str
    ENVIRONMENT: str | None
    """Environment variable that may hold the root folder, or None for a data set that needs no root."""
    HELP: str
    """What to put where, for `doctor` and for the error of a missing root; names the licence page."""
    Config: type[BaseModel]

    def load(self, config: Any, root: Path | None, files: ImageFiles) -> Dataset:
        """Find, pair and verify every image; raises one `UserError` that lists all offenders."""
