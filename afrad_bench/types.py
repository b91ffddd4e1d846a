"""The data types of the harness and the protocols that connect its packages. Standard library only.

Data flows one way: suite -> cells -> fit -> measures -> store -> report. All data classes are frozen. Arrays passed
between packages are numpy arrays, so that no package depends on the device of another.

Shapes: B images in a batch, N images in a set, H x W pixels, always 3 channels (RGB)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
"""Category of the unweighted mean over the categories; no category of a data set may have this name."""


# ---------------------------------------------------------------------------------------------------------------- data


class Picture(Protocol):
    """One image or mask that is read on demand. Implementations are frozen and picklable."""

    @property
    def name(self) -> str:
        """Name for error messages: a path, or a description of how it is made."""

    def fingerprint(self) -> str:
        """Digest of the content (never of times or paths)."""

    def read(self) -> ByteArray | BoolArray:
        """(H, W, 3) uint8 RGB for an image, (H, W) bool for a mask. Raises `UserError` when unreadable."""


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What an image file marks if it is read as a mask, see `images.masks`."""

    how: str
    """How that was decided; empty if it marks every value above 0."""
    blank: bool
    """True if it marks no pixel."""
    zero: bool
    """True if no value is above 0."""
    refusal: str
    """Why it cannot be decided; empty if it can."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts about an image file. `error` is None if the file decodes completely."""

    path: Path
    sha256: str
    width: int
    """After turning as the EXIF orientation says, like `height`. Also known of an image that is too large."""
    height: int
    mode: str
    """Pillow's name of the kind of pixels."""
    error: str | None
    turned: bool = False
    """True if its EXIF orientation is not upright."""
    several: bool = False
    """True if the file holds several pictures (frames, pages), of which the first one is read."""
    deep: Literal["", "integer", "float"] = ""
    """Kind of values of a file with more than 8 bits per channel; empty for 8 bits."""
    peak: float = 0.0
    """The largest value of all channels except alpha."""
    transparent: bool = False
    """True if not all of it is opaque."""
    mask: MaskFacts | None = None
    """Only for files that were asked about as masks."""


class ImageFiles(Protocol):
    """Facts about image files by content. `images.pictures.FileIndex` reads a file again only if it has changed."""

    def facts(
        self, paths: Sequence[Path], masks: Collection[Path] = (), max_pixels: int | None = None
    ) -> list[FileFacts]:
        """Facts about each path, in order; those of `masks` also as masks. A missing or unreadable file, or one with
        more than `max_pixels` (by default Pillow's limit), gets an `error`; nothing is raised."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its ground truth. `defect` is "good" for normal images; `mask` is None if there is no mask."""

    id: str
    """Unique in the data set and stable between machines, e.g. "bottle/test/crack/000"."""
    category: str
    image: Picture
    gt_label: bool
    """True if anomalous."""
    defect: str = "good"
    mask: Picture | None = None
    """Ground truth per pixel, of the image's size. A normal image without a mask has no anomalous pixel."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A verified data set: the normal training images and the test images, in a fixed order."""

    name: str
    version: str
    """Version of the loader and its split; part of the terms of every result."""
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    fingerprint: str
    """Digest over content, labels, masks, order and split."""
    notes: tuple[str, ...] = ()
    """Notes that every report on this data set must show, e.g. "defects of texture_* are planted"."""
    licence: str = ""
    source: str = ""
    held_out: tuple[Sample, ...] = ()
    """Normal training images that no fit sees, to decide a threshold."""

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
            held_out=tuple(s for s in self.held_out if s.category == category),
            fingerprint=digest(self.fingerprint, category),
        )


@runtime_checkable
class Images(Protocol):
    """An ordered set of images, decoded and resized on demand. Batches and training sets are both `Images`."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""

    @property
    def ids(self) -> tuple[str, ...]: ...

    @property
    def categories(self) -> tuple[str, ...]:
        """The category of each image. Only methods that declare it may use it (the unified setting hides it)."""

    @property
    def fingerprint(self) -> str | None:
        """Digest of `root` and its preprocessing; None for images in memory only, for which nothing is cached."""

    @property
    def root(self) -> Images:
        """The complete set that this one is a subset of; the set itself if it is complete."""

    @property
    def indices(self) -> Sequence[int]:
        """Positions of these images in `root`."""

    def __len__(self) -> int: ...

    def subset(self, indices: Sequence[int]) -> Images:
        """The images at these positions of this set, in this order."""

    def batches(self, size: int) -> Iterator[Images]:
        """This set in order, `size` images at a time; the last batch may be smaller."""

    def array(self) -> FloatArray:
        """(N, 3, H, W) float32 in [0, 1]; images from files are decoded again on each call."""


# ------------------------------------------------------------------------------------------------------------- methods


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a method predicts for B images: higher is more anomalous, on any finite scale."""

    pred_score: FloatArray
    """(B,)"""
    anomaly_map: FloatArray | None
    """(B, H, W) at the size of the input images, or None for a method that only classifies images."""


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What `fit` actually did; part of the terms of the result."""

    epochs: int = 0
    """Passes over the training images that changed parameters; 0 for a method that fits in closed form."""
    images_seen: int = 0
    """Training images processed, repetitions included: the cost of training in images."""
    loss: tuple[float, ...] = ()
    """Mean training loss of each epoch."""
    resumed_at: int = 0
    """Epoch at which an interrupted fit was resumed; 0 if it was not interrupted."""
    notes: tuple[str, ...] = ()
    """Notes that a reader of the results needs, e.g. "coreset 1 % instead of the official 10 %"."""


class Stopped(Exception):
    """Raised by `fitting` when `Bench.should_continue` ends a fit early; the harness stores the training record."""

    def __init__(self, record: TrainingRecord) -> None:
        super().__init__(f"stopped after epoch {record.epochs}")
        self.record = record


class Method(Protocol):
    """A method: made by its module's `build(config, bench)`, fitted once, then used for prediction."""

    def fit(self, train: Images) -> TrainingRecord:
        """Learn from normal images only. Random numbers come from `bench.seeds`; progress goes to `bench.watch`."""

    def predict(self, images: Images) -> Prediction:
        """Score a batch. The prediction for an image must not depend on the other images in the batch."""


@runtime_checkable
class HasNetwork(Protocol):
    """Capability: the whole inference path as one module, for complexity, latency and export."""

    def network(self) -> torch.nn.Module:
        """In eval mode: (B, 3, H, W) float32 in [0, 1] -> (anomaly_map (B, H, W), pred_score (B,)), post-processing
        included, equal to `predict` up to rounding."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A network that repeats the same work for one image, such as the denoising steps of a diffusion model."""

    turns: int
    """How often the work is repeated for one image, at least 1."""
    shortened: Callable[[int], torch.nn.Module]
    """Number of turns -> `network()` with so many turns: the same modules under the same names, every turn the same
    work. Its outputs are those of fewer turns."""


@runtime_checkable
class HasLoop(Protocol):
    """Capability: the work of the network is counted on a few turns of its loop, and, if asked for, timed on them."""

    def loop(self) -> Loop: ...


@runtime_checkable
class HasModules(Protocol):
    """Capability: all modules that the method holds or needs for training, so that parameters can be counted."""

    def modules(self) -> Mapping[str, torch.nn.Module]:
        """Named modules, including those used only in training (discriminators, auxiliary heads). Modules may share
        parameters with each other and with `network()`. `requires_grad` must be True exactly for what `fit` trains."""


@runtime_checkable
class HasParts(Protocol):
    """Capability: named parts of the network, so that the cost of each part can be reported."""

    def parts(self) -> Mapping[str, torch.nn.Module]:
        """Submodules of `network()` in order of execution, none inside another. Submodules that are not named are
        counted together as the rest."""


@runtime_checkable
class HasState(Protocol):
    """Capability: a fitted method can be saved to a file and restored from it, without data or weights files."""

    def state(self) -> Mapping[str, torch.Tensor]:
        """All tensors that scoring needs besides the configuration, including the weights of a frozen backbone."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load the state of a fitted method: `predict` then gives the same results as that method.

        Called instead of `fit` on a method with the same configuration, image size and device type, whose backbone is
        not shared. Raises `RuntimeError`, `KeyError` or `ValueError` if the state does not fit."""


class Watch(Protocol):
    """Callback that receives the progress of a long step; a `total` of 0 is unknown."""

    def __call__(self, done: int, total: int, what: str, loss: float | None = None) -> None: ...


def unwatched(done: int, total: int, what: str, loss: float | None = None) -> None:
    """A `Watch` that shows nothing."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """Random seeds by purpose. `order` is the same for all methods with the same data and the same seed."""

    init: int
    order: int


class Features(Protocol):
    """Provides the frozen backbone and its feature maps. `backbone.features.FeatureCache` computes each map once."""

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
    """What the harness provides to a method: device, seeds, cached features, a path for a checkpoint."""

    device: str
    """"cpu", "cuda:0", "mps"."""
    image_size: int
    """Side of the square input in pixels."""
    seeds: Seeds
    features: Features
    checkpoint: Path | None = None
    """File in which a long `fit` may save its state, to resume after it was killed. None: save nothing. Temporary files
    in the same folder must be named ".<its name>.*"; they are deleted with the checkpoint when the cell is done."""
    watch: Watch = unwatched
    should_continue: Callable[[TrainingRecord], bool] | None = None
    """Callback that returns whether to continue training, called after each epoch except the last, while the method can
    predict. Methods do not call it; `fitting.train_epochs` does. None: training always continues."""


class MethodModule(Protocol):
    """What a file in `baselines/` (or a plug-in's module) defines. It must import quickly: torch only inside `build`.

    The module's docstring gives the citation, the source of the defaults and known deviations; its first line is shown
    by `afrad-bench list methods`. If `Config` has a field `backbone: BackboneConfig`, the hash of the weights of that
    frozen backbone is part of the terms of the result.

    The module may also define `check(config, image_size)`, which raises `UserError` or `ValueError` (first line: what
    is wrong; further lines: what to do) for what `build` would refuse whatever the machine holds: an image size, a
    backbone without the feature maps that are needed. `afrad-bench check`, `plan` and `run` call it before the first
    cell.

    The module may also define `must_be_here(config)`, which raises `UserError` for files that the configuration needs
    and this machine lacks, its `textures` among them; without it, the harness looks for these. It looks for `start` and
    the weights of a backbone itself.

    The module may also define `RECIPES`, the configurations that it was published with (`methods.recipes`); without it,
    these are the defaults. Every row names in what it differs from them.

    The module may also define `chosen_on(config)`: names of the data sets whose test labels decided defaults that this
    configuration uses. Rows on these data sets say so.

    The module may also define `warn(config, image_size, train_images)`, which returns one line for `plan` and `run` if
    a fit on so many images would take very long or much memory, else None.

    The module may also define `version(config)`, which counts instead of `VERSION` where results depend on code outside
    the module, such as a decoder of another package."""

    VERSION: str
    """Must change whenever results of an equal configuration may change; stale cells are then measured again."""
    PAPER: str
    Config: type[BaseModel]

    def build(self, config: Any, bench: Bench) -> Method: ...


# ------------------------------------------------------------------------------------------------------------ measures


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
    """A curve over the pixels of one category, reduced to the points that a plot needs."""

    kind: Literal["pixel_roc", "pro"]
    category: str
    x: tuple[float, ...]
    """False positive rate per pixel, ascending, from 0; a PRO curve ends at the integration limit of its area."""
    y: tuple[float, ...]
    """True positive rate per pixel, or mean overlap with the defective regions."""


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
    feature_seconds: float = 0.0
    """Seconds spent on backbone features during the fit; not included in `fit_seconds`."""
    features_found: bool = False
    """True if the fit read features that were already in the cache."""
    fit_doubts: tuple[str, ...] = ()
    """Reasons not to trust the times of the fit: other processes used the cores meanwhile."""
    held_out: Images | None = None
    """The images of `dataset.held_out`; None if there are none."""


class MeasureModule(Protocol):
    """What a file in `measures/` defines. It does not depend on reports or the store, and imports no other measure."""

    VERSION: str
    """Version of the definitions; a result of another version is measured again, never mixed with others."""
    TERMS: tuple[str, ...]
    """Names of environment fields that make results incomparable when they differ, e.g. ("device", "threads")."""
    METRICS: Mapping[str, Metric]
    Config: type[BaseModel]

    def measure(self, subject: Subject, config: Any) -> Iterator[Result]: ...


# --------------------------------------------------------------------------------------------------------------- cells


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One run as a value: which method is fitted on which data. Its id is a digest of its content, without labels."""

    method: str
    params: str = field(repr=False)
    """The whole validated configuration of the method, defaults included, as canonical JSON."""
    dataset: str
    dataset_params: str = field(repr=False)
    """Options of the data set, defaults included, as canonical JSON (without its root folder: only content counts)."""
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
    """Which files to put where, for `doctor` and for the error about a missing root; names the licence page."""
    Config: type[BaseModel]

    def load(self, config: Any, root: Path | None, files: ImageFiles) -> Dataset:
        """Find, pair and verify every image; raises one `UserError` that lists all problems."""
