"""Pictures on disk: what is read from a file, and what the index remembers of it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afrad_bench.errors import UserError
from afrad_bench.images import pictures
from afrad_bench.images.pictures import FileIndex, FileMask, FilePicture
from afrad_bench.types import FileFacts

GREY = np.array([[0, 1, 2], [128, 254, 255]], dtype=np.uint8)
COLOUR = np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])


def saved(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray(pixels).save(path)
    return path


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


MASKS = {
    "class numbers": (np.array([[0, 1], [9, 0]], dtype=np.uint8), [1, 2]),
    "0 and 255": (np.array([[0, 255], [0, 0]], dtype=np.uint8), [1]),
    "16 bits": (np.array([[0, 1], [0, 65535]], dtype=np.uint16), [1, 3]),
    "one bit": (np.array([[True, False], [False, True]]), [0, 3]),
    "any colour": (np.array([[[0, 0, 0], [0, 0, 1]], [[7, 0, 0], [0, 0, 0]]], dtype=np.uint8), [1, 2]),
    "opaque but black": (np.array([[[0, 0, 0, 255]] * 2] * 2, dtype=np.uint8), []),
    "nothing": (np.zeros((2, 2), dtype=np.uint8), []),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_mark_what_is_above_zero(tmp_path: Path, name: str) -> None:
    """And the index calls a mask blank exactly when reading it would mark nothing."""
    pixels, marked = MASKS[name]
    path = saved(pixels, tmp_path / "mask.png")
    mask = FileMask(path, "").read()
    assert mask.dtype == np.bool_
    assert np.flatnonzero(mask).tolist() == marked
    assert FileIndex().facts([path])[0].blank == (not marked)


def test_palette_masks_are_read_by_index(tmp_path: Path) -> None:
    mask = Image.new("P", (2, 2))
    mask.putpalette([255, 255, 255, 0, 0, 0])
    mask.putpixel((1, 0), 1)
    mask.save(tmp_path / "mask.png")
    assert np.flatnonzero(FileMask(tmp_path / "mask.png", "").read()).tolist() == [1]
    assert not FileIndex().facts([tmp_path / "mask.png"])[0].blank


def test_unreadable_files_are_reported_not_raised(tmp_path: Path) -> None:
    good = saved(np.zeros((64, 64, 3), dtype=np.uint8) + 7, tmp_path / "good.jpg")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good.read_bytes()[:-60])
    words = tmp_path / "words.png"
    words.write_text("no image")
    found = FileIndex(tmp_path / "index.sqlite").facts([good, cut, tmp_path / "gone.png", words, tmp_path])
    assert [one.error is None for one in found] == [True, False, False, False, False]
    assert [one.path for one in found] == [good, cut, tmp_path / "gone.png", words, tmp_path]
    assert found[0] == FileFacts(good, hashlib.sha256(good.read_bytes()).hexdigest(), 64, 64, "RGB", False, None)
    for path in (cut, words):
        with pytest.raises(UserError, match=path.name):
            FilePicture(path, "").read()


def test_the_index_reads_each_file_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [saved(GREY + i, tmp_path / f"{i}.png") for i in range(3)]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    read: list[str] = []
    examine = pictures._examine

    def counted(path: Path) -> FileFacts:
        read.append(path.name)
        return examine(path)

    monkeypatch.setattr(pictures, "_examine", counted)
    index = FileIndex(tmp_path / "index.sqlite")
    first = index.facts([*paths, broken, paths[0]])
    assert sorted(read) == ["0.png", "1.png", "2.png", "broken.png"]
    assert first[4] == first[0]
    read.clear()
    assert index.facts(paths) == first[:3]
    assert read == []
    assert [one.error is None for one in index.facts([broken])] == [False]
    assert read == ["broken.png"], "its owner is about to replace it"
    read.clear()
    os.utime(paths[1], ns=(5, 5))
    saved(GREY[:1], paths[2])
    again = FileIndex(tmp_path / "index.sqlite").facts(paths)
    assert sorted(read) == ["1.png", "2.png"]
    assert again[1] == first[1]
    assert (again[2].height, first[2].height) == (1, 2)


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


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    path = saved(GREY, tmp_path / "grey.png")
    index = tmp_path / "files.sqlite"
    index.write_bytes(b"SQLite format 3\0 but not really" * 100)
    (first,) = FileIndex(index).facts([path])
    (again,) = FileIndex(index).facts([path])
    assert first == again
    assert first.error is None
