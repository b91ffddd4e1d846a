"""A CUDA device that is not there: tensors that say they are on `cuda:N`, computed on the CPU, with CUDA's rules.

What CUDA refuses is refused: tensors of several devices in one operator, a generator of another device. So is what
CUDA would compute wrongly: a tensor that is read before the stream that makes it is waited for. Kernel launches, copies
between host and card, and what makes the host wait are counted, each with the line of ours that caused it. Times mean
nothing here.

It needs the two libraries of `build`; the process must start with `LD_PRELOAD` of the second one."""

from __future__ import annotations

import ctypes
import os
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

HERE = Path(__file__).parent
NAME, CARDS, MEMORY = "Simulated card", 2, 24 * 2**30
OURS = ("afrad_bench", "baselines")

aten = torch.ops.aten
COPIES = {aten.copy_.default, aten.copy.default}
INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._unsafe_index.Tensor,
    aten._index_put_impl_.default,
}
"""Operators that take indices of the host, which are copied."""
WAITING = {aten._local_scalar_dense.default, aten.item.default, aten.equal.default, aten.is_nonzero.default}
"""Operators whose result is a value on the host."""
SIZED = {aten.nonzero.default, aten.masked_select.default, aten._unique2.default, aten.unique_consecutive.default}
"""Operators that wait since the size of their result depends on values."""
WITHOUT_KERNEL = {
    aten.detach.default,
    aten.alias.default,
    aten.lift_fresh.default,
    aten.set_.source_Tensor,
    aten.is_same_size.default,
}


class Refused(RuntimeError):
    """What CUDA would refuse."""


@dataclass
class Counts:
    """What happened, each with the line that caused it."""

    launches: int = 0
    waits: list[str] = field(default_factory=list)
    for_all: list[str] = field(default_factory=list)
    """Those waits that are for all streams of the card."""
    to_card: list[str] = field(default_factory=list)
    """Copies from the host of at least one number for each of several; without the 8 bytes of a scalar."""
    pinned: list[str] = field(default_factory=list)
    """Copies from pinned memory, for which the host does not wait."""
    to_host: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    """Those copies from the host that are made on another stream than that of the computations."""
    ahead: int = 0
    """The most events that the card had not reached, as far as the host knew."""


_COUNTS: list[Counts] = []


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what happens inside."""
    _COUNTS.append(Counts())
    try:
        yield _COUNTS[-1]
    finally:
        _COUNTS.pop()


def build(folder: Path) -> dict[str, str]:
    """Compile the two libraries into a folder; the environment variables for a process that simulates a card."""
    from torch.utils.cpp_extension import include_paths, library_paths

    includes = [f"-I{path}" for path in include_paths()]
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"
    guard, preload = folder / "guard.so", folder / "preload.so"
    common = ["g++", "-std=c++20", "-O1", "-shared", "-fPIC"]
    libraries = [f"-L{library_paths()[0]}", "-lc10"]
    subprocess.run([*common, *includes, abi, HERE / "guard.cpp", *libraries, "-o", guard], check=True)
    subprocess.run([*common, HERE / "preload.cpp", "-o", preload], check=True)
    return {"LD_PRELOAD": str(preload), "SIMULATED_CARD": str(guard)}


class Stream:
    """A stream of a card: work in order. Work of other streams is seen as far as they were waited for."""

    def __init__(self, device: object = None) -> None:
        self.seen: dict[Stream, int] = {}

    def wait_stream(self, other: Stream) -> None:
        self.seen[other] = next(_TIME)

    def synchronize(self) -> None:
        _note("waits")

    def __deepcopy__(self, memo: object) -> Stream:
        return self  # a copied tensor is of the same stream


class Event:
    """A marker in a stream, which is reached when the host waits for it."""

    pending = 0

    def __init__(self, *, blocking: bool = False) -> None:
        self.waiting = False

    def record(self, stream: Stream) -> None:
        self.waiting = True
        Event.pending += 1
        for counts in _COUNTS:
            counts.ahead = max(counts.ahead, Event.pending)

    def synchronize(self) -> None:
        Event.pending -= self.waiting
        self.waiting = False

    def __del__(self) -> None:
        Event.pending -= self.waiting


_TIME = count()
_STREAMS = [Stream()]
"""The stream of the computations, and within `stream` another one."""


@contextmanager
def stream(aside: Stream) -> Iterator[None]:
    """As `torch.cuda.stream`."""
    _STREAMS.append(aside)
    try:
        yield
    finally:
        _STREAMS.pop()


class OnCard(Tensor):
    """A tensor that says it is on `cuda:index`; its values are those of `inner`, a tensor of the CPU."""

    inner: Tensor
    index: int
    stream: Stream
    time: int
    used_by: Stream
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: type[OnCard], inner: Tensor, index: int = 0) -> OnCard:
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device("cuda", index),
        )
        made.inner, made.index, made.time = inner, index, next(_TIME)
        made.stream = made.used_by = _STREAMS[-1]
        return made

    def record_stream(self, stream: Stream) -> None:  # type: ignore[override]
        self.used_by = stream

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnCard({tuple(self.shape)}, cuda:{self.index})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def simulated(free: int) -> Iterator[None]:
    """Inside, there are two cards, with so many free bytes each. Nothing but `torch.cuda` is replaced."""
    prepare()
    torch.autograd.set_multithreading_enabled(False)
    replaced = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: CARDS,
        "current_device": lambda: 0,
        "synchronize": lambda device=None: (_note("waits"), _note("for_all")),
        "get_device_name": lambda device=None: NAME,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_properties": lambda device=None: SimpleNamespace(
            name=NAME, total_memory=MEMORY, multi_processor_count=128, major=9, minor=0
        ),
        "mem_get_info": lambda device=None: (free, MEMORY),
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 0,
        "reset_peak_memory_stats": lambda device=None: None,
        "empty_cache": lambda: None,
        "set_device": lambda device: None,
        "device": lambda device: nullcontext(),
        "get_rng_state": lambda device="cuda": torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda state, device="cuda": None,
        "Stream": Stream,
        "Event": Event,
        "stream": stream,
        "current_stream": lambda device=None: _STREAMS[-1],
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "is_bf16_supported": lambda *args, **kwargs: True,
        "_is_in_bad_fork": lambda: False,
    }
    before = {name: getattr(torch.cuda, name) for name in replaced if hasattr(torch.cuda, name)}
    generator, cudnn = torch.Generator, torch.backends.cudnn.enabled
    for name, value in replaced.items():
        setattr(torch.cuda, name, value)
    torch.Generator = _Generators(generator)  # type: ignore[misc, assignment]
    torch.backends.cudnn.enabled = False
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Mode():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.Generator = generator  # type: ignore[misc]
        torch.backends.cudnn.enabled = cudnn
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        for name, value in before.items():
            setattr(torch.cuda, name, value)


class _Generators:
    """Makes generators: those of a card are generators of the CPU that are remembered as the card's."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __call__(self, device: Any = "cpu") -> torch.Generator:
        made: torch.Generator = self.real("cpu")
        if torch.device(device).type == "cuda":
            _OF_CARD.append(made)
        return made

    def __instancecheck__(self, found: object) -> bool:
        return isinstance(found, self.real)

    def __or__(self, other: Any) -> Any:  # in annotations of modules that are imported meanwhile
        return self.real | other


_OF_CARD: list[torch.Generator] = []
_PINNED: set[int] = set()


@cache
def prepare() -> None:
    """Once, before the first backward pass of a process, for which torch makes a queue for each device."""
    ctypes.CDLL(os.environ["SIMULATED_CARD"]).install_simulated_guard()
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend()


def _note(what: str) -> None:
    place = _place()
    for counts in _COUNTS:
        getattr(counts, what).append(place)
        if what in ("to_card", "pinned") and len(_STREAMS) > 1:
            counts.aside.append(place)


def _launched() -> None:
    for counts in _COUNTS:
        counts.launches += 1


def _place() -> str:
    """The innermost line of ours on the stack, and not of `moved`, but of what calls it."""
    for frame in reversed(traceback.extract_stack(limit=60)):
        path = Path(frame.filename)
        if path.name != "copying.py" and any(part in path.parts for part in OURS) and HERE not in path.parents:
            return f"{path.parent.name}/{path.name}:{frame.lineno}"
    return "?"


@cache
def _composite(func: Any) -> bool:
    return bool(func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd))


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func in (aten.pin_memory.default, aten._pin_memory.default):
        copy = args[0].clone()
        _PINNED.add(copy.untyped_storage().data_ptr())
        return copy
    if func is aten.is_pinned.default:
        return False
    if _composite(func):  # in inference mode such operators arrive whole
        with _Mode():  # type: ignore[no-untyped-call]
            out = func.decompose(*args, **kwargs)
        if out is not NotImplemented:
            return out
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    held = [each for each in tensors if isinstance(each, OnCard)]
    for each in held:
        _must_be_made(each, func)
    cards = {each.index for each in held}
    if len(cards) > 1 and func not in COPIES:
        raise Refused(f"tensors of cards {sorted(cards)} in {func} at {_place()}")
    wanted = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    to_card = wanted is not None and wanted.type == "cuda"
    index = (wanted.index or 0) if to_card and wanted is not None else next(iter(cards), 0)
    if func is aten._to_copy.default:
        return _converted(func, args[0], kwargs, wanted, index)
    if func in COPIES:
        return _copied(func, args, kwargs, index)
    if not held:
        return _made(func, args, kwargs, index) if to_card else func(*args, **kwargs)
    _must_not_mix(func, args, kwargs, [each for each in tensors if not isinstance(each, OnCard)])
    return _computed(func, args, kwargs, held, wanted, index)


def _must_be_made(tensor: OnCard, func: Any) -> None:
    """On the stream that reads it, or on one that it waited for; and the allocator must know of both."""
    here = _STREAMS[-1]
    if tensor.stream is here:
        return
    if here.seen.get(tensor.stream, -1) < tensor.time:
        raise Refused(f"a tensor is read before the stream that makes it: {func} at {_place()}")
    if tensor.stream is not _STREAMS[0] and tensor.used_by is not here:
        raise Refused(f"the memory of a tensor of another stream may be used anew: {func} at {_place()}")


def _converted(func: Any, source: Tensor, kwargs: dict[str, Any], wanted: torch.device | None, index: int) -> Any:
    """`Tensor.to`: another type or device."""
    blocking = not kwargs.get("non_blocking")
    kwargs = {name: value for name, value in kwargs.items() if name != "non_blocking"}
    if wanted is not None:
        kwargs["device"] = torch.device("cpu")
    inner = func(source.inner if isinstance(source, OnCard) else source, **kwargs)
    if isinstance(source, OnCard) and wanted is not None and wanted.type == "cpu":
        _note("to_host")
        return inner
    if not isinstance(source, OnCard):
        if wanted is None or wanted.type == "cpu":
            return inner
        pinned = source.untyped_storage().data_ptr() in _PINNED
        _note("pinned" if pinned and not blocking else "to_card")
    _launched()
    return OnCard(inner, index)


def _copied(func: Any, args: Any, kwargs: dict[str, Any], index: int) -> Any:
    """`copy_` from one tensor into another."""
    into, source = args[0], args[1]
    inner_into, inner_source = (each.inner if isinstance(each, OnCard) else each for each in (into, source))
    result = func(inner_into, inner_source, *args[2:], **kwargs)
    if isinstance(into, OnCard) and not isinstance(source, OnCard):
        _note("to_card")
    elif isinstance(source, OnCard) and not isinstance(into, OnCard):
        _note("to_host")
    elif isinstance(into, OnCard):
        _launched()
    if func is aten.copy_.default:
        return into
    return OnCard(result, index) if isinstance(into, OnCard) else result


def _made(func: Any, args: Any, kwargs: dict[str, Any], index: int) -> Any:
    """A new tensor on the card."""
    _must_draw_there(func, kwargs)
    plain = {name: value for name, value in kwargs.items() if name != "pin_memory"}
    out = func(*args, **{**plain, "device": torch.device("cpu")})
    _launched()
    return tree_map_only(Tensor, lambda each: OnCard(each, index), out)


def _must_draw_there(func: Any, kwargs: dict[str, Any]) -> None:
    generator = kwargs.get("generator")
    if generator is not None and generator._cdata not in {each._cdata for each in _OF_CARD}:
        raise Refused(f"a generator of the CPU draws on a card: {func} at {_place()}")


def _must_not_mix(func: Any, args: Any, kwargs: dict[str, Any], plain: list[Tensor]) -> None:
    """Numbers of the host may be used beside tensors of a card, and indices; nothing else."""
    _must_draw_there(func, kwargs)
    if func in INDEXING:
        if not isinstance(args[0], OnCard):
            raise Refused(f"indices of a card for a tensor of the host: {func} at {_place()}")
        values = [args[2]] if len(args) > 2 and not isinstance(args[2], OnCard) else []
        strange = [each for each in values if each.dim()]
        for _ in plain:
            _note("to_card")
    else:
        strange = [each for each in plain if each.dim() and each.device.type == "cpu"]
    if strange:
        shapes = [tuple(each.shape) for each in strange]
        raise Refused(f"tensors of the host {shapes} with tensors of a card in {func} at {_place()}")


def _computed(
    func: Any, args: Any, kwargs: dict[str, Any], held: list[OnCard], wanted: torch.device | None, index: int
) -> Any:
    """An operator on tensors of one card."""
    inner_args, inner_kwargs = tree_map_only(OnCard, lambda each: each.inner, (args, kwargs))
    if wanted is not None:
        inner_kwargs = {**inner_kwargs, "device": torch.device("cpu")}
    if func in WAITING:
        _note("waits")
        return func(*inner_args, **inner_kwargs)
    if func in SIZED:
        _note("waits")
    out = func(*inner_args, **inner_kwargs)
    if not func.is_view and func not in WITHOUT_KERNEL:
        _launched()
    if wanted is not None and wanted.type == "cpu":
        return out
    given = {id(each.inner): each for each in held}
    normal = func.is_view and torch.is_inference_mode_enabled() and any(not each.is_inference() for each in held)

    def wrapped(tensor: Tensor) -> Tensor:
        if id(tensor) in given:
            return given[id(tensor)]
        with torch.inference_mode(torch.is_inference_mode_enabled() and not normal):
            return OnCard(tensor, index)

    result = tree_map_only(Tensor, wrapped, out)
    if func._schema.is_mutable or func.is_view:
        try:
            return return_and_correct_aliasing(func, args, kwargs, result)
        except RuntimeError:  # of views in inference mode, which have no alias to correct
            return result
    return result
