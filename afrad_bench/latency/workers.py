"""The processes of `gate --latency`: one for each side, a kept model or a checkout, which times calls on request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import afrad_bench
from afrad_bench.errors import Problem, UserError, fail

SUFFIX = ".safetensors"
SIDES = ("BASE", "NEW")
ENVIRONMENTS = (".venv", "venv", "env", ".")
INTERPRETERS = ("bin/python", "Scripts/python.exe")
PROGRAM = Path(__file__).with_name("worker.py")
PATIENCE = 10
"""Seconds in which a worker must end by itself."""
RUN = """\
import runpy, sys
sys.path[:] = [*{first!r}, *filter(None, sys.path)]
runpy.run_path({file!r}, run_name="__main__")
"""
"""The program of a worker. It imports from the folders `first`, then from its environment, not from where it runs."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the text of a side names."""

    side: str
    """ "BASE" or "NEW"."""
    text: str
    python: Path
    """The interpreter that runs its worker."""
    model: Path | None = None
    """The kept model; None for a checkout or an interpreter."""
    checkout: Path | None = None
    """The folder from which its afrad-bench must come; None if any is right."""


def place_of(side: str, text: str) -> Place:
    """The kept model, checkout or Python that a text names. Raises `UserError` if it is none of them."""
    path = Path(text)
    if path.suffix == SUFFIX:
        if not path.is_file():
            raise fail("no such model file", text, "`afrad-bench run SUITE --keep-models` writes model files")
        return Place(side, text, Path(sys.executable), model=path.absolute())
    if path.is_file() and os.access(path, os.X_OK):
        return Place(side, text, path.absolute())
    if path.is_dir():
        return Place(side, text, _interpreter(path), checkout=path.resolve())
    what = f"{side} is nothing that --latency can measure" + (
        "" if path.exists() else ": there is no such file or folder"
    )
    known = (
        f"a model (a {SUFFIX} file of `run --keep-models`), a checkout with a .venv, or the Python of an environment"
    )
    raise fail(what, text, f"name {known}")


def places_of(base: str, new: str) -> list[Place]:
    """Both sides; one `UserError` lists all problems."""
    found: list[Place] = []
    problems: list[Problem] = []
    for side, text in zip(SIDES, (base, new), strict=True):
        try:
            found.append(place_of(side, text))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return found


def _interpreter(folder: Path) -> Path:
    if models := sorted((*folder.glob(f"models/*{SUFFIX}"), *folder.glob(f"*{SUFFIX}"))):
        names = "\n".join(map(str, models[:5]))
        raise fail("a folder of models, but --latency measures one", str(folder), f"name one of them:\n{names}")
    if any((folder / table).is_dir() for table in ("cells", "latency")):
        raise fail("a store of results without a kept model", str(folder), "`afrad-bench run --keep-models` keeps some")
    for environment in ENVIRONMENTS:
        for name in INTERPRETERS:
            found = folder / environment / name
            if found.is_file() and (folder / environment / "pyvenv.cfg").is_file():
                return found.absolute()
    make = f"python3 -m venv {folder / '.venv'} && {folder / '.venv/bin/pip'} install -e {folder}"
    raise fail("the folder has no Python environment of its own (.venv)", str(folder), f"for a checkout: {make}")


class Failed(Exception):
    """A call failed, or its worker ended."""


class Worker:
    """The process of one side. Use as a context manager: it ends with the block, and also if this process is killed."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `__exit__`
        own = place.checkout is None and place.model is not None
        first = [str(Path(afrad_bench.__file__).parent.parent)] if own else []
        program = RUN.format(first=first, file=str(PROGRAM))
        self._process = subprocess.Popen(
            [str(place.python), "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=PATIENCE if kind is None else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a request; `receive` waits for its reply, or tells that the process has ended."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next reply. Raises `Failed` if the process has ended, or the work failed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise Failed(f"it is no Python that answers: {line.strip()[:80]!r}") from error
        if "error" in reply:
            raise Failed(reply["error"])
        return reply

    def time_ms(self, subject: int) -> float:
        """Milliseconds of one call of a subject, by the worker's clock."""
        self.send({"do": "time", "subject": subject})
        return float(self.receive()["ms"])

    def _ended(self) -> Failed:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return Failed(f"its process ended with code {code}: {lines[-1] if lines else 'it printed nothing'}")


def started(worker: Worker) -> dict[str, Any]:
    """The reply to "start". Raises `UserError` if the side cannot be measured at all."""
    place = worker.place
    try:
        reply = worker.receive()
    except Failed as error:
        raise fail(f"{place.side} cannot be timed: {error}", place.text) from error
    mistakes = dict.fromkeys(each["mistake"] for each in (reply, *reply.get("subjects", ())) if "mistake" in each)
    if mistakes:
        raise UserError(*(Problem(f"{place.side}: {text}", place.text) for text in mistakes))
    package = Path(reply["side"]["package"])
    if place.checkout is not None and not package.resolve().is_relative_to(place.checkout):
        install = f"{place.python} -m pip install -e {place.text}"
        what = f"the environment of {place.side} has the afrad-bench of {package}, not of this checkout"
        raise fail(what, place.text, f"install it there: {install}")
    return reply
