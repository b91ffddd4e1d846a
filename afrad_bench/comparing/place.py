"""Finds a side from the text of the user: a store, a suite in it, a revision of the code, or a baseline file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from afrad_bench.comparing import baseline
from afrad_bench.comparing.side import Side
from afrad_bench.comparing.stored import from_frames
from afrad_bench.errors import Problem, UserError, fail, unknown
from afrad_bench.store import Store

TABLES = ("cells", "measurements", "scores", "latency")
RUNS = ("cells", "latency")
"""Tables that know their suite and, in a column or in their terms, the revision of the code."""
HINT = "give a store folder, FOLDER:SUITE, SUITE, rev:REVISION, FOLDER:SUITE:rev:REVISION, or a baseline file"


def locate(text: str, store: Path) -> Side:
    """Read the side that `text` names; a suite or revision without a folder is looked up in `store`.

    Suite and revision are those of the run that measured the numbers. Raises `UserError` if nothing is found."""
    if text.endswith(baseline.SUFFIX):
        return baseline.read(Path(text))
    if text.endswith(".safetensors"):
        raise fail("a kept model holds no results", text, "`afrad-bench gate --latency` measures two models")
    folder, suite, revision = _parse(text, store)
    if not (folder / "cells").is_dir() and not (folder / "latency").is_dir():
        raise fail(f"there is no store of results in {folder}", text, HINT)
    opened = Store(folder)
    frames = opened.read_all(TABLES)
    frames["latency"] = frames["latency"].assign(git_revision=frames["latency"]["terms"].map(_revision))
    for column, kind, wanted in (("suite", "suite", suite), ("git_revision", "revision", revision)):
        if wanted is None:
            continue
        known = {str(value) for table in RUNS for value in frames[table][column].dropna() if value}
        found = {name for name in known if name == wanted or (kind == "revision" and name.startswith(wanted))}
        if not found:
            names = known if kind == "suite" else {name[:12] for name in known}
            raise UserError(unknown(f"{kind} in {folder}", wanted, names, text))
        if len(found) > 1:
            raise fail(f"{len(found)} revisions begin with {wanted!r}", text, f"one of: {', '.join(sorted(found))}")
        for table in RUNS:
            frames[table] = frames[table][frames[table][column].isin(found)]
        runs = set(frames["cells"]["run_id"])
        for table in ("measurements", "scores"):
            frames[table] = frames[table][frames[table]["run_id"].isin(runs)]
    side = from_frames(text, frames)
    if not side.rows:
        raise fail("no results found", text, "\n".join((*opened.faults, HINT)))
    return replace(side, notes=(*side.notes, *opened.faults))


def _revision(terms: str) -> str:
    """The revision of the code of a latency session."""
    return str(json.loads(terms).get("git_revision") or "")


def _parse(text: str, store: Path) -> tuple[Path, str | None, str | None]:
    """Folder, suite, revision."""
    first, _, rest = text.partition(":")
    folder, parts = (Path(first), _split(rest)) if Path(first).is_dir() else (store, _split(text))
    suite: list[str] = []
    revision: list[str] = []
    while parts:
        one = parts.pop(0)
        if one == "rev" and parts:
            revision.append(parts.pop(0))
        else:
            suite.append(one)
    if len(suite) > 1 or len(revision) > 1 or "" in (*suite, *revision):
        raise fail(f"{text!r} is not a side of a comparison", hint=HINT)
    return folder, suite[0] if suite else None, revision[0] if revision else None


def _split(text: str) -> list[str]:
    return text.split(":") if text else []


def both(base: str, new: str, store: Path) -> tuple[Side, Side]:
    """Read two sides; one `UserError` lists all problems."""
    found: list[Side] = []
    problems: list[Problem] = []
    for text in (base, new):
        try:
            found.append(locate(text, store))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return found[0], found[1]
