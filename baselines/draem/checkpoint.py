"""Checkpoints of the official code: NAME.pckl (reconstruction) and NAME_seg.pckl (discrimination), state dicts."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from afrad_bench.methods.official import load_into, read_state
from afrad_bench_baselines.draem.networks import Network

ENCODER = re.compile(r"block(\d)\.(\d)\.(\w+)")
DECODER = re.compile(r"(up|db)(_b|\d)\.(\d)\.(\w+)")


def our_name(name: str) -> str:
    """The name in `Net` of an official tensor of either network. Raises `KeyError` for other names.

    >>> our_name("encoder.block2.3.weight")
    'encoder.1.3.weight'
    >>> our_name("decoder.up1.2.running_mean")
    'decoder.0.enlarge.1.running_mean'
    >>> our_name("decoder_segment.up1.2.running_mean")
    'decoder.1.enlarge.1.running_mean'
    >>> our_name("decoder_segment.db_b.0.bias")
    'decoder.0.merge.0.bias'
    >>> our_name("decoder.fin_out.0.weight")
    'output.weight'
    """
    part, _, rest = name.partition(".")
    if part in ("encoder", "encoder_segment") and (found := ENCODER.fullmatch(rest)):
        return f"encoder.{int(found[1]) - 1}.{found[2]}.{found[3]}"
    if part in ("decoder", "decoder_segment") and (found := DECODER.fullmatch(rest)):
        first = part == "decoder"  # its stages count from 1; the other's first one is called b
        stage = 0 if found[2] == "_b" else int(found[2]) - first
        # an upsampling layer comes before the first convolution
        inner = f"enlarge.{int(found[3]) - 1}" if found[1] == "up" else f"merge.{found[3]}"
        return f"decoder.{stage}.{inner}.{found[4]}"
    if part in ("decoder", "decoder_segment") and rest.startswith("fin_out.0."):
        return f"output.{rest.removeprefix('fin_out.0.')}"
    raise KeyError(name)


def load_official(network: Network, path: Path) -> None:
    """Load both files and convert them from BGR to RGB input; raises `UserError` for anything else."""
    second = path.with_name(f"{path.stem}_seg{path.suffix}")
    for part, file in ((network.reconstruction, path), (network.discrimination, second)):
        hint = "`start` names NAME.pckl of the official code; NAME_seg.pckl must be in the same folder"
        state = read_state(file, hint, "DRAEM's official code", our_name)
        for name in ("encoder.0.0.weight", "output.weight", "output.bias"):
            if name in state:
                state[name] = _for_rgb(name, state[name])
        load_into(part, "model", state, file, "leave the widths at 128 and 64, which official checkpoints have")


def _for_rgb(name: str, tensor: Tensor) -> Tensor:
    """The tensor for RGB: colour channels, three at a time, in reverse order."""
    axis = 1 if name.startswith("encoder") else 0
    if tensor.shape[axis] % 3:  # logits
        return tensor
    colours = tensor.unflatten(axis, (-1, 3)).flip(axis + 1)
    return colours.flatten(axis, axis + 1).contiguous()
