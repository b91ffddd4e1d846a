"""Accuracy computed anew from kept maps: equal to what a run would measure, and refused where it would not be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from afrad_bench.errors import UserError
from afrad_bench.images.sets import test_images as images_at
from afrad_bench.running.kept_maps import Keeping, Kept
from afrad_bench.types import Dataset, Prediction
from tests.program import SUITE, Place

KEY = ["metric", "category", "seed", "label"]


class Noise:
    """Random float64 maps, the same for an image whenever it is asked for."""

    def __init__(self, maps: bool = True) -> None:
        self.maps = maps

    def predict(self, images):
        rows = [np.random.default_rng(sum(map(ord, name))).normal(size=images.size) for name in images.ids]
        maps = np.stack(rows)
        return Prediction(maps.mean(axis=(1, 2)), maps if self.maps else None)


@pytest.mark.parametrize("maps", [True, False])
def test_what_was_kept_is_said_again_in_any_batch(tmp_path: Path, dataset: Dataset, maps: bool) -> None:
    images, method, path = images_at(dataset, 16), Noise(maps), tmp_path / "maps" / "cell.parquet"
    with Keeping(method, path, {"weights_hash": "abc"}) as keeping:
        for batch in images.batches(5):
            keeping.predict(batch)
    kept = Kept(path)
    assert kept.terms == {"weights_hash": "abc"}
    for batch in images.batches(3):
        again, once = kept.predict(batch), method.predict(batch)
        assert np.array_equal(again.pred_score, once.pred_score)
        if once.anomaly_map is None:
            assert again.anomaly_map is None
        else:
            assert np.array_equal(again.anomaly_map, once.anomaly_map.astype(np.float32))
    assert [one.name for one in path.parent.iterdir()] == ["cell.parquet"]


def test_a_fault_leaves_no_file_and_keeps_the_one_before(tmp_path: Path, dataset: Dataset) -> None:
    images, path = images_at(dataset, 16), tmp_path / "cell.parquet"
    path.write_bytes(b"before")

    def fails() -> None:
        with Keeping(Noise(), path, {}) as keeping:
            keeping.predict(images.subset([0, 1]))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UserError, match="not a readable file of maps"):
        Kept(path)


@pytest.fixture
def place(tmp_path: Path, cache_folder: Path) -> Place:
    return Place(tmp_path, cache_folder)


def newest(place: Place) -> pd.DataFrame:
    """The values of the last run of each cell."""
    cells = place.table("cells").sort_values("started_at").groupby("cell_id").tail(1)
    rows = place.table("measurements")
    return rows[rows["run_id"].isin(set(cells["run_id"]))].sort_values(KEY)[[*KEY, "value", "note"]]


def test_accuracy_is_recomputed_without_training(place: Place) -> None:
    path = place.write(SUITE.replace("seeds: [0, 1]", "seeds: [0]"))
    data = ("--data", f"folder={place.data}")
    place.run(path, "--keep-maps")
    measured = newest(place)
    assert place.call("metrics", "recompute", path, *data).count(": current") == 2
    assert place.call("metrics", "recompute", path, *data, "--force").count(": recomputed") == 2
    cells = place.table("cells").sort_values("started_at")
    assert len(cells) == 4
    for _, runs in cells.groupby("cell_id"):
        first, last = (json.loads(notes) for notes in runs["notes"])
        assert "a note of the method" in first
        assert last == [*first, "accuracy recomputed from stored maps"]
    assert cells["images_seen"].tolist() == [cells["images_seen"].iloc[0]] * 4
    pd.testing.assert_frame_equal(newest(place).reset_index(drop=True), measured.reset_index(drop=True))

    other = ("--set", "accuracy.resolution=original", "--set", "accuracy.image_score=max")
    other += ("--set", "accuracy.also=[ader, mvtec, uniad]")
    assert place.call("metrics", "recompute", path, *data, *other).count(": recomputed") == 2
    recomputed = newest(place)
    assert recomputed["note"].str.contains("at the size of each mask").any()
    assert {"ader_pixel_aupro", "mvtec_pixel_aupro", "uniad_image_auroc"} <= set(recomputed["metric"])
    assert "4 done" not in place.run(path, *other)
    place.run(path, *other, "--force")
    pd.testing.assert_frame_equal(newest(place).reset_index(drop=True), recomputed.reset_index(drop=True))


def test_the_options_of_the_newest_run_are_found(place: Place) -> None:
    path = place.write(SUITE.replace("seeds: [0, 1]", "seeds: [0]"))
    place.run(path, "--keep-maps", "--set", "image_size=48")
    out = place.call("metrics", "recompute", path, "--force")
    assert "with the options of the newest run" in out
    assert out.count(": recomputed") == 2
    assert "needs a folder" in place.call("metrics", "recompute", path, "--as-declared", expect=2)


def test_what_cannot_be_recomputed_is_said(place: Place) -> None:
    path = place.write(SUITE.replace("seeds: [0, 1]", "seeds: [0]"))
    data = ("--data", f"folder={place.data}")
    place.run(path)
    out = place.call("metrics", "recompute", path, *data, "--force", expect=3)
    assert out.count("no maps: `run --keep-maps` keeps them (of done cells with --force)") == 2
    place.run(path, "--keep-maps", "--force")
    next((place.data / "alpha" / "train" / "good").iterdir()).unlink()
    out = place.call("metrics", "recompute", path, *data, expect=3)
    assert out.count("other terms: data_fingerprint was") == 2
