"""Where a report is written: runs that differ in their overrides or their data have folders of their own.

    <reports>/<suite>/<profile>/                       the suite's own settings
    <reports>/<suite>/<profile>+<digest>/              with overrides (--set); the digest is of them
    <reports>/<suite>/<profile>+data-<digest>/         other data, if the folder is taken by a report on other data
    <reports>/<suite>/<profile>.../ + "+incomplete"    a report that lacks numbers which the one in its place has

`<reports>/.options/<suite>/<folder>.json` holds the overrides of a folder, and what tells data apart."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench import writing
from afrad_bench.hashing import canonical, digest

if TYPE_CHECKING:
    from afrad_bench.running.plan import Plan

Content = dict[str, Any]


@dataclass(frozen=True)
class Destination:
    """A folder for a report, and the options that are noted about it."""

    folder: Path
    options: Content = field(default_factory=dict)

    def note(self) -> None:
        """Write down the options of the folder, if there are any."""
        if self.options:
            with writing.replacing(_noted(self.folder), writing.REPORTS) as scratch:
                scratch.write_text(json.dumps(self.options, indent=2) + "\n", encoding="utf-8")


def _noted(folder: Path) -> Path:
    suite = folder.parent
    return suite.parent / ".options" / suite.name / f"{folder.name}.json"


def destination(reports: Path, plan: Plan) -> Destination:
    """Where the report of a plan belongs."""
    selection = plan.selection
    options: Content = {"overrides": list(selection.overrides), "data": _data(plan)}
    folder = reports / selection.suite / named(selection.profile, selection.overrides)
    if _is_of_other_data(folder, options["data"]):
        places = digest(canonical([each["place"] for each in options["data"]]))[:8]
        folder = folder.with_name(f"{folder.name}+data-{places}")
    return Destination(folder, options)


def named(name: str, overrides: Sequence[str]) -> str:
    """A name for these overrides: equal for equal values, however they are spelled and ordered."""
    from afrad_bench.suite.yaml import read_value

    if not overrides:
        return name
    values = {}
    for text in overrides:
        key, _, value = text.partition("=")
        values[key] = read_value(value, f"--set {text}")
    return f"{name}+{digest(json.dumps(values, sort_keys=True, default=str))[:8]}"


def _data(plan: Plan) -> list[dict[str, str]]:
    """For each data set its name, its content, and a digest of its place, since a path may hold a user's name."""
    pairs = zip(plan.selection.datasets, plan.datasets, strict=True)
    return [
        {
            "name": chosen.name,
            "fingerprint": dataset.fingerprint,
            "place": digest(os.fsencode(Path(chosen.root).resolve()))[:16] if chosen.root else "",
        }
        for chosen, dataset in pairs
    ]


def _is_of_other_data(folder: Path, data: Sequence[dict[str, str]]) -> bool:
    """Whether the folder holds a report on other images from elsewhere, not on these before they changed or moved."""
    if not folder.is_dir():
        return False
    try:
        there = json.loads(_noted(folder).read_text(encoding="utf-8"))["data"]
        pairs = [(one, other) for one, other in zip(data, there, strict=True) if one["name"] == other["name"]]
        return any(all(one[name] != other[name] for name in ("fingerprint", "place")) for one, other in pairs)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # no report, an older one, or one of a suite with other data sets
