"""The baseline file is replaced whole or not at all, and a damaged one is refused with the line."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from afrad_bench.comparing import baseline
from afrad_bench.comparing.side import Key, Row, Side
from afrad_bench.errors import UserError
from afrad_bench.writing import DiskFull
from tests.full_disk import no_file_above


def side(seeds: int) -> Side:
    key = Key("PaDiM", "demo", "unified", "demo")
    values = {("image_auroc", "mean"): {seed: seed / 7 for seed in range(seeds)}}
    return Side("r", {key: Row(key, {"method": "padim"}, {}, {"image_auroc": "accuracy"}, values)})


def test_a_full_disk_leaves_the_old_baseline_whole(tmp_path: Path) -> None:
    path = tmp_path / "gate" / "base.json"
    baseline.write(side(2), path)
    before = path.read_bytes()
    with no_file_above(1000), pytest.raises(DiskFull) as caught:
        baseline.write(side(200), path)
    assert str(caught.value).startswith(f"{path.parent}: cannot be written, the disk is full: ")
    assert "write the baseline to another disk" in str(caught.value)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert next(iter(baseline.read(path).rows.values())).seeds == (0, 1)
    baseline.write(side(200), path)
    assert len(next(iter(baseline.read(path).rows.values())).seeds) == 200


def test_what_must_not_be_trusted_stays_so(tmp_path: Path) -> None:
    key, row = next(iter(side(2).rows.items()))
    baseline.write(Side("r", {key: replace(row, unreliable={"image_auroc": "seed 0 loaded"})}), tmp_path / "base.json")
    assert baseline.read(tmp_path / "base.json").rows[key].unreliable == {"image_auroc": "seed 0 loaded"}


ROW = ["PaDiM", "demo", "unified", "demo"]
WHOLE: list[Any] = [
    {"format": "afrad-bench baseline", "version": 1},
    {"row": ROW, "about": {"params": "{}"}, "measures": {"image_auroc": "accuracy"}, "parts": {"0": ""}},
    {"row": ROW, "terms_of": "", "terms": {"image_size": "64"}},
    {"row": ROW, "metric": "image_auroc", "category": "mean", "values": {"0": 0.5}},
    {"row": ROW, "images_of": "brick", "seeds": [0]},
    {"row": ROW, "image": "a", "anomalous": True, "scores": [1.5]},
    {"row": ROW, "session": "s", "mode": "eager", "batch": 1, "device": "cpu", "ms": {"0": 3.5}},
]


@pytest.mark.parametrize(
    ("at", "changed", "message"),
    [
        (0, {"records": 9}, "the file has 7 records, but was written with 9: lines were lost or added"),
        (1, {"measures": []}, ":3: invalid record: measures: input should be a mapping"),
        (1, {"about": {"params": "{"}}, ":3: invalid record: about: params: Expecting"),
        (1, {"about": {"params": 5}}, ":3: invalid record: about.params: input should be a valid string"),
        (1, {"parts": {"x": ""}}, ":3: invalid record: parts.x: "),
        (1, {"measures": {}}, ":5: invalid record: the first record of the row does not name the measure of image_a"),
        (2, {"terms": {"image_size": 64}}, ":4: invalid record: terms.image_size: input should be a valid string"),
        (3, {"metric": "image_auroq"}, ":5: invalid record: metric: no metric is called 'image_auroq' (did you mean"),
        (3, {"values": {"0": float("nan")}}, ":5: invalid record: values.0: input should be a finite number"),
        (3, {"values": {"0": True}}, ":5: invalid record: values.0: input should be a valid number"),
        (3, {"values": {"0": 10**400}}, ":5: invalid record: values.0: input should be a"),
        (3, {"row": ["a"]}, ":5: invalid record: row: list should have at least 4 items"),
        (3, {"row": [*ROW[:3], "other"]}, ":5: invalid record: the first record of the row does not name"),
        (4, {"images_of": ["brick"]}, ":6: invalid record: images_of: input should be a valid string"),
        (4, {"seeds": [0, 1]}, ":7: invalid record: a has 1 scores for 2 seeds"),
        (4, {"seeds": [0, 0]}, ":6: invalid record: brick is there twice"),
        (5, {"scores": {"0": 1}}, ":7: invalid record: scores: input should be a valid list"),
        (5, {"anomalous": [True]}, ":7: invalid record: anomalous: input should be a valid boolean"),
        (5, {"score": 1}, ":7: invalid record: unknown field 'score' (did you mean 'scores'?)"),
        (6, {"ms": {"0": 0}}, ":8: invalid record: ms.0: input should be greater than 0"),
        (6, 5, ":8: invalid record: it has none of about, terms, values, images_of, image, ms"),
        (6, WHOLE[3], ":8: invalid record: image_auroc of mean is there twice"),
        (6, WHOLE[5], ":8: invalid record: a is there twice"),
        (1, WHOLE[4], ":5: invalid record: the first record of the row does not name"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, at: int, changed: Any, message: str) -> None:
    records, path = list(WHOLE), tmp_path / "base.json"
    records[at] = {**records[at], **changed} if isinstance(changed, dict) and changed not in WHOLE else changed
    path.write_text("[\n" + ",\n".join(map(json.dumps, WHOLE)) + "\n]\n")
    baseline.read(path)
    path.write_text("[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n")
    with pytest.raises(UserError) as caught:
        baseline.read(path)
    assert f"{path}{message}" in str(caught.value) or f"{path}: {message}" in str(caught.value)


@pytest.mark.parametrize("content", ["[" * 100_000, f"[{'9' * 5000}]", "<<<<<<< HEAD\n[]", "\udcff", "[NaN]"])
def test_what_is_no_json_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "base.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"not a baseline file|is not UTF-8"):
        baseline.read(path)
    if sys.platform != "win32":
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(UserError, match="is not a regular file"):
            baseline.read(path)
