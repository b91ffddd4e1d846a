"""Checkpoints of the official code: params-final.pt, a dictionary whose entry `ema` holds the averaged weights."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from afrad_bench.errors import fail
from afrad_bench.methods.diffusion.checkpoint import load_official
from afrad_bench.methods.diffusion.config import UnetConfig
from afrad_bench.methods.diffusion.unet import Unet
from afrad_bench.methods.official import read

CODE = "AnoDDPM's official code"


class _Arguments:
    """Stands in for the dictionary of the command's arguments, which has a default; it is not needed."""

    def __new__(cls, *_: Any) -> OrderedDict[str, object]:  # type: ignore[misc]
        return OrderedDict()


STAND_INS = (
    type("defaultdict", (_Arguments,), {"__module__": "collections"}),
    type("str", (), {"__module__": "builtins"}),
)


def load(unet: Unet, config: UnetConfig, path: Path) -> None:
    """Load the averaged weights of an official checkpoint; raises `UserError` for anything else."""
    loaded = read(path, "`start` names a file of the official code, e.g. params-final.pt", STAND_INS)
    if not isinstance(loaded, dict) or not isinstance(loaded.get("ema"), dict):
        raise fail(f"not a checkpoint of {CODE}: it has no entry `ema`", str(path))
    load_official(unet, config, loaded["ema"], path, CODE)
