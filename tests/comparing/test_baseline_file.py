"""The baseline file is replaced whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from afrad_bench.comparing import baseline
from afrad_bench.comparing.side import Key, Row, Side
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
