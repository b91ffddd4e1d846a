"""The Optuna study of a search: opens it, resumes it after kills, and counts its trials.

Each trial names the process that runs it. If this process no longer exists, the trial is lost: it is marked as failed
and queued again, so that no proposal is lost and no trial stays running for ever. Databases also have Optuna's
heartbeat, which detects lost processes on other machines. A journal has no heartbeat: a trial lost on another machine
is queued again when the search starts on that machine."""

from __future__ import annotations

import inspect
import json
import os
import platform
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import fail
from afrad_bench.hashing import seed_for
from afrad_bench.search import algorithms, space
from afrad_bench.search.declared import Declared

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

IDENTITY, WORKER, RETRY_OF, RETRIES, ERROR = "afrad_bench", "worker", "retry_of", "retries", "error"
"""Names of attributes of studies and trials."""
MOST_RETRIES = 3
HEARTBEAT, GRACE = 30, 120  # seconds
UNNAMED = timedelta(seconds=60)
"""A running trial that names no process after this time was lost right after its start."""


def opened(declared: Declared, store: Path, worker: int = 0) -> Study:
    """Open or create the study. Raises `UserError` if the storage cannot be used or holds another search."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = _storage(declared, store)
    directions = [goal.direction for goal in declared.objectives]
    study = optuna.create_study(
        storage=storage,
        study_name=declared.study,
        directions=directions,
        pruner=algorithms.pruner(declared.search.pruner),
        load_if_exists=True,
    )
    held = study.user_attrs.get(IDENTITY)
    if held is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(IDENTITY, declared.identity)
        first = space.standing(declared.axes, json.loads(declared.row.params))
        if first is not None and declared.search.sampler.name not in ("grid", "brute_force"):
            study.enqueue_trial(first)
    elif held != declared.identity:
        raise fail(
            f"the study {declared.study!r} belongs to another search: its space, objectives, data or method differ",
            location(declared, store),
            "use another storage, or move this one away",
        )
    # A restarted sampler must not repeat its earlier proposals, nor those of another worker.
    done = len(study.get_trials(deepcopy=False))
    seed = seed_for(declared.search.seed, declared.study, "sampler", worker, done)
    study.sampler = algorithms.sampler(declared.search.sampler, declared.axes, seed)
    return study


def location(declared: Declared, store: Path) -> str:
    """Location of the study: a path, a URL, or "memory". `optuna-dashboard` takes the first two."""
    kind, _, path = declared.search.storage.partition(":")
    if kind == "journal":
        return path or str(store / "studies" / f"{declared.study}.journal")
    return declared.search.storage


def _storage(declared: Declared, store: Path) -> BaseStorage:
    import optuna

    given = declared.search.storage
    place = location(declared, store)
    if given == "memory":
        return optuna.storages.InMemoryStorage()
    if given.partition(":")[0] == "journal":
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(_journal(place))
    if "://" not in given:
        raise fail(
            f"no such storage: {given!r}",
            "search.storage",
            "journal, journal:PATH, memory, or a URL such as sqlite:///study.db",
        )
    from sqlalchemy.exc import SQLAlchemyError

    options: dict[str, Any] = {"heartbeat_interval": HEARTBEAT, "grace_period": GRACE}
    if given.startswith("sqlite"):
        options["engine_kwargs"] = {"connect_args": {"timeout": 60}}
    known = inspect.signature(optuna.storages.RDBStorage.__init__).parameters
    callback = "heartbeat_stale_trial_callback"  # its name from Optuna 4.9 on
    options[callback if callback in known else "failed_trial_callback"] = queued_again
    try:
        with algorithms.quiet():
            return optuna.storages.RDBStorage(given, **options)
    except (SQLAlchemyError, ImportError) as error:
        raise fail(
            str(error).splitlines()[0], given, "check that the database exists and its driver is installed"
        ) from error


def _journal(path: str) -> Any:
    """The file of a journal; on Windows its lock must not use symbolic links."""
    import optuna

    if hasattr(optuna.storages, "journal"):
        journal = optuna.storages.journal
        lock = journal.JournalFileOpenLock(path) if os.name == "nt" else None
        return journal.JournalFileBackend(path, lock)
    return optuna.storages.JournalFileStorage(path)  # before Optuna 4


def this_process() -> dict[str, Any]:
    """Identifies this process, so that others can check whether it still runs."""
    import psutil

    return {"host": platform.node(), "pid": os.getpid(), "born": psutil.Process().create_time()}


def recover(study: Study) -> int:
    """Mark running trials as failed if their process no longer exists, and queue them again; returns their number."""
    from optuna.trial import TrialState

    lost = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if _is_lost(trial)]
    for trial in lost:
        study.tell(trial.number, state=TrialState.FAIL)
        queued_again(study, trial)
    return len(lost)


def queued_again(study: Study, trial: FrozenTrial) -> None:
    """Queue the parameters of an interrupted trial again, once, unless they had `MOST_RETRIES` retries."""
    queued = any(other.user_attrs.get(RETRY_OF) == trial.number for other in study.get_trials(deepcopy=False))
    retries = trial.user_attrs.get(RETRIES, 0)
    if retries < MOST_RETRIES and not queued:
        study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number, RETRIES: retries + 1})


def _is_lost(trial: FrozenTrial) -> bool:
    import psutil

    worker = trial.user_attrs.get(WORKER)
    if worker is None:
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start > UNNAMED
    if worker["host"] != platform.node():
        return False
    try:
        process = psutil.Process(worker["pid"])
        return process.create_time() != worker["born"] or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def counted(study: Study) -> list[FrozenTrial]:
    """The finished trials, without interrupted trials that were queued again."""
    trials = study.get_trials(deepcopy=False)
    replaced = {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}
    return [trial for trial in trials if trial.state.is_finished() and trial.number not in replaced]


def remaining(study: Study, trials: int) -> int:
    """Number of trials that must still start for a total of `trials`."""
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return max(0, trials - len(counted(study)) - len(running))
