"""Following a run: the overview on a terminal, the log for machines, event files, and the newest report."""

from __future__ import annotations

import importlib.util
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, Group

from afrad_bench.cli import following
from afrad_bench.cli.commands import opening
from afrad_bench.cli.following import EventFiles, JsonLog, OfWorkers
from afrad_bench.cli.screen.progress import RunProgress, WorkersProgress, _Overview, _sparkline
from afrad_bench.errors import UserError
from afrad_bench.running.run import Done
from tests.program import SUITE, Place


def planned(i: int) -> Any:
    cell = SimpleNamespace(id=f"{i:016x}", dataset="demo", category=None, seed=i)
    return SimpleNamespace(row=SimpleNamespace(label="AFRAD / full"), cell=cell)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def text_of(view: Any, width: int) -> str:
    out = Console(file=io.StringIO(), width=width)
    out.print(Group(view))  # as the live view holds it
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().rstrip()


def test_the_overview_counts_and_tells_the_time_that_is_left() -> None:
    clock = Clock()
    view = _Overview(4, lambda: "1.2 GiB", "▁█", clock)
    assert text_of(view, 80) == "1 running · 3 to do · 1.2 GiB"
    clock.now = 60.0
    view.ends("ok")
    clock.now = 120.0
    view.ends("failed")
    view.losses += [2.0, 1.0]
    assert text_of(view, 80) == "1 ok · 1 failed · 1 running · 1 to do · about 0:02:00 left · 1.2 GiB · loss █▁"
    clock.now = 150.0  # within the third cell
    assert "about 0:01:30 left" in text_of(view, 80)
    assert text_of(view, 30).endswith("…")
    view.ends("ok")
    view.ends("ok")
    assert text_of(view, 80) == "3 ok · 1 failed · 0 running · 0 to do · 1.2 GiB"


def test_losses_that_are_not_finite_are_left_out_of_the_line() -> None:
    assert _sparkline([float("nan"), 1.0, float("inf"), 3.0], "12") == "12"
    assert _sparkline([5.0, 5.0], "12") == "11"
    assert len(_sparkline([float(i) for i in range(99)], "12345678")) == 16


def test_only_a_terminal_has_the_live_view() -> None:
    plain, terminal = (Console(file=io.StringIO(), width=100, force_terminal=kind) for kind in (False, True))
    for out in (plain, terminal):
        with RunProgress(out, [planned(0)]) as shown:
            shown.watch(1, 4, "training", 0.5)
            shown.finished(Done(planned(0), "ok", "", 1.0))
    assert isinstance(plain.file, io.StringIO)
    assert isinstance(terminal.file, io.StringIO)
    assert "running" not in plain.file.getvalue()
    assert "\x1b" not in plain.file.getvalue()
    assert "running" in terminal.file.getvalue()


def test_the_cell_that_runs_is_named_even_if_another_process_has_the_first() -> None:
    out = Console(file=io.StringIO(), width=120)
    with RunProgress(out, [planned(0), planned(1)]) as shown:
        shown.started(planned(1))
        shown.watch(0, 0, "fit")
    assert isinstance(out.file, io.StringIO)
    assert "seed 1: fit" in out.file.getvalue()


def test_the_log_tells_every_loss_and_few_of_the_other_steps() -> None:
    clock, stream = Clock(), io.StringIO()
    log = JsonLog(stream, clock)
    log.started(planned(3))
    for epoch in (1, 2):
        log.step(planned(3), epoch, 2, "training", 1 / epoch)
    for done in range(1, 101):
        clock.now += 0.02
        log.step(planned(3), done, 100, "scoring test images", None)
    log.step(planned(3), 0, 0, "accuracy", None)
    log.finished(Done(planned(3), "failed", "no memory\nbuy some", 1.23456))
    log.end()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["loss"] for line in lines if line["event"] == "step" and line["step"] == "training"] == [1.0, 0.5]
    scored = [line["done"] for line in lines if line.get("step") == "scoring test images"]
    assert scored[0] == 1
    assert scored[-1] == 100
    assert len(scored) <= 4
    ended = lines[-2]
    assert (ended["label"], ended["seed"], ended["status"], ended["error"], ended["seconds"]) == (
        "AFRAD / full",
        3,
        "failed",
        "no memory\nbuy some",
        1.235,
    )
    assert lines[-1]["cells"] == {"failed": 1}
    assert lines[-3]["total"] is None
    assert all(line["time"].endswith("+00:00") for line in lines)


def test_steps_of_several_workers_are_told_under_their_cells(tmp_path: Path) -> None:
    stream, out = io.StringIO(), Console(file=io.StringIO(), width=130, force_terminal=True)
    shown = WorkersProgress(out, [planned(0), planned(1)], ["cpu 1", "cpu 2"])
    with shown:
        every = OfWorkers(shown, [JsonLog(stream)])
        for epoch in (1, 2):
            every.watch_worker("cpu 1", planned(0), epoch, 2, "training", 0.5 / epoch)
            every.watch_worker("cpu 2", planned(1), epoch, 2, "training", 0.25 / epoch)
        every.finished(Done(planned(1), "ok", "", 1.0))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["seed"] for line in lines if line["event"] == "cell_started"] == [0, 1]
    assert [(line["seed"], line["loss"]) for line in lines if line["event"] == "step"] == [
        (0, 0.5),
        (1, 0.25),
        (0, 0.25),
        (1, 0.125),
    ]
    assert isinstance(out.file, io.StringIO)
    assert "1 running" in out.file.getvalue()
    assert "cpu 2" in out.file.getvalue()


def test_event_files_hold_the_losses(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with EventFiles(tmp_path) as events:
        events.started(planned(5))
        for epoch in (1, 2, 3):
            events.step(planned(5), epoch, 3, "training", 1 / epoch)
        events.finished(Done(planned(5), "ok", "", 2.0))
    (folder,) = tmp_path.iterdir()
    assert folder.name == "AFRAD_full-demo-seed5-00000000"
    read = EventAccumulator(str(folder))
    read.Reload()
    found = read.Scalars("loss/training")
    assert [one.step for one in found] == [1, 2, 3]
    assert [one.value for one in found] == pytest.approx([1.0, 0.5, 1 / 3])
    assert [one.value for one in read.Scalars("seconds")] == [2.0]


def test_a_missing_tensorboard_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--tensorboard: (.|\n)*pip install 'afrad-bench\[tensorboard\]'"):
        EventFiles(tmp_path)


def test_a_run_writes_the_log_and_open_finds_its_report(tmp_path: Path, cache_folder: Path) -> None:
    place = Place(tmp_path, cache_folder)
    place.environment["BROWSER"] = "false"
    suite = place.write(SUITE.replace("seeds: [0, 1]", "seeds: [7]"))
    told = place.call("open", suite, expect=2)
    assert "no report of tiny" in told
    more = ("--tensorboard", "events") if importlib.util.find_spec("tensorboard") else ()
    place.run(suite, "--log-json", "log.jsonl", *more)
    lines = [json.loads(line) for line in (place.folder / "log.jsonl").read_text().splitlines()]
    assert (lines[0]["event"], lines[0]["suite"], lines[0]["cells"]) == ("run", "tiny", 2)
    assert [line["label"] for line in lines if line["event"] == "cell_ended"] == ["plain", "squared"]
    assert lines[-1] == {**lines[-1], "event": "run_ended", "cells": {"ok": 2}}
    assert not more or len(list((place.folder / "events").iterdir())) == 2
    place.run(suite, "--log-json", "nothing_left.jsonl")
    lines = [json.loads(line) for line in (place.folder / "nothing_left.jsonl").read_text().splitlines()]
    assert [(line["event"], line["cells"]) for line in lines] == [("run", 0), ("run_ended", {})]
    out = place.call("open", suite)
    assert out.splitlines()[0] == os.path.join("reports", "tiny", "demo", "report.html")
    assert "no browser was found" in out


def test_the_newest_report_is_the_one_that_was_written_last(tmp_path: Path) -> None:
    for name, when in (("demo", 100), ("paper+12345678", 300), ("paper", 200)):
        page = tmp_path / "s" / name / "report.html"
        page.parent.mkdir(parents=True)
        page.write_text("x")
        os.utime(page, (when, when))
    assert opening.newest_page(tmp_path, "s", "s").parent.name == "paper+12345678"
