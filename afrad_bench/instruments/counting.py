"""Count the work of a network on one image: once as fvcore traces it, once as the dispatcher runs it.

Both count the inference path, which differs from the training path (for example fused attention). A trace keeps only
what the outputs depend on; the dispatcher sees everything that runs, and which stored tensors are read."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from afrad_bench.instruments.macs import EXECUTED, NOT_PRODUCTS, TRACED, Formula, einsum, is_cheap


@dataclass(frozen=True, slots=True)
class Tally:
    """Work of one pass."""

    macs: Mapping[str, int]
    """Operator -> multiply-accumulates of all its calls."""
    negligible: Mapping[str, int]
    """Operators without a formula that cost about one operation per value -> calls."""
    unknown: Mapping[str, int]
    """The other operators without a formula -> calls. If there are any, `total` is a lower bound."""

    @property
    def total(self) -> int:
        return sum(self.macs.values())

    @property
    def products(self) -> int:
        """Convolutions and matrix products only: what both counters count."""
        return sum(macs for operator, macs in self.macs.items() if operator not in NOT_PRODUCTS)


@dataclass(frozen=True, slots=True)
class Execution:
    """What the dispatcher saw."""

    work: Tally
    read: Mapping[int, tuple[int, int]]
    """Address of each stored tensor whose values an operator read -> (number of values, bytes). Without the image and
    the tensors computed in the pass."""
    by_module: Mapping[str, int]
    """Name of a module -> multiply-accumulates while it ran."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What fvcore saw."""

    work: Tally
    by_module: Mapping[str, int]
    """Name of a module -> multiply-accumulates of it and of its submodules."""
    uncalled: frozenset[str]
    """Modules whose results do not reach the outputs, or which are used without being called."""


class Untraceable(Exception):
    """`torch.jit` cannot trace a network that runs; the message says why."""


def execute(network: torch.nn.Module, image: torch.Tensor) -> Execution:
    """Run `network` on (1, 3, H, W) once, under the dispatcher. Errors of the network are passed on."""
    formulas = {}
    for name, formula in EXECUTED.items():
        if (packet := _packet(name)) is not None:
            formulas[packet] = _executed(formula)
    with torch.no_grad(), _Reads(image) as reads, FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        network(image)
    flops = counter.get_flop_counts()
    counted = {str(packet): macs // 2 for packet, macs in flops.get("Global", {}).items()}
    formulated = {str(packet) for packet in counter.flop_registry}
    rest = Counter({name: n for name, n in reads.operators.items() if name.replace("::", ".") not in formulated})
    root = type(network).__name__
    by_module = {
        name.removeprefix(root).removeprefix("."): sum(each.values()) // 2
        for name, each in flops.items()
        if name != "Global"
    }
    return Execution(_tally(counted, rest), reads.stored, by_module)


def trace(network: torch.nn.Module, image: torch.Tensor) -> Trace:
    """Count `network` on (1, 3, H, W) with fvcore and the formulas in `TRACED`. Raises `Untraceable`."""
    with warnings.catch_warnings():
        # fvcore uses torch.jit, which warns of its deprecation at import and at every trace.
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(network, (image,))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.set_op_handle("aten::einsum", _traced_einsum)
        analysis.set_op_handle(**{name: _traced(formula) for name, formula in TRACED.items()})
        with torch.no_grad(), _hooks_restored(network):
            try:
                counted = analysis.by_operator()
                by_module = {name: int(macs) for name, macs in analysis.by_module().items()}
            except Exception as error:  # the network runs; the row says why tracing fails
                raise Untraceable(f"{type(error).__name__}: {error}".partition("\n")[0]) from error
    work = _tally({name: int(macs) for name, macs in counted.items()}, analysis.unsupported_ops())
    return Trace(work, by_module, frozenset(analysis.uncalled_modules()))


def without_effect(trace: Trace, execution: Execution) -> tuple[str, ...]:
    """Names of the outermost modules that compute products without effect on the outputs that `torch.jit` sees: their
    results are dropped, or used outside torch. The network itself is ""."""
    found: list[str] = []
    for name in sorted(trace.uncalled):
        if execution.by_module.get(name, 0) and not any(_within(name, outer) for outer in found):
            found.append(name)
    return tuple(found)


def _within(name: str, outer: str) -> bool:
    return not outer or name.startswith(f"{outer}.")


def _tally(macs: Mapping[str, int], uncounted: Mapping[str, int]) -> Tally:
    negligible = {name: n for name, n in sorted(uncounted.items()) if is_cheap(name)}
    unknown = {name: n for name, n in sorted(uncounted.items()) if name not in negligible}
    return Tally(dict(macs), negligible, unknown)


def _packet(name: str) -> Any:
    """The operator of that name, or None if this version of torch does not have it."""
    space, _, operator = name.partition("::")
    return getattr(getattr(torch.ops, space), operator, None)


def _executed(formula: Formula) -> Any:
    def flops(*args: Any, out_shape: Any = None, **_: Any) -> int:
        shapes = [arg if isinstance(arg, torch.Size) else None for arg in args]
        return 2 * formula(shapes, out_shape if isinstance(out_shape, torch.Size) else out_shape[0])

    return flops


def _traced(formula: Formula) -> Any:
    def macs(inputs: list[Any], outputs: list[Any]) -> int:
        return formula([_shape(value) for value in inputs], _shape(outputs[0]) or [])

    return macs


def _traced_einsum(inputs: list[Any], outputs: list[Any]) -> int:
    equation, operands = inputs[0].toIValue(), inputs[1].node().inputs()
    path = inputs[2] if len(inputs) > 2 else None
    if path is not None and path.node().kind() == "prim::ListConstruct":
        steps: list[int] | None = [step.toIValue() for step in path.node().inputs()]
    else:
        steps = path.toIValue() if path is not None else None
    return einsum(equation, [_shape(operand) or [] for operand in operands], steps)


def _shape(value: Any) -> list[int] | None:
    sizes: list[int] | None = value.type().sizes() if value.isCompleteTensor() else None
    return sizes


class _Reads(TorchDispatchMode):
    """Records every operator, and every tensor that is read but was not computed in the pass."""

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: Counter[str] = Counter()
        self.stored: dict[int, tuple[int, int]] = {}
        self._computed = {address(image)}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operators[func._schema.name] += 1
        if not func.is_view:  # a view reads nothing; the operator that uses it has the same address
            for tensor in _tensors((args, kwargs)):
                if (place := address(tensor)) not in self._computed:
                    size = tensor.untyped_storage().nbytes()
                    self.stored[place] = (size // tensor.element_size(), size)
        if not func.is_view or func is torch.ops.aten.lift_fresh.default:
            self._computed.update(place for t in _tensors(result) if (place := address(t)) not in self.stored)
        return result


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor) and leaf.layout is torch.strided)


def address(tensor: torch.Tensor) -> int:
    """Memory address of a tensor's storage; the same for its views, 0 if it is empty."""
    return tensor.untyped_storage().data_ptr()


@contextmanager
def _hooks_restored(network: torch.nn.Module) -> Iterator[None]:
    """Remove the hooks that fvcore leaves behind when a trace fails; a later measure must not run them."""
    tables = [table for module in network.modules() for table in (module._forward_pre_hooks, module._forward_hooks)]
    before = [set(table) for table in tables]
    try:
        yield
    finally:
        for table, kept in zip(tables, before, strict=True):
            for key in set(table) - kept:
                del table[key]
