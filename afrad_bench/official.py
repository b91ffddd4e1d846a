"""Checkpoints of official codes: files of tensors under foreign names, read safely and fitted exactly or refused."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from afrad_bench.errors import fail


def read(path: Path, example: str) -> Any:
    """What the file holds, tensors on the CPU and plain containers; raises `UserError` for anything else.

    `example` names such a file of the official code."""
    if not path.is_file():
        raise fail(f"no such checkpoint: {path}", hint=f"`start` names a file of the official code, e.g. {example}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise fail(f"not a checkpoint that can be loaded safely (weights_only): {error}", str(path)) from error


def renamed(state: Mapping[str, Tensor], our_name: Callable[[str], str], path: Path, what: str) -> dict[str, Tensor]:
    """The tensors under our names; `our_name` raises `KeyError` for a name that the official layout lacks. `what`: of
    which model, for the error."""
    ours = {}
    for name, tensor in state.items():
        try:
            ours[our_name(name)] = tensor
        except KeyError:
            raise fail(f"the tensor {name!r} is not one of {what}", str(path)) from None
    return ours


def load(module: nn.Module, state: Mapping[str, Tensor], path: Path, hint: str) -> None:
    """Load tensors under our names, all of them or none; `hint` says what may differ."""
    wanted = module.state_dict()
    wrong = [name for name in sorted(wanted.keys() | state.keys()) if _shape(wanted, name) != _shape(state, name)]
    if wrong:
        raise fail(
            f"the checkpoint is of another model: {len(wrong)} of {len(wanted)} tensors differ in name or shape, "
            f"first {wrong[0]}: {_shape(state, wrong[0])} instead of {_shape(wanted, wrong[0])}",
            str(path),
            hint,
        )
    module.load_state_dict(state)


def note(path: Path) -> str:
    """That a fit started from this file, for the notes of the result."""
    return f"starts from the official checkpoint {path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
