"""timm's networks for the feature maps of a model. Slow to import (torch and timm)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
from torch import nn

from afrad_bench.errors import fail


def cut(net: nn.Module) -> None:
    """Remove the stages after the last feature map: timm's EfficientNets keep and run them, but nothing uses them."""
    blocks = getattr(net, "blocks", None)
    place, dot, last = str(net.feature_info.module_name()[-1]).partition(".")  # type: ignore[operator, union-attr]
    if isinstance(blocks, nn.Sequential) and place == "blocks" and dot and last.isdigit():
        net.blocks = blocks[: int(last) + 1]


def positions(name: str, offered: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """Positions of the wanted reductions among those of the backbone. Raises `UserError` if it has not exactly one map
    of each."""
    missing = [r for r in wanted if list(offered).count(r) != 1]
    if missing:
        raise fail(
            f"the backbone {name} has no single feature map with reduction {', '.join(map(str, missing))}",
            hint=f"it has maps with reductions {', '.join(map(str, offered))}",
        )
    return tuple(list(offered).index(r) for r in wanted)


def channels_last(net: nn.Module) -> bool:
    """Whether the feature maps of a net are (B, H, W, C)."""
    return str(getattr(net, "output_fmt", "NCHW")).rpartition(".")[2] == "NHWC"


def feature_net(name: str, image_size: int, indices: tuple[int, ...] | None = None) -> Any:
    """timm's network for these feature maps of a model (None: all), with random weights. Raises `UserError` if timm
    has none."""
    arguments: dict[str, Any] = {} if indices is None else {"out_indices": indices}
    arguments |= size_arguments(name, image_size)
    try:
        return timm.create_model(name, pretrained=False, features_only=True, **arguments)
    except (RuntimeError, AttributeError) as error:
        raise fail(f"timm provides no feature maps of the backbone {name}: {error}") from error


def size_arguments(name: str, image_size: int) -> dict[str, int]:
    """Arguments for a model that is built for one input size (vision transformers)."""
    found = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    return {"img_size": image_size} if found is not None and found.fixed_input_size else {}
