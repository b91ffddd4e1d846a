"""Where the study of a search is kept: a journal file, a database, or memory."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import fail
from afrad_bench.search import algorithms
from afrad_bench.search.declared import Declared

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

HEARTBEAT, GRACE = 30, 120  # seconds


def location(declared: Declared, store: Path) -> str:
    """Location of the study: a path, a URL, or "memory". `optuna-dashboard` takes the first two."""
    kind, _, path = declared.search.storage.partition(":")
    if kind == "journal":
        return path or str(store / "studies" / f"{declared.study}.journal")
    return declared.search.storage


def opened(declared: Declared, store: Path, on_lost: Callable[[Study, FrozenTrial], None]) -> BaseStorage:
    """The storage. A database calls `on_lost` for a trial whose process sends no more heartbeats.

    Raises `UserError` if there is no such storage or it cannot be used."""
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
    options[callback if callback in known else "failed_trial_callback"] = on_lost
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

    if not hasattr(optuna.storages, "journal"):
        return optuna.storages.JournalFileStorage(path)  # before Optuna 4
    journal = optuna.storages.journal
    lock = journal.JournalFileOpenLock(path) if os.name == "nt" else journal.JournalFileSymlinkLock(path)
    _mend(Path(path), lock)
    return journal.JournalFileBackend(path, lock)


def _mend(path: Path, lock: Any) -> None:
    """Cut off an entry at the end of a journal that was not written completely, as on a full disk: no process has read
    it, and what is appended to it could not be read."""
    if not path.is_file():
        return
    lock.acquire()
    try:
        with path.open("rb+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            if end and file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()
