"""The options of the newest run of a profile: overrides, data folders and threads, as its rows in the store hold
them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from afrad_bench.errors import Problem, UserError
from afrad_bench.machine.environment import current
from afrad_bench.running.paths import expanded
from afrad_bench.running.workspace import folder

if TYPE_CHECKING:
    from rich.console import Console

    from afrad_bench.running.workspace import Workspace
    from afrad_bench.suite.selection import Selection
    from afrad_bench.suite.suite import Suite


@dataclass(frozen=True)
class Newest:
    """The options of a run."""

    overrides: tuple[str, ...]
    threads: int | None
    """None if it was not recorded."""
    roots: Mapping[str, str]
    """Data set -> its folder, of the newest run that used the data set; only folders that still exist."""
    when: str
    """UTC, to the minute."""


def as_measured(suite: Suite, plain: Selection, workspace: Workspace, out: Console) -> tuple[Selection, Workspace]:
    """The selection and the workspace with the options of the newest run; what is given already stays. Says on the
    screen what was added."""
    newest = newest_run(workspace.store, plain)
    if newest is None:
        return plain, workspace
    added: list[str] = []
    selection = plain
    if not plain.overrides and newest.overrides:
        added += [f"--set {shlex.quote(text)}" for text in newest.overrides]
        selection = _selected(suite, plain, newest)
    roots = dict(workspace.roots)
    for one in selection.datasets:
        found, root = newest.roots.get(one.name), workspace.root_of(one)
        if one.name not in roots and found is not None and (root is None or root.resolve() != folder(found).resolve()):
            roots[one.name] = found
            added.append(f"--data {shlex.quote(f'{one.name}={found}')}")
    threads = workspace.threads
    if threads is None and newest.threads not in (None, current(workspace.device, selection.threads).threads):
        threads = newest.threads
        added.append(f"--threads {threads}")
    if added:
        text = f"with the options of the newest run ({newest.when} UTC): {' '.join(added)}"
        out.print(f"{text}; --as-declared leaves them out", style="cyan", soft_wrap=True, markup=False)
    return selection, replace(workspace, roots=roots, threads=threads)


def newest_run(store: Path, selection: Selection) -> Newest | None:
    """The options of the newest run of this suite and profile; None if there is none."""
    from afrad_bench.store import Store

    if not (store / "cells").is_dir():
        return None
    cells = Store(store).read("cells")
    mine = cells[(cells["suite"] == selection.suite) & (cells["profile"] == selection.profile)]
    if not len(mine):
        return None
    roots: dict[str, str] = {}
    for name, root in zip(mine["dataset"], mine["data_root"], strict=True):
        if isinstance(root, str) and folder(expanded(root)).is_dir():
            roots[str(name).partition(":")[0]] = expanded(root)
    last = mine.iloc[-1]
    overrides = json.loads(last["overrides"]) if isinstance(last["overrides"], str) else []
    threads = int(last["threads"]) if last["threads"] and last["threads"] == last["threads"] else None
    return Newest(tuple(overrides), threads, roots, f"{last['started_at']:%Y-%m-%d %H:%M}")


def _selected(suite: Suite, plain: Selection, newest: Newest) -> Selection:
    try:
        return suite.select(plain.profile, newest.overrides)
    except UserError as error:
        text = f"the newest run ({newest.when} UTC) had options that no longer fit the suite"
        raise UserError(*error.problems, Problem(text, hint="give others with --set, or --as-declared")) from error
