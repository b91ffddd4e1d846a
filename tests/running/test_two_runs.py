"""Two runs of one cell on one cache: one measures it, the other says who does, and no checkpoint is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from afrad_bench.machine.lock import Busy, alone
from afrad_bench.running.cell_run import CellRun, RunOptions
from afrad_bench.running.plan import Plan, PlannedCell, make
from afrad_bench.running.run import run_suite
from afrad_bench.running.stopwatch import Stopwatch
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.suite import load
from tests.conftest import ROOT, mvtec_folder
from tests.program import Place

SUITE = """\
suite: shared
title: Shared
measures: [accuracy]
methods:
  - {method: padim, params: {channels: 8, reductions: [4, 8], backbone: {name: resnet18, weights: random}}}
profiles:
  demo:
    datasets: [folder]
    image_size: 32
    seeds: [0, 1]
    threads: 1
"""
HOLD = """\
import sys
from pathlib import Path
from afrad_bench.machine.lock import alone
with alone(Path(sys.argv[1]), wait=False):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def workspace(tmp_path: Path, cache_folder: Path) -> Workspace:
    data = mvtec_folder(tmp_path / "data", train=4, test=2)
    return Workspace(tmp_path / "results", cache_folder, 2**30, "cpu", roots={"folder": str(data)})


@pytest.fixture
def plan(workspace: Workspace, tmp_path: Path) -> Plan:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return make(load(path).select(), workspace, workspace.files())


def checkpoint_of(plan: Plan, planned: PlannedCell, workspace: Workspace) -> Path:
    path = CellRun(plan, planned, workspace, None, RunOptions(), Stopwatch()).checkpoint  # type: ignore[arg-type]
    assert path is not None
    return path


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds this lock until it is told, or killed."""
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_cell_of_another_process_is_left_to_it(plan: Plan, workspace: Workspace) -> None:
    first, second = plan.cells
    checkpoint = checkpoint_of(plan, first, workspace)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_bytes(b"of the other process")
    with held(checkpoint.with_suffix(".lock")) as other:
        done = list(run_suite(plan, plan.cells, workspace))
        assert [(one.planned.cell.id, one.status) for one in done] == [(second.cell.id, "ok"), (first.cell.id, "busy")]
        assert done[1].error.startswith(f"being measured by process {other.pid} since 20")
        assert checkpoint.read_bytes() == b"of the other process"
        assert Store(workspace.store).read("cells")["cell_id"].tolist() == [second.cell.id]
        other.kill()
        other.wait()
        (again,) = run_suite(plan, [first], workspace)  # the lock ended with its process
    assert again.status == "ok"
    assert not checkpoint.exists()
    assert not checkpoint.with_suffix(".lock").exists()


def test_who_waits_goes_on_when_the_other_ends(plan: Plan, workspace: Workspace) -> None:
    (first, _) = plan.cells
    with held(checkpoint_of(plan, first, workspace).with_suffix(".lock")) as other:
        timer = threading.Timer(1.0, other.communicate, ["go\n"])
        timer.start()
        (done,) = run_suite(plan, [first], workspace, RunOptions(wait=True))
        timer.join()
    assert done.status == "ok"


def test_what_another_process_has_measured_meanwhile_is_not_measured_again(plan: Plan, workspace: Workspace) -> None:
    assert [one.status for one in run_suite(plan, plan.cells, workspace)] == ["ok", "ok"]
    late = list(run_suite(plan, plan.cells, workspace))  # the same plan, made when nothing was measured
    assert [one.status for one in late] == ["done", "done"]
    assert len(Store(workspace.store).read("cells")) == 2
    assert [one.status for one in run_suite(plan, plan.cells[:1], workspace, RunOptions(force=True))] == ["ok"]


def test_a_lock_is_held_once_and_left_behind_by_nobody(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.lock"
    with alone(path, wait=False):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        with pytest.raises(Busy, match=f"being measured by process {os.getpid()} since "), alone(path, wait=False):
            pass
        assert path.exists()
    assert not path.exists()
    path.write_text("what a killed process left")
    with alone(path, wait=False):
        pass
    assert list(path.parent.iterdir()) == []


def test_an_unreadable_holder_is_told_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with alone(path, wait=False):
        path.write_text('{"pid": 3}')
        with pytest.raises(Busy, match=r"^being measured by another process$"), alone(path, wait=False):
            pass


def test_two_programs_share_a_suite(tmp_path: Path, cache_folder: Path) -> None:
    place = Place(tmp_path, cache_folder)
    path = place.write(SUITE.replace("[0, 1]", "[0, 1, 2, 3]"))
    both = [place.start("run", path, "--data", f"folder={place.data}") for _ in range(2)]
    ended = [(process.communicate(timeout=300), process.returncode) for process in both]
    for (out, err), code in ended:
        assert code in (0, 3), (out, err)
        assert (code == 3) == ("being measured by process" in out)
    assert sorted(place.table("cells")["seed"]) == [0, 1, 2, 3]
