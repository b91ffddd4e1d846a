"""The console, errors, JSON, and the status line while data are read."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

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
    "failed": "red",
    "problem": "red",
}


def make(stderr: bool = False) -> Console:
    """A console on standard output (or error); without a terminal, so wide that tables do not wrap."""
    plain = not (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=160 if plain else None, highlight=False)


def show_error(error: UserError) -> None:
    """Print each problem to standard error: place, message, and the hint below."""
    out = Console(stderr=True, highlight=False, soft_wrap=True)
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


def show_json(value: Any) -> None:
    """Print indented JSON to standard output, without colours or line wrapping."""
    sys.stdout.write(to_json(value))


def to_json(value: Any) -> str:
    """Indented JSON of a value (see `plain`), with a final newline."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n"


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
    """A temporary status line while data are read and verified."""
    with out.status("reading data") as status:
        last = 0.0

        def watch(done: int, total: int, what: str, loss: float | None = None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > 0.1 or done == total:
                status.update(f"{what} {done}/{total}")
                last = now

        yield watch
