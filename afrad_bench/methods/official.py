"""Checkpoints of a method's official code: read safely, loaded only if every tensor fits, named in the result."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from afrad_bench.errors import fail


def read(path: Path, hint: str, stand_ins: Sequence[type] = ()) -> Any:
    """Content of a `torch.save` or safetensors file; `UserError` if there is no file or it cannot be read safely.

    `stand_ins`: harmless classes that replace foreign ones of the same name, for objects that are not needed
    (torch 2.5 or newer)."""
    if not path.is_file():
        raise fail(f"no such checkpoint: {path}", hint=hint)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise fail(f"not a safetensors file: {error}", str(path)) from error
    try:
        with torch.serialization.safe_globals(list(stand_ins)) if stand_ins else nullcontext():
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise fail(f"not a checkpoint that can be loaded safely (weights_only): {error}", str(path)) from error


def read_state(path: Path, hint: str, code: str, our_name: Callable[[str], str]) -> dict[str, Tensor]:
    """Tensors of a state dict, renamed by `our_name`; `UserError` if the file holds anything else.

    `our_name` raises `KeyError` for a name that is not in the layout of this `code`."""
    loaded = read(path, hint)
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise fail(f"not a checkpoint of {code}: it holds no state dict", str(path))
    state = {}
    for name, tensor in loaded.items():
        try:
            state[our_name(name)] = tensor
        except KeyError:
            raise fail(f"the tensor {name!r} is not one of {code}", str(path)) from None
    return state


def load_into(module: nn.Module, what: str, state: Mapping[str, Tensor], path: Path, hint: str) -> None:
    """Load tensors into a module; `UserError` unless their names and shapes are exactly those of its state dict.

    `what`: name of the module in that error; `hint`: the error's last line."""
    wanted = module.state_dict()
    wrong = [name for name in sorted(wanted.keys() | state.keys()) if _shape(wanted, name) != _shape(state, name)]
    if wrong:
        raise fail(
            f"the checkpoint is of another {what}: {len(wrong)} of {len(wanted)} tensors differ in name or shape, "
            f"first {wrong[0]}: {_shape(state, wrong[0])} instead of {_shape(wanted, wrong[0])}",
            str(path),
            hint,
        )
    module.load_state_dict(state)


def in_order(net: nn.Module, official: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]] | None:
    """Pairs of the tensors of a timm backbone and of the official one, which may have later stages; None if the shapes
    differ. Both store their tensors in the order in which they compute."""
    mine, theirs = ([tensor for name, tensor in of.items() if _counts(name)] for of in (net.state_dict(), official))
    pairs = list(zip_longest(mine, theirs[: len(mine)]))
    return None if any(a is None or b is None or a.shape != b.shape for a, b in pairs) else pairs


def _counts(name: str) -> bool:
    return not name.endswith("num_batches_tracked")


def note(path: Path, what: str = "starts from the official checkpoint") -> str:
    """Note for the result of a method that starts from this checkpoint."""
    return f"{what} {path.name}, sha256 {sha256(path)}"


def sha256(path: Path) -> str:
    """Digest of a file's content, by which a result names it."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


# UniAD's code, and what builds on it, saves its configuration and best metric in the same file, as objects of
# `easydict` and numpy. They are not needed; these classes replace them, so that only tensors are loaded.


class _Configuration:
    def __new__(cls) -> OrderedDict[str, object]:  # type: ignore[misc]
        return OrderedDict()


class _Number:
    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def _named(kind: type, module: str, name: str) -> type:
    return type(name, (kind,), {"__module__": module})


EASYDICT = (
    _named(_Configuration, "easydict", "EasyDict"),
    _named(_Number, "numpy", "dtype"),
    _named(_Number, "numpy.core.multiarray", "scalar"),
    _named(_Number, "numpy._core.multiarray", "scalar"),
)
