"""Image sets: what a method sees, and how masks follow."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from afrad_bench.images.sets import (
    ImageArray,
    ImageSet,
    KeptImages,
    resized_image,
    resized_mask,
    test_images,
    train_images,
)
from afrad_bench.types import Dataset, Images, Picture, Sample
from tests.conftest import DrawnPicture, SquareMask, drawn_dataset


def test_pixels_are_rgb_in_unit_range(dataset: Dataset) -> None:
    images = train_images(dataset, 32)
    pixels = images.array()
    assert pixels.shape == (24, 3, 32, 32)
    assert pixels.dtype == np.float32
    assert 0 <= pixels.min() < pixels.max() <= 1
    picture = Image.fromarray(dataset.train[3].image.read()).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.allclose(pixels[3], np.asarray(picture).transpose(2, 0, 1) / 255)


def test_an_image_of_the_right_size_is_left_alone(dataset: Dataset) -> None:
    original = dataset.train[0].image.read().transpose(2, 0, 1) / 255
    assert np.allclose(resized_image(dataset.train[0], 64), original)


def test_masks_keep_the_area_of_defects() -> None:
    sample = Sample("x", "a", DrawnPicture(1, defect=True), True, "square", SquareMask())
    for side in (16, 32, 64, 128):
        assert resized_mask(sample, side).mean() == pytest.approx(16 * 16 / 64**2)
    assert not resized_mask(Sample("y", "a", DrawnPicture(1), False), 32).any()
    with pytest.raises(ValueError, match="no pixel-level ground truth"):
        resized_mask(Sample("z", "a", DrawnPicture(1), True), 32)


def test_batches_partition_the_set_in_order(dataset: Dataset) -> None:
    images = test_images(dataset, 16)
    batches = list(images.batches(5))
    assert [len(batch) for batch in batches] == [5, 5, 5, 1]
    assert sum((batch.ids for batch in batches), ()) == images.ids
    assert [i for batch in batches for i in batch.indices] == list(range(16))
    assert all(batch.root is images for batch in batches)
    assert np.array_equal(np.concatenate([batch.array() for batch in batches]), images.array())


def test_the_fingerprint_is_of_content_and_preprocessing() -> None:
    prints = {
        train_images(drawn_dataset(), 32).fingerprint,
        train_images(drawn_dataset(), 64).fingerprint,
        test_images(drawn_dataset(), 32).fingerprint,
        train_images(drawn_dataset(train=5), 32).fingerprint,
        train_images(drawn_dataset().only("a"), 32).fingerprint,
    }
    assert len(prints) == 5
    assert train_images(drawn_dataset(), 32).fingerprint in prints


def test_one_category_alone(dataset: Dataset) -> None:
    alone = dataset.only("b")
    assert alone.categories == ("b",)
    assert {sample.category for sample in alone.train} == {"b"}


def test_sets_cross_process_borders(dataset: Dataset) -> None:
    images = pickle.loads(pickle.dumps(train_images(dataset, 16).subset([3, 1])))
    assert np.array_equal(images.array(), train_images(dataset, 16).array()[[3, 1]])


@dataclass(frozen=True)
class Counted:
    """A picture that counts how often it is decoded."""

    picture: Picture
    reads: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.picture, name)

    def read(self) -> Any:
        self.reads.append(1)
        return self.picture.read()


@pytest.mark.parametrize(("limit", "decoded"), [(10**9, 2), (0, 4), (3 * 16 * 16, None)])
def test_images_that_are_read_in_every_epoch_are_decoded_twice(
    dataset: Dataset, limit: int, decoded: int | None
) -> None:
    samples = tuple(replace(sample, image=Counted(sample.image)) for sample in dataset.train[:5])
    images = ImageSet(samples, 16, "", kept=KeptImages(limit))
    once = images.array()
    assert np.array_equal(once, ImageSet(samples, 16, "").array())
    for sample in samples:
        sample.image.reads.clear()  # type: ignore[attr-defined]
        sample.image.reads.append(1)  # type: ignore[attr-defined]
    for order in ([4, 2, 0, 1, 3], [0, 1, 2, 3, 4], [3, 3, 1, 4, 0, 2]):
        assert np.array_equal(images.subset(order).array(), once[order])
    counts = sorted(len(sample.image.reads) for sample in samples)  # type: ignore[attr-defined]
    if decoded is None:  # there is room for one
        assert counts[0] == 2
        assert counts[1:] == [4, 4, 4, 5]
    else:
        assert counts[:4] == [decoded] * 4


def test_arrays_are_images_too(dataset: Dataset) -> None:
    pixels = train_images(dataset, 16).array()
    images = ImageArray(pixels)
    assert isinstance(images, Images)
    assert images.size == (16, 16)
    assert np.array_equal(images.subset([2, 0]).array(), pixels[[2, 0]])
    assert [len(batch) for batch in images.batches(10)] == [10, 10, 4]
