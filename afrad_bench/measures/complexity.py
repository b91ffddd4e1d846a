"""Complexity: multiply-accumulates of one image, and parameters in total, trained, and used to score; also by part.

fvcore counts the GMACs (its "flops" are multiply-accumulates), with added formulas for the products that it lacks;
torch's `FlopCounterMode` counts the same pass again as a check. Operators without a formula are named in the notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from afrad_bench.hashing import seed_for
from afrad_bench.types import HasLoop, HasModules, HasNetwork, HasParts, Measurement, Method, Metric, Subject

if TYPE_CHECKING:
    import torch

    from afrad_bench.instruments.counting import Execution, Trace
    from afrad_bench.instruments.parts import Parts

VERSION = "2"
TERMS: tuple[str, ...] = ()
METRICS: Mapping[str, Metric] = {
    "gmacs": Metric(
        "GFLOPs (MACs)",
        "GMAC/image",
        False,
        "10⁹ multiply-accumulates of one image, counted by fvcore; what most papers print as GFLOPs",
        decimals=3,
    ),
    "gflops": Metric(
        "GFLOPs (2 × MACs)",
        "GFLOP/image",
        False,
        "10⁹ floating point operations of one image: two per multiply-accumulate",
        decimals=3,
        headline=False,
    ),
    "gmacs_torch": Metric(
        "GMACs executed",
        "GMAC/image",
        False,
        "10⁹ multiply-accumulates of the convolutions and matrix products that run, used or not, by torch's counter",
        decimals=3,
        headline=False,
    ),
    "params_total": Metric(
        "Parameters (M)", "M", False, "10⁶ parameters of everything that the method holds, shared ones once", decimals=2
    ),
    "params_trainable": Metric(
        "Trainable (M)", "M", False, "10⁶ parameters that the fit changes", decimals=2, headline=False
    ),
    "params_inference": Metric(
        "Parameters, inference (M)", "M", False, "10⁶ parameters that scoring an image reads", decimals=2
    ),
    "stored_values": Metric(
        "Stored values (M)",
        "M",
        False,
        "10⁶ numbers beside the parameters that scoring an image reads: memory banks, Gaussians, running statistics",
        decimals=2,
        headline=False,
    ),
    "stored_size": Metric(
        "Stored values (MiB)", "MiB", False, "memory of the stored values", decimals=2, headline=False
    ),
    "gmacs_part": Metric(
        "GFLOPs (MACs) by part",
        "GMAC/image",
        False,
        "10⁹ multiply-accumulates of one image in each part of the method; their sum is GFLOPs (MACs)",
        decimals=4,
        headline=False,
        by_part=True,
    ),
    "params_part": Metric(
        "Parameters by part",
        "M",
        False,
        "10⁶ parameters of each part that scoring an image reads; their sum is the parameters for inference",
        decimals=3,
        headline=False,
        by_part=True,
    ),
}
NO_NETWORK = "not countable: the method offers no network()"


class Config(BaseModel):
    """How complexity is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tolerance: float = Field(
        default=0.02,
        gt=0,
        lt=1,
        description="largest relative difference of fvcore's and torch's counts of products that is not noted",
    )


def measure(subject: Subject, config: Config) -> Iterator[Measurement]:
    """Count one pass of the method's network at (1, 3, S, S), S the cell's image size.

    If `torch.jit` cannot trace the network, torch's count remains; the fvcore figures are None, with the reason."""
    network = subject.method.network() if isinstance(subject.method, HasNetwork) else None
    yield from _held(subject.method, network)
    if network is None:
        for name in ("gmacs", "gflops", "gmacs_torch", "params_inference", "stored_values", "stored_size"):
            yield _row(name, None, NO_NETWORK)
        return
    from afrad_bench.instruments.counting import Untraceable, execute, trace, without_effect
    from afrad_bench.instruments.loops import execute_loop, trace_loop

    image = _image(subject)
    size = "x".join(map(str, image.shape))
    loop = subject.method.loop() if isinstance(subject.method, HasLoop) else None
    if loop is not None:
        size += f", {loop.turns} turns of the loop"
    execution = execute(network, image) if loop is None else execute_loop(loop, image)
    parts = _parts(subject.method, network)
    idle: tuple[str, ...] = ()
    try:
        traced = trace(network, image) if loop is None else trace_loop(loop, image)
    except Untraceable as error:
        yield from _untraced(execution, size, str(error), parts)
    else:
        idle = without_effect(traced, execution)
        yield from _work(traced, execution, size, _disagreement(traced, execution, config.tolerance, idle))
        for part, macs in parts.macs(traced).items():
            yield _row("gmacs_part", macs / 1e9, f"fvcore, {size}", category=part)
    yield from _used(network, execution, idle)
    for part, count in parts.parameters(execution.read).items():
        yield _row("params_part", count / 1e6, category=part)


def _parts(method: Method, network: torch.nn.Module) -> Parts:
    from afrad_bench.instruments.parts import Parts

    return Parts(network, method.parts() if isinstance(method, HasParts) else {})


def _held(method: Method, network: torch.nn.Module | None) -> Iterator[Measurement]:
    from afrad_bench.instruments.parameters import held

    if isinstance(method, HasModules):
        parts = method.modules()
        count, note = held(parts.values()), f"unique parameters of {', '.join(parts) or 'no module'}"
    elif network is not None:
        count, note = held([network]), "of network(); the method names no parts used in training only"
    else:
        yield _row("params_total", None, "not countable: the method offers neither modules() nor network()")
        yield _row("params_trainable", None, "not countable: the method offers neither modules() nor network()")
        return
    yield _row("params_total", count.total / 1e6, note)
    yield _row("params_trainable", count.trainable / 1e6, note)


def _work(traced: Trace, execution: Execution, size: str, differ: list[str]) -> Iterator[Measurement]:
    executed = execution.work
    unknown = _lower_bound(traced.work.unknown, executed.unknown)
    cheap = traced.work.negligible
    uncounted = ", ".join(name.removeprefix("aten::") for name in sorted(cheap))
    names = [f"not counted, about one operation per value: {uncounted}"] if cheap else []
    calls = [f"calls not counted: {_calls(cheap)}"] if cheap else []
    yield _row("gmacs", traced.work.total / 1e9, f"fvcore, {size}", *unknown, *differ, *names)
    yield _row("gflops", 2 * traced.work.total / 1e9, f"2 x gmacs, {size}", *unknown, *differ, *calls)
    yield _row("gmacs_torch", executed.total / 1e9, f"torch, {size}", *_lower_bound(executed.unknown), *differ)


def _untraced(execution: Execution, size: str, reason: str, parts: Parts) -> Iterator[Measurement]:
    executed = execution.work
    why = f"torch.jit cannot trace the network, see gmacs_torch: {reason}"
    for name in ("gmacs", "gflops"):
        yield _row(name, None, why)
    for part in parts.names:
        yield _row("gmacs_part", None, why, category=part)
    yield _row("gmacs_torch", executed.total / 1e9, f"torch, {size}", *_lower_bound(executed.unknown))


def _lower_bound(*unknown: Mapping[str, int]) -> list[str]:
    """Warning for a count that lacks operators which may cost as much as a matrix product."""
    calls = _calls({name: n for each in unknown for name, n in each.items()})
    return [f"LOWER BOUND, no formula for {calls}"] if calls else []


def _disagreement(traced: Trace, execution: Execution, tolerance: float, idle: Sequence[str]) -> list[str]:
    """Compare the counts of convolutions and matrix products; name the cause of a difference if it is known."""
    fvcore, torch_ = traced.work.products, execution.work.products
    if abs(fvcore - torch_) <= tolerance * max(fvcore, torch_):
        return []
    note = f"convolutions and products: fvcore {fvcore / 1e9:.4g} G, torch {torch_ / 1e9:.4g} G"
    return [f"{note}; {_idle(idle)}" if idle else note]


def _used(network: torch.nn.Module, execution: Execution, idle: Sequence[str]) -> Iterator[Measurement]:
    from afrad_bench.instruments.parameters import MEBI, held, used

    count = used(network, execution.read)
    notes = [f"read by no operator: {', '.join(count.unread)}"] if count.unread else []
    if idle:
        wasted = held(network.get_submodule(name) for name in idle).total / 1e6
        notes.append(f"{wasted:.2f} M of them {_idle(idle)}")
    loose = (
        f"{count.unregistered:,} of them in tensors that are not buffers of the network" if count.unregistered else ""
    )
    yield _row("params_inference", count.parameters / 1e6, *(notes or ["all of network()"]))
    yield _row("stored_values", count.values / 1e6, loose)
    yield _row("stored_size", count.bytes / MEBI, loose)


def _idle(names: Sequence[str]) -> str:
    modules = ", ".join(name or "the whole network" for name in names)
    return f"run without effect on the outputs that torch.jit sees: {modules}"


def _image(subject: Subject) -> torch.Tensor:
    """A reproducible noise image: the work of a network depends on the image size only."""
    import torch

    side = subject.cell.image_size
    generator = torch.Generator().manual_seed(seed_for("complexity"))
    return torch.rand((1, 3, side, side), generator=generator).to(subject.device)


def _calls(operators: Mapping[str, int]) -> str:
    """For example "gelu x4, softmax x2"."""
    return ", ".join(f"{name.removeprefix('aten::')} x{n}" for name, n in sorted(operators.items()))


def _row(metric: str, value: float | None, *notes: str, category: str | None = None) -> Measurement:
    return Measurement(metric, value, METRICS[metric].unit, category, "; ".join(notes))
