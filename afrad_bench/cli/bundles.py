"""Bundles of options: a dataclass is one parameter of a command, and each of its fields is an option.

    @dataclass(frozen=True)
    class Place:
        store: Annotated[Path, typer.Option("--store", help="...")] = Path("results")

    @bundled
    def plan(place: Place, as_json: JsonOption = False) -> None: ...

Typer reads the signature of a command; `bundled` replaces each bundle in the signature by its fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def bundled(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each parameter whose type is a dataclass replaced by that dataclass's fields.

    Raises `TypeError` if two options have the same name."""
    hints = get_type_hints(command, include_extras=True)
    bundles: dict[str, type[Any]] = {}
    shown: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if not is_dataclass(kind):
            shown.append(parameter.replace(annotation=hints[name]))
            continue
        assert isinstance(kind, type)
        bundles[name] = kind
        inner = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            shown.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=inner[field.name]
                )
            )
    names = [parameter.name for parameter in shown]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TypeError(f"{command.__name__}: two options are called {', '.join(twice)}")

    @wraps(command)
    def called(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            for name, kind in bundles.items()
        }
        command(**given, **made)

    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in shown]
    called.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword_only}
    del called.__wrapped__
    return called
