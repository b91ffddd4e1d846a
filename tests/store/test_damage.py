"""Parts that are damaged, deleted or foreign: named and left out, and the runs that lack rows do not count."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from afrad_bench.store import OF_RUNS, Store, new_run_id
from afrad_bench.writing import DiskFull
from tests.full_disk import no_file_above
from tests.store.test_store import EPOCH, append

TABLES = OF_RUNS[1:]


def fill(root: Path, cell: str = "aaaa", value: float = 1.0) -> str:
    """A run with rows in every table."""
    run_id = new_run_id()
    row = {"run_id": run_id, "cell_id": cell, "started_at": EPOCH, "status": "ok", "measures": "{}"}
    measurements = [
        {"measure": "accuracy", "metric": f"m{i}", "value": value + i, "unit": "", "category": category, "note": None}
        for i, category in enumerate(("a", "b", None, "mean"))
    ]
    scores = [{"category": "a", "image_id": f"ä/{i}", "gt_label": i > 1, "pred_score": i / 7} for i in range(5)]
    curves = [{"kind": "pro", "category": "a", "x": [0.0, i / 3], "y": [0.5, float("nan")]} for i in range(2)]
    example = {"category": "a", "image": bytes(range(256)) * 4, "mask": None, "role": "chosen"}
    examples = [{**example, "image_id": f"a/{i}"} for i in range(2)]
    Store(root).append(row, measurements, scores, curves, examples)
    return run_id


def part_of(root: Path, table: str, run_id: str) -> Path:
    (part,) = (root / table).glob(f"*-{run_id}.parquet")
    return part


def lacking(root: Path) -> dict[str, str]:
    store = Store(root)
    return store.lacking(store.read("cells"))


@pytest.mark.parametrize("compacted", [False, True])
def test_a_sound_store_lacks_nothing(tmp_path: Path, compacted: bool) -> None:
    for i in range(3):
        fill(tmp_path, f"{i}" * 4, float(i))
    if compacted:
        Store(tmp_path).compact()
    store = Store(tmp_path)
    assert {table: len(frame) for table, frame in store.read_all(OF_RUNS).items()} == {
        "cells": 3,
        "measurements": 12,
        "scores": 15,
        "curves": 6,
        "examples": 6,
    }
    assert lacking(tmp_path) == {}
    assert store.faults == ()


def torn(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-40])


def emptied(part: Path) -> None:
    part.write_bytes(b"")


def fewer(part: Path) -> None:
    pq.write_table(pq.read_table(part, partitioning=None)[:-1], part)


def doubled(part: Path) -> None:
    rows = pq.read_table(part, partitioning=None)
    pq.write_table(pa.concat_tables([rows, rows]), part)


def changed(part: Path) -> None:
    rows = pq.read_table(part, partitioning=None)
    at = rows.column_names.index("category")
    pq.write_table(rows.set_column(at, rows.schema.field(at), pa.array(["z"] * len(rows))), part)


def of_another_run(part: Path) -> None:
    rows = pq.read_table(part, partitioning=None)
    at = rows.column_names.index("run_id")
    pq.write_table(rows.set_column(at, rows.schema.field(at), pa.array(["f" * 32] * len(rows))), part)


def foreign(part: Path) -> None:
    pd.DataFrame({"colour": ["red"], "run_id": [1]}).to_parquet(part)


def a_folder(part: Path) -> None:
    part.unlink()
    part.mkdir()


def a_broken_link(part: Path) -> None:
    part.unlink()
    part.symlink_to("nowhere.parquet")


DAMAGE: dict[Callable[[Path], None], str] = {
    Path.unlink: "does not exist",
    torn: "cannot be read",
    emptied: "cannot be read",
    fewer: "are missing, ",
    doubled: "are too many",
    changed: "are not those that were stored",
    of_another_run: "not of the run that its name tells",
    foreign: "not a part of the table",
    a_folder: "cannot be read",
    a_broken_link: "a link to a file that does not exist",
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("damage", DAMAGE, ids=[each.__name__ for each in DAMAGE])
def test_what_a_run_lacks_is_noticed(tmp_path: Path, damage: Callable[[Path], None], table: str) -> None:
    sound, hurt = fill(tmp_path, "aaaa", 1.0), fill(tmp_path, "bbbb", 2.0)
    part = part_of(tmp_path, table, hurt)
    damage(part)
    why = lacking(tmp_path)
    assert list(why) == [hurt]
    assert why[hurt].startswith(f"rows of {table} ")
    assert DAMAGE[damage] in why[hurt]
    assert str(part) in why[hurt]
    store = Store(tmp_path)
    for name, frame in store.read_all(OF_RUNS).items():
        gone = table in ("measurements", name)  # without its numbers it does not count at all
        assert set(frame["run_id"]) == ({sound} if gone else {sound, hurt})
    effect = "does not count" if table == "measurements" else f"is shown without its {table}"
    assert any(fault.startswith(f"a run of cell bbbb {effect}: rows of {table} ") for fault in store.faults)
    assert set(Store(tmp_path).read("cells")["run_id"]) == {sound, hurt}  # what it says of itself can still be read
    fill(tmp_path, "bbbb", 3.0)  # measured again
    assert Store(tmp_path).read_all(OF_RUNS)["measurements"]["value"].min() == 1.0
    assert set(Store(tmp_path).read_all(OF_RUNS)["cells"]["cell_id"]) == {"aaaa", "bbbb"}


def test_a_table_that_is_not_read_does_not_matter(tmp_path: Path) -> None:
    run_id = fill(tmp_path)
    part_of(tmp_path, "examples", run_id).unlink()
    assert len(Store(tmp_path).read_all(["cells", "measurements"])["measurements"]) == 4


def test_a_run_of_an_earlier_version_counts_unless_its_file_is_damaged(tmp_path: Path) -> None:
    """It did not record what it stored."""
    for cell in ("aaaa", "bbbb", "cccc"):
        run_id = fill(tmp_path, cell)
        cells = part_of(tmp_path, "cells", run_id)
        pq.write_table(pq.read_table(cells, partitioning=None).drop_columns(["sequence", "stored"]), cells)
        if cell == "bbbb":
            part_of(tmp_path, "curves", run_id).unlink()
        if cell == "cccc":
            torn(part_of(tmp_path, "curves", run_id))
            bad = run_id
    assert list(lacking(tmp_path)) == [bad]


def test_a_damaged_compacted_file_takes_only_its_own_table(tmp_path: Path) -> None:
    runs = [fill(tmp_path, cell) for cell in ("aaaa", "bbbb")]
    Store(tmp_path).compact()
    later = fill(tmp_path, "cccc")
    (part,) = (tmp_path / "scores").glob("compact-*")
    torn(part)
    why = lacking(tmp_path)
    assert set(why) == set(runs)
    assert all(text.startswith(f"rows of scores are missing: {part}: cannot be read") for text in why.values())
    assert set(Store(tmp_path).read_all(["cells", "scores"])["scores"]["run_id"]) == {later}
    part.unlink()
    assert all("rows of scores are missing: " in text for text in lacking(tmp_path).values())


@pytest.mark.parametrize("table", OF_RUNS)
def test_foreign_files_beside_the_parts_are_named(tmp_path: Path, table: str) -> None:
    fill(tmp_path)
    folder = tmp_path / table
    (folder / "notes.parquet").write_text("buy milk")
    pd.DataFrame({"a": [1]}).to_parquet(folder / "frame.parquet")
    shutil.copy(next(folder.glob("aaaa*")), folder / "copy of it.parquet")
    (folder / "README.txt").write_text("not looked at")
    store = Store(tmp_path)
    assert store.lacking(store.read("cells")) == {}
    assert len(store.read(table)) == len(pq.read_table(next(folder.glob("aaaa*")), partitioning=None))
    named = {Path(fault.split(".parquet: ")[0]).name for fault in store.faults}
    assert named == {"notes", "frame", "copy of it"}


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders")
def test_a_pipe_among_the_parts_is_named(tmp_path: Path) -> None:
    run = fill(tmp_path)
    part_of(tmp_path, "scores", run).unlink()
    for pipe in (tmp_path / "scores" / f"aaaa-{run}.parquet", tmp_path / "cells" / "x.parquet"):
        os.mkfifo(pipe)
    store = Store(tmp_path)
    assert list(store.read_all(["cells", "scores"])["scores"]["run_id"]) == []
    assert sum("is not a regular file, but a pipe" in fault for fault in store.faults) == 3  # the run's scores, too


def test_rows_of_another_table_are_foreign(tmp_path: Path) -> None:
    run_id = fill(tmp_path)
    shutil.copy(part_of(tmp_path, "measurements", run_id), tmp_path / "cells" / "some.parquet")
    store = Store(tmp_path)
    assert store.read("cells")["run_id"].tolist() == [run_id]
    (fault,) = store.faults
    assert "some.parquet: not a part of the table cells: it has no column status, measures" in fault


def test_a_run_whose_row_in_cells_is_gone_is_unfinished(tmp_path: Path) -> None:
    run_id, other = fill(tmp_path, "aaaa"), fill(tmp_path, "bbbb")
    part = part_of(tmp_path, "cells", run_id)
    part.unlink()
    assert Store(tmp_path).unfinished({"aaaa", "bbbb"}, {other}) == {
        "aaaa": f"the row of a run in cells is missing: {part} does not exist"
    }


def test_a_compacted_file_of_cells_that_is_gone_is_told(tmp_path: Path) -> None:
    kept = fill(tmp_path)
    Store(tmp_path).compact()
    assert not Store(tmp_path).unfinished({"aaaa"}, {kept})
    (gone,) = (tmp_path / "cells").glob("compact-*")
    gone.unlink()
    found = Store(tmp_path).unfinished({"aaaa", "bbbb"}, set())
    assert list(found) == ["aaaa"]
    assert "the row of a run in cells is missing" in found["aaaa"]
    assert "measurements" in found["aaaa"]


def test_a_damaged_latency_session_is_named(tmp_path: Path) -> None:
    for session in ("one", "two"):
        row = {"run_id": session, "session": session, "started_at": EPOCH, "cell_id": "aaaa", "round": 0, "ms": 1.0}
        Store(tmp_path).append_latency([row])
    torn(tmp_path / "latency" / "one.parquet")
    store = Store(tmp_path)
    assert store.read("latency")["session"].tolist() == ["two"]
    assert store.faults[0].startswith(f"{tmp_path / 'latency' / 'one.parquet'}: cannot be read")


@pytest.mark.parametrize("table", OF_RUNS)
def test_a_compaction_removes_nothing_that_it_could_not_read(tmp_path: Path, table: str) -> None:
    first = fill(tmp_path, "aaaa")
    Store(tmp_path).compact()
    second = fill(tmp_path, "bbbb")
    bad = [next((tmp_path / table).glob("compact-*")), part_of(tmp_path, table, second)]
    whole = {part: part.read_bytes() for part in bad}
    for part in bad:
        torn(part)
    third = fill(tmp_path, "cccc")
    store = Store(tmp_path)
    store.compact()
    assert all(any(str(part) in fault for fault in store.faults) for part in bad)
    for part, content in whole.items():
        assert part.is_file()
        part.write_bytes(content)  # found again in a backup
    frames = Store(tmp_path).read_all(OF_RUNS)
    assert set(frames["cells"]["run_id"]) == {first, second, third}
    assert [len(frames[name]) for name in OF_RUNS] == [3, 12, 15, 6, 6]


def test_any_damage_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Bytes that are changed, cut off or added anywhere: no traceback, and no other numbers."""
    run_id = fill(tmp_path)
    before = Store(tmp_path).read_all(OF_RUNS)
    draw = random.Random(13)
    noticed = 0
    for _ in range(150):
        part = part_of(tmp_path, draw.choice(OF_RUNS), run_id)
        whole = part.read_bytes()
        raw = bytearray(whole)
        way = draw.randrange(3)
        if way == 0:
            for _ in range(draw.choice((1, 1, 4))):
                raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        elif way == 1:
            del raw[draw.randrange(len(raw)) :]
        else:
            raw[draw.randrange(len(raw)) :] = draw.randbytes(draw.randrange(1, 50))
        part.write_bytes(raw)
        store = Store(tmp_path)
        after = store.read_all(OF_RUNS)
        noticed += bool(store.faults)
        for table, frame in after.items():
            if len(frame):
                pd.testing.assert_frame_equal(frame, before[table])
            else:
                assert store.faults
        part.write_bytes(whole)
    assert noticed > 100


def test_damage_of_an_earlier_version_without_checksums_shows_in_its_texts(tmp_path: Path) -> None:
    run_id = fill(tmp_path)
    part = part_of(tmp_path, "cells", run_id)
    rows = pq.read_table(part, partitioning=None)
    at = rows.column_names.index("measures")
    pq.write_table(rows.set_column(at, rows.schema.field(at), pa.array(['{"accuracy": {"stat\x15s"'])), part)
    store = Store(tmp_path)
    assert store.read("cells").empty
    assert store.faults == (f"{part}: damaged: the column measures holds no JSON",)


def test_an_error_in_the_middle_of_appending_leaves_nothing(tmp_path: Path) -> None:
    append(tmp_path, "aaaa")
    row = {"run_id": new_run_id(), "cell_id": "bbbb", "started_at": EPOCH}
    with pytest.raises(ValueError, match="no such column in cells: statsu"):
        Store(tmp_path).append({**row, "statsu": "ok"}, [{"metric": "m", "value": 1.0}], [])
    assert not list(tmp_path.glob("*/bbbb*"))


def test_a_full_disk_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    first = fill(tmp_path, "aaaa", 1.0)
    sizes = {table: part_of(tmp_path, table, first).stat().st_size for table in OF_RUNS}
    assert max(sizes, key=lambda table: sizes[table]) == "cells"
    limit = sizes["cells"] - 100  # the last part of a run, and the first that does not fit
    with no_file_above(limit), pytest.raises(DiskFull) as caught:
        fill(tmp_path, "bbbb", 2.0)
    assert str(caught.value).startswith(str(tmp_path))
    assert "--store FOLDER" in str(caught.value)
    assert not list(tmp_path.glob("*/*bbbb*"))  # nothing of the run that did not fit, no temporary file
    assert not list(tmp_path.glob("*/.*.tmp"))
    assert Store(tmp_path).read("measurements")["value"].tolist() == [1.0, 2.0, 3.0, 4.0]
    fill(tmp_path, "bbbb", 2.0)
    assert Store(tmp_path).read("cells")["sequence"].tolist() == [1, 3]  # a number is never given twice
    with no_file_above(limit), pytest.raises(DiskFull):
        Store(tmp_path).compact()
    assert not list(tmp_path.glob("*/*compact*"))
    assert len(Store(tmp_path).read("measurements")) == 8
    Store(tmp_path).compact()
    assert len(Store(tmp_path).read("measurements")) == 8


def test_a_full_disk_of_latency_sessions(tmp_path: Path) -> None:
    row = {"run_id": "s", "session": "s", "started_at": EPOCH, "cell_id": "aaaa", "mode": "eager"}
    with no_file_above(4_000), pytest.raises(DiskFull, match="--store FOLDER"):
        Store(tmp_path).append_latency([{**row, "round": i, "ms": i / 7} for i in range(2000)])
    assert Store(tmp_path).read("latency").empty
