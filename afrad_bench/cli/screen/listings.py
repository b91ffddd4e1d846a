"""Prints listings, method sheets, the doctor's findings, the cache, and why a cell counts as done."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from afrad_bench.cli.screen.console import STATE_STYLE, plain
from afrad_bench.cli.screen.tables import show_table
from afrad_bench.methods.recipes import shown

if TYPE_CHECKING:
    from afrad_bench.backbone.entries import CacheEntry


def show_listing(out: Console, what: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Print one line per entry: name in bold, summary, source."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for row in rows:
        table.add_row(row["name"], escape(row["summary"]), escape(row["source"]))
    out.print(table if rows else f"no {what} found")
    if what == "backbones":
        out.print(Text("with weights on this machine; --all lists every timm model, --like filters", style="dim"))


def show_method(out: Console, sheet: Mapping[str, Any]) -> None:
    """Print a method's sheet."""
    out.print(f"[bold]{sheet['name']}[/]  version {sheet['version']}  [dim]{escape(sheet['source'])}[/]")
    out.print(escape(sheet["paper"]))
    out.print()
    out.print(escape(_flowing(sheet["about"])))
    out.print()
    rows = []
    for field in sheet["fields"]:
        group = not field["type"]
        default = "" if group else json.dumps(plain(field["default"]))
        rows.append((Text(field["name"], "bold" if group else ""), default, field["type"], field["description"]))
    show_table(out, ("field", "default", "values", "meaning"), rows)
    out.print("\n[bold]published configurations[/]")
    published = [(one["name"], _sized(one), _changes(one["changes"])) for one in sheet["published"]]
    show_table(out, ("name", "for", "changes"), published)
    if sheet["readings"]:
        out.print("\n[bold]readings of the paper[/]")
        show_table(
            out, ("field", "printed", "faithful", "tuned", "the paper"), [_reading(one) for one in sheet["readings"]]
        )


def _sized(published: Mapping[str, Any]) -> str:
    size = published["image_size"]
    row = [" ".join(published["row"])] if published["row"] else []
    return ", ".join((*row, *published["data"], *([f"{size} px"] if size else ())))


def _changes(params: Mapping[str, Any], before: str = "") -> str:
    parts = (
        _changes(value, f"{before}{name}.") if isinstance(value, Mapping) else f"{before}{name}={shown(value)}"
        for name, value in params.items()
    )
    return ", ".join(parts)


def _reading(choice: Mapping[str, Any]) -> tuple[str | Text, ...]:
    values = [shown(choice[name]) for name in ("printed", "faithful", "tuned")]
    text = f"{choice['paper']}; tuned contradicts it" if choice["tuned_contradicts"] else choice["paper"]
    return (choice["field"], *values, text)


def _flowing(text: str) -> str:
    """The text with one line per paragraph, so that it is folded for the screen only; lists and the like stay."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        paragraph if re.search(r"^[^\w(`\"]", paragraph, re.MULTILINE) else paragraph.replace("\n", " ")
        for paragraph in paragraphs
    )


def show_findings(out: Console, findings: Sequence[Mapping[str, str]]) -> None:
    """Print the doctor's findings, with the remedy below each missing item."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for style in ("dim", "bold", "", ""):
        table.add_column(style=style or None, overflow="fold")
    for one in findings:
        detail = Text(one["detail"])
        if one["remedy"]:
            detail.append(f"\n{one['remedy']}", style="dim")
        table.add_row(one["area"], one["name"], Text(one["state"], style=STATE_STYLE[one["state"]]), detail)
    out.print(table)


def show_cache(out: Console, folder: Path, entries: Sequence[CacheEntry]) -> None:
    """Print the cached features: key, size, number of images, last use, description."""
    rows = []
    for one in entries:
        used = datetime.fromtimestamp(one.last_used).isoformat(sep=" ", timespec="minutes")
        rows.append((one.key, f"{one.bytes / 2**20:.1f}", str(one.images), used, one.what))
    if rows:
        show_table(out, ("key", "MiB", "images", "last used", "features"), rows, numeric=("MiB", "images"))
    else:
        out.print("nothing is cached")
    out.print(f"{sum(one.bytes for one in entries) / 2**20:.1f} MiB in {folder}", soft_wrap=True)


def show_why(out: Console, explained: Mapping[str, Any]) -> None:
    """Print the state of each measure, then the runs of the cell."""
    head = f"{explained['label']}, {explained['dataset']}, seed {explained['seed']}, profile {explained['profile']}"
    out.print(f"[bold]{explained['cell']}[/]  {escape(head)}")
    for name, state in explained["measures"].items():
        line = Text(f"  {name}: ")
        line.append(state["state"], style=STATE_STYLE[state["state"]])
        line.append(f", {state['why']}")
        out.print(line)
    for run in explained["runs"]:
        line = Text(f"  run of {run['started_at'][:19]}Z: ")
        line.append(run["status"], style=STATE_STYLE[run["status"]])
        if run["error"]:
            line.append(f", {run['error']}".replace("\n", "\n  "))
        out.print(line)
        if run["traceback"]:
            out.print(Text(run["traceback"].rstrip(), style="dim"))
