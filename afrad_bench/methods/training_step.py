"""How the step of a training is computed: eagerly, compiled, or as a CUDA graph. Imports no torch by itself."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

from pydantic import Field

from afrad_bench.errors import fail

Step = Literal["eager", "compile", "graph"]


def step_field() -> Any:
    """The field `step` of a method's `training`."""
    return Field(
        "eager",
        description="How network and loss are computed in a step: eager; compile: torch.compile, its default backend; "
        "graph: a CUDA graph, replayed. A last, smaller batch is eager. Losses differ by rounding.",
        exclude_if=lambda value: value == "eager",  # so that configurations stored before there was it stay equal
    )


def must_step(config: Any, device: str) -> None:
    """Raise `UserError` if a method's configuration has a training step that this machine cannot make."""
    step = getattr(getattr(config, "training", None), "step", "eager")
    if step == "graph" and not device.startswith("cuda"):
        raise fail(
            f"training.step: graph needs a CUDA device, this is {device}",
            hint="set training.step: eager or compile, or name a card by --device",
        )
    if step != "compile":
        return
    if device.startswith("cuda"):
        if find_spec("triton") is None:
            raise fail("training.step: compile needs triton on CUDA, which is not installed", hint="pip install triton")
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise fail(
            "training.step: compile needs a C++ compiler, and none was found",
            hint="install g++ or clang, name one by the environment variable CXX, or set training.step: eager",
        ) from error
