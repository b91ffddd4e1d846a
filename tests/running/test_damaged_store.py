"""What a user sees of a store with damaged, deleted or foreign files, or of wrong clocks: named, and measured again."""

from __future__ import annotations

import copy
import shutil
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.program import SUITE, Place


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, cache_folder: Path) -> Place:
    """A store with the four cells of a suite, and its report."""
    made = Place(tmp_path_factory.mktemp("measured"), cache_folder)
    made.run(made.write(SUITE))
    return made


@pytest.fixture
def place(measured: Place, tmp_path: Path) -> Place:
    """A copy of it."""
    made = copy.copy(measured)
    made.folder = tmp_path
    shutil.copytree(measured.folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", "site"))
    made.environment = {**measured.environment, "AFRAD_BENCH_STORE": "results", "COLUMNS": "400"}  # no line is folded
    return made


def call(place: Place, command: str, *arguments: object, expect: int = 0) -> str:
    return place.call(command, "suite.yaml", "--data", f"folder={place.data}", *arguments, expect=expect)


def parts(place: Place, table: str) -> list[Path]:
    return sorted((place.folder / "results" / table).glob("*.parquet"))


def damage(part: Path, how: str) -> None:
    if how == "deleted":
        part.unlink()
    elif how == "foreign":
        pd.DataFrame({"colour": ["red"]}).to_parquet(part)
    else:
        part.write_bytes(part.read_bytes()[:-9])


@pytest.mark.parametrize("how", ["deleted", "foreign", "torn"])
def test_a_cell_that_lacks_rows_is_measured_again(place: Place, how: str) -> None:
    whole = (place.folder / "reports/tiny/demo/report.csv").read_text("utf-8")
    (bad, *_) = parts(place, "measurements")
    cell, name = bad.name.partition("-")[0], f"results/measurements/{bad.name}"
    damage(bad, how)
    planned = call(place, "plan")
    (line,) = (line for line in planned.splitlines() if line.startswith(cell))
    assert "stale (accuracy: rows of measurements are missing: " in line
    assert name in line
    if how == "deleted":
        assert "caution" not in planned
        shown = call(place, "report")
        assert "– missing" in shown
        assert f"rows of measurements are missing: {name} does not exist" in shown
    else:
        assert any(line.startswith(f"caution: {name}: ") for line in planned.splitlines())
    again = call(place, "run")
    assert "4 cells, 3 done, 1 to run" in again
    assert (place.folder / "reports/tiny/demo/report.csv").read_text("utf-8") == whole
    assert "4 cells, 4 done, 0 to run" in call(place, "plan")
    assert (how != "deleted") == bad.exists()  # nothing is deleted


@pytest.mark.parametrize("how", ["deleted", "torn"])
def test_a_lost_row_in_cells_is_measured_again(place: Place, how: str) -> None:
    (bad, *_) = parts(place, "cells")
    damage(bad, how)
    planned = call(place, "plan")
    assert "4 cells, 3 done, 1 to run" in planned
    assert f"results/cells/{bad.name}" in planned
    assert "4 cells, 3 done, 1 to run" in call(place, "run")
    assert "4 cells, 4 done, 0 to run" in call(place, "plan")


def test_what_needs_no_plan_names_them_too(place: Place) -> None:
    (bad, *_) = parts(place, "scores")
    bad.write_bytes(b"no Parquet")
    cell = bad.name.partition("-")[0]
    told = f"a run of cell {cell} is shown without its scores: rows of scores are missing: "
    assert told in place.call("compare", "results", "results", expect=0)
    explained = place.call("why", cell, "--data", f"folder={place.data}")
    assert "stale, rows of scores are missing: " in " ".join(explained.split())
    assert f"caution: results/scores/{bad.name}: cannot be read" in place.call("store", "compact")
    assert bad.read_bytes() == b"no Parquet"


def later_by(place: Place, hours: int) -> None:
    """As if the clock had been ahead in all runs so far."""
    for part in (place.folder / "results").glob("*/*.parquet"):
        rows = pq.read_table(part, partitioning=None)
        for column in ("started_at", "ended_at"):
            if column in rows.column_names:
                at, kind = rows.column_names.index(column), rows.schema.field(column)
                times = [time.as_py() + timedelta(hours=hours) for time in rows[column]]
                rows = rows.set_column(at, kind, pa.array(times, kind.type))
        pq.write_table(rows, part)


def test_runs_of_a_clock_that_was_ahead_do_not_hide_later_ones(place: Place) -> None:
    later_by(place, 6)
    other = ("--set", "accuracy.resolution=original")
    planned = call(place, "plan", *other)
    assert "caution: a clock was wrong: 4 runs were stored with times up to 5:5" in planned
    assert "4 cells, 0 done, 4 to run" in planned
    call(place, "run", *other)
    shown = call(place, "plan", *other)
    assert "4 cells, 4 done, 0 to run" in shown
    assert "caution: clocks disagree: 4 runs were stored after runs that ended up to 5:5" in shown
