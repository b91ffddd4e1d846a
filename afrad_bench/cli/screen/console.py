"""The console, errors, JSON, and the status line while data are read."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from afrad_bench.cli.screen.steps import StepLines
from afrad_bench.cli.screen.streams import is_utf8

if TYPE_CHECKING:
    from afrad_bench.errors import UserError
    from afrad_bench.types import Watch


STATE_STYLE = {
    "done": "green",
    "ok": "green",
    "to do": "cyan",
    "stopped": "yellow",
    "stale": "yellow",
    "missing": "yellow",
    "busy": "yellow",
    "failed": "red",
    "problem": "red",
    "differs": "red",
    "not tried": "yellow",
}


QUIET = 5.0
"""Seconds for which data may be read without a word."""
WIDE, NARROW = 160, 60
"""Columns of output that goes to no terminal, and the fewest for which a page is laid out."""


def make(stderr: bool = False) -> Console:
    """A console on standard output (or error), as wide as `COLUMNS` or the terminal says, else so wide that tables do
    not wrap."""
    wanted = os.environ.get("COLUMNS", "")
    width = int(wanted) if wanted.isdecimal() else 0
    if not width and not (sys.stderr if stderr else sys.stdout).isatty():
        width = WIDE
    made = Console(stderr=stderr, width=width or None, highlight=False, emoji=False)
    if made.width < NARROW:
        made.width = NARROW
    return made


def show_error(error: UserError) -> None:
    """Print each problem to standard error: place, message, and the hint below."""
    out = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    for problem in error.problems:
        text = Text()
        if problem.where:
            text.append(f"{problem.where}: ", style="bold")
        text.append(problem.what, style="red")
        for line in (problem.hint or "").splitlines():
            text.append(f"\n  {line}", style="dim")
        out.print(text)
    if len(error.problems) > 1:
        out.print(f"{len(error.problems)} problems")


def show_cautions(out: Console, texts: Iterable[str]) -> None:
    """Print what the user must know before trusting what follows, a line each."""
    for text in texts:
        out.print(f"caution: {text}", style="yellow", soft_wrap=True, markup=False)


def show_json(value: Any) -> None:
    """Print indented JSON to standard output, without colours or line wrapping. What is not ASCII is escaped if
    the stream is not UTF-8, so that nothing is lost."""
    sys.stdout.write(to_json(value, escaped=not is_utf8(sys.stdout)))


def to_json(value: Any, escaped: bool = False) -> str:
    """Indented JSON of a value (see `plain`), with a final newline; `escaped`: ASCII only."""
    return json.dumps(plain(value), indent=2, ensure_ascii=escaped) + "\n"


def plain(value: Any) -> Any:
    """A value as JSON types: dataclasses become mappings; any other type that JSON lacks becomes text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


@contextmanager
def busy(out: Console) -> Iterator[Watch]:
    """A temporary status line while data are read and verified; without a terminal, lines if it takes long."""
    lines = StepLines(out, QUIET)
    if not out.is_terminal:
        yield lines.watch
        return
    with out.status("reading data", spinner="dots" if out.encoding.startswith("utf") else "line") as status:
        last = 0.0

        def watch(done: int, total: int, what: str, loss: float | None = None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > 0.1 or done == total:
                status.update(f"{what} {done}/{total}")
                last = now

        yield watch
