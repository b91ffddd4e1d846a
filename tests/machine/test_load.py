"""Load by other processes is noticed, a quiet machine is not doubted: by hand-worked and by real counters."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from afrad_bench.machine.load import SHORTEST, Load, LoadWatch, allowed_cores
from tests.busy import busy

SPIN = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nprint(flush=True)\n"
USED = "other processes used 1.9 of 2 cores while this was timed"


@pytest.mark.parametrize(
    ("load", "doubts"),
    [
        (Load(10, own=10, busy=10.3, average=1.0, cores=2), ()),  # one thread, a quiet machine
        (Load(10, own=19, busy=19.5, average=2.1, cores=2), ()),  # both cores at work for us
        (Load(10, own=0.1, busy=0.3, average=0.2, cores=2), ()),  # a method that sleeps
        (Load(10, own=80, busy=84, average=9.0, cores=64), ()),  # daemons of a large machine
        (Load(10, own=1, busy=20, average=13.0, cores=2), (USED,)),
        (Load(10, own=10, busy=29, average=0.1, cores=4), (USED.replace("2 cores", "4 cores"),)),  # a load just begun
        (Load(10, own=16.8, busy=20, average=3.0, cores=2), (USED.replace("1.9", "0.3"),)),  # no core is free
        (Load(10, own=10, busy=80, average=9.0, cores=64), (USED.replace("1.9 of 2", "7.0 of 64"),)),
        (Load(10, own=7, busy=10, average=1.5, cores=1), (USED.replace("1.9 of 2 cores", "0.3 of 1 core"),)),
        # The system does not tell what others used, or the time was too short to know.
        (
            Load(10, own=10, busy=None, average=13.0, cores=2),
            ("the load average was 13.0 on 2 cores while this was timed",),
        ),
        (Load(0.1, own=0.8, busy=None, average=8.5, cores=8), ()),  # our own eight threads
        (Load(0.0, own=0.0, busy=None, average=None, cores=2), ()),
        # A container that does not see the others: the work waited, and the machine is crowded.
        (
            Load(10, own=4, busy=4.1, average=13.0, cores=2),
            ("the load average was 13.0 on 2 cores while this was timed",),
        ),
        (Load(10, own=10, busy=10.1, average=13.0, cores=2), ()),
    ],
)
def test_a_load_is_doubted_and_a_quiet_machine_is_not(load: Load, doubts: tuple[str, ...]) -> None:
    assert load.doubts == doubts


class Script:
    """A machine that shows these moments one after the other: seconds, own and all CPU seconds, load average."""

    def __init__(self, *moments: tuple[float, float, float | None, float | None]) -> None:
        self.moments: Iterator[tuple[float, float, float | None, float | None]] = iter(moments)

    def now(self) -> float:
        at, *self.rest = next(self.moments)
        return at

    def read(self) -> tuple[float, float | None, float | None]:
        own, busy, average = self.rest
        assert own is not None
        return own, busy, average


def watched(*moments: tuple[float, float, float | None, float | None]) -> Load:
    script = Script(*moments)
    machine = LoadWatch(read=script.read, now=script.now, cores=2)
    for _ in moments[2:]:
        machine.mark()
    return machine.load()


def test_the_window_is_that_since_the_last_mark() -> None:
    assert watched((0, 0, 0, 9), (5, 4, 9, 8), (7, 6, 13, 7)) == Load(2, own=2, busy=4, average=7, cores=2)


def test_a_window_too_short_to_tell_is_made_longer() -> None:
    assert watched((0, 0, 0, 1), (1.0, 0.5, 2.0, 1), (1.1, 0.6, 2.2, 1)) == Load(1.1, 0.6, 2.2, 1, 2)
    assert watched((0, 0, 0, 1), (0.1, 0.1, 0.2, 1)) == Load(0.1, 0.1, None, 1, 2)


def test_counters_that_the_system_does_not_have_are_not_known() -> None:
    assert watched((0, 0, None, None), (5, 4, None, None)) == Load(5, 4, None, None, 2)


def test_a_busy_process_is_noticed() -> None:
    with busy():
        machine = LoadWatch()
        time.sleep(2 * SHORTEST)
        load = machine.load()
    assert load.others is not None
    assert load.others > 0.5
    (doubt,) = load.doubts
    assert doubt.startswith("other processes used ")
    assert doubt.endswith(f" of {len(allowed_cores())} core{'s' * (len(allowed_cores()) > 1)} while this was timed")


def test_waiting_makes_the_window_long_enough() -> None:
    assert LoadWatch().load(wait=True).seconds >= SHORTEST
    assert LoadWatch().load().seconds < SHORTEST


def test_own_work_and_the_children_that_it_starts_are_no_load() -> None:
    machine = LoadWatch()
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    subprocess.run([sys.executable, "-c", SPIN], check=True, capture_output=True)  # ended and counted
    with subprocess.Popen([sys.executable, "-c", f"{SPIN}input()"], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()  # still alive
        assert machine.load().own > 0.65
        child.communicate("\n")


def test_processes_that_belong_to_the_work_are_no_load() -> None:
    with subprocess.Popen([sys.executable, "-c", f"input()\n{SPIN}input()"], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        ours, others = LoadWatch([child.pid]), LoadWatch()
        child.stdin.write("\n")
        child.stdin.flush()
        child.stdout.readline()
        assert ours.load().own > 0.2
        assert others.load().own < 0.1
        child.communicate("\n")
