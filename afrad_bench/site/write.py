"""Write the folder of a site."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from afrad_bench.comparing import record
from afrad_bench.errors import fail
from afrad_bench.hashing import digest
from afrad_bench.report import write
from afrad_bench.site.history import history
from afrad_bench.site.layout import INDEX, Shown, links
from afrad_bench.site.pages import index, leaderboard, report_of, rows
from afrad_bench.site.stored import Group, opened
from afrad_bench.types import Watch, unwatched

REPORTS = "reports"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    index: Path
    reports: tuple[Path, ...]
    faults: tuple[str, ...]
    """What of the stores could not be read; the index says it too."""


def write_site(stores: Sequence[Path], out: Path, gates: Sequence[Path] = (), watch: Watch = unwatched) -> Written:
    """Write index, leaderboards, history, all rows and the reports of these stores to `out`, for any host as it is.

    `gates`: folders of verdicts that the history shows. An earlier site in the folder is replaced file by file. Raises
    `UserError` for missing or empty stores and folders of verdicts, and for a folder that holds something else."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / INDEX).is_file())):
        hint = "name a new folder, or one of an earlier site"
        raise fail("this is no empty folder and no site", f"--out {out}", hint)
    found, verdicts = opened(stores), record.read(gates)
    folders: dict[str, Group] = {}
    for number, store in enumerate(found, 1):
        for group in store.groups:
            names = (f"{number}-{store.name}", group.suite, f"{group.profile}-{group.setting}-{group.image_size}px")
            folders["/".join((REPORTS, *map(_name, names)))] = group
    shown = tuple(Shown(group, report_of(group), f"{folder}/report.html") for folder, group in folders.items())
    for done, one in enumerate(shown):
        watch(done, len(shown), f"report of {one.group.suite} in {one.group.store}")
        folder = Path(one.link).parent
        write(replace(one.report, **links("../" * len(folder.parts))), out / folder)
    watch(len(shown), len(shown), "leaderboards and history")
    for page in (leaderboard(found, shown), history(found, shown, verdicts), rows(found, shown), index(found, shown)):
        write(page, out)
    faults = tuple(f"{store.name}: {text}" for store in found for text in store.faults)
    return Written(out / INDEX, tuple(out / one.link for one in shown), faults)


def _name(text: str) -> str:
    """The text as a name of a folder and a part of a URL; a digest keeps apart what would become equal.

    >>> _name("table5"), _name("../a b")
    ('table5', '-a-b-e4dc8863')
    """
    clean = re.sub(r"[^A-Za-z0-9._+-]", "-", text)
    return clean if clean == text and not clean.startswith(".") else f"{clean.lstrip('.')[:60]}-{digest(text)[:8]}"
