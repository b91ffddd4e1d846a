"""Runs the trials of a study in this process, or in several processes that share its storage.

Before each trial a process looks whether the study still lacks one, so that all processes of all calls together run no
more than the declared number. A trial whose process has ended is queued again by any other, a worker that dies is
replaced, and workers end with the process that started them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from afrad_bench import writing
from afrad_bench.errors import UserError, fail
from afrad_bench.machine.processes import end_with_parent
from afrad_bench.running.plan import Plan, make
from afrad_bench.running.workspace import Workspace
from afrad_bench.search.declared import Declared
from afrad_bench.search.study import WITHDRAWN, counted, elsewhere, frozen, opened, recover, remaining, waiting
from afrad_bench.search.trials import Objective, TrialFailed, Withdrawn
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
    """Continue the study until it has all its trials, or until `deadline` (seconds of `time.time`; 0: none), and wait
    for trials that run in other processes of this machine. Returns the study as it is then.

    On an interrupt, running trials are queued again, then the interrupt is raised."""
    total = declared.search.trials
    with writing.space(workspace.store, writing.STORE):
        study = opened(declared, workspace.store)
        objective = Objective(declared, plan, workspace, watch)
        while True:
            devices = workspace.devices or (workspace.device,) * declared.search.workers
            if len(devices) == 1:
                _trials(study, objective, deadline, on_trial_end)
            else:
                _several(declared, study, workspace, devices, on_trial_end, deadline)
            while running := elsewhere(study):
                watch(total - running, total, "trials of other processes")
                time.sleep(POLL)
                if recover(study):
                    break
            if _late(deadline) or not (waiting(study) and remaining(study, total)):
                return frozen(study)


def _trials(
    study: Study, objective: Objective, deadline: float, on_trial_end: TrialCallback = lambda trial: None
) -> None:
    """Run one trial after another while the study lacks trials, and there are time and values left to try."""

    def has_more() -> bool:
        recover(study)
        return not _late(deadline) and remaining(study, objective.declared.search.trials) > 0

    def after(study: Study, trial: FrozenTrial) -> None:
        if WITHDRAWN not in trial.user_attrs:
            on_trial_end(trial)
        if not has_more():
            study.stop()

    if has_more():
        study.optimize(objective, catch=(TrialFailed, Withdrawn), callbacks=[after])


def _late(deadline: float) -> bool:
    return bool(deadline) and time.time() >= deadline


def _several(
    declared: Declared,
    study: Study,
    workspace: Workspace,
    devices: Sequence[str],
    on_trial_end: TrialCallback,
    deadline: float,
) -> None:
    """Start a worker on each device, and supervise them until all trials are done."""
    context = multiprocessing.get_context("spawn")

    def start(device: str) -> Any:
        made = context.Process(target=work, args=(declared, replace(workspace, device=device), deadline))
        made.start()
        return made

    def has_more() -> bool:
        return not _late(deadline) and remaining(study, declared.search.trials) > 0

    recover(study)
    known = {trial.number for trial in counted(study)}
    workers = {start(device): device for device in devices} if has_more() else {}
    replacements = 0
    try:
        while workers:
            time.sleep(POLL)
            for trial in counted(study):
                if trial.number not in known:
                    known.add(trial.number)
                    on_trial_end(trial)
            for worker in [one for one in workers if not one.is_alive()]:
                device = workers.pop(worker)
                if worker.exitcode == EXIT_USER:
                    raise fail("a worker stopped with an error; see its message above", "search.workers")
                recover(study)
                if worker.exitcode and has_more():
                    replacements += 1
                    if replacements > 2 * len(devices):
                        raise fail(
                            "workers keep dying",
                            "search.workers",
                            "check that the memory is enough for so many workers",
                        )
                    workers[start(device)] = device
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        recover(study)
    for trial in counted(study):
        if trial.number not in known:
            on_trial_end(trial)


def work(declared: Declared, workspace: Workspace, deadline: float) -> None:
    """A worker process: runs trials until none are left or the time is over, or until the process that started it has
    ended. Exits with 2 on an error the user can fix."""
    import signal
    import sys

    end_with_parent()
    try:
        plan = make(declared.selection, workspace, workspace.files())
        with writing.space(workspace.store, writing.STORE):
            study = opened(declared, workspace.store)
            _trials(study, Objective(declared, plan, workspace), deadline)
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the parent has the console
        sys.exit(EXIT_USER)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
