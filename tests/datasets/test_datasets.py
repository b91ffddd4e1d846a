"""Data sets from folders: every layout made on the fly, everything that can be wrong with one, and fingerprints."""

from __future__ import annotations

import json
import multiprocessing
import operator
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from afrad_bench.datasets import cifar10, elpv, folder, mvtec_ad, visa
from afrad_bench.datasets._reading.assemble import choose
from afrad_bench.errors import UserError
from afrad_bench.hashing import seed_for
from afrad_bench.images import pictures
from afrad_bench.images.pictures import FileIndex
from afrad_bench.images.sets import resized_mask
from afrad_bench.registry import entries, find
from afrad_bench.types import Dataset
from tests.layouts import cifar_batches, python2_batch


def paint(path: Path, size: tuple[int, int] = (12, 8), mode: str = "RGB") -> Path:
    """An image file of random content that depends on its path's last four parts."""
    rng = np.random.default_rng(seed_for(*path.parts[-4:]))
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def mark(path: Path, size: tuple[int, int] = (12, 8), value: int = 255, at: int = 0) -> Path:
    """A mask file in which one pixel, the `at`-th, has this value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(size[0] * size[1], dtype=np.uint8)
    pixels[at] = value
    Image.fromarray(pixels.reshape(size[1], size[0])).save(path)
    return path


def category(at: Path, defects: tuple[str, ...] = ("crack",), masks: bool = True, suffix: str = ".png") -> Path:
    """A sound category in MVTec layout: 3 training, 2 normal test images and 2 of each defect."""
    for i in range(3):
        paint(at / "train" / "good" / f"{i:03d}{suffix}")
    for i in range(2):
        paint(at / "test" / "good" / f"{i:03d}{suffix}")
        for defect in defects:
            paint(at / "test" / defect / f"{i:03d}{suffix}")
            if masks:
                mark(at / "ground_truth" / defect / f"{i:03d}_mask.png", at=i)
    return at


def load(module: ModuleType, root: Path | None, index: Path | None = None, **options: object) -> Dataset:
    loaded = module.load(module.Config(**options), root, FileIndex(index))
    assert isinstance(loaded, Dataset)
    return loaded


def refusal(module: ModuleType, root: Path | None, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        load(module, root, **options)
    return str(caught.value)


def ids(samples: object) -> list[str]:
    return [sample.id for sample in samples]  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------------------- layouts


def test_mvtec_layout(tmp_path: Path) -> None:
    for name in ("bottle", "carpet"):
        category(tmp_path / name, ("crack", "blob"))
        (tmp_path / name / "readme.txt").write_text("words")
        (tmp_path / name / "train" / "good" / "Thumbs.db").write_bytes(b"x")
        (tmp_path / name / "train" / "good" / "._000.png").write_bytes(b"resource fork")
    data = load(mvtec_ad, tmp_path, categories=("carpet", "bottle"))
    assert data.categories == ("bottle", "carpet"), "canonical order, whatever the order of the option"
    assert ids(data.only("bottle").train) == [f"bottle/train/good/{i:03d}" for i in range(3)]
    assert ids(data.only("bottle").test) == [
        "bottle/test/good/000",
        "bottle/test/good/001",
        "bottle/test/blob/000",
        "bottle/test/blob/001",
        "bottle/test/crack/000",
        "bottle/test/crack/001",
    ]
    assert [one.gt_label for one in data.only("bottle").test] == [False, False, True, True, True, True]
    assert data.test[5].mask is not None
    assert data.test[5].mask.read().ravel()[1]
    assert data.test[0].mask is None
    assert not resized_mask(data.test[0], 8).any()
    assert any("bottle 3/2/4 instead of 209/20/63" in note for note in data.notes)


def test_suffixes_in_either_case_and_mixed_modes(tmp_path: Path) -> None:
    at = category(tmp_path / "part")
    paint(at / "train" / "good" / "grey.PNG", mode="L")
    paint(at / "train" / "good" / "photo.JPG")
    paint(at / "train" / "good" / "scan.TIFF")
    deep = np.full((8, 12), 0x8000, dtype=np.uint16)
    Image.fromarray(deep).save(at / "train" / "good" / "sixteen.png")
    data = load(folder, at)
    assert len(data.train) == 7
    for sample in data.train:
        assert sample.image.read().shape == (8, 12, 3)
        assert sample.image.read().dtype == np.uint8
    sixteen = next(one for one in data.train if one.id.endswith("sixteen"))
    assert (sixteen.image.read() == 128).all(), "0x8000 / 257 = 127.5, rounded to even"
    assert any("1 images have 16 bits" in note for note in data.notes)


def test_folder_of_one_category_bears_its_name(tmp_path: Path) -> None:
    data = load(folder, category(tmp_path / "widget"))
    assert data.name == "folder:widget"
    assert data.categories == ("widget",)


def test_folder_of_several_categories_and_other_folders(tmp_path: Path) -> None:
    category(tmp_path / "b")
    category(tmp_path / "a")
    paint(tmp_path / "previews" / "all.png")
    (tmp_path / "empty").mkdir()
    paint(tmp_path / "a" / "validation" / "good" / "000.png")
    data = load(folder, tmp_path)
    assert data.categories == ("a", "b")
    assert "folders that are not used: a/validation" in data.notes
    assert "folders that are not used: previews" in data.notes
    assert load(folder, tmp_path, categories=("b",)).categories == ("b",)
    message = refusal(folder, tmp_path, categories=("bb", "prevues"))
    assert "unknown category 'bb' (did you mean 'b'?)" in message
    assert "unknown category 'prevues'" in message


def test_folder_without_masks_has_image_labels_only(tmp_path: Path) -> None:
    category(tmp_path / "bare", masks=False)
    category(tmp_path / "masked")
    data = load(folder, tmp_path)
    assert all(one.mask is None for one in data.only("bare").test)
    assert "image labels only, no masks: bare" in data.notes
    assert "bare/test/crack/000.png" in refusal(folder, tmp_path, masks="required")
    assert all(one.mask is None for one in load(folder, tmp_path, masks="none").test)


def test_another_name_for_the_normal_images(tmp_path: Path) -> None:
    at = category(tmp_path / "01")
    (at / "train" / "good").rename(at / "train" / "ok")
    (at / "test" / "good").rename(at / "test" / "ok")
    message = refusal(folder, at)
    assert "would count as defects (1)\n  test/ok\n" in message
    data = load(folder, at, good="ok")
    assert [one.gt_label for one in data.test] == [False, False, True, True]
    assert ids(data.test)[0] == "01/test/good/000"


def visa_original(root: Path, name: str = "candle") -> list[str]:
    """The original layout of one category. Returns the lines of its list, anomalies first: order must not matter."""
    lines = []
    for i in range(2):
        paint(root / name / "Data" / "Images" / "Anomaly" / f"{i:03d}.JPG")
        mark(root / name / "Data" / "Masks" / "Anomaly" / f"{i:03d}.png", value=1 + i, at=i)
        at = f"{name}/Data/Images/Anomaly/{i:03d}.JPG,{name}/Data/Masks/Anomaly/{i:03d}.png"
        lines.append(f"{name},test,anomaly,{at}")
    for i in range(4):
        paint(root / name / "Data" / "Images" / "Normal" / f"{i:04d}.JPG")
        split = "train" if i < 3 else "test"
        lines.append(f"{name},{split},normal,{name}/Data/Images/Normal/{i:04d}.JPG,")
    return lines


def write_list(root: Path, lines: list[str]) -> None:
    (root / "split_csv").mkdir(exist_ok=True)
    (root / "split_csv" / "1cls.csv").write_text("\n".join(["object,split,label,image,mask", *lines]) + "\n")


def test_visa_original_layout(tmp_path: Path) -> None:
    write_list(tmp_path, [*visa_original(tmp_path), *visa_original(tmp_path, "pcb1")])
    data = load(visa, tmp_path, categories=("candle", "pcb1"))
    assert data.categories == ("pcb1", "candle"), "the order of the paper's table"
    assert ids(data.only("candle").train) == [f"candle/train/good/000{i}" for i in range(3)]
    assert ids(data.only("candle").test) == [
        "candle/test/good/0003",
        "candle/test/anomaly/000",
        "candle/test/anomaly/001",
    ]
    mask = data.test[-1].mask
    assert mask is not None
    assert np.flatnonzero(mask.read()).tolist() == [1], "a class id of 2 marks the pixel as 255 does"


def test_visa_converted_layout_has_the_same_ids(tmp_path: Path) -> None:
    original, converted = tmp_path / "original", tmp_path / "1cls"
    write_list(original, visa_original(original))
    for i in range(4):
        split = "train" if i < 3 else "test"
        paint(converted / "candle" / split / "good" / f"{i:04d}.JPG")
    for i in range(2):
        paint(converted / "candle" / "test" / "bad" / f"{i:03d}.JPG")
        mark(converted / "candle" / "ground_truth" / "bad" / f"{i:03d}.png", at=i)
    one, other = load(visa, original, categories=("candle",)), load(visa, converted, categories=("candle",))
    assert ids(one.train) == ids(other.train)
    assert ids(one.test) == ids(other.test)
    assert [s.gt_label for s in one.test] == [s.gt_label for s in other.test]
    assert "has no split_csv/1cls.csv" in refusal(visa, converted, categories=("candle",), layout="original")
    assert str(converted) in refusal(visa, tmp_path, categories=("candle",)), "the folder that was meant is named"


def test_visa_list_reports_every_bad_line(tmp_path: Path) -> None:
    lines = visa_original(tmp_path)
    lines += [
        "candel,train,normal,candle/x.JPG,",
        "candle,val,normal,candle/x.JPG,",
        "candle,train,odd,candle/x.JPG,",
        "candle,train,anomaly,candle/x.JPG,candle/x.png",
        "candle,train,normal,candle/Data/Images/Normal/0000.JPG,",
        "candle,train,normal,candle/Data/Images/Normal/9999.JPG,",
        "candle,test,anomaly,candle/Data/Images/Anomaly/007.JPG,candle/Data/Masks/Anomaly/008.png",
    ]
    write_list(tmp_path, lines)
    message = refusal(visa, tmp_path, categories=("candle",))
    for part in (
        "1cls.csv:8: unknown object 'candel' (did you mean 'candle'?)",
        "1cls.csv:9: split is 'val'",
        "1cls.csv:10: label is 'odd'",
        "1cls.csv:11: an anomalous training image",
        "1cls.csv:12: names 0000.JPG again, after line 4",
        "Normal/9999.JPG: No such file",
        "1cls.csv:14: 008.png with 007.JPG",
    ):
        assert part in message, part
    (tmp_path / "split_csv" / "1cls.csv").write_text("object,split,image\n")
    assert "lacks the columns label, mask" in refusal(visa, tmp_path, categories=("candle",))


def cifar_folders(root: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        for name in cifar10.CLASSES:
            for i in range(count):
                paint(root / split / name / f"{i:04d}.png", size=(32, 32))


def test_cifar10_batches(tmp_path: Path) -> None:
    written = cifar_batches(tmp_path / "cifar-10-batches-py")
    data = load(cifar10, tmp_path, normal_classes="02468")
    assert data.categories == ("02468",)
    assert len(data.train) == 25
    assert [one.gt_label for one in data.test] == [False] * 5 + [True] * 5
    assert [one.defect for one in data.test[5:]] == ["automobile", "cat", "dog", "horse", "truck"]
    cat = data.test[6]
    assert cat.id == "02468/test/cat/test_batch-00003"
    red, green, blue = written["test_batch"][3].reshape(3, 32, 32)
    assert np.array_equal(cat.image.read(), np.dstack([red, green, blue]))
    assert any("not the published files, by MD5" in note for note in data.notes)
    assert load(cifar10, tmp_path / "cifar-10-batches-py", normal_classes="02468").fingerprint == data.fingerprint
    assert load(cifar10, tmp_path, normal_classes="13579").fingerprint != data.fingerprint


def test_cifar10_batches_without_a_normal_class(tmp_path: Path) -> None:
    for name, planes in cifar_batches(tmp_path / "b").items():
        (tmp_path / "b" / name).write_bytes(python2_batch(planes, [7] * 10))
    assert "has no training images" in refusal(cifar10, tmp_path / "b", normal_classes="3")


def test_cifar10_batches_written_by_this_python(tmp_path: Path) -> None:
    for name, planes in cifar_batches(tmp_path / "b").items():
        batch = {b"data": planes, b"labels": list(range(10)), b"filenames": [b"x.png"] * 10}
        (tmp_path / "b" / name).write_bytes(pickle.dumps(batch, protocol=2))
    assert len(load(cifar10, tmp_path / "b").test) == 10


def test_cifar10_runs_no_code_and_lists_every_bad_batch(tmp_path: Path) -> None:
    written = cifar_batches(tmp_path / "b")
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR."
    (tmp_path / "b" / "data_batch_1").write_bytes(evil)
    (tmp_path / "b" / "data_batch_2").write_bytes(python2_batch(written["data_batch_2"], list(range(10)))[:-500])
    (tmp_path / "b" / "data_batch_3").write_bytes(python2_batch(written["data_batch_3"], [10] * 10))
    (tmp_path / "b" / "data_batch_4").write_bytes(python2_batch(written["data_batch_4"], [1, 2]))
    (tmp_path / "b" / "data_batch_5").unlink()
    (tmp_path / "b" / "test_batch").write_bytes(pickle.dumps([1, 2, 3], protocol=2))
    message = refusal(cifar10, tmp_path / "b")
    assert not (tmp_path / "owned").exists()
    assert "(6)" in message
    assert "data_batch_1: asks for os.system" in message
    assert "data_batch_2: " in message
    assert "data_batch_3: labels is not a list of classes from 0 to 9" in message
    assert "data_batch_4: 10 images, 2 labels" in message
    assert "data_batch_5: No such file" in message
    assert "test_batch: holds no dictionary" in message


def test_cifar10_image_folders(tmp_path: Path) -> None:
    cifar_folders(tmp_path)
    data = load(cifar10, tmp_path, normal_classes=[5, 6, 7, 8, 9])
    assert data.categories == ("56789",)
    assert ids(data.train)[:4] == [f"56789/train/dog/000{i}" for i in range(3)] + ["56789/train/frog/0000"]
    assert len(data.train) == 15
    assert [one.gt_label for one in data.test] == [False] * 10 + [True] * 10
    (tmp_path / "test" / "cat").rename(tmp_path / "test" / "cats")
    message = refusal(cifar10, tmp_path)
    assert "test/cats: is it 'cat'?" in message
    assert "test/cat: missing" in message


@pytest.mark.parametrize("wrong", ["10", "11", "0123456789", "cat", "", 1234, [3, 1], [11]])
def test_cifar10_refuses_other_normal_classes(wrong: object) -> None:
    with pytest.raises(ValidationError):
        cifar10.Config(normal_classes=wrong)


# ------------------------------------------------------------------------------------------------------------- pairing


def test_masks_pair_by_stem_not_by_position(tmp_path: Path) -> None:
    at = category(tmp_path / "part", masks=False)
    names = ["2", "10", "1", "b_mask_x"]
    for i, name in enumerate(names):
        paint(at / "test" / "crack" / f"{name}.png")
        mark(at / "ground_truth" / "crack" / (f"{name}_mask.bmp" if i % 2 else f"{name}.png"), at=40 + i)
    for i, name in enumerate(("000", "001")):
        mark(at / "ground_truth" / "crack" / f"{name}_mask.png", at=50 + i)
    marks = {}
    for sample in load(folder, at).test:
        if sample.gt_label:
            assert sample.mask is not None
            marks[sample.id.rpartition("/")[2]] = np.flatnonzero(sample.mask.read()).tolist()
    assert marks == {"2": [40], "10": [41], "1": [42], "b_mask_x": [43], "000": [50], "001": [51]}


# ----------------------------------------------------------------------------------------------------------- offenders


def test_all_offenders_are_listed_at_once(tmp_path: Path) -> None:
    part, other = category(tmp_path / "part", ("crack", "dent")), category(tmp_path / "other")
    crack, truth = part / "test" / "crack", part / "ground_truth"
    (part / "train" / "good" / "000.png").write_bytes(b"not an image")
    truncated = other / "test" / "good" / "001.png"
    truncated.write_bytes(truncated.read_bytes()[:-100])
    Image.fromarray(np.zeros((8, 12), dtype=np.float32)).save(part / "train" / "good" / "real.tif")
    Image.fromarray(np.full((8, 12), 4000, dtype=np.uint16)).save(part / "train" / "good" / "deep.tif")
    mark(truth / "crack" / "000_mask.png", size=(8, 12))
    mark(truth / "crack" / "001_mask.png", value=0)
    mark(truth / "crack" / "777_mask.png")
    (truth / "dent" / "000_mask.png").unlink()
    mark(truth / "dent" / "001.png")
    mark(truth / "gone" / "000_mask.png")
    mark(truth / "good" / "000.png")
    paint(crack / "001.bmp")
    paint(crack / "001_mask.png")
    paint(part / "test" / "Good" / "000.png")
    paint(part / "train" / "bad" / "000.png")
    paint(part / "test" / "stray.png")
    paint(part / "test" / "dent" / "more" / "000.png")
    category(tmp_path / "mean")
    for name in ("no_train", "no_test"):
        category(tmp_path / name)
    for name in ("no_train/train", "no_test/test"):
        for image in sorted((tmp_path / name).rglob("*.png")):
            image.unlink()
    message = refusal(folder, tmp_path)
    sections: dict[str, list[str]] = {}
    for line in message.splitlines():
        if not line.startswith("  "):
            title = line.removeprefix(f"{tmp_path}: ")
            sections[title] = []
        else:
            sections[title].append(line.strip())
    named = {title: lines[:-1] for title, lines in sections.items()}
    unreadable = named.pop("images or masks that cannot be read (2)")
    assert unreadable[0].startswith("other/test/good/001.png: cannot be read as an image: ")
    assert unreadable[1].startswith("part/train/good/000.png: cannot be read as an image: ")
    assert named == {
        "images with floating-point values among images with integers of more than 8 bits (1)": [
            "part/train/good/real.tif"
        ],
        "masks whose size differs from their image (1)": ["part/ground_truth/crack/000_mask.png: 8x12, the image 12x8"],
        "anomalous images with an empty mask (1)": ["part/ground_truth/crack/001_mask.png"],
        "masks without an image (4)": [
            "no_test/ground_truth/crack/000_mask.png",
            "no_test/ground_truth/crack/001_mask.png",
            "part/ground_truth/crack/777_mask.png",
            "part/ground_truth/gone/000_mask.png",
        ],
        "anomalous images without a mask (3)": [
            "part/test/Good/000.png",
            "part/test/crack/001_mask.png",
            "part/test/dent/000.png",
        ],
        "images with several masks (1)": ["part/ground_truth/dent/001_mask.png: second mask, after 001.png"],
        "normal images whose mask marks a defect (1)": ["part/ground_truth/good/000.png"],
        "images in one folder with the same stem (1)": ["part/test/crack/001.png: same stem as 001.bmp"],
        "masks among the images (1)": ["part/test/crack/001_mask.png"],
        "folders that look like normal images but would count as defects (1)": ["part/test/Good"],
        "images in folders that are not read (3)": [
            "part/train/bad/000.png: only train/good is used for training",
            "part/test/dent/more/000.png",
            "part/test/stray.png",
        ],
        "reserved category names (1)": ["mean"],
        "categories without training images (1)": ["no_train"],
        "categories without test images (1)": ["no_test"],
    }


def test_a_long_list_is_cut_and_counted(tmp_path: Path) -> None:
    at = category(tmp_path / "part")
    for i in range(35):
        (at / "train" / "good" / f"broken{i:02d}.png").write_bytes(b"")
    message = refusal(folder, at)
    assert "cannot be read (35)" in message
    assert "broken19.png" in message
    assert "broken20.png" not in message
    assert "and 15 more" in message


def test_missing_root_and_missing_categories(tmp_path: Path) -> None:
    message = refusal(mvtec_ad, None)
    assert "--data mvtec_ad=PATH" in message
    assert "AFRAD_BENCH_MVTEC_AD" in message
    assert "mvtec.com" in message
    (tmp_path / "mvtec").mkdir()
    assert f"did you mean {tmp_path / 'mvtec'}?" in refusal(mvtec_ad, tmp_path / "mvtc")
    (tmp_path / "file").write_text("")
    assert "is a file, not a folder" in refusal(mvtec_ad, tmp_path / "file")
    category(tmp_path / "mvtec" / "bottle")
    assert f"did you mean {tmp_path / 'mvtec'}?" in refusal(mvtec_ad, tmp_path), "one folder too high"
    assert f"did you mean {tmp_path / 'mvtec'}?" in refusal(mvtec_ad, tmp_path / "mvtec" / "bottle"), "one too deep"
    category(tmp_path / "mvtec" / "Cable")
    message = refusal(mvtec_ad, tmp_path / "mvtec")
    assert "categories without a folder (14)" in message
    assert "cable: is it 'Cable'?" in message
    assert len(load(mvtec_ad, tmp_path / "mvtec", categories=("bottle",)).train) == 3
    assert "contains no category in MVTec layout" in refusal(folder, tmp_path / "mvtec" / "bottle" / "train" / "good")
    assert "neither batches nor image folders" in refusal(cifar10, tmp_path)


def test_categories_are_checked_before_anything_is_read() -> None:
    with pytest.raises(ValidationError, match=r"'botle' \(did you mean 'bottle'\?\); unknown category 'x'"):
        mvtec_ad.Config(categories=("botle", "x"))
    with pytest.raises(ValidationError, match="named more than once: cable"):
        mvtec_ad.Config(categories=("cable", "cable"))
    with pytest.raises(ValidationError, match="at least 1"):
        folder.Config(categories=())


def test_one_sided_test_splits_are_noted(tmp_path: Path) -> None:
    category(tmp_path / "only_bad")
    category(tmp_path / "only_good", defects=())
    for image in (tmp_path / "only_bad" / "test" / "good").iterdir():
        image.unlink()
    notes = load(folder, tmp_path).notes
    assert "no normal test images, so image-level metrics are undefined: only_bad" in notes
    assert "no anomalous test images, so all accuracy metrics are undefined: only_good" in notes


def test_test_images_that_were_trained_on_are_noted(tmp_path: Path) -> None:
    at = category(tmp_path / "part")
    leak = (at / "train" / "good" / "001.png").read_bytes()
    (at / "test" / "crack" / "000.png").write_bytes(leak)
    assert "test images that are training images too (1): part/test/crack/000" in load(folder, at).notes


def test_few_test_images_of_a_kind_are_noted(tmp_path: Path) -> None:
    category(tmp_path / "small")
    data = load(folder, tmp_path)
    normal, anomalous = (sum(bool(one.gt_label) is kind for one in data.test) for kind in (False, True))
    assert (
        f"few test images, so that one image moves an accuracy by points: small {normal} normal, {anomalous} anomalous"
        in (data.cautions)
    )


def test_categories_one_folder_deeper_are_pointed_at(tmp_path: Path) -> None:
    category(tmp_path / "archive" / "part")
    assert f"{tmp_path / 'archive'} holds such categories: name that folder" in refusal(folder, tmp_path)
    paint(tmp_path / "flat" / "000.png")
    assert "found: no folders, 1 images" in refusal(folder, tmp_path / "flat")


def test_training_images_that_count_twice_are_noted(tmp_path: Path) -> None:
    at = category(tmp_path / "part")
    assert not any("there already" in note for note in load(folder, at).notes)
    first, *others = sorted((at / "train" / "good").iterdir())
    for copy in others:
        copy.write_bytes(first.read_bytes())
    found = [f"part/train/good/{copy.stem}" for copy in others]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    wanted = f"training images that are there already ({len(found)}): {', '.join(found[:3])}{more}"
    assert wanted in load(folder, at).notes


# -------------------------------------------------------------------------------------------------------------- limits


def test_limits_are_seeded_stated_and_spread_over_the_defects(tmp_path: Path) -> None:
    at = category(tmp_path / "part", ("a", "b", "c"))
    whole = load(folder, at)
    data = load(folder, at, limit_train=2, limit_test=1, limit_seed=3)
    assert len(data.train) == 2
    assert [one.gt_label for one in data.test] == [False, True]
    assert set(ids(data.train)) < set(ids(whole.train))
    assert "only 2 training images per category, chosen with seed 3: part of 3" in data.notes
    assert "only 1 anomalous test images per category, chosen with seed 3: part of 6" in data.notes
    assert load(folder, at, limit_train=2, limit_test=1, limit_seed=3) == data
    assert {one.defect for one in load(folder, at, limit_test=3).test if one.gt_label} == {"a", "b", "c"}
    assert load(folder, at, limit_train=9).fingerprint == whole.fingerprint, "a limit that cuts nothing changes nothing"
    chosen = {load(folder, at, limit_train=1, limit_seed=seed).train[0].id for seed in range(20)}
    assert chosen == set(ids(whole.train))


@settings(deadline=None, max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5), count=st.integers(0, 40), seed=st.integers(0, 2**32 - 1)
)
def test_a_choice_is_even_and_grows_with_its_size(sizes: list[int], count: int, seed: int) -> None:
    names = [f"{folder}/{i}" for folder, size in enumerate(sizes) for i in range(size)]
    chosen = choose(names, count, seed)
    assert len(chosen) == min(count, len(names))
    assert chosen <= choose(reversed(names), count + 1, seed), "neither order nor a larger count drops anyone"
    taken = [sum(name.startswith(f"{folder}/") for name in chosen) for folder in range(len(sizes))]
    for had, got in zip(sizes, taken, strict=True):
        assert got == had or got >= max(taken) - 1


# -------------------------------------------------------------------------------------------------------- fingerprints


def test_fingerprint_is_of_content(tmp_path: Path) -> None:
    at = category(tmp_path / "here" / "part")
    first = load(folder, at).fingerprint
    moved = tmp_path / "there" / "part"
    moved.parent.mkdir()
    at.rename(moved)
    os.utime(moved / "train" / "good" / "000.png", ns=(1, 1))
    assert load(folder, moved).fingerprint == first
    image, mask = moved / "test" / "good" / "000.png", moved / "ground_truth" / "crack" / "000_mask.png"
    seen = {first}
    for change in (
        lambda: paint(image, mode="L"),
        lambda: mark(mask, at=7),
        lambda: (moved / "test" / "good" / "001.png").rename(moved / "test" / "good" / "002.png"),
        lambda: (moved / "train" / "good" / "000.png").unlink(),
        lambda: (
            (moved / "test" / "crack").rename(moved / "test" / "dent")
            and (moved / "ground_truth" / "crack").rename(moved / "ground_truth" / "dent")
        ),
    ):
        change()
        seen.add(load(folder, moved).fingerprint)
    assert len(seen) == 6
    assert load(folder, moved, masks="none").fingerprint not in seen


def test_a_changed_byte_is_noticed_through_the_index(tmp_path: Path) -> None:
    at, index = category(tmp_path / "part", suffix=".bmp"), tmp_path / "index.sqlite"
    first = load(folder, at, index).fingerprint
    image = at / "train" / "good" / "000.bmp"
    raw = bytearray(image.read_bytes())
    raw[-1] ^= 1
    image.write_bytes(raw)
    assert load(folder, at, index).fingerprint != first


def test_the_second_load_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at, index = category(tmp_path / "part"), tmp_path / "index.sqlite"
    first = load(folder, at, index)
    read = []
    monkeypatch.setattr(pictures, "_facts_of", lambda path, *_: read.append(path))
    assert load(folder, at, index) == first
    assert read == []


def test_other_processes_see_the_same(tmp_path: Path) -> None:
    """A fresh interpreter with another hash seed finds the same fingerprints; a spawned one can read the samples."""
    at = category(tmp_path / "part", ("b", "a", "c"))
    cifar_folders(tmp_path / "cifar")
    code = (
        "import json, sys; from pathlib import Path; from afrad_bench.images.pictures import FileIndex\n"
        "from afrad_bench.datasets import cifar10, elpv, folder\n"
        "loads = [(folder, sys.argv[1], {}), (folder, sys.argv[1], {'limit_train': 2, 'limit_test': 2}),"
        " (cifar10, sys.argv[2], {}), (elpv, None, {'limit_train': 3, 'limit_test': 3})]\n"
        "print(json.dumps([m.load(m.Config(**o), r and Path(r), FileIndex()).fingerprint for m, r, o in loads]))"
    )
    command = [sys.executable, "-c", code, str(at), str(tmp_path / "cifar")]
    out = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "77"}, check=True, capture_output=True, text=True
    )
    here = [
        load(folder, at),
        load(folder, at, limit_train=2, limit_test=2),
        load(cifar10, tmp_path / "cifar"),
        load(elpv, None, limit_train=3, limit_test=3),
    ]
    assert json.loads(out.stdout) == [one.fingerprint for one in here]
    samples = [here[0].test[0], here[0].test[-1], here[2].train[0]]
    assert pickle.loads(pickle.dumps(here)) == here
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = list(pool.map(operator.methodcaller("read"), [one.image for one in samples]))
    for sample, pixels in zip(samples, there, strict=True):
        assert np.array_equal(sample.image.read(), pixels)


# ---------------------------------------------------------------------------------------------------------------- elpv


def test_elpv_counts(tmp_path: Path) -> None:
    """Figures of the published list: 588 + 920 normal cells, 295 of probability 1/3, 106 of 2/3, 715 of 1."""
    index = tmp_path / "index.sqlite"
    data = load(elpv, None, index)
    assert data.categories == ("mono", "poly")
    normal = {
        name: len(data.only(name).train) + sum(not s.gt_label for s in data.only(name).test) for name in elpv.TYPES
    }
    assert normal == {"mono": 588, "poly": 920}
    assert {name: len(data.only(name).train) for name in elpv.TYPES} == {"mono": 412, "poly": 644}
    anomalous = dict.fromkeys(("1/3", "2/3", "1"), 0)
    for threshold in anomalous:
        anomalous[threshold] = sum(s.gt_label for s in load(elpv, None, index, anomalous_from=threshold).test)
    assert anomalous == {"1/3": 295 + 106 + 715, "2/3": 106 + 715, "1": 715}
    assert "295 cells between these are left out" in data.notes[0]
    assert data.licence == "CC BY-NC-SA 4.0"
    assert data.train[0].image.read().shape == (300, 300, 3)
    assert not set(ids(data.train)) & set(ids(data.test))
    other = load(elpv, None, index, split_seed=1)
    assert set(ids(other.train)) != set(ids(data.train))
    assert len(other.train) == len(data.train)


def test_elpv_of_another_folder_and_its_faults(tmp_path: Path) -> None:
    for i in range(4):
        paint(tmp_path / "images" / f"cell{i}.png", mode="L")
    lines = ["images/cell0.png 0.0 mono", "images/cell1.png 0.0 mono", "images/cell2.png 1.0 mono"]
    (tmp_path / "labels.csv").write_text("\n".join([*lines, "images/cell3.png 0.3333333333333333 mono"]))
    data = load(elpv, tmp_path, categories=("mono",), train_fraction=0.5, anomalous_from="1/3")
    assert [one.defect for one in data.test] == ["good", "certain", "possible"]
    (tmp_path / "labels.csv").write_text(
        "\n".join([*lines, "images/cell3.png 0.5 mono", "images/cell3.png 1 multi", "x"])
    )
    message = refusal(elpv, tmp_path)
    assert "labels.csv:4: probability 0.5" in message
    assert "labels.csv:5: unknown type 'multi'" in message
    assert "labels.csv:6: 1 columns" in message
    assert "has no labels.csv" in refusal(elpv, tmp_path / "images")


# ----------------------------------------------------------------------------------------------------- published counts


@pytest.mark.parametrize(
    ("module", "categories", "totals"), [(mvtec_ad, 15, (3629, 467, 1258)), (visa, 12, (8659, 962, 1200))]
)
def test_published_counts_add_up(module: ModuleType, categories: int, totals: tuple[int, int, int]) -> None:
    """Totals as the publications give them."""
    assert len(module.PUBLISHED) == categories
    assert tuple(map(sum, zip(*module.PUBLISHED.values(), strict=True))) == totals


# ------------------------------------------------------------------------------------------------------------ registry


def test_every_data_set_keeps_the_contract() -> None:
    """Registered under its file name, described in one line, with options whose defaults are valid and explained."""
    names = {"mvtec_ad", "visa", "cifar10", "folder", "elpv", "demo", "digits"}
    assert names <= set(entries("dataset"))
    for name in names:
        entry = find("dataset", name)
        assert 20 < len(entry.summary()) <= 120
        module = entry.load()
        assert module.VERSION
        assert module.HELP
        assert module.ENVIRONMENT in (None, f"AFRAD_BENCH_{name.upper()}")
        module.Config()
        assert all(field.description for field in module.Config.model_fields.values())
        with pytest.raises(ValidationError):
            module.Config(no_such_option=1)


def test_importing_the_data_sets_loads_nothing_heavy() -> None:
    code = (
        "import sys; from afrad_bench.datasets import cifar10, demo, elpv, folder, mvtec_ad, visa\n"
        "print(sorted({'torch', 'numpy', 'PIL', 'scipy', 'skimage', 'elpv_dataset', 'pandas'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"
