"""Which run is the newest: the one that was appended last, whatever the clocks said."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta, timezone
from multiprocessing import get_context
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from afrad_bench.running.cautions import clocks
from afrad_bench.store import COLUMNS, Store, new_run_id
from tests.store.test_store import EPOCH, append

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
DAY, HOUR = 24 * 60, 60  # minutes


def values(root: Path, *cells: str) -> list[float]:
    found: list[float] = Store(root).read("measurements", cells or None)["value"].tolist()
    return found


def forget_numbers(root: Path) -> None:
    """Make a store as earlier versions of the program wrote it."""
    for part in (root / "cells").glob("*.parquet"):
        pq.write_table(pq.read_table(part, partitioning=None).drop_columns(["sequence", "stored"]), part)
    (root / "cells" / ".sequence").unlink()


def test_a_clock_that_is_ahead_hides_nothing(tmp_path: Path) -> None:
    append(tmp_path, "aaaa", minutes=3 * DAY, value=1.0)
    append(tmp_path, "aaaa", minutes=0, value=2.0)
    append(tmp_path, "aaaa", minutes=1, value=3.0)
    assert values(tmp_path) == [1.0, 2.0, 3.0]
    assert Store(tmp_path).read("cells")["sequence"].tolist() == [1, 2, 3]


def test_rows_without_a_number_are_the_oldest_in_order_of_the_clock(tmp_path: Path) -> None:
    append(tmp_path, "aaaa", minutes=9 * DAY, value=2.0)
    append(tmp_path, "aaaa", minutes=0, value=1.0)
    forget_numbers(tmp_path)
    assert values(tmp_path) == [1.0, 2.0]
    append(tmp_path, "aaaa", minutes=5, value=3.0)
    assert values(tmp_path) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("before", [True, False])
def test_a_compaction_keeps_the_order(tmp_path: Path, before: bool) -> None:
    append(tmp_path, "aaaa", minutes=5, value=1.0)
    append(tmp_path, "bbbb", minutes=4, value=2.0)
    if before:
        Store(tmp_path).compact()
    append(tmp_path, "aaaa", minutes=3, value=3.0)
    Store(tmp_path).compact()
    append(tmp_path, "bbbb", minutes=2, value=4.0)
    assert values(tmp_path) == [1.0, 2.0, 3.0, 4.0]
    assert Store(tmp_path).read("cells")["sequence"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "memory",
    [
        None,
        "{",
        "[]",
        '{"last": "x", "parts": 3}',
        '{"last": -4, "parts": ""}',
        '{"last": 1e400, "parts": ""}',
        '{"last": 9223372036854775807, "parts": ""}',
        "[" * 9999,
    ],
)
def test_the_numbers_are_those_of_the_parts_whatever_the_small_file_says(tmp_path: Path, memory: str | None) -> None:
    append(tmp_path, "aaaa", value=1.0)
    append(tmp_path, "aaaa", value=2.0)
    path = tmp_path / "cells" / ".sequence"
    if memory is None:
        path.unlink()
    else:
        path.write_text(memory)
    append(tmp_path, "aaaa", value=3.0)
    assert Store(tmp_path).read("cells")["sequence"].tolist() == [1, 2, 3]


def test_parts_that_were_copied_into_a_store_count_for_its_next_number(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    append(here, "aaaa", value=1.0)
    for value in (2.0, 3.0, 4.0):
        append(there, "aaaa", value=value)
    for part in there.glob("*/*.parquet"):
        (here / part.parent.name / part.name).write_bytes(part.read_bytes())
    append(here, "aaaa", value=9.0)
    assert values(here)[-1] == 9.0
    assert Store(here).read("cells")["sequence"].tolist()[-1] == 4


def test_no_number_comes_back_when_its_part_is_gone(tmp_path: Path) -> None:
    append(tmp_path, "aaaa", value=1.0)
    lost = append(tmp_path, "aaaa", value=2.0)
    next((tmp_path / "cells").glob(f"*{lost}*")).unlink()
    append(tmp_path, "aaaa", value=3.0)
    assert Store(tmp_path).read("cells")["sequence"].tolist() == [1, 3]


def _append_some(root: Path, who: int) -> None:
    for i in range(8):
        append(root, f"{who}", minutes=-i, value=float(i))


def test_processes_that_append_at_once_keep_their_own_order(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        list(pool.map(_append_some, [tmp_path] * 3, range(3)))
    for who in range(3):
        assert values(tmp_path, str(who)) == [float(i) for i in range(8)]


def test_the_last_latency_session_is_the_one_appended_last(tmp_path: Path) -> None:
    for session, day in (("one", 9), ("two", 1)):
        row = {"run_id": session, "session": session, "started_at": datetime(2026, 1, day, tzinfo=timezone.utc)}
        Store(tmp_path).append_latency([{**row, "cell_id": "aaaa", "mode": "eager", "round": 0, "ms": 1.0}])
    assert Store(tmp_path).read("latency")["session"].tolist() == ["one", "two"]


# ------------------------------------------------------------------------------------------------------------- cautions


def cautions(root: Path, now: datetime = NOW) -> list[str]:
    return list(clocks(Store(root).read("cells"), now))


def test_clocks_that_agree_are_not_mentioned(tmp_path: Path) -> None:
    for minutes in (0, 5, 60):
        append(tmp_path, "aaaa", minutes=minutes)
    assert cautions(tmp_path) == []
    assert cautions(tmp_path / "nowhere") == []


def test_a_run_from_the_future_is_told(tmp_path: Path) -> None:
    append(tmp_path, "aaaa", minutes=DAY + 6 * HOUR)
    (told,) = cautions(tmp_path)
    assert told.startswith("a clock was wrong: 1 run was stored with times up to 6:00:00 in the future")
    assert "stored later counts as newer" in told


def test_runs_out_of_order_are_told(tmp_path: Path) -> None:
    append(tmp_path, "aaaa", minutes=3 * HOUR)
    append(tmp_path, "bbbb", minutes=0)
    append(tmp_path, "cccc", minutes=HOUR)
    (told,) = cautions(tmp_path)
    assert told.startswith("clocks disagree: 2 runs were stored after runs that ended up to 3:00:00 later")


def test_a_long_run_beside_a_short_one_is_in_order(tmp_path: Path) -> None:
    """It began first and was stored last; what counts is when they ended."""
    for cell, began, ended in (("short", 60, 65), ("long", 0, 120)):
        times = {"started_at": NOW + timedelta(minutes=began), "ended_at": NOW + timedelta(minutes=ended)}
        Store(tmp_path).append({"run_id": new_run_id(), "cell_id": cell, **times}, [], [])
    assert cautions(tmp_path, NOW + timedelta(days=1)) == []


def test_of_runs_without_a_number_nobody_knows_when_they_were_stored(tmp_path: Path) -> None:
    for cell, began, ended in (("long", 0, 120), ("short", 60, 65)):
        times = {"started_at": EPOCH + timedelta(minutes=began), "ended_at": EPOCH + timedelta(minutes=ended)}
        Store(tmp_path).append({"run_id": new_run_id(), "cell_id": cell, **times}, [], [])
    assert len(cautions(tmp_path)) == 1
    forget_numbers(tmp_path)
    assert cautions(tmp_path) == []
    append(tmp_path, "aaaa", minutes=30)  # after them, by a clock that is behind
    (told,) = cautions(tmp_path)
    assert told.startswith("clocks disagree: 1 run was stored after runs that ended up to 1:30:00 later")


def test_the_columns_only_grow() -> None:
    assert list(COLUMNS["cells"])[-2:] == ["sequence", "stored"]
    assert list(COLUMNS["latency"])[-1:] == ["sequence"]
