"""Several processes of one search: never more trials than declared, none twice, and no worker outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from afrad_bench import search
from afrad_bench.search import space, study, workers
from afrad_bench.search.declared import Declared
from afrad_bench.writing import DiskFull
from tests.full_disk import no_file_above
from tests.program import Place
from tests.search.test_search import SLOWER, loaded, running, studied, wait_for

QUICK = """\
suite: tiny_search
title: Tiny search
measures: [accuracy]
seeds: [0]
methods: [{method: nearest_colour}]
search:
  space: {power: {real: [0.5, 3.0]}}
  objectives: [image_auroc: maximize]
  validation: {planted: 0.5}
  trials: 6
  sampler: random
  finalists: {best: 1, seeds: [11]}
profiles:
  demo: {datasets: [folder], image_size: 32}
"""


@pytest.fixture
def place(tmp_path: Path, cache_folder: Path) -> Place:
    return Place(tmp_path, cache_folder)


def params(trials: list) -> list[str]:
    return [json.dumps(trial.params, sort_keys=True) for trial in trials]


def at_once(place: Place, text: str, count: int = 2) -> list[str]:
    """What several calls of the search print that start at the same moment."""
    path = place.write(text)
    place.call("check", path, "--data", f"folder={place.data}")
    started = [place.start("search", path, "--data", f"folder={place.data}", "--threads", 1) for _ in range(count)]
    told = []
    for process in started:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, (out, err)
        told.append(out)
    return told


def test_two_processes_run_the_declared_trials_in_all(place: Place) -> None:
    told = at_once(place, QUICK)
    complete = [trial for trial in studied(place).trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == 6
    assert len(set(params(complete))) == 6
    assert {trial.state for trial in studied(place).trials} <= {
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.WAITING,
    }
    for out in told:
        assert "(best of 6 trials)" in out
        assert "chosen from 6 trials" in out
    cells = place.table("cells")
    assert len(cells) == cells["cell_id"].nunique() == 6 + 2  # the finalists, too, were measured once


def test_a_search_on_several_devices_shares_its_trials(place: Place) -> None:
    """And measures the finalists by the same workers."""
    path = place.write(QUICK.replace("trials: 6", "trials: 3"))
    out = place.call("search", path, "--data", f"folder={place.data}", "--devices", "cpu:2", "--threads", 1)
    assert "2 workers on cpu" in out
    assert "chosen from 3 trials" in out
    complete = [trial for trial in studied(place).trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == len(set(params(complete))) == 3
    cells = place.table("cells")
    assert len(cells) == cells["cell_id"].nunique() == 3 + 2
    assert set(cells["status"]) == {"ok"}
    assert set(cells["threads"]) == {1}


def test_two_processes_share_a_grid(place: Place) -> None:
    text = QUICK.replace("sampler: random", "sampler: grid").replace("[0.5, 3.0]}", "[0.5, 3.0], step: 0.5}")
    at_once(place, text.replace("trials: 6", "trials: 20"))
    complete = [trial for trial in studied(place).trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.params["power"] for trial in complete) == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]


def test_workers_end_with_a_parent_that_is_killed(place: Place) -> None:
    path = place.write(SLOWER.replace("trials: 4", "trials: 2\n  workers: 2"))
    process = place.start("search", path, "--data", f"folder={place.data}", "--threads", 1)
    journal = place.folder / "results/studies/tiny_search-demo.journal"
    wait_for(lambda: journal.is_file() and len(running(place)) == 2, process)
    pids = [trial.user_attrs[study.WORKER]["pid"] for trial in running(place)]
    born = {pid: psutil.Process(pid).create_time() for pid in pids}
    assert process.pid not in pids
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 30
    while any(psutil.pid_exists(pid) and psutil.Process(pid).create_time() == born[pid] for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.1)
    place.call("search", path, "--data", f"folder={place.data}", "--threads", 1)
    complete = [trial for trial in studied(place).trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == len(set(params(complete))) == 2


# ---------------------------------------------------------------------------------------------------- without processes


def drawn(made: Declared, opened: study.Study) -> study.Trial:
    """A running trial of this process that has drawn its parameters."""
    trial = opened.ask()
    trial.set_user_attr(study.WORKER, study.this_process())
    space.suggested(trial, made.axes)
    trial.set_user_attr(study.DRAWN, True)
    return trial


def test_of_trials_that_start_at_once_the_smaller_numbers_count(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    first, second = (study.opened(made, tmp_path) for _ in range(2))
    trials = [drawn(made, opened) for opened in (first, second, first, second)]
    assert [study.is_too_many(second, trial.number, 3) for trial in trials] == [False, False, False, True]
    study.withdraw(trials[3], "too many", keep=True)
    second.tell(trials[3].number, state=TrialState.FAIL)
    assert search.remaining(first, 3) == 0
    assert search.remaining(first, 5) == 2
    again = drawn(made, first)  # its parameters come first when the total is raised
    assert again.params == trials[3].params
    assert study.counted(first) == []


def test_no_two_processes_draw_alike_and_one_that_goes_on_draws_the_same(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    several = [study.opened(made, tmp_path / "a") for _ in range(3)]
    found = [drawn(made, several[i % 3]).params for i in range(9)]
    assert len({json.dumps(one, sort_keys=True) for one in found}) == 9
    alone = study.opened(made, tmp_path / "b")
    assert [drawn(made, alone).params for _ in range(9)] == found


def test_a_trial_equal_to_one_that_runs_is_noticed(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    opened = study.opened(made, tmp_path)
    one = drawn(made, opened)
    opened.enqueue_trial(one.params)
    two = drawn(made, study.opened(made, tmp_path))
    assert two.params == one.params
    assert study.is_repeated(opened, two.number, ever=False)
    assert not study.is_repeated(opened, one.number, ever=False)  # the smaller number counts
    study.withdraw(two, "repeated", keep=False)
    opened.tell(two.number, state=TrialState.FAIL)
    opened.tell(one.number, 0.5)
    assert [trial.number for trial in study.counted(opened)] == [one.number]
    opened.enqueue_trial(one.params)
    three = drawn(made, opened)  # its sampler could know of the first
    assert not study.is_repeated(opened, three.number, ever=False)
    assert study.is_repeated(opened, three.number, ever=True)


def test_a_lost_trial_is_queued_once_by_two_processes(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    first, second = (study.opened(made, tmp_path) for _ in range(2))
    lost = drawn(made, first)
    lost.set_user_attr(study.WORKER, {**study.this_process(), "born": 1.0})  # another process has its number now
    stale = second.get_trials(deepcopy=False)
    assert stale[lost.number].state == TrialState.RUNNING
    assert study.recover(first) == 1
    assert study.recover(second) == 0
    assert [trial.state.name for trial in first.trials] == ["FAIL", "WAITING"]


def test_the_first_trial_of_two_processes_is_the_default_once(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    first, second = (study.opened(made, tmp_path) for _ in range(2))
    first.enqueue_trial(space.standing(made.axes, made.own))  # as if both had found it empty
    one, two = drawn(made, first), drawn(made, second)
    assert one.params == two.params
    assert study.is_repeated(second, two.number, ever=False)


def test_what_is_said_of_a_study_does_not_change_meanwhile(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    opened = study.opened(made, tmp_path)
    drawn(made, opened)
    opened.tell(0, 0.5)
    then = study.frozen(opened)
    drawn(made, opened)
    opened.tell(1, 0.7)
    assert [trial.value for trial in study.counted(then)] == [0.5]
    assert then.best_trial.params == opened.trials[0].params
    assert then.trials[0].user_attrs == opened.trials[0].user_attrs


@pytest.mark.parametrize("torn", [b"", b'{"op_code":4,"work', b"\x00\xff"])
def test_a_journal_that_was_torn_by_a_full_disk_goes_on(tmp_path: Path, torn: bytes) -> None:
    made = loaded(tmp_path)
    drawn(made, study.opened(made, tmp_path))
    path = Path(study.location(made, tmp_path))
    path.write_bytes(path.read_bytes() + torn)
    opened = study.opened(made, tmp_path)
    assert len(opened.trials) == 1
    drawn(made, opened)
    assert len(study.opened(made, tmp_path).trials) == 2


def test_a_full_disk_is_an_error_to_fix(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    where = type("Workspace", (), {"store": tmp_path})
    study.opened(made, tmp_path)
    size = Path(study.location(made, tmp_path)).stat().st_size
    with no_file_above(size + 10), pytest.raises(DiskFull, match="--store FOLDER"):
        workers.search(made, None, where, lambda trial: None)  # type: ignore[arg-type]
