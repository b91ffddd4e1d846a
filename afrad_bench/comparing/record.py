"""Records of gates: a folder with a JSON file for each verdict, so that a site can show when the gate said what.

A record names the runs of NEW, so a verdict belongs to numbers of a store wherever the store is moved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from afrad_bench import writing
from afrad_bench.comparing.gate import Decision, Verdict
from afrad_bench.comparing.show import named
from afrad_bench.errors import Problem, UserError, first_line
from afrad_bench.hashing import digest
from afrad_bench.suite.checked import validated
from afrad_bench.suite.yaml import read_text

FORMAT: Literal["afrad-bench gate"] = "afrad-bench gate"
SUFFIX = ".gate.json"
MAX_BYTES = 2**26
HINT = "give folders that `afrad-bench gate --record FOLDER` wrote to"


class RecordedCheck(BaseModel):
    """One number under one rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    dataset: str
    setting: str
    profile: str
    metric: str
    category: str | None
    title: str
    """Metric and category as they are shown."""
    base: float | None
    new: float | None
    verdict: Verdict
    why: str
    runs: tuple[str, ...]
    """Ids of the runs that gave the values of NEW; empty if NEW was no store."""


class Record(BaseModel):
    """What a gate decided, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["afrad-bench gate"]
    version: Literal[1]
    at: AwareDatetime
    base: str
    new: str
    verdict: Verdict
    unmeasured: tuple[str, ...]
    checks: tuple[RecordedCheck, ...]


def record_of(decision: Decision, at: datetime) -> Record:
    """The record of a decision that was made at this time."""
    checks = []
    for check in decision.checks:
        change = check.change
        checks.append(
            RecordedCheck(
                **{name: getattr(change.key, name) for name in ("label", "dataset", "setting", "profile")},
                metric=change.metric,
                category=change.category,
                title=named(change),
                base=change.base,
                new=change.new,
                verdict=check.verdict,
                why=check.why,
                runs=decision.comparison.runs.get(change.key, ()),
            )
        )
    return Record(
        format=FORMAT,
        version=1,
        at=at.astimezone(UTC),
        base=decision.comparison.base,
        new=decision.comparison.new,
        verdict=decision.verdict,
        unmeasured=decision.unmeasured,
        checks=tuple(checks),
    )


def keep(record: Record, folder: Path) -> Path:
    """Write the record to a file of its own, named by its time; creates the folder. Raises `DiskFull`."""
    text = record.model_dump_json(indent=1) + "\n"
    path = folder / f"{record.at:%Y-%m-%dT%H-%M-%SZ}-{digest(text)[:8]}{SUFFIX}"
    with writing.replacing(path, "free some space there, or choose another folder: --record FOLDER") as scratch:
        scratch.write_text(text, encoding="utf-8")
    return path


def read(folders: Sequence[Path]) -> tuple[Record, ...]:
    """All records in these folders, oldest first; a record that two folders hold counts once.

    One `UserError` lists every folder without records and every file that is none."""
    problems: list[Problem] = []
    found: dict[Record, None] = {}
    for folder in folders:
        paths = sorted(folder.glob(f"*{SUFFIX}"))
        if not paths:
            problems.append(Problem("there is no record of a gate in this folder", str(folder), HINT))
        for path in paths:
            one = _read(path)
            if isinstance(one, Record):
                found[one] = None
            else:
                problems += one
    if problems:
        raise UserError(*problems)
    return tuple(sorted(found, key=lambda one: one.at))


def _read(path: Path) -> Record | list[Problem]:
    try:
        data = json.loads(read_text(path, MAX_BYTES))
    except UserError as error:
        return list(error.problems)
    except (ValueError, RecursionError) as error:
        return [Problem(f"not a record of a gate: {first_line(str(error))}", str(path), "remove the file")]
    made = validated(Record, data, lambda _: str(path), "not a record of a gate")
    assert isinstance(made, Record | list)
    return made
