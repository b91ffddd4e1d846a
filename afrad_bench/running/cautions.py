"""What a user must know of a store before trusting its results: files that cannot be used, and clocks that disagree."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MOST = 10
"""Files that are named; the others are counted."""
TOLERANCE = timedelta(minutes=1)
_ORDER = "what was stored later counts as newer, whatever the clocks say"


def of_store(faults: Sequence[str], history: pd.DataFrame, now: datetime) -> tuple[str, ...]:
    """Lines on the files and runs that a store left out (`Store.faults`), and on the clocks of the runs in `history`
    (rows of `cells`, oldest first)."""
    more = len(faults) - MOST
    rest = [f"{more} more files of the store cannot be used"] if more > 0 else []
    return (*faults[:MOST], *rest, *clocks(history, now))


def clocks(history: pd.DataFrame, now: datetime) -> tuple[str, ...]:
    """Lines on runs that end in the future, or were stored after runs with later times. When runs of earlier versions
    of the program were stored is not known."""
    import pandas as pd

    times = pd.to_datetime(history["ended_at"].fillna(history["started_at"]), utc=True)
    found = []
    ahead = times[times > now + TOLERANCE]
    if len(ahead):
        most = _span(ahead.max() - now)
        found.append(f"a clock was wrong: {_runs(len(ahead))} stored with times up to {most} in the future; {_ORDER}")
    late = (times.cummax() - times)[history["sequence"].notna()]
    late = late[late > TOLERANCE]
    if len(late):
        most = _span(late.max())
        found.append(f"clocks disagree: {_runs(len(late))} stored after runs that ended up to {most} later; {_ORDER}")
    return tuple(found)


def _runs(count: int) -> str:
    return "1 run was" if count == 1 else f"{count} runs were"


def _span(time: timedelta) -> str:
    return str(timedelta(seconds=round(time.total_seconds())))
