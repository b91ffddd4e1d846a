"""What the gallery keeps: which images, and that the small pictures are true to what the method said."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from afrad_bench.images.sets import resized_mask
from afrad_bench.images.sets import test_images as images_at
from afrad_bench.measures import gallery
from afrad_bench.types import Cell, Dataset, Example, Prediction, Sample, Subject, TrainingRecord
from tests.conftest import DrawnPicture, SquareMask, drawn_dataset


@dataclass
class Ranking:
    """Scores images by `scores`, else by their number; the map is a ramp from 0 to the score."""

    scores: dict
    maps: bool = True

    def predict(self, images):
        values = np.array([self.scores.get(name, float(name.rpartition("/")[2])) for name in images.ids])
        height, width = images.size
        ramp = np.linspace(0.0, 1.0, height * width).reshape(height, width)
        return Prediction(values, (values[:, None, None] * ramp).astype(np.float32) if self.maps else None)


def kept(method, dataset: Dataset | None = None, side: int = 64, **config) -> list[Example]:
    data = dataset or drawn_dataset()
    cell = Cell("fake", "{}", "drawn", "{}", "unified", None, side, 0, "demo")
    images = images_at(data, side)
    subject = Subject(cell, method, data, images, images, TrainingRecord(), 0.0, None, "cpu", 1)
    return list(gallery.measure(subject, gallery.Config(**config)))


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def several_kinds() -> Dataset:
    """Category a: two dents, a scratch, three holes, in this order, and two good ones between them."""
    kinds = ["dent", "good", "dent", "scratch", "hole", "good", "hole", "hole"]
    samples = tuple(
        Sample(f"a/{kind}/{i}", "a", DrawnPicture(i, defect=kind != "good"), kind != "good", kind)
        for i, kind in enumerate(kinds)
    )
    return Dataset("drawn", "1", (), samples, "f")


def test_kinds_of_defects_take_turns_and_normal_images_come_last() -> None:
    def ids(**config: int) -> list[str]:
        return [one.image_id for one in kept(Ranking({}), several_kinds(), **config)]

    assert ids(defective=5, good=1) == ["a/dent/0", "a/scratch/3", "a/hole/4", "a/dent/2", "a/hole/6", "a/good/1"]
    assert ids(defective=1, good=2) == ["a/dent/0", "a/good/1", "a/good/5"]
    assert ids(defective=99, good=0)[-1] == "a/hole/7"
    assert ids(defective=0, good=0) == []


def test_the_choice_is_blind_to_what_the_method_says() -> None:
    one, other = Ranking({"a/square/0": 99.0}), Ranking({"a/square/3": -99.0, "b/good/1": 50.0})
    assert [e.image_id for e in kept(one)] == [e.image_id for e in kept(other)]
    assert {e.role for e in kept(one)} == {"chosen"}


def test_only_the_chosen_images_are_predicted_unless_failures_are_asked_for() -> None:
    seen: list[str] = []

    class Watching(Ranking):
        def predict(self, images):
            seen.extend(images.ids)
            return super().predict(images)

    kept(Watching({}), defective=1, good=1)
    assert seen == ["a/square/0", "a/good/0", "b/square/0", "b/good/0"]
    seen.clear()
    kept(Watching({}), defective=1, good=1, failures=1, batch_size=3)
    assert len(seen) == len(set(seen)) == 16


def test_failures_are_the_lowest_defects_and_the_highest_normal_images() -> None:
    scores = {"a/square/2": -5.0, "a/square/1": -4.0, "a/good/3": 70.0, "a/good/0": 60.0}
    found = [e for e in kept(Ranking(scores), failures=2, batch_size=3) if e.category == "a" and e.role != "chosen"]
    assert [(e.role, e.rank, e.image_id, e.pred_score) for e in found] == [
        ("missed", 1, "a/square/2", -5.0),
        ("missed", 2, "a/square/1", -4.0),
        ("alarm", 1, "a/good/3", 70.0),
        ("alarm", 2, "a/good/0", 60.0),
    ]


def test_a_kept_map_gives_back_the_values() -> None:
    found = kept(Ranking({"a/square/0": 40.0}), defective=1, good=0)[0]
    assert found.anomaly_map is not None
    assert (found.low, found.high) == (0.0, 40.0)
    values = opened(found.anomaly_map) / 255.0 * 40.0
    assert np.abs(values - 40.0 * np.linspace(0, 1, 64 * 64).reshape(64, 64)).max() <= 40.0 / 510 + 1e-5


def test_a_flat_map_is_kept_with_its_value() -> None:
    found = kept(Ranking({"a/square/0": 0.0}), defective=1, good=0)[0]
    assert (found.low, found.high) == (0.0, 0.0)
    assert found.anomaly_map is not None
    assert not opened(found.anomaly_map).any()


def test_pictures_are_those_of_the_input_and_no_larger_than_asked() -> None:
    data = drawn_dataset()
    for largest, size in ((192, 64), (32, 32)):
        example = next(iter(_sized(data, largest)))
        assert example.mask is not None
        assert example.anomaly_map is not None
        assert {opened(each).shape[:2] for each in (example.image, example.mask, example.anomaly_map)} == {(size, size)}
    sample = next(s for s in data.test if s.id == "a/square/0")
    whole = next(iter(_sized(data, 192)))
    assert whole.mask is not None
    assert (opened(whole.mask) == resized_mask(sample, 64)).all()
    assert np.abs(opened(whole.image).astype(float) - sample.image.read()).mean() < 6  # JPEG, of noise
    assert (opened(next(iter(_sized(data, 32))).mask or b"") == resized_mask(sample, 64)[::2, ::2]).all()


def _sized(data: Dataset, largest: int) -> list[Example]:
    cell = Cell("fake", "{}", "drawn", "{}", "unified", None, 64, 0, "demo")
    images = images_at(data, 64)
    subject = Subject(cell, Ranking({}), data, images, images, TrainingRecord(), 0.0, None, "cpu", 1)
    return list(gallery.measure(subject, gallery.Config(side=largest)))


def test_a_defect_of_one_pixel_survives_the_smaller_picture() -> None:
    @dataclass(frozen=True)
    class Dot(SquareMask):
        def read(self) -> np.ndarray:
            mask = np.zeros((64, 64), dtype=bool)
            mask[33, 47] = True
            return mask

    data = drawn_dataset(categories=("a",))
    dotted = replace(data, test=tuple(replace(s, mask=Dot()) if s.gt_label else s for s in data.test))
    example = _sized(dotted, 16)[0]
    assert example.mask is not None
    assert np.argwhere(opened(example.mask)).tolist() == [[8, 11]]


def test_unknown_truth_and_missing_maps_are_none() -> None:
    data = drawn_dataset(categories=("a",))
    unmasked = replace(data, test=tuple(replace(s, mask=None) for s in data.test))
    defect, *_, normal = kept(Ranking({}, maps=False), unmasked)
    assert (defect.mask, defect.anomaly_map, defect.low) == (None, None, None)
    assert normal.mask is not None
    assert not opened(normal.mask).any()


def test_what_is_kept_is_the_same_bytes_again() -> None:
    assert kept(Ranking({}), failures=1) == kept(Ranking({}), failures=1, batch_size=5)


def test_maps_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="a/square/0"):
        kept(Ranking({"a/square/0": np.nan}), failures=1)
