"""Checkpoints of the official code: `bn` (fusion and embedding) and `decoder`, one state dict each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from afrad_bench.errors import fail
from afrad_bench.methods.official import load_into, read
from afrad_bench_baselines.rd4ad.student import Student

FUSION = {
    "conv1": "fine.0",
    "bn1": "fine.1",
    "conv2": "fine.3",
    "bn2": "fine.4",
    "conv3": "middle.0",
    "bn3": "middle.1",
}
"""Layers of the official fusion -> ours, inside `fusion`."""

UNUSED = re.compile(r"^(conv4|bn4)\.|memory")
"""Tensors that the official module holds but never uses, or that its own loader drops."""


def our_name(part: str, name: str) -> str:
    """The name in `Student` of an official tensor. Raises `KeyError` for a name that is not in the official layout.

    >>> our_name("bn", "bn_layer.0.downsample.1.weight")
    'embedding.0.skip.1.weight'
    >>> our_name("decoder", "layer2.3.conv2.weight")
    'decoder.stages.1.3.main.3.weight'
    """
    stages = r"bn_layer" if part == "bn" else r"layer([123])"
    block = re.fullmatch(
        rf"{stages}\.(?P<block>\d+)\.(?P<layer>conv|bn|downsample\.|upsample\.)(?P<n>\d)\.(?P<of>\w+)", name
    )
    if block is None:
        layer, dot, rest = name.partition(".")
        if part != "bn" or not dot:
            raise KeyError(name)
        return f"fusion.{FUSION[layer]}.{rest}"
    place = "embedding" if part == "bn" else f"decoder.stages.{int(block[1]) - 1}"
    number = int(block["n"])
    inner = {"conv": f"main.{3 * number - 3}", "bn": f"main.{3 * number - 2}"}.get(block["layer"], f"skip.{number}")
    return f"{place}.{block['block']}.{inner}.{block['of']}"


def load_official(student: Student, path: Path) -> None:
    """Load an official checkpoint into a student of the same architecture; raises `UserError` for anything else."""
    loaded = read(path, "`start` names a file of the official code, e.g. wres50_bottle.pth")
    if not isinstance(loaded, dict) or not all(isinstance(loaded.get(part), dict) for part in ("bn", "decoder")):
        raise fail("not a checkpoint of RD4AD's official code: it holds no state dicts `bn` and `decoder`", str(path))
    hint = "set `backbone` to the teacher that it was trained with, and leave `embedding` at official"
    load_into(student, "student", _renamed(loaded, path), path, hint)


def _renamed(loaded: Mapping[str, Mapping[str, Tensor]], path: Path) -> dict[str, Tensor]:
    state = {}
    for part in ("bn", "decoder"):
        for name, tensor in loaded[part].items():
            if UNUSED.search(name):
                continue
            try:
                state[our_name(part, name)] = tensor
            except KeyError:
                raise fail(f"the tensor {name!r} of `{part}` is not one of RD4AD's official code", str(path)) from None
    return state
