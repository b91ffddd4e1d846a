"""Work of a network that turns a loop, from its counts with one and with two turns.

All turns do the same work, so a count c(n) of n turns is linear: c(n) = c(1) + (n - 1) (c(2) - c(1)). Counting is then
as fast for 1,000 denoising steps as for two."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from afrad_bench.instruments.counting import Execution, Tally, Trace, execute, trace
from afrad_bench.types import Loop


def execute_loop(loop: Loop, image: torch.Tensor) -> Execution:
    """The work of all turns on (1, 3, H, W), and the tensors that they read, as `execute` counts them."""
    one, two = (execute(loop.shortened(turns), image) for turns in (1, 2))
    by_module = _all_turns(one.by_module, two.by_module, loop.turns)
    return Execution(_tally(one.work, two.work, loop.turns), {**one.read, **two.read}, by_module)


def trace_loop(loop: Loop, image: torch.Tensor) -> Trace:
    """The work of all turns on (1, 3, H, W), as `trace` counts it. Raises `Untraceable`."""
    one, two = (trace(loop.shortened(turns), image) for turns in (1, 2))
    by_module = _all_turns(one.by_module, two.by_module, loop.turns)
    return Trace(_tally(one.work, two.work, loop.turns), by_module, one.uncalled & two.uncalled)


def _tally(one: Tally, two: Tally, turns: int) -> Tally:
    pairs = ((one.macs, two.macs), (one.negligible, two.negligible), (one.unknown, two.unknown))
    return Tally(*(_all_turns(first, second, turns) for first, second in pairs))


def _all_turns(one: Mapping[str, int], two: Mapping[str, int], turns: int) -> dict[str, int]:
    def count(name: str) -> int:
        first = one.get(name, 0)
        return first + (turns - 1) * (two.get(name, 0) - first)

    return {name: count(name) for name in {**one, **two}}
