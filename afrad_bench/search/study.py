"""The Optuna study of a search: opens it, resumes it after kills, and counts its trials.

Each trial names the process that runs it. If this process no longer exists, the trial is lost: it is marked as failed
and queued again, so that no proposal is lost and no trial stays running for ever. Databases also have Optuna's
heartbeat, which detects lost processes on other machines. A journal has no heartbeat: a trial lost on another machine
is queued again when the search starts on that machine.

Processes that share a study agree by the numbers of the trials, which the storage gives out one by one: of several that
start at the same moment, those with the smaller numbers count. A trial that is too many, or equal to one of another
process, is withdrawn before it runs."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from afrad_bench.errors import fail
from afrad_bench.hashing import seed_for
from afrad_bench.machine.processes import has_ended, is_here, this_process
from afrad_bench.search import algorithms, space, storage
from afrad_bench.search.declared import Declared
from afrad_bench.search.storage import location

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

__all__ = ["counted", "location", "opened", "recover", "remaining", "this_process"]

IDENTITY, WORKER, RETRY_OF, RETRIES, ERROR = "afrad_bench", "worker", "retry_of", "retries", "error"
DRAWN, WITHDRAWN = "drawn", "withdrawn"
"""Names of attributes of studies and trials."""
MOST_RETRIES = 3
UNNAMED = timedelta(seconds=60)
"""A running trial that names no process after this time was lost right after its start."""
DRAWING, POLL = 10.0, 0.05  # seconds for another process to draw its parameters, and between two looks


def opened(declared: Declared, store: Path) -> Study:
    """Open or create the study. Raises `UserError` if the storage cannot be used or holds another search."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=storage.opened(declared, store, queued_again),
        study_name=declared.study,
        directions=[goal.direction for goal in declared.objectives],
        sampler=algorithms.sampler(
            declared.search.sampler, declared.axes, seed_for(declared.search.seed, declared.study)
        ),
        pruner=algorithms.pruner(declared.search.pruner),
        load_if_exists=True,
    )
    if not study.get_trials(deepcopy=False) and IDENTITY not in study.user_attrs:
        study.set_user_attr(IDENTITY, declared.identity)
        first = space.standing(declared.axes, declared.own)
        if first is not None and declared.search.sampler.name not in ("grid", "brute_force"):
            study.enqueue_trial(first)  # of two processes that do so at once, one withdraws it
    if study.user_attrs.get(IDENTITY) != declared.identity:
        raise fail(
            f"the study {declared.study!r} belongs to another search: its space, objectives, data or method differ",
            location(declared, store),
            "use another storage, or move this one away",
        )
    return study


def frozen(study: Study) -> Study:
    """The study as it is now, in memory, so that all that is said of it agrees while other processes go on."""
    import optuna

    with algorithms.quiet():
        made = optuna.create_study(directions=study.directions)
        made.add_trials(study.get_trials(deepcopy=False))
    return made


def recover(study: Study) -> int:
    """Mark running trials as failed if their process no longer exists, and queue them again; returns their number."""
    from optuna.trial import TrialState

    lost = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if _is_lost(trial)]
    mine = 0
    for trial in lost:
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, RuntimeError):  # Optuna's errors on a trial that has ended: another process was faster
            continue
        queued_again(study, trial)
        mine += 1
    return mine


def queued_again(study: Study, trial: FrozenTrial) -> None:
    """Queue the parameters of an interrupted trial again, once, unless they had `MOST_RETRIES` retries."""
    queued = any(other.user_attrs.get(RETRY_OF) == trial.number for other in study.get_trials(deepcopy=False))
    retries = trial.user_attrs.get(RETRIES, 0)
    if retries < MOST_RETRIES and not queued:
        study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number, RETRIES: retries + 1})


def _is_lost(trial: FrozenTrial) -> bool:
    worker = trial.user_attrs.get(WORKER)
    if worker is None:
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start > UNNAMED
    return has_ended(worker)


def elsewhere(study: Study) -> int:
    """Number of trials that run in living processes of this machine."""
    from optuna.trial import TrialState

    workers = [one.user_attrs.get(WORKER) for one in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]
    return sum(worker is None or (is_here(worker) and not has_ended(worker)) for worker in workers)


def counted(study: Study) -> list[FrozenTrial]:
    """The finished trials, without those that were withdrawn, or interrupted and queued again."""
    return [trial for trial in _standing(study) if trial.state.is_finished()]


def remaining(study: Study, trials: int) -> int:
    """Number of trials that must still start for a total of `trials`."""
    return max(0, trials - len(_standing(study)))


def waiting(study: Study) -> bool:
    """Whether trials are queued."""
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def _standing(study: Study) -> list[FrozenTrial]:
    """The trials that count for the total: finished or running ones, unless they were withdrawn or queued again."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    replaced = {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}
    return [
        trial
        for trial in trials
        if trial.state != TrialState.WAITING and trial.number not in replaced and WITHDRAWN not in trial.user_attrs
    ]


def is_too_many(study: Study, number: int, trials: int) -> bool:
    """Whether `trials` others, with smaller numbers than this running trial, count already."""
    return sum(other.number < number for other in _standing(study)) >= trials


def is_repeated(study: Study, number: int, *, ever: bool) -> bool:
    """Whether a trial with a smaller number has the parameters of this running trial: one that runs, or has ended since
    this one began, so that its sampler could not know of it; `ever`: any.

    Waits until running trials with smaller numbers have drawn their parameters."""
    end = time.monotonic() + DRAWING
    while True:
        trials = study.get_trials(deepcopy=False)
        mine = trials[number]
        before = [one for one in _standing(study) if one.number < number]
        unclear = [one for one in before if not one.state.is_finished() and DRAWN not in one.user_attrs]
        if not unclear or time.monotonic() > end:
            return any(one.params == mine.params and (ever or _overlaps(one, mine)) for one in before)
        time.sleep(POLL)


def _overlaps(one: FrozenTrial, mine: FrozenTrial) -> bool:
    if one.datetime_complete is None or mine.datetime_start is None:
        return True
    return one.datetime_complete > mine.datetime_start


def withdraw(trial: Trial, why: str, *, keep: bool) -> None:
    """Mark a running trial as one that does not count; `keep`: queue its parameters, for a total that is raised."""
    if keep:
        retries = trial.user_attrs.get(RETRIES, 0)
        trial.study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number, RETRIES: retries})
    trial.set_user_attr(WITHDRAWN, why)
