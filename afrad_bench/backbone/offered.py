"""Which feature maps a backbone offers at an image size: known before any weights are read, so that a suite can be
checked. The network is built without memory (torch's device "meta"); torch and timm are imported only then."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from afrad_bench.errors import UserError, fail


@dataclass(frozen=True, slots=True)
class OfferedMap:
    """A feature map of a backbone for images of one size."""

    reduction: int
    channels: int
    shape: tuple[int, ...]
    """(C, H, W), unless the network is an unusual one."""


@lru_cache(maxsize=256)
def needed(name: str, reductions: tuple[int, ...], image_size: int) -> tuple[OfferedMap, ...]:
    """The maps with these reductions of a timm model for square images of this side. Raises `UserError` if it has not
    exactly one map of each, or if it cannot process such images."""
    try:
        return _maps(name, reductions, image_size, "meta")
    except (UserError, RuntimeError, AssertionError):
        pass  # perhaps it fails only without memory: what follows decides
    try:
        return _maps(name, reductions, image_size, "cpu")
    except (RuntimeError, AssertionError) as error:
        first = str(error).partition("\n")[0]
        raise fail(
            f"the backbone {name} cannot process images of {image_size} px: {first}",
            hint="choose another image size or another backbone",
        ) from error


def _maps(name: str, reductions: tuple[int, ...], image_size: int, device: str) -> tuple[OfferedMap, ...]:
    import torch

    from afrad_bench.backbone.nets import channels_last, cut, feature_net, positions

    with torch.device(device), torch.random.fork_rng(devices=[]), torch.no_grad():
        indices = positions(name, feature_net(name, image_size).feature_info.reduction(), reductions)
        net = feature_net(name, image_size, indices).eval()
        cut(net)
        shapes = [tuple(maps.shape[1:]) for maps in net(torch.zeros(1, 3, image_size, image_size))]
    if channels_last(net):
        shapes = [(channels, height, width) for height, width, channels in shapes]
    info = net.feature_info
    return tuple(OfferedMap(*one) for one in zip(info.reduction(), info.channels(), shapes, strict=True))
