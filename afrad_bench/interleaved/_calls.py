"""A fitted method in one mode, as a call that scores one batch of images, checked against eager."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from afrad_bench.images import ImageArray
from afrad_bench.interleaved.modes import Mode
from afrad_bench.types import HasNetwork, Method

Scores = tuple[Tensor, Tensor]
"""Anomaly map (B, H, W) and image score (B,)."""


@dataclass(frozen=True)
class Prepared:
    """What is timed, and what is known of it before the first timed call."""

    call: Callable[[], object]
    facts: dict[str, Any] = field(default_factory=dict)


def prepared(method: Method, pixels: Tensor, device: str, mode: Mode) -> Prepared:
    """Score `pixels`, (B, 3, H, W) float32 on the CPU, by the method's network on the device, or by `predict` if it has
    none. Compiles and captures; raises whatever that raises, and `ValueError` for a mode that the method does not have
    or an output that is not finite."""
    if not isinstance(method, HasNetwork):
        return _by_predict(method, pixels, mode)
    network = method.network()
    facts: dict[str, Any] = {
        "inside": "image tensor on the device -> pixel map and image score, on the device",
        "precision": _precision(device, mode),
        "buffers_mib": sum(each.numel() * each.element_size() for each in network.buffers()) / 2**20,
    }
    images = pixels.to(device)
    expected = _scores(_inferring(network)(images))
    if not mode.changes:
        return Prepared(lambda: _inferring(network)(images), facts)
    if "channels_last" in mode:
        network = copy.deepcopy(network).to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    run = _inferring(_compiled(network) if "compile" in mode else network, _autocast(device, mode))
    began = time.perf_counter()
    with _counted(facts) if "compile" in mode else nullcontext():
        run(images)
    if "compile" in mode:
        facts["compile_seconds"] = time.perf_counter() - began
    if "cuda_graphs" in mode:
        run = _graphed(run, images, device)
    facts |= _differences(_scores(run(images)), expected)
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
    """The cache of cast weights would leave memory behind that a captured graph goes on using; without it they are cast
    anew."""
    if "amp" not in mode:
        return None
    return torch.autocast(_type(device), dtype=_half(device), cache_enabled="cuda_graphs" not in mode)


def _precision(device: str, mode: Mode) -> str:
    return f"autocast to {str(_half(device)).removeprefix('torch.')}" if "amp" in mode else "float32"


def _half(device: str) -> torch.dtype:
    return torch.bfloat16 if _type(device) == "cpu" else torch.float16


def _type(device: str) -> str:
    return torch.device(device).type


def _compiled(network: nn.Module) -> Callable[[Tensor], Any]:
    """Inductor under a name of its own: programs of other methods that share code do not count as its recompilations,
    after too many of which torch would silently run eager."""
    from torch._dynamo import lookup_backend

    inductor = lookup_backend("inductor")
    return torch.compile(network, backend=lambda graph, inputs: inductor(graph, inputs), dynamic=False)


class _counted:
    """Notes the graphs that torch.compile made meanwhile; none is an error, for eager would pass for compiled."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts

    def __enter__(self) -> None:
        self._before = self._graphs()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            made = self._graphs() - self._before
            if not made:
                raise ValueError("torch.compile compiled nothing of the network")
            self._facts["compiled_graphs"] = made

    @staticmethod
    def _graphs() -> int:
        from torch._dynamo.utils import counters

        return int(counters["stats"]["unique_graphs"])


def _graphed(run: Callable[[Tensor], Any], images: Tensor, device: str) -> Callable[[Tensor], Any]:
    """Capture `run` on a copy of the images; the new function copies images there and replays."""
    held = images.clone()
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):  # what is made once must not be captured
        for _ in range(3):
            run(held)
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run(held)

    def replay(fresh: Tensor) -> Any:
        held.copy_(fresh)
        graph.replay()
        return output

    return replay


def _scores(output: Any) -> Scores:
    """Copies in float32 on the CPU."""
    anomaly_map, score = (each.detach().float().cpu().clone() for each in output)
    for name, values in (("map", anomaly_map), ("score", score)):
        if not torch.isfinite(values).all():
            raise ValueError(f"the {name} is not finite (NaN or infinite)")
    return anomaly_map, score


def _differences(found: Scores, expected: Scores) -> dict[str, float]:
    """The largest ones from eager, of the map also relative to the range of eager's map."""
    (anomaly_map, score), (eager_map, eager_score) = found, expected
    largest = float((anomaly_map - eager_map).abs().max())
    spread = float(eager_map.max() - eager_map.min())
    return {
        "map_difference": largest,
        "map_difference_relative": largest / spread if spread else float(bool(largest)),
        "score_difference": float((score - eager_score).abs().max()),
    }
