"""Images that a caller passes in: one scale for those of more than 8 bits, turned like files, none left out unsaid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from afrad_bench.errors import UserError
from afrad_bench.images.intake import batches, training_set
from tests.images.test_decoding import deep_png

SIDE = 8
DEEP = np.random.default_rng(0).integers(0, 4000, (6, SIDE, SIDE)).astype(np.uint16)


def write(folder: Path, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, values in enumerate(DEEP):
        Image.fromarray(values).save(folder / f"{i}{suffix}")
    return folder


def test_training_images_have_one_white_however_they_are_passed(tmp_path: Path) -> None:
    wanted = np.rint(DEEP / (4095 / 255)) / 255
    folder = write(tmp_path / "deep")
    forms: list[Any] = [folder, sorted(folder.iterdir()), [Image.fromarray(values) for values in DEEP]]
    for given in forms:
        train, white = training_set(given, SIDE)
        assert white == 4095
        assert np.allclose(train.array()[:, 0], wanted)
    for given in forms[1:]:
        found = np.concatenate([batch.array() for batch in batches(given, SIDE, 4, white=4095)])
        assert np.allclose(found[:, 0], wanted)


def test_eight_bits_are_read_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray((DEEP[0] // 16).astype(np.uint8)).save(path)
    train, white = training_set(path, SIDE)
    assert white is None
    again, _ = training_set([path, path], SIDE)
    assert again.samples[0].image.fingerprint() == train.samples[0].image.fingerprint()
    assert np.array_equal(train.array()[0, 0] * 255, DEEP[0] // 16)


def test_integers_and_floating_point_values_have_no_common_white() -> None:
    given = [Image.fromarray(DEEP[0]), Image.fromarray(DEEP[0].astype(np.float32))]
    with pytest.raises(UserError, match=r"some images hold integers of more than 8 bits and some floating-point"):
        training_set(given, SIDE)
    with pytest.raises(UserError, match="image 0: more than 8 bits per channel, values up to 39"):
        next(batches(given, SIDE, 2))


def test_open_images_are_turned_like_files(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "x.png"
    Image.fromarray((DEEP[0] // 16).astype(np.uint8)).save(path, exif=exif)
    (of_file, of_image) = (next(batches(given, SIDE, 1)).array() for given in (path, Image.open(path)))
    assert np.array_equal(of_file, of_image)
    assert np.array_equal(of_file[0, 0] * 255, np.rot90(DEEP[0] // 16, -1))


def test_open_images_that_lose_their_low_bytes_are_refused(tmp_path: Path) -> None:
    values = DEEP[:3].transpose(1, 2, 0)
    (tmp_path / "x.png").write_bytes(deep_png(values))
    found = next(batches(tmp_path / "x.png", SIDE, 1, white=4095)).array()[0] * 255
    assert np.allclose(found, np.rint(values / (4095 / 255)).transpose(2, 0, 1))
    with (
        Image.open(tmp_path / "x.png") as image,
        pytest.raises(UserError, match=r"image 0: .*give the path of the file"),
    ):
        next(batches(image, SIDE, 1, white=4095))


def test_files_that_are_left_out_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "deep")
    (folder / "0.png").rename(folder / "0.tga")
    with pytest.warns(UserWarning, match=r"files that look like images are not read \(1\): 0.tga"):
        train, _ = training_set(folder, SIDE)
    assert len(train) == 5


def test_every_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "deep")
    for name in ("1.png", "3.png"):
        (folder / name).write_bytes(b"words")
    with pytest.raises(UserError, match=r"1.png: cannot be read as an image: (.|\n)*3.png: cannot be read as an image"):
        training_set(folder, SIDE)
