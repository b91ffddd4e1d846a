"""What a method is, what it may offer, and what the harness provides to it; see the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from afrad_bench.types.data import Images

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel

    from afrad_bench.types.data import FloatArray


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
        after_ones: bool = False,
    ) -> Any:
        """The backbone of this `BackboneConfig` as a module (`backbone.extractor.Extractor`), shared between cells."""

    def read(self, extractor: Any, images: Images) -> tuple[FloatArray, ...]:
        """The feature maps of these images: (N, C, H, W) float32 for each output of the extractor."""

    def parts(self, extractor: Any, images: Images) -> tuple[FloatArray, ...]:
        """What is kept of these maps, of which `extractor.finished` makes them; smaller, and shared by methods."""

    def tensors(self, extractor: Any, images: Images) -> tuple[Any, ...]:
        """The same maps as torch tensors on the extractor's device."""


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

    The module may also define `SMALL`, a configuration that is fitted in seconds (`methods.small`), with which
    `doctor --check-device` and the contract's tests try it.

    The module may also define `chosen_on(config)`: names of the data sets whose test labels decided defaults that this
    configuration uses. Rows on these data sets say so.

    The module may also define `warn(config, image_size, train_images)`, which returns one line for `plan` and `run` if
    a fit on so many images would take very long or much memory, else None.

    The module may also define `reads(config, image_size)`: the feature maps that the method reads by `Bench.features`
    (`backbone.maps.FeatureMaps`, or a `ReadMaps` of its own), or None. `plan` then tells their size on disk, and they
    are computed in one pass with those that other cells read of the same backbone.

    The module may also define `version(config)`, which counts instead of `VERSION` where results depend on code outside
    the module, such as a decoder of another package."""

    VERSION: str
    """Must change whenever results of an equal configuration may change; stale cells are then measured again."""
    PAPER: str
    Config: type[BaseModel]

    def build(self, config: Any, bench: Bench) -> Method: ...
