"""Fold batch norms that no longer learn into the convolutions before them: y = norm(conv(x)) is one convolution with
other weights, equal to rounding, and an operator less."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold(network: nn.Module, images: Tensor) -> int:
    """Fold in place, and return the number of folded batch norms. Raises `ValueError` if there are none.

    Which convolution a norm follows is seen in one pass over the images (B, 3, H, W): the norm is all that reads the
    convolution's output, both run once, and the norm is in eval mode. The activation of timm's norms stays."""
    pairs = _pairs(network, images)
    if not pairs:
        raise ValueError("the network has no batch norm that alone reads the output of a convolution")
    names = {module: name for name, module in network.named_modules()}
    for convolution, norm in pairs:
        fused = fuse_conv_bn_eval(convolution, norm)
        convolution.weight, convolution.bias = fused.weight, fused.bias
        rest = nn.Identity() if type(norm) in NORMS else nn.Sequential(norm.drop, norm.act)
        parent, _, name = names[norm].rpartition(".")
        setattr(network.get_submodule(parent), name, rest)
    return len(pairs)


class _Uses(TorchDispatchMode):
    """Counts the operators that read each tensor, by its id."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.of: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.of.update({id(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)})
        return func(*args, **(kwargs or {}))


def _pairs(network: nn.Module, images: Tensor) -> list[tuple[Any, Any]]:
    """Each convolution with its batch norm."""
    made: dict[int, tuple[Tensor, nn.Module]] = {}  # the tensors are kept, so that no id stands for two
    runs: Counter[nn.Module] = Counter()
    read: dict[nn.Module, int] = {}

    def left(module: nn.Module, _: Any, output: Tensor) -> None:
        runs[module] += 1
        made[id(output)] = output, module
        uses.of.pop(id(output), None)

    def entered(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        runs[module] += 1
        read[module] = id(inputs[0])

    hooks = []
    for module in network.modules():
        if isinstance(module, CONVOLUTIONS):
            hooks.append(module.register_forward_hook(left))
        elif _is_norm(module):
            hooks.append(module.register_forward_pre_hook(entered))
    try:
        with torch.inference_mode(), _Uses() as uses:
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    pairs = [(made[key][1], norm) for norm, key in read.items() if key in made and uses.of[key] == 1]
    return [(convolution, norm) for convolution, norm in pairs if runs[convolution] == runs[norm] == 1]


def _is_norm(module: nn.Module) -> bool:
    """A batch norm with stored statistics: torch's, or timm's with its activation."""
    if not isinstance(module, NORMS) or module.training or module.running_mean is None:
        return False
    return type(module) in NORMS or (hasattr(module, "drop") and hasattr(module, "act"))
