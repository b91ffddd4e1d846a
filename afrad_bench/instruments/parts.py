"""Multiply-accumulates and parameters of each part of a network; the parts add up to the network's total."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from afrad_bench.instruments.counting import Trace, address

REST = "rest"
"""Everything outside the named parts: scaling, scoring, and whatever a network does between its parts."""
SHARED = "shared by parts"
"""Parameters that belong to several parts."""


class Parts:
    """Named submodules of a network; raises `ValueError` if one is missing or inside another. May be empty."""

    def __init__(self, network: torch.nn.Module, named: Mapping[str, torch.nn.Module]) -> None:
        places = {id(module): name for name, module in network.named_modules()}
        if strange := [name for name, module in named.items() if id(module) not in places]:
            raise ValueError(f"parts() names modules that are not in network(): {', '.join(strange)}")
        for name, module in named.items():
            inside = {id(inner) for inner in module.modules()}
            if nested := [other for other, each in named.items() if other != name and id(each) in inside]:
                raise ValueError(f"parts() names {', '.join(nested)} inside {name}; parts must not overlap")
        self._network = network
        self._named = named
        self._places = {name: places[id(module)] for name, module in named.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The parts and the rest; empty if no part is named."""
        return (*self._named, REST) if self._named else ()

    def macs(self, trace: Trace) -> dict[str, int]:
        """Part -> multiply-accumulates of one pass, as fvcore counts them. Their sum is the network's count."""
        if not self._named:
            return {}
        counts = {name: trace.by_module.get(place, 0) for name, place in self._places.items()}
        return {**counts, REST: trace.work.total - sum(counts.values())}

    def parameters(self, read: Mapping[int, tuple[int, int]]) -> dict[str, int]:
        """Part -> number of parameters in `read` (address -> values, bytes). Their sum is the network's number."""
        if not self._named:
            return {}
        counts = dict.fromkeys(self.names, 0)
        owners: dict[int, set[str]] = {}
        for name, module in self._named.items():
            for parameter in module.parameters():
                owners.setdefault(id(parameter), set()).add(name)
        for parameter in self._network.parameters():
            if parameter.numel() and address(parameter) in read:
                mine = owners.get(id(parameter), {REST})
                name = SHARED if len(mine) > 1 else next(iter(mine))
                counts[name] = counts.get(name, 0) + parameter.numel()
        return counts
