"""The store: append-only, crash-safe, readable by pandas, readable for ever."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta, timezone
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from afrad_bench.errors import UserError
from afrad_bench.store import COLUMNS, Store, new_run_id, schema

EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)


def append(root: Path, cell: str, minutes: int = 0, value: float | None = 1.0, scores: int = 2) -> str:
    run_id = new_run_id()
    row = {
        "run_id": run_id,
        "cell_id": cell,
        "started_at": EPOCH + timedelta(minutes=minutes),
        "method": "afrad",
        "seed": 0,
        "status": "ok",
    }
    measurement = {"measure": "accuracy", "metric": "image_auroc", "value": value, "unit": "", "category": "mean"}
    score = {"category": "a", "image_id": "a/1", "gt_label": True, "pred_score": 0.5, "defect": "crack"}
    Store(root).append(row, [measurement], [{**score, "image_id": f"a/{i}"} for i in range(scores)])
    return run_id


def test_pandas_reads_the_folders(tmp_path: Path) -> None:
    append(tmp_path, "aaaa")
    append(tmp_path, "bbbb", value=None)
    measurements = pd.read_parquet(tmp_path / "measurements")
    assert sorted(measurements["cell_id"]) == ["aaaa", "bbbb"]
    assert measurements["value"].isna().sum() == 1
    assert set(measurements["method"]) == {"afrad"}  # no join is needed to know what a number belongs to
    assert len(pd.read_parquet(tmp_path / "scores")) == 4
    assert list(pd.read_parquet(tmp_path / "cells").columns) == list(COLUMNS["cells"])


def test_rows_come_in_the_order_of_appending_and_by_cell(tmp_path: Path) -> None:
    append(tmp_path, "aaaa", minutes=5, value=2.0)
    append(tmp_path, "aaaa", minutes=1, value=1.0)
    append(tmp_path, "bbbb", minutes=3, value=3.0)
    store = Store(tmp_path)
    assert list(store.read("measurements", ["aaaa"])["value"]) == [2.0, 1.0]
    assert list(store.read("cells")["cell_id"]) == ["aaaa", "aaaa", "bbbb"]


def test_an_empty_store_has_columns(tmp_path: Path) -> None:
    frame = Store(tmp_path / "nowhere").read("measurements")
    assert frame.empty
    assert list(frame.columns) == list(COLUMNS["measurements"])
    assert not (tmp_path / "nowhere").exists()


def test_a_run_without_its_cell_row_does_not_count(tmp_path: Path) -> None:
    """The cell's row is written last: a kill before it leaves rows that nobody sees."""
    append(tmp_path, "aaaa")
    lost = append(tmp_path, "bbbb")
    next((tmp_path / "cells").glob(f"*{lost}*")).unlink()
    assert list(Store(tmp_path).read("measurements")["cell_id"]) == ["aaaa"]
    assert list(Store(tmp_path).read("scores")["cell_id"].unique()) == ["aaaa"]


def test_half_written_parts_are_invisible(tmp_path: Path) -> None:
    append(tmp_path, "aaaa")
    (tmp_path / "cells" / ".bbbb-1.parquet.x.tmp").write_bytes(b"PAR1 and then the power went")
    assert len(Store(tmp_path).read("cells")) == 1
    assert len(pd.read_parquet(tmp_path / "cells")) == 1


def test_a_damaged_part_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    append(tmp_path, "aaaa")
    part = tmp_path / "cells" / "bbbb-1.parquet"
    part.write_bytes(b"not parquet")
    store = Store(tmp_path)
    assert store.read("cells")["cell_id"].tolist() == ["aaaa"]
    (fault,) = store.faults
    assert fault.startswith(f"{part}: cannot be read")


def test_unknown_columns_are_a_defect(tmp_path: Path) -> None:
    row = {"run_id": "1", "cell_id": "a", "started_at": EPOCH, "statsu": "ok"}
    with pytest.raises(ValueError, match="statsu"):
        Store(tmp_path).append(row, [], [])


def test_older_parts_stay_readable(tmp_path: Path) -> None:
    """A part written before a column existed reads as null there; one with a foreign column loses it."""
    append(tmp_path, "aaaa")
    (part,) = (tmp_path / "measurements").glob("*.parquet")
    older = pq.read_table(part, partitioning=None).drop_columns(["note", "measure_version"])
    pq.write_table(older.append_column("colour", pa.array(["red"])), part)
    frame = Store(tmp_path).read("measurements")
    assert list(frame.columns) == list(COLUMNS["measurements"])
    assert frame["note"].isna().all()
    assert frame["value"].tolist() == [1.0]


def test_the_schema_carries_its_version(tmp_path: Path) -> None:
    append(tmp_path, "aaaa")
    (part,) = (tmp_path / "cells").glob("*.parquet")
    assert pq.read_schema(part).metadata[b"afrad_bench.schema_version"] == b"1"
    assert Store(tmp_path).read("cells")["schema_version"].tolist() == [1]
    assert schema("cells").names == list(COLUMNS["cells"])


def _append_many(root: Path, who: int) -> None:
    for i in range(10):
        append(root, f"{who}{i}", minutes=i)


def test_several_processes_may_write_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        list(pool.map(_append_many, [tmp_path] * 3, range(3)))
    store = Store(tmp_path)
    assert store.read("cells")["cell_id"].nunique() == 30
    assert len(store.read("measurements")) == 30
    assert len(store.read("scores")) == 60


def test_curves_and_pictures_come_back_as_they_were(tmp_path: Path) -> None:
    row = {"run_id": new_run_id(), "cell_id": "aaaa", "started_at": EPOCH, "status": "ok"}
    curve = {"kind": "pro", "category": "a", "x": (0.0, 0.1, 0.3), "y": (0.0, 0.5, 0.9)}
    example = {"category": "a", "image_id": "a/1", "image": b"\xff\xd8\x00jpeg", "mask": None, "rank": 1, "low": -0.5}
    Store(tmp_path).append(row, [], [], curves=[curve], examples=[example])
    found = Store(tmp_path).read_all(["curves", "examples"], ["aaaa"])
    assert found["curves"]["x"].iloc[0].tolist() == [0.0, 0.1, 0.3]
    assert found["curves"]["y"].iloc[0].tolist() == [0.0, 0.5, 0.9]
    assert found["examples"]["image"].tolist() == [b"\xff\xd8\x00jpeg"]
    assert found["examples"]["mask"].tolist() == [None]
    assert found["examples"]["low"].tolist() == [-0.5]


def test_a_store_from_before_a_table_existed_reads_as_empty_there(tmp_path: Path) -> None:
    append(tmp_path, "aaaa")
    assert not (tmp_path / "curves").exists()
    found = Store(tmp_path).read_all(COLUMNS)
    assert list(found) == list(COLUMNS)
    assert len(found["scores"]) == 2
    for table in ("curves", "examples"):
        assert found[table].empty
        assert list(found[table].columns) == list(COLUMNS[table])


def test_curves_and_pictures_of_a_run_that_was_killed_do_not_count(tmp_path: Path) -> None:
    run_id = new_run_id()
    row = {"run_id": run_id, "cell_id": "aaaa", "started_at": EPOCH}
    Store(tmp_path).append(row, [], [], curves=[{"kind": "pro", "x": [0.0], "y": [0.0]}], examples=[{"rank": 1}])
    next((tmp_path / "cells").glob(f"*{run_id}*")).unlink()
    found = Store(tmp_path).read_all(["curves", "examples"])
    assert found["curves"].empty
    assert found["examples"].empty


def test_a_compacted_store_reads_as_before(tmp_path: Path) -> None:
    for i in range(5):
        append(tmp_path, f"{i}" * 4, minutes=10 - i, value=float(i), scores=3)
    store = Store(tmp_path)
    before = store.read_all(COLUMNS)
    assert store.compact() == (15, 3)
    for table, frame in store.read_all(COLUMNS).items():
        pd.testing.assert_frame_equal(frame, before[table])
    assert store.read("measurements", ["3333"])["value"].tolist() == [3.0]
    append(tmp_path, "0000", minutes=20, value=9.0)  # what comes later counts as before
    assert store.read("measurements", ["0000"])["value"].tolist() == [0.0, 9.0]
    assert store.compact() == (6, 3)
    assert store.read("measurements")["value"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 9.0]
    assert pd.read_parquet(tmp_path / "scores").shape[0] == 17


def test_a_kill_during_a_compaction_doubles_nothing(tmp_path: Path) -> None:
    """Every state between the new parts and the removal of the old ones reads the same."""
    for i in range(3):
        append(tmp_path, f"{i}" * 4, minutes=i, value=float(i))
    store = Store(tmp_path)
    before = store.read_all(COLUMNS)
    removed: list[Path] = []

    def dies(path: Path) -> None:
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(path)
        unlink(path)

    unlink = Path.unlink
    with mock.patch.object(Path, "unlink", dies), pytest.raises(KeyboardInterrupt):
        store.compact()
    assert len(removed) == 2
    for table, frame in store.read_all(COLUMNS).items():
        pd.testing.assert_frame_equal(frame, before[table])
    with pytest.raises(UserError, match="being compacted"):
        store.compact()
    (tmp_path / ".compacting").unlink()
    store.compact()
    assert len(list(tmp_path.glob("*/*.parquet"))) == 3
    for table, frame in store.read_all(COLUMNS).items():
        pd.testing.assert_frame_equal(frame, before[table])


def test_a_compaction_leaves_runs_alone_that_are_being_written(tmp_path: Path) -> None:
    append(tmp_path, "aaaa")
    unfinished = append(tmp_path, "bbbb", minutes=1, value=5.0)
    part = next((tmp_path / "cells").glob(f"*{unfinished}*"))
    kept = part.read_bytes()
    part.unlink()
    Store(tmp_path).compact()
    assert Store(tmp_path).read("measurements")["cell_id"].tolist() == ["aaaa"]
    part.write_bytes(kept)
    assert Store(tmp_path).read("measurements")["value"].tolist() == [1.0, 5.0]


def test_old_parts_can_be_compacted(tmp_path: Path) -> None:
    append(tmp_path, "aaaa")
    append(tmp_path, "bbbb", minutes=1)
    for table, columns in (("measurements", ["unit"]), ("cells", ["sequence", "stored"])):
        (part,) = (tmp_path / table).glob("aaaa*.parquet")
        pq.write_table(pq.read_table(part, partitioning=None).drop_columns(columns), part)
    Store(tmp_path).compact()
    frame = Store(tmp_path).read("measurements")
    assert frame["value"].tolist() == [1.0, 1.0]
    assert frame["unit"].isna().tolist() == [True, False]


def test_a_latency_session_counts_by_itself_and_is_found_by_cell(tmp_path: Path) -> None:
    common = {"run_id": "5e55", "session": "5e55", "started_at": EPOCH, "mode": "eager", "batch": 1, "device": "cpu"}
    rows = [
        {**common, "cell_id": cell, "method": cell, "round": r, "ms": r + offset}
        for r in range(3)
        for cell, offset in (("aaaa", 1.0), ("bbbb", 2.5))
    ]
    append(tmp_path, "aaaa")
    Store(tmp_path).append_latency(rows)
    found = Store(tmp_path).read("latency")
    assert list(found.columns) == list(COLUMNS["latency"])
    assert found["ms"].tolist() == [1.0, 2.5, 2.0, 3.5, 3.0, 4.5]
    assert found["round"].tolist() == [0, 0, 1, 1, 2, 2]
    assert found["schema_version"].unique().tolist() == [1]
    assert Store(tmp_path).read("latency", ["bbbb"])["ms"].tolist() == [2.5, 3.5, 4.5]
    assert Store(tmp_path).read("cells")["cell_id"].tolist() == ["aaaa"]
