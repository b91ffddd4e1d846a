"""Runs the trials of a study in this process, or in several processes that share its storage.

Each trial needs a ticket. There are as many tickets as remaining trials, so that workers never start too many trials.
If a worker dies, its ticket is returned, its trial is queued again, and another worker replaces it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import UserError, fail
from afrad_bench.running.plan import Plan, make
from afrad_bench.running.workspace import Workspace
from afrad_bench.search.declared import Declared
from afrad_bench.search.study import counted, opened, recover, remaining
from afrad_bench.search.trials import Objective, TrialFailed
from afrad_bench.types import Watch, unwatched

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

TrialCallback = Callable[["FrozenTrial"], None]
"""Called with each trial that has ended."""
POLL = 0.3  # seconds
EXIT_USER = 2


def search(
    declared: Declared,
    plan: Plan,
    workspace: Workspace,
    on_trial_end: TrialCallback,
    watch: Watch = unwatched,
    deadline: float = 0.0,
) -> Study:
    """Continue the study until it has all its trials, or until `deadline` (seconds of `time.time`; 0: none).

    On an interrupt, running trials are queued again, then the interrupt is raised."""
    study = opened(declared, workspace.store)
    recover(study)
    left = remaining(study, declared.search.trials)
    if declared.search.workers == 1:
        tickets = iter(range(left))
        _trials(
            study,
            Objective(declared, plan, workspace, watch),
            lambda: next(tickets, None) is not None,
            deadline,
            on_trial_end,
        )
    elif left:
        _several(declared, study, workspace, on_trial_end, left, deadline)
    return study


def _trials(
    study: Study,
    objective: Objective,
    ticket: Callable[[], bool],
    deadline: float,
    on_trial_end: TrialCallback = lambda trial: None,
) -> None:
    """Run one trial after another while there are tickets, time, and (for a grid) values left to try."""

    def after(study: Study, trial: FrozenTrial) -> None:
        on_trial_end(trial)
        if _late(deadline) or not ticket():
            study.stop()

    if not _late(deadline) and ticket():
        study.optimize(objective, catch=(TrialFailed,), callbacks=[after])


def _late(deadline: float) -> bool:
    return bool(deadline) and time.time() >= deadline


def _several(
    declared: Declared, study: Study, workspace: Workspace, on_trial_end: TrialCallback, left: int, deadline: float
) -> None:
    """Start the workers, and supervise them until all trials are done."""
    context = multiprocessing.get_context("spawn")
    tickets = context.Value("i", left)

    def start(number: int) -> Any:
        made = context.Process(target=work, args=(declared, workspace, number, tickets, deadline))
        made.start()
        return made

    known = {trial.number for trial in counted(study)}
    workers = [start(number) for number in range(1, declared.search.workers + 1)]
    replacements = 0
    try:
        while workers:
            time.sleep(POLL)
            for trial in counted(study):
                if trial.number not in known:
                    known.add(trial.number)
                    on_trial_end(trial)
            for worker in [one for one in workers if not one.is_alive()]:
                workers.remove(worker)
                if worker.exitcode == EXIT_USER:
                    raise fail("a worker stopped with an error; see its message above", "search.workers")
                if worker.exitcode:
                    with tickets.get_lock():
                        tickets.value += recover(study)
                    replacements += 1
                    if replacements > 2 * declared.search.workers:
                        raise fail(
                            "workers keep dying",
                            "search.workers",
                            "check that the memory is enough for so many workers",
                        )
                    workers.append(start(declared.search.workers + replacements))
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        recover(study)
    for trial in counted(study):
        if trial.number not in known:
            on_trial_end(trial)


def work(declared: Declared, workspace: Workspace, number: int, tickets: Any, deadline: float) -> None:
    """A worker process: runs trials until no tickets or time are left. Exits with 2 on an error the user can fix."""
    import signal
    import sys

    try:
        plan = make(declared.selection, workspace, workspace.files())
        study = opened(declared, workspace.store, number)
        _trials(study, Objective(declared, plan, workspace), lambda: _ticket(tickets), deadline)
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the parent has the console
        sys.exit(EXIT_USER)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _ticket(tickets: Any) -> bool:
    """Take a ticket; False if none is left."""
    with tickets.get_lock():
        if tickets.value <= 0:
            return False
        tickets.value -= 1
        return True
