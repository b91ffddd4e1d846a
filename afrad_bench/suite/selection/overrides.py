"""`--set FIELD=VALUE`: overrides a field of the profile, a method, a data set, a measure or the search."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from afrad_bench import published
from afrad_bench.errors import Problem, shortened, unknown
from afrad_bench.suite.file import Params
from afrad_bench.suite.scalars import control_character
from afrad_bench.suite.selection.layers import Layer, overriding
from afrad_bench.suite.yaml import read_value

ARITHMETIC = ("deterministic", "tf32", "cudnn_benchmark")
PROFILE_FIELDS = ("image_size", "seeds", "setting", "threads", *ARITHMETIC, "measures", "datasets")
"""Fields of a profile that may be replaced as a whole."""
SHARED = "shared"


@dataclass
class Overrides:
    """The overrides of one command line, grouped by what they change."""

    texts: tuple[str, ...] = ()
    profile: Params = field(default_factory=dict)
    only: tuple[str, ...] | None = None
    """The methods to which the suite is restricted; None: all."""
    rows: tuple[str, ...] | None = None
    """Labels of the rows to which the suite is restricted; None: all."""
    reproduces: tuple[str | None, ...] = ()
    """The published table to compare with, None for none; empty if nothing is said of it."""
    shared: list[Layer] = field(default_factory=list)
    parts: dict[str, list[Layer]] = field(default_factory=dict)
    """Method, data set, measure or "search" -> its overrides."""


def parse(
    texts: Sequence[str], methods: Collection[str], others: Collection[str], problems: list[Problem]
) -> Overrides:
    """Parse override texts. `image_size=64` changes the profile, `afrad.training.epochs=2` a method,
    `shared.training.epochs=2` every method that has the field, `mvtec_ad.limit_train=9` a data set and
    `latency.repeats=9` a measure; `methods=[afrad]` leaves out all other methods, and `rows=[AFRAD]` all other rows.
    `others` are the names of data sets and measures, and "search"."""
    found = Overrides(tuple(texts))
    for text in texts:
        name, equals, value = text.partition("=")
        first, _, rest = name.partition(".")
        if strange := control_character(text):
            problems.append(Problem(f"the character {strange[1]} is not allowed in {shortened(text)!a}", "--set"))
        elif not equals or not name:
            problems.append(Problem(f"expected field=value, but got {shortened(text)!r}", "--set"))
        elif rest and first == SHARED:
            found.shared.append(overriding(text, {rest: _value(value, text)}))
        elif rest and (first in methods or first in others):
            found.parts.setdefault(first, []).append(overriding(text, {rest: _value(value, text)}))
        elif name in PROFILE_FIELDS:
            found.profile[name] = _value(value, text)
        elif name == "methods":
            found.only = _names(_value(value, text), "method", text, problems)
            problems += [
                unknown("method of this suite", each, methods, _place(text))
                for each in found.only
                if each not in methods
            ]
        elif name == "reproduces":
            found.reproduces = (_table(_value(value, text), text, problems),)
        elif name == "rows":
            found.rows = _names(_value(value, text), "row", text, problems)
        else:
            known = [f"{part}.FIELD" for part in (SHARED, *methods, *others)]
            known += [*PROFILE_FIELDS, "methods", "rows", "reproduces"]
            problems.append(unknown("field", name, known, _place(text)))
    return found


def _place(text: str) -> str:
    return f"--set {shortened(text)}"


def _value(text: str, override: str) -> Any:
    return read_value(text, _place(override))


def _table(value: Any, text: str, problems: list[Problem]) -> str | None:
    if value is not None and value not in published.CAPTIONS:
        problems.append(unknown("published table", str(value), published.CAPTIONS, _place(text)))
        return None
    return value


def _names(value: Any, kind: str, text: str, problems: list[Problem]) -> tuple[str, ...]:
    names = tuple(str(name) for name in (value if isinstance(value, list) else [value]))
    if not names:
        problems.append(Problem(f"name at least one {kind}", _place(text)))
    return names
