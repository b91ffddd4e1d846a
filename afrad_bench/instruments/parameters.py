"""Numbers that a method holds, that it trains, and that it reads to score an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

from afrad_bench.instruments.counting import address

MEBI = 1024**2


@dataclass(frozen=True, slots=True)
class Held:
    """Parameters of everything that a method holds; a shared one counts once."""

    total: int
    trainable: int


@dataclass(frozen=True, slots=True)
class Used:
    """What one pass of the network reads."""

    parameters: int
    unread: tuple[str, ...]
    """Outermost modules, or single parameters, none of whose parameters is read."""
    values: int
    """Stored numbers that are not parameters: memory banks, Gaussians, running statistics, kernels, position tables."""
    bytes: int
    unregistered: int
    """The share of `values` in tensors that are neither buffers nor parameters of the network."""


def held(modules: Iterable[torch.nn.Module]) -> Held:
    """Count the parameters of several modules, which may share some."""
    unique = {id(parameter): parameter for module in modules for parameter in module.parameters()}.values()
    return Held(sum(p.numel() for p in unique), sum(p.numel() for p in unique if p.requires_grad))


def used(network: torch.nn.Module, read: Mapping[int, tuple[int, int]]) -> Used:
    """Split what was read (address -> values, bytes) into parameters and stored values.

    A parameter counts completely if any part of the memory that holds it is read."""
    registered = {address(tensor) for tensor in (*network.parameters(), *network.buffers())}
    parameters = [p for p in network.parameters() if p.numel() and address(p) in read]
    buffers = [b for b in network.buffers() if b.numel() and address(b) in read]
    others = [size for place, size in read.items() if place not in registered]
    unregistered = sum(values for values, _ in others)
    return Used(
        parameters=sum(p.numel() for p in parameters),
        unread=tuple(_unread(network, "", {id(p) for p in parameters})),
        values=sum(b.numel() for b in buffers) + unregistered,
        bytes=sum(b.numel() * b.element_size() for b in buffers) + sum(size for _, size in others),
        unregistered=unregistered,
    )


def _unread(module: torch.nn.Module, name: str, read: set[int]) -> Iterator[str]:
    parameters = [p for p in module.parameters() if p.numel()]
    if parameters and not any(id(p) in read for p in parameters):
        yield name or "the whole network"
        return
    dot = f"{name}." if name else ""
    for own, parameter in module.named_parameters(recurse=False):
        if parameter.numel() and id(parameter) not in read:
            yield dot + own
    for own, child in module.named_children():
        yield from _unread(child, dot + own, read)
