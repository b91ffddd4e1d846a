"""Names -> modules. Built-in methods, data sets and measures are registered by the same entry points as plug-ins.

Groups: an entry point of `afrad_bench.methods`, `.datasets`, `.measures` or `.afrad_decoders` names one module; one of
`afrad_bench.method_packages`, `.dataset_packages`, `.measure_packages` or `.afrad_decoder_packages` names a package,
and each of its public modules becomes an entry under its file name. Listing does not import the modules; only `load`
does."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal

from afrad_bench.errors import Problem, UserError, unknown

Kind = Literal["method", "dataset", "measure", "afrad_decoder"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered name and the module behind it."""

    kind: Kind
    name: str
    module: str
    owner: str
    """Distribution and version that registered it, e.g. "afrad-bench 0.1.0"."""

    def summary(self) -> str:
        """First line of the module's docstring, read without importing it."""
        text = ast.get_docstring(ast.parse(_source(self.module))) or ""
        return text.partition("\n")[0].strip()

    def load(self) -> ModuleType:
        """Import the module. An error inside the module keeps its traceback."""
        return importlib.import_module(self.module)


def entries(kind: Kind) -> dict[str, Entry]:
    """All entries of a kind by name, sorted. Raises `UserError` if a name is registered for two modules."""
    return dict(_entries(kind))


def find(kind: Kind, name: str, where: str | None = None) -> Entry:
    """The entry with this name. Raises `UserError` with the nearest known name if there is none."""
    known = entries(kind)
    if name not in known:
        raise UserError(unknown(kind, name, known, where))
    return known[name]


@cache
def _entries(kind: Kind) -> dict[str, Entry]:
    found: list[Entry] = []
    for point in entry_points(group=f"afrad_bench.{kind}s"):
        found.append(Entry(kind, point.name, point.value.partition(":")[0], _owner(point)))
    for point in entry_points(group=f"afrad_bench.{kind}_packages"):
        for name in _modules(point.value):
            found.append(Entry(kind, name, f"{point.value}.{name}", _owner(point)))
    table: dict[str, Entry] = {}
    clashes: list[Problem] = []
    for entry in sorted(set(found), key=lambda e: (e.name, e.owner, e.module)):
        other = table.setdefault(entry.name, entry)
        if other.module != entry.module:
            clashes.append(
                Problem(
                    f"the {kind} {entry.name!r} is registered twice: {other.module} ({other.owner}) and "
                    f"{entry.module} ({entry.owner})",
                    hint="uninstall or rename one of them",
                )
            )
    if clashes:
        raise UserError(*clashes)
    return table


def _modules(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise UserError(
            Problem(f"the registered package {package!r} is not installed", hint="reinstall the package that lists it")
        )
    return [m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if not m.name.startswith("_")]


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    return Path(spec.origin).read_text(encoding="utf-8")
