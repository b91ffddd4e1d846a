"""One session for two sides: each subject of BASE and NEW is called once per round, A B A B ..., in its own process.

A slow spell of the machine then hits both sides alike, and the ratio within a round holds. Where the system allows it,
both processes run on the same cores: one that sits on a busier core would seem slower in every round."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from afrad_bench.errors import fail
from afrad_bench.latency.machine import Readings, gauges_for
from afrad_bench.latency.rounds import Call, Length, Turns, take_turns
from afrad_bench.latency.samples import Session, Timed
from afrad_bench.latency.workers import SIDES, SUFFIX, Place, Worker, places_of, started
from afrad_bench.machine.load import LoadWatch, quiet_cores
from afrad_bench.store import new_run_id

MODE, BATCH = "eager", 1


@dataclass(frozen=True, slots=True)
class Conditions:
    """How both sides are measured; those of methods by name do not apply to kept models."""

    device: str
    threads: int
    cache: Path
    cache_limit: int
    image_size: int
    train: int
    """Number of noise images to fit on."""
    backbone: str | None
    weights: str | None


@dataclass(frozen=True, slots=True)
class SideRow:
    """One subject on one side."""

    label: str
    dataset: str
    about: Mapping[str, str]
    """What may differ between the sides: method, parameters, revision, packages."""
    terms: Mapping[str, str]
    """What must agree: image size, timed region, precision."""
    times_ms: tuple[float, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class TwoSides:
    """The session, and its rows by side in the same order."""

    session: Session
    base: tuple[SideRow, ...]
    new: tuple[SideRow, ...]
    notes: tuple[str, ...]


def measure_sides(
    base: str, new: str, subjects: Sequence[str], how: Conditions, length: Length, tell: Callable[[str], object]
) -> TwoSides:
    """Measure two kept models, or `subjects` (methods by name, kept models) in two checkouts.

    A subject that cannot be fitted or called fails alone, and has its error. Raises `UserError` for a side that is
    neither, or that cannot be measured at all."""
    places = places_of(base, new)
    wanted = _subjects(places, subjects)
    began = datetime.now(timezone.utc)
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(place)) for place in places]
        tell(f"fit or load {len(wanted[0])} of each side")
        cores = quiet_cores(how.threads)
        conditions = {**_plain(how), "do": "start", "cores": cores}
        for worker, mine in zip(workers, wanted, strict=True):
            worker.send({**conditions, "subjects": mine})
        replies = [started(worker) for worker in workers]
        _must_match(replies)
        calls = _calls(workers, replies)
        tell(f"warm up, then {length.rounds} rounds of {len(calls)} calls, for at most {length.seconds:g} s")
        machine, load = Readings(gauges_for("cpu")), LoadWatch([worker.pid for worker in workers])
        machine.read()
        turns = take_turns(calls, _Told(), length)
        doubts = load.load(wait=True).doubts
        machine.read()
    rows = [
        [_row(side, i, label, replies[side], turns) for i, label in enumerate(_labels(wanted, replies))]
        for side in range(len(SIDES))
    ]
    terms = {"readings": machine.summary(), "doubts": list(doubts), "rounds": length.rounds, "cores": cores}
    return TwoSides(
        _session(began, places, replies, rows, turns, terms), tuple(rows[0]), tuple(rows[1]), _notes(places, replies)
    )


class _Told:
    """A clock that believes the worker's own clock."""

    def time_ms(self, call: Call) -> float:
        return float(call())  # type: ignore[arg-type]  # `_calls` returns milliseconds


def _subjects(places: Sequence[Place], subjects: Sequence[str]) -> list[list[str]]:
    """What each side must prepare."""
    models = [place.model for place in places]
    if all(models):
        if subjects:
            raise fail("two kept models are measured themselves", "--time", "leave it out, or name two checkouts")
        return [[str(model)] for model in models]
    if any(models):
        raise fail(
            "one side is a kept model and the other is none",
            hint="name two kept models, or two checkouts with --time MODEL to time one model by both",
        )
    if not subjects:
        raise fail("nothing is named that both checkouts should time", "--time", "e.g. --time afrad --time padim")
    if twice := [text for text in dict.fromkeys(subjects) if subjects.count(text) > 1]:
        raise fail(f"{twice[0]!r} is given twice", "--time")
    return [[_resolved(text) for text in subjects]] * 2


def _resolved(text: str) -> str:
    """A model file by its absolute path, since the workers run elsewhere."""
    return str(Path(text).absolute()) if text.endswith(SUFFIX) else text


def _plain(how: Conditions) -> dict[str, Any]:
    names = ("device", "threads", "cache_limit", "image_size", "train", "backbone", "weights")
    return {**{name: getattr(how, name) for name in names}, "cache": str(how.cache.absolute())}


def _must_match(replies: Sequence[Mapping[str, Any]]) -> None:
    """Raise `UserError` if the sides chose different devices, e.g. since one has no CUDA."""
    found = [f"{reply['side']['device']} ({reply['side']['device_name']})" for reply in replies]
    if len(set(found)) > 1:
        raise fail(f"the sides use different devices: {' and '.join(found)}", "--device", "name one that both have")


def _calls(workers: Sequence[Worker], replies: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], Call]:
    """(subject, side) -> its call, BASE and NEW in turn; without those that could not be prepared."""
    return {
        (i, side): partial(worker.time_ms, i)
        for i in range(len(replies[0]["subjects"]))
        for side, worker in enumerate(workers)
        if "error" not in replies[side]["subjects"][i]
    }


def _labels(wanted: Sequence[Sequence[str]], replies: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each pair of subjects: the text of the user or, for two kept models, their methods."""
    if wanted[0] == wanted[1]:
        return [Path(text).stem if text.endswith(SUFFIX) else text for text in wanted[0]]
    return [" / ".join(dict.fromkeys(reply["subjects"][0].get("method", "model") for reply in replies))]


def _row(side: int, i: int, label: str, reply: Mapping[str, Any], turns: Turns[tuple[int, int]]) -> SideRow:
    here, found = reply["side"], reply["subjects"][i]
    fault = turns.failed.get((i, side))
    error = found.get("error") or (str(fault) if fault else "")
    about = {
        **{name: str(found[name]) for name in ("method", "method_version", "params", "weights") if found.get(name)},
        "git_revision": here["git_revision"] or "not recorded",
        **({"code": "changed since that revision"} if here["git_dirty"] else {}),
        "afrad-bench": here["code_version"],
        "python": here["python"],
        **here["packages"],
    }
    terms = {name: str(found[name]) for name in ("image_size", "inside", "precision") if name in found}
    return SideRow(label, found.get("dataset", ""), about, terms, () if error else tuple(turns.times[i, side]), error)


def _session(
    began: datetime,
    places: Sequence[Place],
    replies: Sequence[Mapping[str, Any]],
    rows: Sequence[Sequence[SideRow]],
    turns: Turns[tuple[int, int]],
    terms: Mapping[str, Any],
) -> Session:
    """The session as `afrad-bench latency` stores and shows it."""
    here = replies[0]["side"]
    timed = [
        _timed(places[side], replies[side], row, i, turns.warmups.get((i, side)))
        for i in range(len(rows[0]))
        for side, row in enumerate(mine[i] for mine in rows)
    ]
    return Session(
        id=new_run_id(),
        started_at=began,
        device=here["device"],
        device_name=here["device_name"],
        threads=here["threads"],
        image_size=next(
            (int(row.terms["image_size"]) for mine in rows for row in mine if "image_size" in row.terms), 0
        ),
        terms={
            **terms,
            "command": ["afrad-bench", *sys.argv[1:]],
            "suites": [],
            "profiles": ["latency"],
            "absent": [],
            "clock": here["clock"],
            "settings": {
                **{place.side: _told(reply["side"]) for place, reply in zip(places, replies, strict=True)},
                "cores of both": ", ".join(map(str, terms["cores"])) or "any",
            },
            "code_version": here["code_version"],
            "git_revision": here["git_revision"],
            "packages": here["packages"],
        },
        timed=tuple(timed),
    )


def _timed(place: Place, reply: Mapping[str, Any], row: SideRow, i: int, warmups: int | None) -> Timed:
    found = reply["subjects"][i]
    facts = {
        "fitted_on": found.get("fitted_on", ""),
        "published": None,
        "backbone": None,
        "weights": found.get("weights"),
        "side": place.text,
        "clock": reply["side"]["clock"],
        "warmup_calls": warmups,
        **{name: found[name] for name in ("inside", "precision") if name in found},
    }
    columns = {
        "cell_id": found.get("cell_id", ""),
        "dataset": row.dataset,
        "setting": "unified",
        "seed": found.get("seed", 0),
        "profile": "latency",
        "suite": "",
        "params": found.get("params", ""),
        **({"image_size": found["image_size"]} if "image_size" in found else {}),
    }
    label = f"{row.label}, {place.side}"
    return Timed(label, found.get("method", ""), MODE, BATCH, row.times_ms, facts, row.error, columns)


def _told(side: Mapping[str, Any]) -> str:
    revision = f" · {side['git_revision'][:12]}" if side["git_revision"] else ""
    dirty = " with uncommitted changes" if side["git_dirty"] else ""
    return (
        f"afrad-bench {side['code_version']}{revision}{dirty}, torch {side['packages'].get('torch')}, {side['package']}"
    )


def _notes(places: Sequence[Place], replies: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What a reader must know about the code of the sides."""
    packages = [Path(reply["side"]["package"]) for reply in replies]
    notes = []
    for place, package in zip(places, packages, strict=True):
        own = place.checkout and place.checkout / "afrad_bench"
        if own and own.is_dir() and package.resolve() != own.resolve():
            notes.append(f"{place.side}: timed was the copy in {package}, not the files of the checkout")
    if packages[0] == packages[1] and places[0].model is None and places[0].text != places[1].text:
        notes.append(f"BASE and NEW have the same code, {packages[0]}")
    return tuple(notes)
