"""Sides that were timed in one interleaved session (`gate --latency`); they have no numbers but these times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from afrad_bench.comparing.side import LATENCY, Key, Row, Side, Timed


class TimedRow(Protocol):
    """A subject of one side, as measured."""

    @property
    def label(self) -> str: ...

    @property
    def about(self) -> Mapping[str, str]: ...

    @property
    def terms(self) -> Mapping[str, str]: ...

    @property
    def times_ms(self) -> Sequence[float]:
        """Milliseconds of each round; empty if it failed."""

    @property
    def error(self) -> str: ...


def timed_side(
    name: str, rows: Sequence[TimedRow], session: str, device: str, doubts: Sequence[str], mode: str, batch: int
) -> Side:
    """One side of a session. `device`: with its name and the number of threads; `doubts`: what the load of the machine
    says against the times. Rows of equal labels are paired, on whatever their models were trained."""
    made = {}
    for row in rows:
        key = Key(row.label, "one session", "", "")
        calls = Timed(session, mode, batch, device, dict(enumerate(row.times_ms)))
        made[key] = Row(
            key,
            row.about,
            {"": row.terms},
            {},
            {},
            timed=() if row.error else (calls,),
            failed=((0, LATENCY, row.error),) if row.error else (),
            unreliable={LATENCY: ", ".join(doubts)} if doubts else {},
        )
    return Side(name, made)
