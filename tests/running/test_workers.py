"""A run by several workers: each cell once, nothing lost when one dies, times taken alone, and none left behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from afrad_bench import registry
from afrad_bench.errors import Problem, UserError
from afrad_bench.machine import devices
from afrad_bench.machine.environment import default_threads
from afrad_bench.machine.free_memory import DeviceFailed
from afrad_bench.running import workers
from afrad_bench.running.cell_run import RunOptions
from afrad_bench.running.plan import Plan, PlannedCell, make
from afrad_bench.running.run import Done
from afrad_bench.running.workers import run_on
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.suite import load
from tests.conftest import mvtec_folder
from tests.plugin import install
from tests.program import Place

SUITE = """\
suite: several
title: Several
measures: [accuracy, latency: {repeats: 10, warmup: 1, warmup_seconds: 0}]
methods:
  - method: afrad
    params:
      features: {reductions: [4, 8]}
      backbone: {name: resnet18, weights: random}
      training: {epochs: 3, batch_size: 2}
profiles:
  demo: {datasets: [folder], image_size: 32, seeds: [0, 1]}
"""
VARIANTS = "    variants: [{label: plain}, {label: broken, params: {fault: fit}}]\n"
FAILING = f"""\
suite: tiny
title: Tiny comparison
measures: [accuracy]
methods:
  - method: nearest_colour
{VARIANTS}profiles:
  demo: {{datasets: [folder], image_size: 32, seeds: [0, 1]}}
"""


TRAINED = '''\
"""Trained colour: the mean of the training images, learnt slowly, with a checkpoint at every epoch."""

from pydantic import BaseModel

VERSION = "1"
PAPER = "none"


class Config(BaseModel):
    pass


def build(config, bench):
    import time

    import torch

    from afrad_bench.methods import fitting
    from afrad_bench.types import Prediction

    fitting.CHECKPOINT_SECONDS = 0.0

    class TrainedColour:
        def fit(self, train):
            self.mean = torch.nn.Linear(1, 1)

            def one_epoch(epoch):
                time.sleep(0.2)
                return 1.0 / (epoch + 1)

            checkpoint = fitting.Checkpoint(bench.checkpoint, "one", {"mean": self.mean})
            return fitting.train_epochs(bench, checkpoint, 5, len(train), self.mean, one_epoch)

        def predict(self, images):
            maps = images.array().mean(axis=1)
            return Prediction(maps.max(axis=(1, 2)), maps)

    return TrainedColour()
'''


@pytest.fixture
def workspace(tmp_path: Path, cache_folder: Path) -> Workspace:
    data = mvtec_folder(tmp_path / "data", train=4, test=2)
    roots = {"folder": str(data)}
    return Workspace(tmp_path / "results", cache_folder, 2**30, "cpu", devices=("cpu", "cpu"), roots=roots)


@pytest.fixture
def plan(workspace: Workspace) -> Plan:
    path = workspace.store.parent / "suite.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return make(load(path).select(), workspace, workspace.files())


def quick(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, seeds: str, method: str = "nearest_colour") -> Plan:
    """A method that needs no backbone; `trained_colour` has checkpoints."""
    folder = workspace.store.parent
    site = install(folder / "site")
    (site / "somebodys_methods" / "trained_colour.py").write_text(TRAINED, encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(registry, "_entries", registry._entries.__wrapped__)  # what is on the path now
    for name in [name for name in sys.modules if name.partition(".")[0] == "somebodys_methods"]:
        monkeypatch.delitem(sys.modules, name)  # of another test
    path = folder / "quick.yaml"
    path.write_text(
        FAILING.replace(VARIANTS, "").replace("[0, 1]", seeds).replace("nearest_colour", method), encoding="utf-8"
    )
    return make(load(path).select(), workspace, workspace.files())


class Told:
    """What the workers say, which may be acted on."""

    def __init__(self, act: Callable[[str, PlannedCell, str, int], None] = lambda *step: None) -> None:
        self.act = act
        self.notes: list[str] = []
        self.workers: set[str] = set()

    def watch_worker(
        self, worker: str, planned: PlannedCell, done: int, total: int, what: str, loss: float | None
    ) -> None:
        self.workers.add(worker)
        self.act(worker, planned, what, done)

    def note(self, text: str) -> None:
        self.notes.append(text)


def kill(worker: str) -> None:
    (process,) = [one for one in multiprocessing.active_children() if one.name == worker]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)


def run(plan: Plan, workspace: Workspace, told: Told) -> dict[int, Done]:
    """Seed -> outcome of its cell."""
    outcomes = list(run_on(workspace.devices, plan, plan.open, workspace, RunOptions(), told))
    found = {one.planned.cell.seed: one for one in outcomes}
    assert len(found) == len(outcomes)
    return found


def rows(workspace: Workspace) -> list[dict]:
    return Store(workspace.store).read("cells").to_dict("records")


def test_each_cell_is_fitted_once_and_timed_alone(plan: Plan, workspace: Workspace) -> None:
    assert plan.environment.threads == max(1, default_threads() // 2)
    told = Told()
    assert {seed: one.status for seed, one in run(plan, workspace, told).items()} == {0: "ok", 1: "ok"}
    assert told.workers == {"cpu 1", "cpu 2"}
    fits, times = rows(workspace)[:2], rows(workspace)[2:]
    assert sorted(row["seed"] for row in fits) == sorted(row["seed"] for row in times) == [0, 1]
    for row in fits:
        assert list(json.loads(row["measures"])) == ["accuracy"]
        assert "fit" in json.loads(row["timings"])
    for row in times:  # on the model that was held
        assert list(json.loads(row["measures"])) == ["latency"]
        assert "fit" not in json.loads(row["timings"])
        assert row["started_at"] >= max(fit["ended_at"] for fit in fits)
    assert times[0]["ended_at"] <= times[1]["started_at"]  # one after the other
    assert workspace.cache is not None
    assert list((workspace.cache / "checkpoints").iterdir()) == []
    assert make(plan.selection, workspace, workspace.files()).open == ()


def test_a_worker_that_dies_loses_nothing_of_the_others(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell of seed 1 ends one worker, that of seed 2 each."""
    plan = quick(workspace, monkeypatch, "[0, 1, 2]")
    killed: list[int] = []

    def deadly(worker: str, planned: PlannedCell, what: str, done: int) -> None:
        seed = planned.cell.seed
        if what == "fit" and (seed == 2 or (seed == 1 and 1 not in killed)):
            killed.append(seed)
            kill(worker)

    told = Told(deadly)
    found = run(plan, workspace, told)
    error = "2 worker processes ended while they measured this cell: killed by SIGKILL"
    outcomes = {seed: (one.status, one.error) for seed, one in found.items()}
    assert outcomes == {0: ("ok", ""), 1: ("ok", ""), 2: ("failed", error)}
    assert sorted(killed) == [1, 2, 2]
    again = {
        f"the worker has ended (killed by SIGKILL); nearest_colour, seed {seed} is tried once more" for seed in (1, 2)
    }
    assert {note.partition(": ")[2] for note in told.notes} == again
    assert sorted((row["seed"], row["status"]) for row in rows(workspace)) == [(0, "ok"), (1, "ok"), (2, "failed")]
    assert [row["error"] for row in rows(workspace) if row["seed"] == 2] == [error]
    (cell,) = make(plan.selection, workspace, workspace.files()).open
    assert (cell.cell.seed, cell.state) == (2, "failed")


def test_the_cell_of_a_worker_that_dies_goes_on_from_its_checkpoint(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker of seed 1 is killed once, in the third epoch or later."""
    plan = quick(workspace, monkeypatch, "[0, 1]", "trained_colour")
    killed: list[int] = []

    def deadly(worker: str, planned: PlannedCell, what: str, done: int) -> None:
        if (planned.cell.seed, what) == (1, "training") and done >= 3 and not killed:
            killed.append(done)
            kill(worker)

    found = run(plan, workspace, Told(deadly))
    assert {seed: one.status for seed, one in found.items()} == {0: "ok", 1: "ok"}
    by_seed = {row["seed"]: row for row in rows(workspace)}
    assert by_seed[0]["resumed_at"] == 0
    assert killed[0] - 1 <= by_seed[1]["resumed_at"] <= 5
    assert by_seed[1]["epochs"] == by_seed[0]["epochs"] == 5
    assert by_seed[1]["final_loss"] == by_seed[0]["final_loss"]


def test_an_interrupt_ends_all_workers(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(worker: str, planned: PlannedCell, what: str, done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(quick(workspace, monkeypatch, "[0, 1]"), workspace, Told(interrupt))
    assert [one for one in multiprocessing.active_children() if one.name.startswith("cpu")] == []


def test_the_program_tells_failures_as_ever(tmp_path: Path, cache_folder: Path) -> None:
    place = Place(tmp_path, cache_folder)
    path = place.write(FAILING)
    process = place.start("run", path, "--data", f"folder={place.data}", "--devices", "cpu:2")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 3, (out, err)
    assert "2 workers on cpu, " in out
    assert "2 times: RuntimeError: the fit went wrong" in out
    cells = place.table("cells")
    assert sorted(zip(cells["seed"], cells["status"], strict=True)) == [
        (0, "failed"),
        (0, "ok"),
        (1, "failed"),
        (1, "ok"),
    ]


def test_a_device_that_has_failed_is_told_apart_from_errors_to_fix() -> None:
    """It gets a new process; the others end the run."""

    class Broken:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def run(self, planned: PlannedCell, *, wait: bool) -> Done:
            raise self.error

    problem = Problem("cuda:0 has failed")
    for error, kind in ((DeviceFailed(problem), "failed device"), (UserError(problem), "error")):
        told, sent = workers._answer(Broken(error), None, workers._Task(0, wait=False))  # type: ignore[arg-type]
        assert told == kind
        assert pickle.loads(pickle.dumps(sent)).problems == (problem,)
    told, sent = workers._answer(Broken(ValueError("a defect")), None, workers._Task(0, wait=False))  # type: ignore[arg-type]
    assert told == "defect"
    assert sent.endswith("ValueError: a defect\n")


# ------------------------------------------------------------------------------------------------------- the option


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a machine with cards of these names, one letter each."""

    def machine(names: str) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: bool(names))
        monkeypatch.setattr("torch.cuda.device_count", lambda: len(names))
        monkeypatch.setattr("torch.cuda.get_device_name", lambda device: names[int(device.partition(":")[2])])
        monkeypatch.setattr("afrad_bench.machine.environment._accelerator_possible", lambda: bool(names))

    return machine


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("cpu:3", "", ("cpu", "cpu", "cpu")),
        ("cpu", "", ("cpu",)),
        ("auto", "", ("cpu",)),
        ("auto", "AA", ("cuda:0", "cuda:1")),
        ("cuda:1, cuda:0", "AA", ("cuda:1", "cuda:0")),
        ("cuda:1", "AB", ("cuda:1",)),
    ],
)
def test_devices_are_read(text: str, names: str, found: tuple[str, ...], cards: Callable[[str], None]) -> None:
    cards(names)
    assert devices.several(text) == found


@pytest.mark.parametrize(
    ("text", "names", "error"),
    [
        ("cpu:0", "", r"'cpu:0' names no number of workers from 1 to 1024"),
        ("cpu:two", "", r"'cpu:two' names no number"),
        ("cpu,cpu", "", r"'cpu,cpu' is no list of cards\n.*cpu:4 for four"),
        ("cuda:0,", "A", r"is no list of cards"),
        ("cuda:0,cuda:0", "A", r"cuda:0 is named twice"),
        ("cuda:0,cuda:2", "AA", r"no device 'cuda:2' on this machine"),
        ("cuda:0,cuda:1", "AB", r"the cards differ: cuda:0 is A, cuda:1 is B"),
        ("auto", "AB", r"the cards differ"),
    ],
)
def test_devices_that_cannot_be_meant_are_refused(
    text: str, names: str, error: str, cards: Callable[[str], None]
) -> None:
    cards(names)
    with pytest.raises(UserError, match=error):
        devices.several(text)
