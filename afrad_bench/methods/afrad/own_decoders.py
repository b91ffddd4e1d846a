"""Decoders that other packages add to AFRAD, by the entry points of `registry`'s kind `afrad_decoder`.

The module of a decoder has a docstring, `VERSION`, `build(widths, sizes, width, grid)`, and optionally `STAGES`;
CONTRIBUTING.md states the contract and has an example. Torch is imported only where such a decoder is used."""

from __future__ import annotations

from collections.abc import Sequence

from afrad_bench import registry
from afrad_bench.errors import unknown

BUILT_IN = ("stage_adaptive", "focused_local", "compensation")
"""The paper's decoders, which no package may replace."""


def offered() -> list[str]:
    """Names that `decoders` may have here: the paper's, then those of installed packages."""
    return [*BUILT_IN, *(name for name in registry.entries("afrad_decoder") if name not in BUILT_IN)]


def check(name: str, stages: int) -> None:
    """Raise `ValueError` unless this decoder is offered and reads stages of an M-FPN that has `stages` of them."""
    if name in BUILT_IN:
        return
    if name not in offered():
        raise ValueError(str(unknown("decoder", name, offered())))
    if not name.isidentifier():
        raise ValueError(f"the decoder {name!r} needs a name of letters, digits and _ in its entry point")
    if _is_taken(name):
        raise ValueError(f"the decoder {name!r} needs another name in its entry point: torch's ModuleDict has this one")
    module = registry.find("afrad_decoder", name).load()
    if lacking := [each for each in ("VERSION", "build") if not hasattr(module, each)]:
        raise ValueError(f"the decoder {name} is no decoder: {module.__name__} has no {' and no '.join(lacking)}")
    seen = stages_of(name, stages)
    if not seen or len(set(seen)) != len(seen) or any(not 1 <= stage <= stages for stage in seen):
        raise ValueError(
            f"STAGES of the decoder {name} must be distinct stages of 1..{stages}, but it has {list(seen)}"
        )


def _is_taken(name: str) -> bool:
    """Whether the container of the decoders has an attribute of this name itself, such as `items`."""
    from torch import nn

    return hasattr(nn.ModuleDict(), name)


def stages_of(name: str, stages: int) -> tuple[int, ...]:
    """The stages of the M-FPN, counted from 1, that an installed decoder reads: its `STAGES`, or all."""
    module = registry.find("afrad_decoder", name).load()
    return tuple(getattr(module, "STAGES", range(1, stages + 1)))


def versions(decoders: Sequence[str]) -> str:
    """The versions of the installed decoders among these, such as " max_gate=1"; empty if all are the paper's."""
    own = sorted(name for name in decoders if name not in BUILT_IN)
    return "".join(f" {name}={registry.find('afrad_decoder', name).load().VERSION}" for name in own)
