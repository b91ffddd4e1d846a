"""The choice of the library that finds nearest neighbours in a memory bank; imports neither torch nor faiss."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

from pydantic import Field

from afrad_bench.errors import fail
from afrad_bench.methods.recipes import NEUTRAL

Search = Literal["torch", "faiss"]

INSTALL = "pip install 'afrad-bench[faiss]'"


def search_field() -> Any:
    """The field `search` of a method with a memory bank."""
    return Field(
        "torch",
        description="Library of the exact search for neighbours: torch on every device, or faiss on the CPU. Both find "
        "the same ones; the time differs.",
        json_schema_extra=NEUTRAL,
        exclude_if=lambda value: value == "torch",
    )


def must_search(method: str, search: Search, device: str | None = None) -> None:
    """Raise `UserError` if faiss is chosen but not installed, or does not search on the device.

    `method`: its name in the error; `device`: None if it is not known yet."""
    if search != "faiss":
        return
    if find_spec("faiss") is None:  # found, not imported
        raise fail(
            f"{method} is to search with faiss, which is not installed", "search", f"{INSTALL}\nor search: torch"
        )
    if device not in (None, "cpu"):
        raise fail(
            f"{method}: faiss searches on the CPU, not on {device}", "search", "set search: torch, or --device cpu"
        )
