"""The files of a data set: the right pixels whatever they look like, what is said about it, and what is refused."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from afrad_bench.datasets import cifar10, digits, folder, visa
from afrad_bench.errors import UserError
from afrad_bench.images.depth import white_of
from afrad_bench.images.pictures import FileIndex
from afrad_bench.types import FEW, Dataset

SIZE = (24, 16)
MARKED = np.zeros(SIZE[::-1], dtype=bool)
MARKED[4:9, 3:14] = True
ORIENTED = Image.Exif()
ORIENTED[0x0112] = 6


def surface(seed: int, low: int = 90, high: int = 111) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (*SIZE[::-1], 3), dtype=np.uint8)


def save(path: Path, image: Image.Image | np.ndarray, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **how)
    return path


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A sound category: 4 training images, 2 normal and 2 anomalous test images with plain masks."""
    at = tmp_path / "data" / "part"
    for kind, count in (("train/good", 4), ("test/good", 2), ("test/bad", 2)):
        for i in range(count):
            save(at / kind / f"{i}.png", surface(100 * len(kind) + i))
    for i in range(2):
        save(at / "ground_truth" / "bad" / f"{i}_mask.png", MARKED.astype(np.uint8) * 255)
    return at


def load(at: Path, index: Path | None = None, **options: Any) -> Dataset:
    loaded = folder.load(folder.Config(**options), at, FileIndex(index))
    assert isinstance(loaded, Dataset)
    return replace(loaded, notes=tuple(note for note in loaded.notes if not note.startswith(FEW)))  # they are few here


def refusal(at: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(at, **options)
    return str(caught.value)


def masks(data: Dataset) -> list[np.ndarray]:
    return [one.mask.read() for one in data.test if one.mask is not None]


# --------------------------------------------------------------------------------------------------------------- masks


def test_masks_are_read_as_they_look_and_a_note_says_so(part: Path) -> None:
    plain = load(part)
    truth = part / "ground_truth" / "bad"
    grey = Image.fromarray(MARKED.astype(np.uint8) * 255)
    save(truth / "0_mask.png", grey.convert("RGB").quantize(2))
    save(truth / "1_mask.png", Image.merge("LA", (Image.new("L", grey.size, 255), grey)))
    data = load(part)
    assert all(np.array_equal(mask, MARKED) for mask in masks(data))
    (note,) = data.notes
    assert note == (
        "2 of 2 masks are not read as every value above 0, but as they look: 1 by the colours of their palette or "
        "channels; 1 by their alpha channel"
    )
    assert plain.notes == ()
    assert data.fingerprint != plain.fingerprint
    as_numbers = load(part, mask_reading="above_zero")
    assert as_numbers.notes == ()
    assert masks(as_numbers)[1].all(), "the alpha channel was never looked at"


def test_masks_that_cannot_be_decided_are_named(part: Path) -> None:
    path = part / "ground_truth" / "bad" / "1_mask.png"
    inverted = Image.fromarray((~np.pad(MARKED, 8)).astype(np.uint8) * 255)
    save(path, inverted)
    save(part / "test" / "bad" / "1.png", Image.new("RGB", inverted.size))
    message = refusal(part)
    assert "masks that cannot be decided (1)\n  ground_truth/bad/1_mask.png: marks 96% of the image" in message
    assert "mask_reading: above_zero" in message
    assert masks(load(part, mask_reading="above_zero"))[1].mean() > 0.9


# ---------------------------------------------------------------------------------------------------------------- exif


def test_images_and_masks_are_turned_alike(part: Path) -> None:
    upright = load(part).test[2].image.read()
    for path in (part / "test/bad/0.png", part / "ground_truth/bad/0_mask.png"):
        image = Image.open(path)
        image.load()
        save(path, image, exif=ORIENTED)
    data = load(part)
    turned = data.test[2]
    assert np.array_equal(turned.image.read(), np.rot90(upright, -1))
    assert turned.mask is not None
    assert np.array_equal(turned.mask.read(), np.rot90(MARKED, -1))
    assert data.notes == (
        "1 images are turned as their EXIF orientation says",
        "1 masks are turned as their EXIF orientation says",
    )


def test_a_mask_that_fits_only_the_unturned_image_is_an_error_about_exif(part: Path) -> None:
    image = Image.open(part / "test/bad/0.png")
    image.load()
    save(part / "test/bad/0.png", image, exif=ORIENTED)
    message = refusal(part)
    assert "masks that fit their image only without the EXIF orientation (1)" in message
    assert "ground_truth/bad/0_mask.png: 24x16, the image 16x24" in message


def test_orientation_changes_the_fingerprint(part: Path) -> None:
    """Results of images that were read unturned must not stand for those of turned ones."""
    path = part / "train" / "good" / "0.png"
    image = Image.open(path)
    image.load()
    save(path, image, exif=ORIENTED)
    turned = load(part)
    picture = turned.train[0].image
    assert picture.fingerprint() != FileIndex().facts([path])[0].sha256


# --------------------------------------------------------------------------------------------------------------- depth


def deepen(part: Path, factor: float, kind: type = np.uint16, suffix: str = ".png") -> None:
    """Replace all images by grey ones of more bits: the first channel times a factor."""
    for path in [*part.glob("t*/*/*.png")]:
        values = np.asarray(Image.open(path))[:, :, 0].astype(float) * factor
        path.unlink()
        save(path.with_suffix(suffix), values.astype(kind))


@pytest.mark.parametrize(("kind", "suffix"), [(np.uint16, ".png"), (np.int32, ".tif"), (np.uint16, ".jp2")])
def test_the_bits_in_use_are_scaled(part: Path, kind: type, suffix: str) -> None:
    """12 bits in 16: the same grey levels as in 8 bits, not 16 of them."""
    grey = [np.asarray(Image.open(path))[:, :, 0] for path in sorted(part.glob("train/good/*.png"))]
    deepen(part, 4095 / 255, kind, suffix)
    data = load(part)
    assert white_of(data.train) == 4095
    for sample, wanted in zip(data.train, grey, strict=True):
        assert abs(sample.image.read()[:, :, 0].astype(int) - wanted).max() <= 1
    assert any(
        "8 images have more than 8 bits per pixel, of which 12 are in use (up to 17" in one for one in data.notes
    )


def test_full_range_keeps_its_pixels_and_its_fingerprint(part: Path) -> None:
    deepen(part, 257 * 2)
    data = load(part)
    path = part / "train" / "good" / "0.png"
    assert np.array_equal(data.train[0].image.read()[:, :, 0], np.rint(np.asarray(Image.open(path)) / 257))
    assert data.train[0].image.fingerprint() == FileIndex().facts([path])[0].sha256
    assert data.notes == ("8 images have 16 bits per pixel and are scaled to 8",)


def test_the_range_is_that_of_the_whole_data_set(part: Path) -> None:
    """Dark training images and a bright defect have one scale."""
    deepen(part, 2)  # up to 220: 8 bits
    bright = np.full(SIZE[::-1], 3000, dtype=np.uint16)
    save(part / "test" / "bad" / "0.png", bright)
    data = load(part)
    assert data.test[2].image.read().max() == round(3000 * 255 / 4095)
    assert data.train[0].image.read().max() < 20
    assert "half of them have no value above: part " in data.notes[0]
    forced = load(part, bits=8)
    assert forced.train[0].image.read().max() > 200
    (note,) = forced.notes
    assert note.endswith("(up to 3000), of which the option `bits` uses 8; 1 have larger values, which are cut")
    assert forced.fingerprint != data.fingerprint


def test_a_category_in_the_dark_of_another_is_named(part: Path, tmp_path: Path) -> None:
    for name, factor in (("a", 200), ("b", 10), ("c", 200)):
        shutil.copytree(part, tmp_path / "several" / name)
        deepen(tmp_path / "several" / name, factor)
    note, repeated = load(tmp_path / "several").notes
    assert repeated.startswith("training images that are there already")  # those of a and c
    assert re.search(r"half of them have no value above: b 1\d\d\d; `bits`", note), note


def test_bits_of_8_bit_images_change_nothing(part: Path) -> None:
    assert load(part, bits=12).notes == ("the option `bits` changes nothing: no image has more than 8 bits per pixel",)
    assert load(part, bits=12).fingerprint == load(part).fingerprint


def test_transparency_is_dropped_with_a_note(part: Path) -> None:
    for alpha, notes in (
        (255, ()),
        (0, ("1 images are not opaque everywhere; their colours are read as if they were",)),
    ):
        image = Image.fromarray(surface(0)).convert("RGBA")
        image.putpixel((0, 0), (*image.getpixel((0, 0))[:3], alpha))  # type: ignore[index, misc]
        save(part / "train" / "good" / "9.png", image)
        data = load(part)
        assert data.notes == notes
        assert np.array_equal(data.train[-1].image.read(), surface(0))


def test_floating_point_images_are_not_black(part: Path) -> None:
    deepen(part, 1 / 255, np.float32, ".tif")
    data = load(part)
    assert 85 < data.train[0].image.read().mean() < 115
    assert "8 images have floating-point pixels, up to 0.43" in data.notes[0]
    assert "1 is white" in data.notes[0]
    save(part / "train" / "good" / "x.png", np.full(SIZE[::-1], 3000, dtype=np.uint16))
    assert "images with floating-point values among images with integers of more than 8 bits (8)" in refusal(part)
    (part / "train" / "good" / "x.png").unlink()
    save(part / "train" / "good" / "0.tif", np.full(SIZE[::-1], -0.1, dtype=np.float32))
    assert "train/good/0.tif: cannot be read as an image: pixels below 0" in refusal(part)


def test_options_that_are_not_used_leave_no_trace() -> None:
    """The ids of cells are digests of the options, and stay what they were."""
    fields = {"limit_train", "limit_test", "limit_seed", "categories", "good", "masks"}
    assert set(folder.Config().model_dump()) == fields
    assert set(folder.Config(bits=12, max_pixels=9).model_dump()) == {*fields, "bits", "max_pixels"}
    for config in (folder.Config(), folder.Config(bits=12, mask_reading="above_zero", max_pixels=9)):
        assert folder.Config.model_validate(config.model_dump()) == config


# ------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("suffix", [".gif", ".jfif", ".jp2", ".ppm", ".webp", ".JPE"])
def test_formats_that_pillow_reads_count(part: Path, suffix: str) -> None:
    for path in [*part.glob("train/good/*.png")][:2]:
        image = Image.open(path)
        image.load()
        path.unlink()
        save(path.with_suffix(suffix), image)
    data = load(part)
    assert len(data.train) == 4
    assert data.notes == ()


def test_formats_that_are_not_read_are_named(part: Path) -> None:
    good = part / "train" / "good"
    (good / "0.png").rename(good / "0.tga")
    (good / "1.png").rename(good / "1")
    (part / "ground_truth" / "bad" / "more.npy").write_bytes(b"x")
    (good / "readme.txt").write_text("words")
    data = load(part)
    assert len(data.train) == 2
    assert data.notes == (
        "files that look like images are left out, since their format is not read (3): train/good/0.tga, train/good/1, "
        "ground_truth/bad/more.npy",
    )
    for path in good.glob("*.png"):
        path.rename(path.with_suffix(".heic"))
    assert "categories without training images (1)\n  part: 4 files of formats that are not read, the first" in refusal(
        part
    )


def test_several_pictures_in_a_file(part: Path) -> None:
    frames = [Image.fromarray(surface(i)) for i in range(3)]
    save(part / "train" / "good" / "9.tif", frames[0], save_all=True, append_images=frames[1:])
    data = load(part)
    assert np.array_equal(data.train[-1].image.read(), surface(0))
    assert data.notes == ("1 files hold several pictures (frames, pages); only the first of each is read",)


def test_dark_images_are_pointed_out(part: Path) -> None:
    """What is left of 12 bits per colour where only the upper byte could be read."""
    for path in part.glob("t*/*/*.png"):
        save(path, surface(1, 5, 16))
    assert load(part).notes[0].startswith("dark: no image has a value above 15 of 255")


# ---------------------------------------------------------------------------------------------------- limits and habits


def test_larger_images_are_allowed_by_a_field(part: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.sqlite"
    load(part, index)
    with pytest.raises(UserError) as caught:
        load(part, index, max_pixels=300)
    message = str(caught.value)
    assert "images with more pixels than allowed (10)" in message
    assert "train/good/0.png: 24x16 pixels, more than 300" in message
    assert "max_pixels" in message
    assert load(part, max_pixels=384).fingerprint == load(part).fingerprint


@pytest.mark.skipif(os.name != "posix", reason="of POSIX")
def test_pipes_and_circles_are_named_at_once(part: Path) -> None:
    os.mkfifo(part / "train" / "good" / "pipe.png")
    assert "train/good/pipe.png: a named pipe, not a file" in refusal(part)
    (part / "train" / "good" / "pipe.png").unlink()
    (part / "train" / "good" / "again").symlink_to(".", target_is_directory=True)
    assert "train/good/again: a folder that contains itself by a link" in refusal(part)


@pytest.mark.skipif(os.name != "posix", reason="of POSIX")
def test_pipes_in_place_of_lists_are_named(tmp_path: Path) -> None:
    for name in ("data_batch_1", "digits.csv.gz"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="data_batch_1: a named pipe, not a file"):
        cifar10.load(cifar10.Config(), tmp_path, FileIndex())
    with pytest.raises(UserError, match=r"digits.csv.gz: cannot be read: (.*)a named pipe, not a file"):
        digits.load(digits.Config(), tmp_path, FileIndex())


@pytest.mark.skipif(os.name != "posix", reason="of POSIX")
def test_a_root_whose_name_is_no_text(tmp_path: Path) -> None:
    at = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert f"{tmp_path}/\\xff: its name is no text in UTF-8" in refusal(at)


# ---------------------------------------------------------------------------------------------------------------- visa


def visa_root(root: Path, separator: str = "/") -> str:
    """The original layout of one category; returns its list."""
    lines = ["object,split,label,image,mask"]
    for i in range(4):
        save(root / f"candle/Data/Images/Normal/{i:04d}.JPG", surface(i))
        lines.append(f"candle,{'train' if i < 3 else 'test'},normal,candle/Data/Images/Normal/{i:04d}.JPG,")
    save(root / "candle/Data/Images/Anomaly/000.JPG", surface(9))
    save(root / "candle/Data/Masks/Anomaly/000.png", MARKED.astype(np.uint8) * 2)
    lines.append("candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png")
    (root / "split_csv").mkdir()
    return "\n".join([lines[0], *(line.replace("/", separator) for line in lines[1:])]) + "\n"


def load_visa(root: Path, **options: Any) -> Dataset:
    return visa.load(visa.Config(categories=("candle",), **options), root, FileIndex())


def test_a_list_of_visa_with_backslashes(tmp_path: Path) -> None:
    loaded = []
    for name, separator in (("a", "/"), ("b", "\\")):
        text = visa_root(tmp_path / name, separator)
        (tmp_path / name / "split_csv" / "1cls.csv").write_text(text)
        loaded.append(load_visa(tmp_path / name))
    assert loaded[0].fingerprint == loaded[1].fingerprint
    assert np.array_equal(masks(loaded[1])[0], MARKED)


@pytest.mark.parametrize("layout", ["auto", "original"])
def test_only_the_few_shot_list_of_visa(tmp_path: Path, layout: str) -> None:
    (tmp_path / "split_csv" / "2cls_fewshot.csv").write_text(visa_root(tmp_path))
    with pytest.raises(
        UserError, match=r"has no split_csv/1cls.csv\n  found: split_csv/2cls_fewshot.csv\n  the one-class"
    ):
        load_visa(tmp_path, layout=layout)


def test_a_list_of_visa_that_is_none(tmp_path: Path) -> None:
    header = visa_root(tmp_path).splitlines()[0]
    (tmp_path / "split_csv" / "1cls.csv").write_text(f'{header}\n"{"x" * 200_000}')
    with pytest.raises(UserError, match=r"1cls.csv: cannot be read as a list: field larger"):
        load_visa(tmp_path)
