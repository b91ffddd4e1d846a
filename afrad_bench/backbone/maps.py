"""Which feature maps of a frozen backbone a method reads, and as which arrays the cache keeps them.

The cache keeps one array for each map of the backbone, so that methods on one backbone share it, whatever else they
read. A map that a method resizes to a coarser grid is kept on that grid; one that it resizes to a finer grid is kept as
it is and resized when it is read. Importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from afrad_bench.backbone.offered import OfferedMap, needed
from afrad_bench.backbone.weights import BackboneConfig, Precision, Weights
from afrad_bench.hashing import digest

if TYPE_CHECKING:
    from afrad_bench.types import Bench

VERSION = "2"

Resize = Literal["bilinear", "aligned", "area"]
"""How maps are resized to a common grid: bilinear, bilinear with aligned corners (as in UniAD), or area mean."""


@dataclass(frozen=True, slots=True)
class Part:
    """An array of the cache: of each image one map of a backbone."""

    key: str
    """Digest of everything that the map of a given image depends on, except what rounds it."""
    backbone: str
    reduction: int
    shape: tuple[int, int, int]
    """(C, H, W)"""
    resize: Resize | None = None
    """How the backbone's map is resized to this shape; None for the map as it is."""
    after_ones: bool = False
    precision: Precision = "float32"

    @property
    def what(self) -> str:
        """In words, e.g. "reduction 4, 32 x 32 bilinear"."""
        _, height, width = self.shape
        resized = f" {self.resize}" if self.resize else ""
        more = [", moved norms"] * self.after_ones + [", float16"] * (self.precision == "float16")
        return f"reduction {self.reduction}, {height} x {width}{resized}{''.join(more)}"

    @property
    def image_bytes(self) -> int:
        """Bytes for one image."""
        channels, height, width = self.shape
        return (2 if self.precision == "float16" else 4) * channels * height * width


class ReadMaps(Protocol):
    """Maps of a frozen backbone that a method reads, as a hashable value: what `reads` of a method's module returns."""

    @property
    def backbone(self) -> BackboneConfig: ...

    @property
    def image_size(self) -> int: ...

    @property
    def scored(self) -> bool:
        """Whether images are scored from these maps, too. False: only those of the training images are read."""

    @property
    def net(self) -> ReadMaps:
        """The backbone alone, equal for all maps that one forward pass gives alike."""

    def parts(self, weights: Weights) -> tuple[Part, ...]:
        """The arrays that the cache keeps."""


@dataclass(frozen=True)
class FeatureMaps:
    """The feature maps of a frozen backbone that a method reads: one per reduction, or all resized to a grid and
    concatenated along the channels. The fields are those of `Features.extractor`."""

    backbone: BackboneConfig
    reductions: tuple[int, ...]
    image_size: int
    grid: int | None = None
    resize: Resize = "bilinear"
    padded_for: int | None = None
    after_ones: bool = False
    scored: bool = True
    """Whether images are scored from these maps, too. False: only those of the training images are read."""

    def __post_init__(self) -> None:
        # Methods have own classes for the same backbone.
        own = self.backbone
        plain = BackboneConfig(name=own.name, weights=own.weights, precision=own.precision)
        object.__setattr__(self, "backbone", plain)

    @cached_property
    def offered(self) -> tuple[OfferedMap, ...]:
        """The backbone's maps. Raises `UserError` if it has none of a reduction, or cannot process such images."""
        return needed(self.backbone.name, self.reductions, self.image_size)

    def extractor(self, bench: Bench) -> Any:
        """The backbone that gives these maps, an `Extractor` on the bench's device."""
        return bench.features.extractor(
            self.backbone,
            self.reductions,
            self.image_size,
            bench.device,
            self.grid,
            self.resize,
            self.padded_for,
            self.after_ones,
        )

    @property
    def net(self) -> FeatureMaps:
        """The backbone alone, equal for all maps that one forward pass gives alike."""
        # Batch norms that an image has moved may refuse a deeper map; so each set of maps has a pass of its own.
        reductions = self.reductions if self.after_ones else ()
        backbone = self.backbone.model_copy(update={"precision": "float32"})
        return replace(self, backbone=backbone, reductions=reductions, grid=None, resize="bilinear", scored=True)

    def parts(self, weights: Weights) -> tuple[Part, ...]:
        """The arrays that the cache keeps, one per reduction."""
        import timm

        name = self.backbone.name
        common = [VERSION, timm.__version__, name, weights.sha256, f"padded for {self.padded_for}"]
        common += ["after ones"] if self.after_ones else []
        common += ["float16"] if self.backbone.precision == "float16" else []
        made = []
        precision = self.backbone.precision
        for one in self.offered:
            key, (channels, height, width) = (*common, str(one.reduction)), one.shape
            side = self.image_size // self.grid if self.grid else height
            if side < height:
                coarser, of_grid = (channels, side, side), digest(*key, f"{self.resize} to {side}")
                made.append(Part(of_grid, name, one.reduction, coarser, self.resize, self.after_ones, precision))
            else:
                raw = (channels, height, width)
                made.append(Part(digest(*key), name, one.reduction, raw, None, self.after_ones, precision))
        return tuple(made)
