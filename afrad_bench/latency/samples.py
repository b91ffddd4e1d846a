"""The times of each method in each mode and batch as values, and their conversion to rows of the store and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import UserError, fail, unknown
from afrad_bench.hashing import canonical

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Timed:
    """One method in one mode and batch."""

    label: str
    method: str
    mode: str
    batch: int
    times_ms: tuple[float, ...] = ()
    """Time of each round, for the whole batch; empty if the method failed."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts about it: backbone, weights, what it was fitted on, compile time, differences from eager, ..."""
    error: str = ""
    cell: dict[str, Any] = field(default_factory=dict, compare=False)
    """Further columns of its cell; not read back."""


@dataclass(frozen=True, slots=True)
class Session:
    """Everything that one call of `afrad-bench latency` measured."""

    id: str
    started_at: datetime
    device: str
    device_name: str
    threads: int
    image_size: int
    terms: dict[str, Any]
    """Settings and readings of the machine, versions, the command, suites and profiles, and the paper's rows without a
    method here."""
    timed: tuple[Timed, ...]

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the load of the machine says against all times of the session."""
        return tuple(self.terms.get("doubts", ()))


def rows(session: Session) -> list[dict[str, Any]]:
    """The session as rows of the store's table `latency`, one per timed call. A failed method has no calls; it is
    kept in the terms of the session."""
    failed = [
        {"label": one.label, "method": one.method, "mode": one.mode, "batch": one.batch, "error": one.error}
        | {"facts": one.facts}
        for one in session.timed
        if one.error
    ]
    order = [[one.label, one.mode, one.batch] for one in session.timed]
    common = {
        "run_id": session.id,
        "session": session.id,
        "started_at": session.started_at,
        "image_size": session.image_size,
        "device": session.device,
        "device_name": session.device_name,
        "threads": session.threads,
        "terms": canonical({**session.terms, "failed": failed, "order": order}),
    }
    return [
        {
            **common,
            **one.cell,
            "label": one.label,
            "method": one.method,
            "mode": one.mode,
            "batch": one.batch,
            "round": i,
            "ms": ms,
            "facts": canonical(one.facts),
        }
        for one in session.timed
        for i, ms in enumerate(one.times_ms)
    ]


def stored(frame: pd.DataFrame) -> Iterator[Session]:
    """The sessions in rows of the store's table `latency`, oldest first."""
    for name, mine in frame.groupby("session", sort=False):
        first = mine.iloc[0]
        terms = json.loads(first["terms"])
        failed = {(each["label"], each["mode"], each["batch"]): each for each in terms.pop("failed")}
        groups = {key: group.sort_values("round") for key, group in mine.groupby(["label", "mode", "batch"])}
        timed = []
        for label, mode, batch in map(tuple, terms.pop("order")):
            if each := failed.get((label, mode, batch)):
                timed.append(Timed(label, each["method"], mode, batch, (), each["facts"], each["error"]))
                continue
            group = groups[label, mode, batch]
            facts = json.loads(group.iloc[0]["facts"])
            timed.append(Timed(label, group.iloc[0]["method"], mode, batch, tuple(group["ms"]), facts))
        yield Session(
            str(name),
            first["started_at"].to_pydatetime(),
            first["device"],
            first["device_name"],
            int(first["threads"]),
            int(first["image_size"]),
            terms,
            tuple(timed),
        )


def find(sessions: list[Session], names: list[str], where: str) -> tuple[Session, ...]:
    """Sessions by id, by the beginning of an id, or "last". Raises `UserError` unless all have the same device, thread
    count and image size: times from different machines do not belong in one table."""
    if not sessions:
        raise fail("the store holds no latency sessions", where, "`afrad-bench latency METHOD...` creates one")
    found: dict[str, Session] = {}
    for name in names:
        fits = sessions[-1:] if name == "last" else [one for one in sessions if one.id.startswith(name)]
        if not fits:
            raise UserError(unknown("latency session", name, [one.id for one in sessions], "--show"))
        if len(fits) > 1:
            ids = ", ".join(one.id for one in fits)
            raise fail(f"several sessions begin with {name!r}: {ids}", "--show", "write more of the id")
        found[fits[0].id] = fits[0]
    chosen = tuple(found.values())
    must_match(chosen)
    return chosen


def must_match(sessions: tuple[Session, ...]) -> None:
    """Raise `UserError` unless the times of these sessions may be in one table."""
    for what, values in (
        ("devices", {one.id: f"{one.device} ({one.device_name})" for one in sessions}),
        ("numbers of threads", {one.id: str(one.threads) for one in sessions}),
        ("image sizes", {one.id: f"{one.image_size} px" for one in sessions}),
    ):
        if len(set(values.values())) > 1:
            each = "; ".join(f"{name[:8]} {value}" for name, value in values.items())
            raise fail(f"different {what} do not go into one table: {each}", "--show", "show each session alone")
