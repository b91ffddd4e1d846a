"""Prints what `doctor --check-device` found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from afrad_bench.cli.screen.console import STATE_STYLE
from afrad_bench.cli.screen.tables import show_table

if TYPE_CHECKING:
    from afrad_bench.running.parity import Parity


def show(out: Console, device: str, found: Sequence[Parity]) -> None:
    """Print one line per method, then what the numbers mean and the outcome. `device`: with its name."""
    from afrad_bench.running.parity import TOLERANCE

    out.print(Text(f"{device}, compared with the CPU", "bold"))
    rows = [
        (
            one.method,
            Text(one.state, STATE_STYLE[one.state]),
            _number(one.map_difference),
            _number(one.score_difference),
            one.detail,
        )
        for one in found
    ]
    show_table(out, ("method", "state", "maps", "scores", "why"), rows, numeric=("maps", "scores"))
    out.print(
        Text(
            "fitted on the CPU, loaded on the device: largest difference of a map and of a score, relative to the "
            f"range of the CPU's; at most {TOLERANCE:g} counts as rounding",
            "dim",
        )
    )
    bad = [one.method for one in found if not one.good]
    untried = sum(one.state == "not tried" for one in found)
    told = f"{len(found) - untried} methods compared" + (f", {untried} not tried" if untried else "")
    out.print(Text(f"{told}; wrong: {', '.join(bad)}", "red") if bad else Text(f"{told}; none is wrong", "green"))


def as_data(device: str, found: Sequence[Parity]) -> dict[str, Any]:
    """The same for `--json`."""
    from afrad_bench.running.parity import TOLERANCE

    return {"device": device, "tolerance": TOLERANCE, "methods": list(found)}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
