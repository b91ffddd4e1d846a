"""Progress: the time that is left of slow steps, and lines where there is no terminal."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from afrad_bench.cli.screen.progress import RunProgress, WorkersProgress
from afrad_bench.cli.screen.steps import PhaseLines, Step, StepLines
from afrad_bench.running.run import Done
from tests.program import SUITE, Place


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(clock: Clock, quiet: float = 0.0) -> tuple[StepLines, io.StringIO]:
    text = io.StringIO()
    return StepLines(Console(file=text, width=160), quiet, clock), text


def test_time_left_is_known_after_one_slow_part() -> None:
    clock = Clock()
    step = Step("training", 0, clock)
    assert step.left(10) is None
    clock.now = 400.0  # far beyond the half minute that rich remembers
    step.at(1)
    assert step.left(10) == 3600.0
    clock.now = 500.0
    assert step.left(10) == 3500.0  # it goes on counting within a part
    step.at(10)
    assert step.left(10) == 0.0


def test_a_resumed_step_is_as_fast_as_what_was_done_now() -> None:
    clock = Clock()
    step = Step("training", 6, clock)
    clock.now = 10.0
    step.at(8)
    assert step.left(10) == 10.0


def test_a_line_for_each_step_and_tenth() -> None:
    clock = Clock()
    made, text = lines(clock)
    made.watch(0, 0, "build", name="[1/2] AFRAD, seed 0")
    clock.now = 2.0
    made.watch(0, 100, "training", name="[1/2] AFRAD, seed 0")
    for epoch in range(1, 101):
        clock.now = 2.0 + 9 * epoch
        made.watch(epoch, 100, "training", 1 / epoch, "[1/2] AFRAD, seed 0")
    told = text.getvalue().splitlines()
    assert told[0] == "0:00:00  [1/2] AFRAD, seed 0: build"
    assert told[1] == "0:00:02  [1/2] AFRAD, seed 0: training 0/100"
    assert told[2] == "0:01:32  [1/2] AFRAD, seed 0: training 10/100, loss 0.1, about 0:13:30 left"
    assert told[-1] == "0:15:02  [1/2] AFRAD, seed 0: training 100/100, loss 0.01"
    assert len(told) == 2 + 10


def test_a_second_training_of_a_fit_is_another_step() -> None:
    clock = Clock()
    made, text = lines(clock)
    for stage, epochs in enumerate((5, 10)):
        for epoch in range(epochs + 1):
            clock.now = 100.0 * stage + 10.0 * epoch
            made.watch(epoch, epochs, "training")
    told = text.getvalue().splitlines()
    assert told[5:8] == [
        "0:00:50  training 5/5",
        "0:01:40  training 0/10",
        "0:01:50  training 1/10, about 0:01:30 left",
    ]


def test_few_slow_parts_have_a_line_each_and_fast_ones_do_not() -> None:
    clock = Clock()
    made, text = lines(clock)
    made.watch(0, 3, "training")
    for epoch in (1, 2, 3):
        clock.now += 600.0
        made.watch(epoch, 3, "training")
    assert len(text.getvalue().splitlines()) == 4
    made, text = lines(clock)
    for done in range(1, 1001):
        clock.now += 0.001
        made.watch(done, 1000, "scoring test images")
    assert len(text.getvalue().splitlines()) == 1


def test_the_same_step_of_the_next_cell_is_another_step() -> None:
    clock = Clock()
    made, text = lines(clock)
    made.watch(0, 5, "training", name="one")
    made.watch(0, 5, "training", name="two")
    assert len(text.getvalue().splitlines()) == 2


def test_short_work_stays_quiet() -> None:
    clock = Clock()
    made, text = lines(clock, quiet=5.0)
    for done in range(100):
        clock.now = 0.1 * done
        made.watch(done, 100, "reading images")
    told = text.getvalue().splitlines()
    assert told
    assert all(line.startswith("0:00:0") and line >= "0:00:05" for line in told)


def test_a_long_phase_tells_where_it_is() -> None:
    clock, text = Clock(), io.StringIO()
    made = PhaseLines(Console(file=text, width=160), 5.0, clock)
    for name in ("fit and prepare one", "fit and prepare two"):
        made.begin(name)
        for epoch in range(4):
            made.watch(epoch, 3, "training")
            clock.now += 60.0
    told = text.getvalue().splitlines()
    assert told[0] == "fit and prepare one"
    assert told[1] == "0:01:00  training 1/3, about 0:02:00 left"
    assert told[4:6] == ["fit and prepare two", "0:01:00  training 1/3, about 0:02:00 left"]


@pytest.mark.parametrize("width", [80, 120])
def test_a_bar_shows_its_numbers_beside_any_name(width: int) -> None:
    cells: Any = [
        SimpleNamespace(row=SimpleNamespace(label="a name of [many] words " * 9), cell=SimpleNamespace(seed=0))
    ]
    made = RunProgress(Console(file=io.StringIO(), width=width, force_terminal=True), cells)

    def shown() -> str:
        screen = Console(file=io.StringIO(), width=width)
        screen.print(made._bar.get_renderable())
        assert isinstance(screen.file, io.StringIO)
        return screen.file.getvalue()

    made.watch(1200, 2400, "scoring test images", 0.01234)
    (line,) = shown().splitlines()
    assert line.startswith("[1/1] a name")
    for text in (": scoring test images", "1200/2400 loss 0.01234 0:00:00 "):
        assert text in line
    assert line.rstrip()[-7:] == "-:--:--"
    made.watch(0, 0, "accuracy")  # a step of unknown length has no length of the step before
    assert "0/?" in shown()
    made.watch(4, 8, "keeping pictures")
    assert "4/8" in shown()


def test_an_error_that_comes_again_is_told_once_with_its_number() -> None:
    out = Console(file=io.StringIO(), width=160)
    cells: Any = [
        SimpleNamespace(
            row=SimpleNamespace(label=f"row {i}"),
            cell=SimpleNamespace(seed=0, category=None, dataset="demo", id=f"c{i}"),
        )
        for i in range(4)
    ]
    with RunProgress(out, cells) as shown:
        for cell, error in zip(cells, ("no memory\nbuy some", "no memory\nbuy some", "no disk", ""), strict=True):
            shown.finished(Done(cell, "failed" if error else "ok", error, 1.0))
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()
    assert [line.strip() for line in lines] == [
        "[1/4] failed  row 0, demo, seed 0  1.0 s  c0",
        "no memory",
        "buy some",
        "[2/4] failed  row 1, demo, seed 0  1.0 s  c1  as [1/4]",
        "[3/4] failed  row 2, demo, seed 0  1.0 s  c2",
        "no disk",
        "[4/4] ok  row 3, demo, seed 0  1.0 s  c3",
        "2 times: no memory",
    ]


def test_a_run_without_a_terminal_tells_where_it_is(tmp_path: Path, cache_folder: Path) -> None:
    place = Place(tmp_path, cache_folder)
    out = place.run(place.write(SUITE.replace("seeds: [0, 1]", "seeds: [7]")))
    told = out.splitlines()
    places = [
        next(i for i, line in enumerate(told) if text in line)
        for text in (
            "[1/2] plain, seed 7: build",
            "seed 7: fit",
            "seed 7: accuracy",
            "[1/2] ok  plain",
            "[2/2] squared",
        )
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("width", [80, 130])
def test_bars_of_several_workers_show_all_their_numbers(width: int) -> None:
    labels = ("AFRAD", "a name of many words " * 9)
    cells: Any = [SimpleNamespace(row=SimpleNamespace(label=label), cell=SimpleNamespace(seed=0)) for label in labels]
    made = WorkersProgress(Console(file=io.StringIO(), width=width, force_terminal=True), cells, ["cuda:0", "cuda:1"])
    for done in (200, 1000):
        made.watch_worker("cuda:0", cells[0], done, 1000, "training", 0.1234)
    made.watch_worker("cuda:1", cells[1], 64, 600, "backbone features", None)
    screen = Console(file=io.StringIO(), width=width)
    screen.print(made._bar.get_renderable())
    assert isinstance(screen.file, io.StringIO)
    first, second = screen.file.getvalue().splitlines()
    assert first.startswith("cuda:0  AFRAD, seed 0: training")
    assert "1000/1000 loss 0.1234 0:00:00 0:00:00" in first
    assert second.startswith("cuda:1  a name")
    for text in (": backbone features", "64/600", "0:00:00 -:--:--"):
        assert text in second
