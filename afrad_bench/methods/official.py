"""Checkpoints of a method's official code: read safely, loaded only if every tensor fits, named in the result."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from afrad_bench.errors import fail


def read(path: Path, hint: str, stand_ins: Sequence[type] = ()) -> Any:
    """Content of a `torch.save` file; `UserError` if there is no file or `weights_only` cannot read it.

    `stand_ins`: harmless classes that replace foreign ones of the same name, for objects that are not needed
    (torch 2.5 or newer)."""
    if not path.is_file():
        raise fail(f"no such checkpoint: {path}", hint=hint)
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


def note(path: Path, what: str = "starts from the official checkpoint") -> str:
    """Note for the result of a method that starts from this checkpoint."""
    return f"{what} {path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
