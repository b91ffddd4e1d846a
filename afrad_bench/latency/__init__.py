"""Latency of several methods side by side: every method in every mode and batch size, one call each in turn.

A machine drifts: its clocks, its temperature, its other users. Rounds A B C A B C ... let a slow spell hit all alike,
so that the ratio of two methods within a round is steadier than either time. Every timed call goes into the store;
what is shown is computed from there."""

from __future__ import annotations

from afrad_bench.latency.entrants import Asked, Entrant, entrants
from afrad_bench.latency.modes import Mode, parse_modes
from afrad_bench.latency.rounds import Length
from afrad_bench.latency.samples import Session, find, rows, stored
from afrad_bench.latency.session import measure
from afrad_bench.latency.table import latency_report, records, to_csv

__all__ = [
    "Asked",
    "Entrant",
    "Length",
    "Mode",
    "Session",
    "entrants",
    "find",
    "latency_report",
    "measure",
    "parse_modes",
    "records",
    "rows",
    "stored",
    "to_csv",
]
