"""Load of the machine by other processes while something is timed, and when it makes the time unreliable.

A steady load slows every call alike, so that no scatter of the times shows it. It shows in the CPU time of the cores:
what they spent and this process did not, others spent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEAST, SHARE = 0.5, 0.05
"""Cores that other processes may use without a doubt: half a core or, if that is more, this share of all cores."""
FULL, LEAST_OF_FULL = 0.9, 0.25
"""If all cores are this busy, other processes may use only `LEAST_OF_FULL` cores: the timed work waits for them."""
WAITING = 0.8
"""CPU seconds per second below which timed work may have waited for a core; it may also have slept."""
CPUS = Path("/sys/devices/system/cpu")
SHORTEST = 0.25
"""Seconds from which the CPU time of the cores, which is counted in ticks of 10 ms, says something."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters of one moment."""

    at: float
    """Seconds of a clock."""
    own: float
    """CPU seconds of the timed work so far."""
    busy: float | None
    """CPU seconds of all processes on the cores that this process may use; None if the system does not tell."""
    average: float | None
    """Load average over the last minute: processes that ran or waited for a core; None if the system has none."""


@dataclass(frozen=True, slots=True)
class Load:
    """What happened between two samples."""

    seconds: float
    own: float
    """CPU seconds of the timed work."""
    busy: float | None
    """CPU seconds of all processes; None if not known, or if the time was too short to know."""
    average: float | None
    """The lower of the two load averages."""
    cores: int

    @property
    def others(self) -> float | None:
        """Cores that other processes used on average; None if not known."""
        return None if self.busy is None else max(0.0, self.busy - self.own) / self.seconds

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why a time measured meanwhile is unreliable; empty on a quiet machine."""
        rate = self.own / self.seconds if self.seconds > 0 else 0.0
        others = self.others
        crowded = self.average is not None and self.average - rate > self.cores
        if others is not None:
            full = self.busy is not None and self.busy >= FULL * self.cores * self.seconds
            if others >= (LEAST_OF_FULL if full else max(LEAST, SHARE * self.cores)):
                return (f"other processes used {others:.1f} of {_cores(self.cores)} while this was timed",)
            crowded = crowded and rate < WAITING
        if crowded:
            return (f"the load average was {self.average:.1f} on {_cores(self.cores)} while this was timed",)
        return ()


@dataclass
class LoadWatch:
    """Watches the load from its creation on.

    The timed work is this process, the children that it starts meanwhile, and the processes `ours` (their ids).
    Children from before are others: a fit or a call does not work in them."""

    ours: Collection[int] = ()
    read: Callable[[], tuple[float, float | None, float | None]] | None = None
    """Returns CPU seconds of the timed work, CPU seconds of all processes, load average; default: of this machine."""
    now: Callable[[], float] = time.perf_counter
    cores: int = field(default_factory=lambda: len(allowed_cores()))

    def __post_init__(self) -> None:
        self._read = self.read or _Counters(self.ours).read
        self._marks = [self._sample()]

    def mark(self) -> None:
        """The timed work begins now."""
        self._marks.append(self._sample())

    def load(self, *, wait: bool = False) -> Load:
        """The load since the last mark or, if that is too short ago to tell, since the one before it.

        `wait`: if all are too short ago, watch for a moment longer, at most `SHORTEST` seconds."""
        if wait and (left := SHORTEST - (self.now() - self._marks[0].at)) > 0:
            time.sleep(left)
        end = self._sample()
        start = next((mark for mark in reversed(self._marks) if end.at - mark.at >= SHORTEST), self._marks[-1])
        seconds, averages = end.at - start.at, [each.average for each in (start, end) if each.average is not None]
        busy = None
        if start.busy is not None and end.busy is not None and seconds >= SHORTEST:
            busy = end.busy - start.busy
        return Load(seconds, end.own - start.own, busy, min(averages, default=None), self.cores)

    def _sample(self) -> Sample:
        return Sample(self.now(), *self._read())


class _Counters:
    """The counters of this machine."""

    def __init__(self, ours: Collection[int]) -> None:
        import psutil

        self._ours = [psutil.Process(pid) for pid in ours]
        mine = {process.pid for process in self._ours}
        self._before = {child: _spent(child) for child in _children() if child.pid not in mine}

    def read(self) -> tuple[float, float | None, float | None]:
        """CPU seconds of the timed work, CPU seconds of all processes, load average."""
        return self._own(), _busy(), _average()

    def _own(self) -> float:
        """CPU seconds of this process with its ended children, and of the live processes that belong to the work.

        What children from before had spent leaves the sum when they end, since the system then counts them here."""
        times = os.times()
        alive = _children()
        gone = sum(spent for child, spent in self._before.items() if child not in alive)
        children = (_spent(child) for child in alive if child not in self._before and child not in self._ours)
        ours = sum(_spent(process) for process in self._ours)
        return time.process_time() + times.children_user + times.children_system - gone + sum(children) + ours


def allowed_cores() -> tuple[int, ...]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def quiet_cores(count: int, seconds: float = 0.2, cpus: Path = CPUS) -> tuple[int, ...]:
    """The least busy allowed cores, watched for a moment, each another physical core; empty if the system does not tell
    or there are not so many. Processes that are compared run alike if they run on the same cores."""
    import psutil

    if not hasattr(os, "sched_getaffinity"):
        return ()
    before = psutil.cpu_times(percpu=True)
    time.sleep(seconds)
    after = psutil.cpu_times(percpu=True)
    busy = {i: sum(_spent_in(after[i])) - sum(_spent_in(before[i])) for i in allowed_cores() if i < len(after)}
    chosen: dict[str, int] = {}
    for core in sorted(busy, key=lambda core: busy[core]):
        siblings = cpus / f"cpu{core}" / "topology" / "thread_siblings_list"
        chosen.setdefault(siblings.read_text() if siblings.is_file() else str(core), core)
    return tuple(sorted(list(chosen.values())[:count])) if len(chosen) >= count else ()


def _children() -> list[Any]:
    import psutil

    found: list[Any] = psutil.Process().children(recursive=True)
    return found


def _spent(process: Any) -> float:
    """CPU seconds of a process and of its ended children; 0 if it has ended itself."""
    import psutil

    try:
        times = process.cpu_times()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _busy() -> float | None:
    """CPU seconds that the allowed cores were not idle, time taken by other virtual machines included."""
    import psutil

    every = psutil.cpu_times(percpu=True)
    wanted = [every[core] for core in allowed_cores() if core < len(every)]
    found = sum(sum(_spent_in(times)) for times in wanted)
    return found if found > 0 else None


def _spent_in(times: Any) -> Iterator[float]:
    """The parts of a core's time in which it worked. "user" and "nice" include those of guests."""
    for name in times._fields:
        if name not in ("idle", "iowait", "guest", "guest_nice"):
            yield float(getattr(times, name))


def _average() -> float | None:
    import psutil

    try:
        return float(psutil.getloadavg()[0])
    except OSError:
        return None


def _cores(count: int) -> str:
    return f"{count} core{'s' if count != 1 else ''}"
