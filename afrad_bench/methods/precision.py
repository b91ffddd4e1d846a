"""What must be computed in float32 also where a network runs in mixed precision: distances, errors, maps.

The squares of features exceed float16, and bfloat16 has two to three digits: too few for scores that are compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Given = ParamSpec("Given")
Result = TypeVar("Result")


def in_float32(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The function, with autocast off for its tensors and with their half-precision values in float32. Without
    autocast it is called as it is."""

    @wraps(function)
    def outside_autocast(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        tensors = [each for each in args if isinstance(each, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        if not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        given: Any = [each.float() if isinstance(each, Tensor) and each.is_floating_point() else each for each in args]
        with torch.autocast(device, enabled=False):
            return function(*given, **kwargs)

    return outside_autocast
