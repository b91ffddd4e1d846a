"""Files that were changed behind the index's back, through the program: nothing is done that is of other files."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from afrad_bench.cli import app
from afrad_bench.cli.commands import suites
from afrad_bench.cli.planning import timed_plan_of
from afrad_bench.cli.screen import console
from afrad_bench.images import pictures
from afrad_bench.running.workspace import Workspace
from afrad_bench.suite.suite import load
from tests.conftest import mvtec_folder

SUITE = """\
suite: changed
title: Changed files
measures: [cost]
methods:
  - method: padim
    params: {backbone: {name: resnet18, weights: random}}
profiles:
  p:
    datasets: [folder]
    image_size: 32
    seeds: [0]
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "suite.yaml").write_text(SUITE)
    made = mvtec_folder(tmp_path / "data", ("alpha",), 2, 1)
    for path in made.rglob("*_mask.png"):  # uncompressed: another shape has the same length
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    return made


def correct(data: Path) -> None:
    """Mark another place in every mask, with the same lengths and times."""
    for path in data.rglob("*_mask.bmp"):
        before = path.stat()
        Image.fromarray(np.fliplr(np.asarray(Image.open(path)))).save(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size


def trust(index: Path) -> None:
    """Make the index trust the files as they are now, as on a file system whose times prove nothing."""
    with closing(sqlite3.connect(index)) as connection, connection:
        for (name,) in connection.execute(f"SELECT path FROM {pictures.TABLE}").fetchall():
            stamp = pictures._stamp(Path(name)).text
            connection.execute(f"UPDATE {pictures.TABLE} SET stamp = ?, settled = 1 WHERE path = ?", (stamp, name))


def fingerprint(data: Path, fresh: bool = False) -> str:
    """The fingerprint of the data set in a plan of the suite, as a command makes it."""
    at = data.parent
    workspace = Workspace(at / "store", at / "cache", 2**30, "cpu", roots={"folder": str(data)})
    plan, _ = timed_plan_of(load(at / "suite.yaml").select(), workspace, console.make(), fresh=fresh)
    return plan.datasets[0].fingerprint


@pytest.mark.skipif(os.name != "posix", reason="the time of change is POSIX's")
def test_corrected_masks_are_other_data(data: Path) -> None:
    before = fingerprint(data)
    assert fingerprint(data) == before
    correct(data)
    assert fingerprint(data) != before


def test_where_the_index_is_deceived_a_fresh_plan_is_not(data: Path) -> None:
    before = fingerprint(data)
    correct(data)
    trust(data.parent / "cache" / "files.sqlite")
    assert fingerprint(data) == before
    corrected = fingerprint(data, fresh=True)
    assert corrected != before
    assert fingerprint(data) == corrected


@pytest.mark.parametrize("force", [False, True])
def test_force_makes_the_plan_fresh(data: Path, monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    class PlanMade(Exception):
        pass

    def made(*_: Any, fresh: bool = False, **__: Any) -> None:
        raise PlanMade(fresh)

    monkeypatch.setattr(suites, "timed_plan_of", made)
    options = ["--data", f"folder={data}", "--store", str(data.parent / "store"), *(["--force"] if force else [])]
    done = CliRunner().invoke(app, ["run", str(data.parent / "suite.yaml"), *options])
    assert isinstance(done.exception, PlanMade), done.output
    assert done.exception.args == (force,)
