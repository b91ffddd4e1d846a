"""The handwritten digits: counts of the published list, the split, the protocol of classes, and damaged lists."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from afrad_bench.datasets import digits
from afrad_bench.errors import UserError
from afrad_bench.images.pictures import FileIndex
from afrad_bench.types import Dataset


def load(root: Path | None = None, **options: object) -> Dataset:
    return digits.load(digits.Config.model_validate(options), root, FileIndex(None))


def test_counts_and_pixels_are_those_of_scikit_learn() -> None:
    """1,797 images; whoever is normal, the test images are the same and cover all ten classes."""
    data, published = load(normal_classes="02468"), load_digits()
    assert data.categories == ("02468",)
    even = sum(label % 2 == 0 for label in published.target)
    assert len(data.train) == sum(round(0.7 * sum(published.target == label)) for label in (0, 2, 4, 6, 8))
    assert len(data.train) + sum(not one.gt_label for one in data.test) == even
    defects = Counter(one.defect for one in data.test if one.gt_label)
    assert set(defects) == {"one", "three", "five", "seven", "nine"}
    for one in (*data.train[:3], *data.test[-3:]):
        number = int(one.id.rpartition("/")[2])
        assert digits.CLASSES[published.target[number - 1]] == one.id.split("/")[2]
        assert np.array_equal(one.image.read()[..., 1], np.rint(published.images[number - 1] * 255 / 16))


def test_the_split_is_seeded_and_shared_by_the_combinations() -> None:
    first, other = load(normal_classes="01234"), load(normal_classes="56789")
    tail = {one.id.partition("/")[2] for one in first.test}
    assert tail == {one.id.partition("/")[2] for one in other.test}
    assert not {one.id for one in first.train} & {one.id for one in first.test}
    assert load(normal_classes="01234").fingerprint == first.fingerprint
    assert load(normal_classes="01234", split_seed=1).fingerprint != first.fingerprint
    limited = load(normal_classes="01234", limit_train=10, limit_test=5)
    assert (len(limited.train), len(limited.test)) == (10, 10)
    assert any("only 10 training images" in note for note in limited.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "cannot be read"),
        (gzip.compress(b"1,2,3", mtime=0), r"digits.csv.gz:1: expected 64 values from 0 to 16 and a class"),
        (gzip.compress(b"0," * 64 + b"x", mtime=0), r"digits.csv.gz:1: contains something other than numbers"),
        (gzip.compress(b"17," * 64 + b"3", mtime=0), "expected 64 values from 0 to 16"),
        (gzip.compress(b"0," * 64 + b"3", mtime=0)[:-12], "cannot be read"),
    ],
    ids=["no_archive", "three_numbers", "no_number", "too_bright", "cut_off"],
)
def test_damaged_lists_are_refused_with_their_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "digits.csv.gz").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_another_folder_needs_the_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"digits.csv.gz: cannot be read"):
        load(tmp_path)
