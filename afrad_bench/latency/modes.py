"""Execution modes of a network, by name. Each row of a table names its mode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from afrad_bench.errors import Problem, UserError, unknown

CHANGES: Mapping[str, str] = {
    "fp16": "automatic mixed precision with float16; distances, errors and maps stay in float32",
    "bf16": "automatic mixed precision with bfloat16; distances, errors and maps stay in float32",
    "channels_last": "weights and maps with the channels innermost in memory",
    "contiguous": "weights and maps channel by channel in memory",
    "folded": "batch norms folded into the convolutions before them",
    "compile": "torch.compile, its default backend; compiling is not timed with the calls",
    "cuda_graphs": "one captured CUDA graph, replayed; copying the image into it is timed",
}
"""Possible changes to eager float32, in the order in which a mode names them."""
EAGER = "eager"


@dataclass(frozen=True, slots=True)
class Mode:
    """Eager float32 with some changes."""

    changes: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """ "eager", or the changes: "bf16+compile"."""
        return "+".join(name for name in CHANGES if name in self.changes) or EAGER

    def __contains__(self, change: str) -> bool:
        return change in self.changes


def parse_modes(texts: Iterable[str], device: str) -> tuple[Mode, ...]:
    """Modes from texts such as "eager" and "bf16+channels_last", each once. A `UserError` names every invalid
    mode, and every mode that this device ("cpu", "cuda:0", "mps") does not have."""
    modes: dict[Mode, None] = {}
    problems = []
    for text in texts:
        parts = text.split("+")
        strange = [part for part in parts if part not in CHANGES and part != EAGER]
        problems += [unknown("mode", part, [EAGER, *CHANGES], "--mode") for part in strange]
        if EAGER in parts and len(parts) > 1:
            what = f"{text!r}: eager means that nothing is changed"
            problems.append(Problem(what, "--mode", "name the changes alone, e.g. bf16+compile"))
        elif {"fp16", "bf16"} <= set(parts):
            problems.append(Problem(f"{text!r}: a network runs in one precision", "--mode", "name fp16 or bf16"))
        elif {"channels_last", "contiguous"} <= set(parts):
            what = f"{text!r}: a network has one memory format"
            problems.append(Problem(what, "--mode", "name channels_last or contiguous"))
        elif "cuda_graphs" in parts and not device.startswith("cuda"):
            problems.append(Problem(f"{text!r}: CUDA graphs need a CUDA device, this is {device}", "--mode"))
        else:
            modes[Mode(frozenset(parts) - {EAGER})] = None
    if problems:
        raise UserError(*problems)
    return tuple(modes)
