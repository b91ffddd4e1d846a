"""A fitted method in one mode, as a call that scores one batch of images; its output is compared with eager mode."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from afrad_bench.backbone.memory_format import arrange
from afrad_bench.images.sets import ImageArray
from afrad_bench.latency.folding import fold
from afrad_bench.latency.modes import Mode
from afrad_bench.types import HasNetwork, Method

Scores = tuple[Tensor, Tensor]
"""Anomaly map (B, H, W) and image score (B,)."""


@dataclass(frozen=True)
class Prepared:
    """The call to time, and the facts that are known before the first timed call."""

    call: Callable[[], object]
    facts: dict[str, Any] = field(default_factory=dict)


def prepared(method: Method, pixels: Tensor, device: str, mode: Mode) -> Prepared:
    """Prepare the call that scores `pixels`, (B, 3, H, W) float32 on the CPU, with the method's network on the device,
    or with `predict` if it has no network. Folds, compiles and captures the network if the mode requires it; errors of
    these steps are raised. Raises `ValueError` if the method does not support the mode, or an output is not finite."""
    if not isinstance(method, HasNetwork):
        return _by_predict(method, pixels, mode)
    network = method.network()
    facts: dict[str, Any] = {
        "inside": "image tensor on the device -> pixel map and image score, on the device",
        "precision": _precision(mode),
        "buffers_mib": sum(each.numel() * each.element_size() for each in network.buffers()) / 2**20,
    }
    images = pixels.to(device)
    others = images.flip(-1)  # a mode that gave the results of its preparation again would be found out
    expected = _scores(_inferring(network)(others))
    if not mode.changes:
        return Prepared(lambda: _inferring(network)(images), facts)
    order = _memory_format(mode)
    if "folded" in mode or order is not None:
        network = copy.deepcopy(network)
    if "folded" in mode:
        facts["folded_norms"] = fold(network, images)
    if order is not None:
        arrange(network, order)
        images, others = (each.contiguous(memory_format=order) for each in (images, others))
    run = _inferring(_compiled(network) if "compile" in mode else network, _autocast(device, mode))
    began = time.perf_counter()
    with _compiling(facts) if "compile" in mode else nullcontext():
        run(images)
    if "compile" in mode:
        facts["compile_seconds"] = time.perf_counter() - began
    if "cuda_graphs" in mode:
        run = _graphed(run, images, device)
    facts |= _differences(_scores(run(others)), expected)
    return Prepared(lambda: run(images), facts)


def _by_predict(method: Method, pixels: Tensor, mode: Mode) -> Prepared:
    if mode.changes:
        raise ValueError(f"the method offers no network(), which the mode {mode.name} needs")
    images = ImageArray(pixels.numpy())
    inside = "image in memory -> pixel map and image score, in memory"
    return Prepared(lambda: method.predict(images), {"inside": inside, "precision": "of the method"})


def _inferring(network: Callable[[Tensor], Any], autocast: Any = None) -> Callable[[Tensor], Any]:
    def run(images: Tensor) -> Any:
        with torch.inference_mode(), autocast or nullcontext():
            return network(images)

    return run


def _autocast(device: str, mode: Mode) -> Any:
    """Autocast for the mode, or None. With CUDA graphs, the cache of cast weights is off, because a captured graph
    would go on using its memory after it is freed; the weights are cast in every call instead."""
    if (half := _half(mode)) is None:
        return None
    return torch.autocast(_type(device), dtype=half, cache_enabled="cuda_graphs" not in mode)


def _precision(mode: Mode) -> str:
    half = _half(mode)
    return "float32" if half is None else f"autocast to {str(half).removeprefix('torch.')}"


def _half(mode: Mode) -> torch.dtype | None:
    """The half precision of the mode, or None."""
    return torch.float16 if "fp16" in mode else torch.bfloat16 if "bf16" in mode else None


def _memory_format(mode: Mode) -> torch.memory_format | None:
    """The memory format of the mode, or None: as the method has it."""
    named = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
    return next((order for name, order in named.items() if name in mode), None)


def _type(device: str) -> str:
    return torch.device(device).type


def _compiled(network: nn.Module) -> Callable[[Tensor], Any]:
    """Compile with Inductor through a new function, so that a program compiled for another row is never reused."""
    from torch._dynamo import lookup_backend

    inductor = lookup_backend("inductor")
    return torch.compile(network, backend=lambda graph, inputs: inductor(graph, inputs), dynamic=False)


@contextmanager
def _compiling(facts: dict[str, Any]) -> Iterator[None]:
    """Raise torch's limit of programs per function, because methods share code and each row compiles its own. Count the
    graphs that torch.compile makes; raise `ValueError` if there are none, because then the call runs in eager mode."""
    from torch._dynamo import config
    from torch._dynamo.utils import counters

    names = ("recompile_limit", "accumulated_recompile_limit", "cache_size_limit", "accumulated_cache_size_limit")
    before = counters["stats"]["unique_graphs"]
    with config.patch({name: 10_000 for name in names if hasattr(config, name)}):
        yield
    made = counters["stats"]["unique_graphs"] - before
    if not made:
        raise ValueError("torch.compile compiled nothing of the network")
    facts["compiled_graphs"] = int(made)


def _graphed(run: Callable[[Tensor], Any], images: Tensor, device: str) -> Callable[[Tensor], Any]:
    """Capture `run` on a copy of the images. The returned function copies its images there and replays the graph.

    The stream of the capture is named: by default torch would capture one of the current device, which need not be the
    network's, and so record nothing."""
    held = images.clone()
    with torch.cuda.device(device):
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):  # one-time initialisation must not be captured
            for _ in range(3):
                run(held)
        torch.cuda.current_stream(device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=aside):
            output = run(held)

    def replay(fresh: Tensor) -> Any:
        held.copy_(fresh)
        graph.replay()
        return output

    return replay


def _scores(output: Any) -> Scores:
    """Copies in float32 on the CPU. Raises `ValueError` if a value is not finite."""
    anomaly_map, score = (each.detach().float().cpu().clone() for each in output)
    for name, values in (("map", anomaly_map), ("score", score)):
        if not torch.isfinite(values).all():
            raise ValueError(f"the {name} is not finite (NaN or infinite)")
    return anomaly_map, score


def _differences(found: Scores, expected: Scores) -> dict[str, float]:
    """Largest differences from eager mode; for the map also relative to the range of the eager map."""
    (anomaly_map, score), (eager_map, eager_score) = found, expected
    largest = float((anomaly_map - eager_map).abs().max())
    spread = float(eager_map.max() - eager_map.min())
    return {
        "map_difference": largest,
        "map_difference_relative": largest / spread if spread else float(bool(largest)),
        "score_difference": float((score - eager_score).abs().max()),
    }
