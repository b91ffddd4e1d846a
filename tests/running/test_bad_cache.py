"""Damaged files in the cache are made again, with a note, and end no run; a full disk ends it, and loses nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from afrad_bench.backbone.weights import known_models
from afrad_bench.images.pictures import TABLE
from afrad_bench.running.plan import Plan, make
from afrad_bench.running.run import run_suite
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.suite import load
from afrad_bench.writing import DiskFull
from tests.conftest import mvtec_folder
from tests.full_disk import no_file_above
from tests.running.test_two_runs import SUITE


@pytest.fixture
def workspace(tmp_path: Path, cache_folder: Path) -> Workspace:
    """A workspace with a cache of its own, which begins with timm's list of models."""
    data, cache = mvtec_folder(tmp_path / "data", train=4, test=2), tmp_path / "cache"
    cache.mkdir()
    known_models(cache_folder)
    for path in cache_folder.glob("timm-*.json"):
        shutil.copy(path, cache)
    (tmp_path / "suite.yaml").write_text(SUITE, encoding="utf-8")
    return Workspace(tmp_path / "results", cache, 2**30, "cpu", roots={"folder": str(data)})


def planned(workspace: Workspace, *overrides: str) -> Plan:
    selection = load(workspace.store.parent / "suite.yaml").select(None, overrides)
    return make(selection, workspace, workspace.files())


def executed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


INDEX: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("no database"),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:3000]),
    "zeros": lambda path: path.write_bytes(path.read_bytes()[:100] + bytes(4000)),
    "other facts": lambda path: executed(path, f"UPDATE {TABLE} SET facts = replace(facts, 'peak', 'peek')"),
    "words for numbers": lambda path: executed(path, f"UPDATE {TABLE} SET facts = NULL, digest = 7"),
    "few columns": lambda path: executed(path, f"DROP TABLE {TABLE}", f"CREATE TABLE {TABLE} (path TEXT, x TEXT)"),
    "other rows": lambda path: executed(
        path,
        f"CREATE TABLE copy AS SELECT path, 1 AS a FROM {TABLE}",
        f"DROP TABLE {TABLE}",
        f"ALTER TABLE copy RENAME TO {TABLE}",
    ),
}


@pytest.mark.parametrize("how", INDEX)
def test_a_bad_index_of_files_is_made_again(workspace: Workspace, how: str) -> None:
    before = planned(workspace)
    assert before.cautions == ()
    assert workspace.cache is not None
    path = workspace.cache / "files.sqlite"
    INDEX[how](path)
    again = planned(workspace)
    assert again.cautions == (f"{path} was damaged and has been made again",)
    assert [one.terms for one in again.cells] == [one.terms for one in before.cells]
    assert planned(workspace).cautions == ()


def test_a_bad_list_of_models_is_made_again(workspace: Workspace) -> None:
    assert workspace.cache is not None
    (path,) = workspace.cache.glob("timm-*.json")
    path.write_text("{}")
    assert planned(workspace).cautions == (f"{path} was damaged and has been made again",)
    assert planned(workspace).cautions == ()


def test_bad_features_are_computed_again_and_the_result_says_so(workspace: Workspace) -> None:
    plan = planned(workspace)
    assert [one.status for one in run_suite(plan, plan.cells[:1], workspace)] == ["ok"]
    assert workspace.cache is not None
    entries = sorted((workspace.cache / "features").iterdir())
    for entry in entries:
        (entry / "meta.json").write_text('{"maps": 3}')
    (done,) = run_suite(plan, plan.cells[1:], workspace)
    assert (done.status, done.error) == ("ok", "")
    notes = json.loads(Store(workspace.store).read("cells")["notes"].iloc[-1])
    assert {f"feature cache entry {entry.name} was damaged and has been rebuilt" for entry in entries} <= set(notes)


def test_a_full_disk_ends_a_run_and_is_no_failure_of_the_cell(workspace: Workspace) -> None:
    plan = planned(workspace)
    run = run_suite(plan, plan.cells, workspace)
    assert next(run).status == "ok"
    with no_file_above(5000), pytest.raises(DiskFull, match="--store FOLDER"):
        next(run)
    assert Store(workspace.store).read("cells")["status"].tolist() == ["ok"]
    assert [one.state for one in planned(workspace).cells] == ["done", "to do"]
    empty = replace(workspace, store=workspace.store.with_name("other"))
    assert workspace.cache is not None
    shutil.rmtree(workspace.cache / "features")
    with no_file_above(5000), pytest.raises(DiskFull, match="--cache FOLDER"):
        list(run_suite(plan, plan.cells, empty))
    assert not (empty.store / "cells").exists()
