"""The study of a search in its storage: opened, resumed after kills, counted.

A trial says which process works on it. One whose process is gone was lost: it is failed and put in the queue again, so
that no proposal is lost and nothing stays running for ever. Databases have Optuna's heartbeat besides, which also
notices processes of other machines; a journal that several machines write to has not, and their lost trials wait for a
start on the machine that lost them."""

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
"""Names of attributes."""
MOST_RETRIES = 3
HEARTBEAT, GRACE = 30, 120  # seconds
UNNAMED = timedelta(seconds=60)
"""A running trial that does not say whose it is after this time was lost at its very beginning."""


def opened(declared: Declared, store: Path, worker: int = 0) -> Study:
    """The study, made if it is new. Raises `UserError` for a storage that cannot be used, or holds another search."""
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
            f"the study {declared.study!r} there is of another search: its space, objectives, data or method differ",
            location(declared, store),
            "name another storage, or move that one away",
        )
    # A sampler that starts anew must not propose again what it did before, nor what another worker does.
    done = len(study.get_trials(deepcopy=False))
    seed = seed_for(declared.search.seed, declared.study, "sampler", worker, done)
    study.sampler = algorithms.sampler(declared.search.sampler, declared.axes, seed)
    return study


def location(declared: Declared, store: Path) -> str:
    """Where the study is kept: a path, a URL, or "memory"; what `optuna-dashboard` takes."""
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
        with algorithms.calm():
            return optuna.storages.RDBStorage(given, **options)
    except (SQLAlchemyError, ImportError) as error:
        raise fail(str(error).splitlines()[0], given, "is the database there, and its driver installed?") from error


def _journal(path: str) -> Any:
    """The file behind a journal; on Windows its lock must do without symbolic links."""
    import optuna

    if hasattr(optuna.storages, "journal"):
        journal = optuna.storages.journal
        lock = journal.JournalFileOpenLock(path) if os.name == "nt" else None
        return journal.JournalFileBackend(path, lock)
    return optuna.storages.JournalFileStorage(path)  # before Optuna 4


def me() -> dict[str, Any]:
    """This process, so that others can tell whether it is still there."""
    import psutil

    return {"host": platform.node(), "pid": os.getpid(), "born": psutil.Process().create_time()}


def recover(study: Study) -> int:
    """Fail the running trials whose process is gone and queue them again; returns how many."""
    from optuna.trial import TrialState

    lost = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if _is_lost(trial)]
    for trial in lost:
        study.tell(trial.number, state=TrialState.FAIL)
        queued_again(study, trial)
    return len(lost)


def queued_again(study: Study, trial: FrozenTrial) -> None:
    """Queue the parameters of a trial that was cut off, once, if that did not happen to them too often."""
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
    """The trials that have an end of their own: those that were cut off and queued again are left out."""
    trials = study.get_trials(deepcopy=False)
    replaced = {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}
    return [trial for trial in trials if trial.state.is_finished() and trial.number not in replaced]


def remaining(study: Study, trials: int) -> int:
    """How many trials are still to begin for there to be `trials` in all."""
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return max(0, trials - len(counted(study)) - len(running))
