"""Checkpoints of the official code: `pre_projection` (adaptor) and `discriminator`, one state dict each."""

from __future__ import annotations

from pathlib import Path

from afrad_bench.errors import fail
from afrad_bench.methods.official import load_into, read
from afrad_bench_baselines.simplenet.network import Networks

LAYERS = {
    "pre_projection": {"layers.0fc": "adaptor"},
    "discriminator": {
        "body.block1.0": "discriminator.0",
        "body.block1.1": "discriminator.1",
        "tail": "discriminator.3",
    },
}
"""Layers of each official module -> ours."""


def load_official(networks: Networks, path: Path) -> None:
    """Load an official checkpoint into networks of the same widths; raises `UserError` for anything else."""
    loaded = read(path, "`start` names a file of the official code: ckpt.pth in the folder of a category")
    if not isinstance(loaded, dict) or not all(isinstance(loaded.get(part), dict) for part in LAYERS):
        parts = " and ".join(f"`{part}`" for part in LAYERS)
        raise fail(f"not a checkpoint of SimpleNet's official run script: it holds no state dicts {parts}", str(path))
    state = {}
    for part, ours in LAYERS.items():
        for name, tensor in loaded[part].items():
            layer, _, of = name.rpartition(".")
            if layer not in ours:
                raise fail(
                    f"the tensor {name!r} of `{part}` is not one of the official run script's",
                    str(path),
                    "supported: an adaptor with one layer and a discriminator with two",
                )
            state[f"{ours[layer]}.{of}"] = tensor
    load_into(networks, "network", state, path, "set the widths that it was trained with (`width`, `hidden`)")
