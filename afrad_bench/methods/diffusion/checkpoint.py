"""Checkpoints of guided-diffusion U-Nets as the official codes of AnoDDPM and DDAD save them, for `Unet`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from afrad_bench.errors import fail
from afrad_bench.methods.diffusion.config import UnetConfig
from afrad_bench.methods.diffusion.unet import Unet
from afrad_bench.methods.official import load_into

LAYERS: Mapping[str, str] = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "embed_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
    "norm": "group_norm",
    "to_qkv": "to_qkv",
    "proj_out": "to_out.0",
}
"""Layers of the official residual and attention blocks -> those of diffusers; query, key and value are split later."""


def official_names(config: UnetConfig) -> dict[str, str]:
    """Prefix of each layer in the official code of AnoDDPM and DDAD -> its prefix in `Unet`."""
    blocks: dict[str, str] = {}

    def entry(official: str, *parts: str) -> None:
        blocks.update({f"{official}.{i}": part for i, part in enumerate(parts)})

    last = len(config.multipliers) - 1
    number = 1
    for level, attends in enumerate(config.attends):
        ours = f"down_blocks.{level}"
        for j in range(config.blocks):
            entry(f"down.{number}", f"{ours}.resnets.{j}", *([f"{ours}.attentions.{j}"] if attends else []))
            number += 1
        if level < last:
            entry(f"down.{number}", f"{ours}.downsamplers.0")
            number += 1
    entry("middle", "mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1")
    number = 0
    for level, attends in enumerate(reversed(config.attends)):
        ours = f"up_blocks.{level}"
        for j in range(config.blocks + 1):
            above = [f"{ours}.upsamplers.0"] if level < last and j == config.blocks else []
            attention = [f"{ours}.attentions.{j}"] if attends else []
            entry(f"up.{number}", f"{ours}.resnets.{j}", *attention, *above)
            number += 1
    names = {
        "time_embedding.1": "time_embedding.linear_1",
        "time_embedding.3": "time_embedding.linear_2",
        "down.0.0": "conv_in",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }
    names.update({f"{theirs}.{a}": f"{ours}.{b}" for theirs, ours in blocks.items() for a, b in LAYERS.items()})
    return {theirs: f"net.{ours}" for theirs, ours in names.items()}


def load_official(unet: Unet, config: UnetConfig, loaded: Any, path: Path, code: str) -> None:
    """Load an official state dict, of a parallel module or not; raises `UserError` for anything else.

    `path`: the file that it was read from, and `code`: whose, both for the errors."""
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise fail(f"not a checkpoint of {code}: it holds no state dict", str(path))
    names = official_names(config)
    state = {}
    for name, tensor in loaded.items():
        layer, _, kind = name.removeprefix("module.").rpartition(".")
        if layer not in names:
            raise fail(f"the tensor {name!r} is not one of {code}", str(path))
        state[f"{names[layer]}.{kind}"] = tensor
    hint = "`unet` must be the network that it was trained with, at the default image size 256"
    load_into(unet, "network", _split_attention(state, config.heads), path, hint)


def _split_attention(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """The state with each `to_qkv` (3C, C, 1) as linear layers `to_q`, `to_k`, `to_v`, and outputs without their axis.

    The rows of `to_qkv` are ordered by head, then by query, key and value. A tensor that cannot be split stays, so that
    the comparison with the network names it."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".to_qkv." in name and tensor.shape[0] % (3 * heads) == 0:
            parts = tensor.reshape(heads, 3, -1, *tensor.shape[1:2])
            for i, kind in enumerate(("to_q", "to_k", "to_v")):
                found[name.replace("to_qkv", kind)] = parts[:, i].flatten(0, 1).contiguous()
        elif ".to_out.0." in name and tensor.dim() == 3:
            found[name] = tensor[..., 0]
        else:
            found[name] = tensor
    return found
