"""Files are replaced whole or not at all, and a full disk is an error that says what to do."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from afrad_bench import writing
from afrad_bench.errors import UserError, fail
from tests.full_disk import no_file_above


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.txt"
    for text in ("first", "second"):
        with writing.replacing(path, "") as scratch:
            scratch.write_text(text)
            assert scratch.parent == path.parent
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_leaves_the_file_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("good")

    def fails() -> None:
        with writing.replacing(path, "") as scratch:
            scratch.write_text("half")
            raise error

    with pytest.raises(error):
        fails()
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    path, target = tmp_path / "a.txt", tmp_path / "there" / "b.txt"
    path.symlink_to(target)
    for text in ("first", "second"):
        with writing.replacing(path, "") as scratch:
            scratch.write_text(text)
        assert path.is_symlink()
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with writing.replacing(pipe, "") as place, place.open("w") as file:
        file.write("told")
    assert os.read(reader, 99) == b"told"
    os.close(reader)
    with writing.replacing(Path("/dev/null"), "") as place:
        place.write_text("nobody")
    assert not Path("/dev/null").is_file()


def test_a_full_disk_leaves_the_file_as_it_was_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"good")
    with (
        no_file_above(4096),
        pytest.raises(writing.DiskFull) as caught,
        writing.replacing(path, "choose another folder: --there FOLDER") as scratch,
    ):
        scratch.write_bytes(bytes(10_000))
    assert str(caught.value) == (
        f"{tmp_path}: cannot be written, the disk is full: {os.strerror(errno.EFBIG)}\n"
        "  choose another folder: --there FOLDER"
    )
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # it may come from a worker process


def _sqlite(folder: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(folder / "a.sqlite")
    try:
        connection.execute("CREATE TABLE t (x TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 100)
        connection.execute("PRAGMA max_page_count = 1")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 1000)
    finally:
        connection.close()


def _torch(folder: Path) -> None:
    import torch

    torch.save({"x": torch.zeros(100_000)}, folder / "a.pt")


def _arrow(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": np.random.default_rng(0).random(100_000)}), folder / "a.parquet")


def _numpy(folder: Path) -> None:
    np.save(folder / "a.npy", np.zeros(100_000))


@pytest.mark.parametrize("write", [_sqlite, _torch, _arrow, _numpy])
def test_the_errors_of_libraries_are_understood(tmp_path: Path, write: object) -> None:
    with no_file_above(50_000), pytest.raises(writing.DiskFull, match="the disk is full"):  # noqa: SIM117
        with writing.space(tmp_path, ""):
            write(tmp_path)  # type: ignore[operator]


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EFBIG"])
def test_codes_of_a_full_disk(code: str) -> None:
    assert writing.is_full(OSError(getattr(errno, code), "told"))


@pytest.mark.parametrize(
    "error",
    [PermissionError(errno.EACCES, "no"), FileNotFoundError(errno.ENOENT, "no"), ValueError("10 requested"), fail("x")],
)
def test_other_errors_stay_what_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, writing.space(tmp_path, ""):
        raise error
    assert caught.value is error


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    writing.must_be_writable(tmp_path / "new" / "store", "--store")
    assert list((tmp_path / "new" / "store").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--store: .*store cannot be written(.|\n)*--store FOLDER"):
        writing.must_be_writable(tmp_path / "file" / "store", "--store")
