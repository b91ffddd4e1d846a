"""Record the results of a benchmark: print a table, and write it as Markdown and JSON together with the machine.

    from _record import record
    record("bench_x", "What was measured", rows=[{"case": "a", "median ms": 1.2}], notes=["medians of 7 rounds"])

writes `<name>.md` and `<name>.json` into `reports/performance/`. The columns of the table are the keys of the rows, in
order of first appearance. Numbers are shown unchanged, so round them to the measured precision."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from afrad_bench.machine.environment import current

FOLDER = Path(__file__).parent.parent / "reports" / "performance"


def record(
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    notes: Sequence[str] = (),
    folder: Path = FOLDER,
) -> None:
    """Print the rows as a table, and write them to `folder` with date, machine and package versions."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    _show(title, columns, rows, notes)
    environment = asdict(current()) | {"cores": os.cpu_count()}
    about = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "machine": environment,
    }
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"name": name, "title": title, **about, "notes": list(notes), "rows": [dict(row) for row in rows]}
    (folder / f"{name}.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    versions = ", ".join(f"{package} {found}" for package, found in environment["packages"].items())
    lines = [
        f"# {title}",
        "",
        f"`{about['command']}`, {about['date']}: {environment['device_name']}, {environment['cores']} cores, "
        f"{environment['device']}; Python {environment['python']}, {versions}; afrad-bench "
        f"{environment['code_version']} ({environment['git_revision'][:12]}).",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
        *("| " + " | ".join(_text(row.get(column)).replace("|", "\\|") for column in columns) + " |" for row in rows),
        *(line for note in notes for line in ("", note)),
    ]
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _show(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> None:
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float | None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns))
    out = Console(width=None if sys.stdout.isatty() else 160)
    out.print(table)
    for note in notes:
        out.print(note, markup=False)


def _text(value: object) -> str:
    """The text of a table cell; empty for None (not measured)."""
    return "" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)
