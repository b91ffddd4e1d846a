"""Latency of several methods, timed in turns: every mode and batch size in each round.

The speed of a machine drifts: clocks, temperature, other processes. In rounds A B C A B C ... a slow period affects all
methods alike, so the ratio of two methods within a round is more stable than either time. Every timed call is stored;
all results are computed from the stored calls."""

from __future__ import annotations

from afrad_bench.latency.entrants import Entrant, EntrantOptions, entrants
from afrad_bench.latency.modes import Mode, parse_modes
from afrad_bench.latency.rounds import Length
from afrad_bench.latency.samples import Session, find, rows, stored
from afrad_bench.latency.session import measure
from afrad_bench.latency.table import latency_report, records, to_csv
from afrad_bench.latency.two_sides import BATCH, MODE, Conditions, SideRow, TwoSides, measure_sides

__all__ = [
    "BATCH",
    "MODE",
    "Conditions",
    "Entrant",
    "EntrantOptions",
    "Length",
    "Mode",
    "Session",
    "SideRow",
    "TwoSides",
    "entrants",
    "find",
    "latency_report",
    "measure",
    "measure_sides",
    "parse_modes",
    "records",
    "rows",
    "stored",
    "to_csv",
]
