"""The rows of a store as inputs of reports, without suite files: a group for all that may stand in one report.

A suite file would add what a store does not know: the paper's figures, the row that others are compared to, and cells
that were never run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench import registry
from afrad_bench.comparing.side import fields
from afrad_bench.errors import Problem, UserError
from afrad_bench.report import MeasureSpec, PlannedCell, ReportInput, RowSpec
from afrad_bench.store import OF_RUNS, Store

if TYPE_CHECKING:
    import pandas as pd

HINT = "give folders that `afrad-bench run` wrote results to (--store, default: results)"
NAMED = ("suite", "profile", "setting", "image_size")
"""Columns of `cells` in which the rows of a group agree."""
UNKNOWN = "not recorded"
AT = " @ "
"""Between row and revision."""
SHOWN = 3
"""Fields that tell rows of one label apart; if there are more, the rest is counted."""


@dataclass(frozen=True, slots=True)
class Group:
    """What one report shows: the cells of a store that agree in suite, profile, setting and image size."""

    store: str
    suite: str
    profile: str
    setting: str
    image_size: str
    """Pixels, or `UNKNOWN`."""
    spec: ReportInput
    frames: Mapping[str, pd.DataFrame]
    """The tables of the store, only with the runs of this group, oldest first."""

    @property
    def datasets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.dataset for row in self.spec.rows for cell in row.cells))

    @property
    def terms(self) -> str:
        """What its rows have in common: "methods · demo · 128 px"."""
        return f"{self.suite} · {self.profile} · {self.image_size} px"


@dataclass(frozen=True, slots=True)
class Opened:
    """A store that was read."""

    name: str
    groups: tuple[Group, ...]
    faults: tuple[str, ...]
    """What could not be read, and measures that are not installed here."""


def opened(paths: Sequence[Path]) -> tuple[Opened, ...]:
    """Read these stores; one `UserError` lists all that are missing, empty or given twice.

    A store has the name of its folder; where two folders have the same name, the path as it was given."""
    problems = []
    seen: set[Path] = set()
    for path in paths:
        if not (path / "cells").is_dir():
            problems.append(Problem("there is no store of results in this folder", str(path), HINT))
        elif path.resolve() in seen:
            problems.append(Problem("this store is given twice", str(path), "leave one out"))
        seen.add(path.resolve())
    if problems:
        raise UserError(*problems)
    folders = [path.resolve().name for path in paths]
    named = [str(path) if folders.count(folder) > 1 else folder for path, folder in zip(paths, folders, strict=True)]
    found = [_read(name, Store(path)) for name, path in zip(named, paths, strict=True)]
    for path, one in zip(paths, found, strict=True):
        if not one.groups:
            problems.append(Problem("the store holds no results", str(path), "\n".join((*one.faults, HINT))))
    if problems:
        raise UserError(*problems)
    return tuple(found)


def _read(name: str, store: Store) -> Opened:
    frames = store.read_all(OF_RUNS)
    cells = frames["cells"]
    used = {measure for text in cells["measures"].dropna() for measure in json.loads(text)}
    known = registry.entries("measure")
    lost = tuple(f"the measure {each} is not installed here; its numbers are left out" for each in used - known.keys())
    specs = {
        each: MeasureSpec(module.METRICS, tuple(module.TERMS))
        for each in sorted(used & known.keys())
        for module in [known[each].load()]
    }
    groups = []
    for key, mine in cells.groupby(list(NAMED), dropna=False)["run_id"]:
        assert isinstance(key, tuple)
        suite, profile, setting, size = map(_text, key)
        of_group = {table: _of(frame, mine) for table, frame in frames.items()}
        spec = input_of(suite, profile, of_group["cells"], specs)
        groups.append(Group(name, suite, profile, setting, size, spec, of_group))
    return Opened(name, tuple(groups), (*store.faults, *sorted(lost)))


def input_of(suite: str, profile: str, cells: pd.DataFrame, measures: Mapping[str, MeasureSpec]) -> ReportInput:
    """These rows of `cells`, oldest first, as the input of a report.

    Cells of one label that differ in the options of the method are rows of their own, those that differ in the options
    of the data have data sets of their own: an average never covers different things."""
    newest = {str(record["cell_id"]): record for record in cells.to_dict("records")}
    datasets = _told_apart(_data(each) for each in newest.values())
    methods = _told_apart((str(each["label"]), _method(each)) for each in newest.values())
    rows: dict[str, tuple[str, list[PlannedCell]]] = {}
    for cell, record in newest.items():
        label = methods[str(record["label"]), _method(record)]
        part = record["category"] if isinstance(record["category"], str) else None
        planned = PlannedCell(cell, datasets[_data(record)], int(record["seed"]), part)
        rows.setdefault(label, (str(record["method"]), []))[1].append(planned)
    used = {name for text in cells["measures"].dropna() for name in json.loads(text)}
    return ReportInput(
        suite=suite,
        title=suite,
        profile=profile,
        rows=tuple(RowSpec(label, method, tuple(planned_cells)) for label, (method, planned_cells) in rows.items()),
        measures={name: each for name, each in measures.items() if name in used},
        command="",
    )


def _data(record: Mapping[Any, Any]) -> tuple[str, str]:
    return str(record["dataset"]), _json(record["dataset_params"])


def _method(record: Mapping[Any, Any]) -> str:
    """What distinguishes two methods of one label: the method itself, and its options."""
    return json.dumps({"method": record["method"], **json.loads(_json(record["params"]))}, sort_keys=True)


def _told_apart(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(Name, options as JSON) -> the name, with the options in which several of one name differ."""
    by_name: dict[str, dict[str, dict[str, str]]] = {}
    for name, options in pairs:
        by_name.setdefault(name, {})[options] = fields(options)
    found: dict[tuple[str, str], str] = {}
    for name, several in by_name.items():
        for options, mine in several.items():
            differing = sorted(
                key
                for key in {key for other in several.values() for key in other}
                if len({other.get(key) for other in several.values()}) > 1
            )
            told = [f"{key}={mine[key]}" if key in mine else f"no {key}" for key in differing[:SHOWN]]
            told += [f"and {len(differing) - SHOWN} more fields"] if len(differing) > SHOWN else []
            text = f"{name} ({', '.join(told)})" if told else name
            taken = sum(other == text or other.startswith(f"{text} #") for other in found.values())
            found[name, options] = f"{text} #{taken + 1}" if taken else text
    return found


def by_revision(group: Group) -> Group:
    """The group with a row for each of its rows and each revision of the code that measured it, oldest first."""
    import pandas as pd

    of_run = revisions_of(group)
    revisions = list(of_run.values())
    frames = {}
    for table in ("cells", "measurements"):
        frame = group.frames[table]
        ids = [f"{cell}@{of_run[run]}" for cell, run in zip(frame["cell_id"], frame["run_id"], strict=True)]
        frames[table] = frame.assign(cell_id=pd.Series(ids, frame.index, dtype=object))
    there = set(frames["cells"]["cell_id"])
    rows = []
    for row in group.spec.rows:
        for revision in dict.fromkeys(revisions):
            cells_then = (replace(cell, id=f"{cell.id}@{revision}") for cell in row.cells)
            if measured := tuple(cell for cell in cells_then if cell.id in there):
                rows.append(RowSpec(f"{row.label}{AT}{revision}", row.method, measured))
    return replace(group, spec=replace(group.spec, rows=tuple(rows)), frames=frames)


def parted(label: str) -> tuple[str, str]:
    """Row and revision of a label that `by_revision` made."""
    row, _, revision = label.rpartition(AT)
    return row, revision


def revisions_of(group: Group) -> dict[str, str]:
    """Run -> the revision of the code that made it, oldest first."""
    cells = group.frames["cells"]
    return dict(zip(cells["run_id"], map(revision_of, cells["git_revision"], cells["git_dirty"]), strict=True))


def revision_of(revision: Any, dirty: Any) -> str:
    """The first digits of a revision, with "+" if the code had uncommitted changes.

    >>> revision_of("0123456789abcdef", True), revision_of(None, None)
    ('0123456789ab+', 'not recorded')
    """
    return f"{revision[:12]}{'+' if dirty is True else ''}" if isinstance(revision, str) and revision else UNKNOWN


def _of(frame: pd.DataFrame, runs: pd.Series) -> pd.DataFrame:
    return frame[frame["run_id"].isin(set(runs))]


def _text(value: Any) -> str:
    """A name in a column of `cells`; whole numbers without a fraction."""
    if value is None or value != value or value == "":
        return UNKNOWN
    return str(int(value)) if isinstance(value, float) else str(value)


def _json(value: Any) -> str:
    return value if isinstance(value, str) and value else "{}"
