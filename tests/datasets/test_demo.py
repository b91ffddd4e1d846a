"""The demo data set: disjoint regions, exact masks, honest notes."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afrad_bench.datasets import demo
from afrad_bench.datasets._reading import installed as _installed
from afrad_bench.datasets._reading.textures import PHOTOGRAPH, SIDE, Crop, Planted, PlantedMask
from afrad_bench.errors import UserError
from afrad_bench.images import pictures
from afrad_bench.images.pictures import FileIndex
from afrad_bench.images.planting import KINDS, VISIBLE, plant
from afrad_bench.types import Dataset, Sample


def load(index: Path | None = None, **options: object) -> Dataset:
    return demo.load(demo.Config(**options), None, FileIndex(index))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load()


def crop_of(sample: Sample) -> Crop:
    picture = sample.image
    if isinstance(picture, Planted):
        picture = picture.clean
    assert isinstance(picture, Crop)
    return picture


def test_contents(whole: Dataset) -> None:
    assert whole.name == "demo"
    assert whole.categories == ("elpv_mono", "elpv_poly", "texture_brick", "texture_grass", "texture_gravel")
    for name in whole.categories:
        part = whole.only(name)
        assert len(part.train) == 60
        assert [one.gt_label for one in part.test] == [False] * 30 + [True] * 30
        assert [one.defect for one in part.test[30:]] == sorted(one.defect for one in part.test[30:])
        assert all((one.mask is not None) == (one.gt_label and name.startswith("texture_")) for one in part.test)
    brick = Counter(one.defect for one in whole.only("texture_brick").test if one.gt_label)
    assert brick == dict.fromkeys(KINDS, 6)
    assert len({one.id for one in (*whole.train, *whole.test)}) == 600


def test_notes_are_honest(whole: Dataset) -> None:
    notes = "\n".join(whole.notes)
    assert "the defects are planted" in notes
    assert "image labels only, no masks: elpv_mono, elpv_poly" in notes
    assert "only 60 training images per category, chosen with seed 0: elpv_mono of 412, elpv_poly of 644" in notes
    assert "training images too" not in notes
    assert "CC BY-NC-SA 4.0" in whole.licence


def test_training_and_test_crops_share_no_pixel(whole: Dataset) -> None:
    """Pieces that `patch` takes from another texture count as test pixels of that texture."""
    for name in ("brick", "grass", "gravel"):
        used = {split: np.zeros((PHOTOGRAPH, PHOTOGRAPH), dtype=bool) for split in ("train", "test")}
        for split, samples in (("train", whole.train), ("test", whole.test)):
            textures = [one for one in samples if one.category.startswith("texture_")]
            crops = [crop_of(one) for one in textures]
            crops += [one.image.donor for one in textures if isinstance(one.image, Planted)]
            for crop in crops:
                if crop.photograph.path.stem == name:
                    assert 0 <= crop.top <= PHOTOGRAPH - SIDE
                    assert 0 <= crop.left <= PHOTOGRAPH - SIDE
                    used[split][crop.top : crop.top + SIDE, crop.left : crop.left + SIDE] = True
        assert not (used["train"] & used["test"]).any()
        assert used["train"].mean() > 0.5, "the training crops cover most of their part"
        assert used["test"].mean() > 0.3


def test_masks_are_exact(whole: Dataset) -> None:
    """Outside its mask a planted image is its clean crop; inside, every pixel differs visibly."""
    for sample in whole.test:
        if not isinstance(sample.image, Planted):
            continue
        assert isinstance(sample.mask, PlantedMask)
        planted, clean, mask = sample.image.read(), sample.image.clean.read(), sample.mask.read()
        assert planted.shape == (SIDE, SIDE, 3)
        assert mask.shape == (SIDE, SIDE)
        assert mask.dtype == np.bool_
        changed = np.abs(planted.astype(int) - clean).min(axis=2)
        assert (changed[~mask] == 0).all(), sample.id
        assert (changed[mask] >= VISIBLE).all(), sample.id
        assert 20 <= mask.sum() <= 0.25 * mask.size, sample.id


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    seed=st.integers(0, 2**32 - 1),
    level=st.integers(0, 255),
    spread=st.integers(0, 120),
)
def test_planting_is_exact_on_any_surface(kind: str, seed: int, level: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    clean = np.clip(rng.normal(level, spread, (SIDE, SIDE)), 0, 255).astype(np.uint8)
    donor = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    planted, mask = plant(kind, clean, donor, seed)
    changed = np.abs(planted.astype(int) - clean)
    assert mask.any()
    assert (changed[mask] >= VISIBLE).all()
    assert (changed[~mask] == 0).all()
    again, same = plant(kind, clean, donor, seed)
    assert np.array_equal(planted, again)
    assert np.array_equal(mask, same)


def test_a_defect_turns_round_where_it_would_leave_the_range() -> None:
    """White cannot be bleached: it is darkened just visibly, and never wraps round to black."""
    white = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    values = [int(value) for seed in range(20) for value in np.unique(plant("stain", white, white, seed)[0])]
    assert 255 - VISIBLE in values
    assert min(values) > 100


def test_mirrored_crops_are_mirrored(whole: Dataset) -> None:
    crops = [crop_of(one) for one in whole.train if one.category == "texture_grass"]
    assert 10 < sum(crop.mirrored for crop in crops) < 50
    mirrored = next(crop for crop in crops if crop.mirrored)
    straight = Crop(mirrored.photograph, mirrored.top, mirrored.left, mirrored=False)
    assert np.array_equal(mirrored.read(), straight.read()[:, ::-1])
    assert mirrored.fingerprint() != straight.fingerprint()
    assert not any(crop_of(one).mirrored for one in whole.test if one.category.startswith("texture_"))


def test_other_seeds_and_sizes(whole: Dataset) -> None:
    small = load(categories=("texture_gravel", "elpv_poly"), train=4, test=7)
    assert small.categories == ("elpv_poly", "texture_gravel")
    assert len(small.train) == 8
    assert len(small.test) == 28
    crops = {one.id: one for one in whole.test}
    textures = [one for one in small.test if one.category == "texture_gravel"]
    assert [crops[one.id] for one in textures] == textures, "a smaller demo is a part of the larger one"
    other = load(categories=("texture_gravel",), train=4, test=7, seed=1)
    assert all(one.image != crops[one.id].image for one in other.test)
    assert len({whole.fingerprint, small.fingerprint, other.fingerprint}) == 3


def test_the_second_load_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(tmp_path / "index.sqlite", train=5, test=5)
    read: list[Path] = []
    monkeypatch.setattr(pictures, "_facts_of", lambda path, *_: read.append(path))
    assert load(tmp_path / "index.sqlite", train=5, test=5) == first
    assert read == []


def test_a_fresh_process_makes_the_same_pixels(whole: Dataset) -> None:
    code = (
        "import hashlib; from afrad_bench.datasets import demo; from afrad_bench.images.pictures import FileIndex\n"
        "data = demo.load(demo.Config(), None, FileIndex()); print(data.fingerprint)\n"
        "print(hashlib.sha256(b''.join(s.image.read().tobytes() for s in data.test[-30:])).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    pixels = b"".join(one.image.read().tobytes() for one in whole.test[-30:])
    assert out.stdout.split() == [whole.fingerprint, hashlib.sha256(pixels).hexdigest()]
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_missing_packages_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_installed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        load()
    message = str(caught.value)
    assert "'elpv-dataset'" in message
    assert "'scikit-image'" in message
    assert "pip install 'afrad-bench[demo]'" in message


def test_a_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes no folder"):
        demo.load(demo.Config(), tmp_path, FileIndex())
