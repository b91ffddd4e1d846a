"""Two sides of a comparison: what changed from BASE to NEW, what the noise allows to say of it, and whether it matters.

`side` reads a side from a store or a baseline file, `pairs` lays equal cells beside each other and finds terms that
differ, `changes` estimates, `rules` and `gate` judge, `show` and `formats` tell."""

from __future__ import annotations

from afrad_bench.comparing.changes import Change, Comparison, compare
from afrad_bench.comparing.gate import Check, Decision, decide
from afrad_bench.comparing.place import locate
from afrad_bench.comparing.rules import Rules, default_rules, read_rules
from afrad_bench.comparing.side import Side

__all__ = [
    "Change",
    "Check",
    "Comparison",
    "Decision",
    "Rules",
    "Side",
    "compare",
    "decide",
    "default_rules",
    "locate",
    "read_rules",
]
