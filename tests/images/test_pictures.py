"""Pictures on disk: what is read from a file, and what the index remembers of it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sqlite3
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from afrad_bench.errors import UserError
from afrad_bench.images import pictures
from afrad_bench.images.pictures import FileIndex, FileMask, FilePicture
from afrad_bench.types import FileFacts, MaskFacts

GREY = np.array([[0, 1, 2], [128, 254, 255]], dtype=np.uint8)
COLOUR = np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])


def saved(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_grey_is_repeated_and_colour_kept(tmp_path: Path, suffix: str) -> None:
    grey, colour = saved(GREY, tmp_path / f"grey.{suffix}"), saved(COLOUR, tmp_path / f"colour.{suffix}")
    assert np.array_equal(FilePicture(grey, "").read(), np.dstack([GREY] * 3))
    assert np.array_equal(FilePicture(colour, "").read(), COLOUR)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path, suffix: str) -> None:
    deep = saved(GREY.astype(np.uint16) * 257, tmp_path / f"deep.{suffix}")
    assert np.array_equal(FilePicture(deep, "").read(), np.dstack([GREY] * 3))


def test_alpha_is_dropped(tmp_path: Path) -> None:
    pixels = np.dstack([COLOUR, np.zeros_like(GREY)])
    assert np.array_equal(FilePicture(saved(pixels, tmp_path / "a.png"), "").read(), COLOUR)


def test_unreadable_files_are_reported_not_raised(tmp_path: Path) -> None:
    good = saved(np.zeros((64, 64, 3), dtype=np.uint8) + 7, tmp_path / "good.jpg")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good.read_bytes()[:-60])
    words = tmp_path / "words.png"
    words.write_text("no image")
    found = FileIndex(tmp_path / "index.sqlite").facts([good, cut, tmp_path / "gone.png", words, tmp_path])
    assert [one.error is None for one in found] == [True, False, False, False, False]
    assert [one.path for one in found] == [good, cut, tmp_path / "gone.png", words, tmp_path]
    assert found[0] == FileFacts(good, sha256(good), 64, 64, "RGB", None, peak=7)
    for path in (cut, words):
        with pytest.raises(UserError, match=path.name):
            FilePicture(path, "").read()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that an index decodes."""
    names: list[str] = []
    facts_of = pictures._facts_of

    def counted(path: Path, *rest: Any) -> FileFacts:
        names.append(path.name)
        return facts_of(path, *rest)

    monkeypatch.setattr(pictures, "_facts_of", counted)
    return names


def test_the_index_decodes_each_file_once_and_again_when_it_changed(tmp_path: Path, decoded: list[str]) -> None:
    paths = [saved(GREY + i, tmp_path / f"{i}.png") for i in range(3)]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    index = FileIndex(tmp_path / "index.sqlite")
    first = index.facts([*paths, broken, paths[0]])
    assert sorted(decoded) == ["0.png", "1.png", "2.png", "broken.png"]
    assert first[4] == first[0]
    decoded.clear()
    assert index.facts(paths) == first[:3]
    assert decoded == []
    assert [one.error is None for one in index.facts([broken])] == [False]
    assert decoded == ["broken.png"], "its owner is about to replace it"
    decoded.clear()
    os.utime(paths[1], ns=(5, 5))
    saved(GREY[:1], paths[2])
    again = FileIndex(tmp_path / "index.sqlite").facts(paths)
    assert decoded == ["2.png"], "another time alone is another digest to compare, not another image"
    assert again[1] == first[1]
    assert (again[2].height, first[2].height) == (1, 2)


def swapped(path: Path) -> Path:
    """Another image in the same file: same length, same modification time."""
    before = path.stat()
    saved(255 - GREY, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    return path


def aged(index: Path) -> None:
    """Make every row of the index one that is trusted, as if its file had been read long after its last change."""
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute(f"UPDATE {pictures.TABLE} SET settled = 1")


@pytest.mark.skipif(os.name != "posix", reason="the time of change is POSIX's")
@pytest.mark.parametrize("way", ["written", "renamed"])
def test_equal_length_and_time_deceive_no_index(tmp_path: Path, way: str) -> None:
    """The time of change tells, or the inode where a file is put in another's place."""
    path, index = saved(GREY, tmp_path / "x.bmp"), tmp_path / "index.sqlite"
    first = FileIndex(index).facts([path])
    aged(index)
    if way == "written":
        swapped(path)
    else:
        other = saved(255 - GREY, tmp_path / "other.bmp")
        os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        other.replace(path)
    assert FileIndex(index).facts([path])[0].sha256 == sha256(path) != first[0].sha256


def test_a_file_that_had_just_changed_is_compared_by_its_digest(tmp_path: Path, decoded: list[str]) -> None:
    """Two changes within one tick of the file system's clock have the same times."""
    path, index = saved(GREY, tmp_path / "x.bmp"), tmp_path / "index.sqlite"
    FileIndex(index).facts([path])
    swapped(path)
    stamp = pictures._stamp(path)
    assert not stamp.settled
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute(f"UPDATE {pictures.TABLE} SET stamp = ?", [stamp.text])
    assert FileIndex(index).facts([path])[0].sha256 == sha256(path)


def test_a_fresh_index_reads_every_file_again(tmp_path: Path, decoded: list[str]) -> None:
    """What `run --force` asks for: even where the file system lies about all of its times."""
    path, index = saved(GREY, tmp_path / "x.bmp"), tmp_path / "index.sqlite"
    old = FileIndex(index).facts([path])
    swapped(path)
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute(f"UPDATE {pictures.TABLE} SET stamp = ?, settled = 1", [pictures._stamp(path).text])
    assert FileIndex(index).facts([path]) == old, "such a file system deceives the index"
    assert FileIndex(index, fresh=True).facts([path])[0].sha256 == sha256(path)
    assert FileIndex(index).facts([path])[0].sha256 == sha256(path), "and it has learnt"


def test_an_index_of_the_former_layout_is_read_anew(tmp_path: Path) -> None:
    path, index = saved(GREY, tmp_path / "x.png"), tmp_path / "index.sqlite"
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute(
            "CREATE TABLE facts (path TEXT PRIMARY KEY, length INTEGER, modified INTEGER, sha256 TEXT, width INTEGER, "
            "height INTEGER, mode TEXT, blank INTEGER)"
        )
        found = path.stat()
        row = (str(path), found.st_size, found.st_mtime_ns, "0" * 64, 1, 1, "L", 0)
        connection.execute("INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    assert FileIndex(index).facts([path])[0].sha256 == sha256(path)
    with closing(sqlite3.connect(index)) as connection:
        assert [name for (name,) in connection.execute("SELECT name FROM sqlite_master")][:1] == [pictures.TABLE]


def test_a_picture_whose_file_has_changed_since_is_not_read(tmp_path: Path) -> None:
    path = saved(GREY, tmp_path / "x.bmp")
    picture, mask = FilePicture(path, sha256(path)), FileMask(path, sha256(path))
    picture.read()
    swapped(path)
    for one in (picture, mask):
        with pytest.raises(UserError, match="has changed since the data set was verified"):
            one.read()


def test_a_file_is_asked_about_as_an_image_and_later_as_a_mask(tmp_path: Path) -> None:
    path, index = saved(GREY // 128 * 255, tmp_path / "x.png"), tmp_path / "index.sqlite"
    assert FileIndex(index).facts([path])[0].mask is None
    aged(index)
    assert FileIndex(index).facts([path], [path])[0].mask == MaskFacts("", False, False, "")
    aged(index)
    assert FileIndex(index).facts([path])[0].mask is not None


def test_an_index_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    path, index = saved(GREY, tmp_path / "x.png"), tmp_path / "folder.sqlite"
    index.mkdir()
    with pytest.raises(UserError, match=r"folder.sqlite: the index of image files cannot be used(.|\n)*--cache"):
        FileIndex(index).facts([path])


def _facts(location: Path, paths: list[Path]) -> list[FileFacts]:
    return FileIndex(location).facts(paths)


def test_several_processes_share_an_index(tmp_path: Path) -> None:
    paths = [saved(GREY + i % 200, tmp_path / f"{i:03d}.png") for i in range(60)]
    location = tmp_path / "index.sqlite"
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        answers = [pool.submit(_facts, location, paths[start : start + 40]) for start in (0, 10, 20)]
        found = [answer.result() for answer in answers]
    assert found[0][20:] == found[2][:20]
    assert FileIndex(location).facts(paths) == FileIndex().facts(paths)


@pytest.mark.parametrize("damage", ["head", "pages"])
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: str) -> None:
    path = saved(GREY, tmp_path / "grey.png")
    index = tmp_path / "files.sqlite"
    if damage == "head":
        index.write_bytes(b"SQLite format 3\0 but not really" * 100)
    else:
        FileIndex(index).facts([path])
        index.write_bytes(index.read_bytes()[:4096] + b"\xff" * (index.stat().st_size - 4096))
    (first,) = FileIndex(index).facts([path])
    (again,) = FileIndex(index).facts([path])
    assert first == again
    assert first.error is None
