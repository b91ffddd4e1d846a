"""Prints the changes from BASE to NEW, and the decision of the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from afrad_bench.comparing import Comparison, Decision


def show_comparison(out: Console, comparison: Comparison, everything: bool) -> None:
    """Print the changes and the remarks on them."""
    from afrad_bench.comparing.show import READING, compare_table, remarks
    from afrad_bench.report.formats.terminal import table_parts

    out.print(Text(f"{comparison.new} against {comparison.base}", style="bold"))
    for part in table_parts(compare_table(comparison, everything=everything), out.width, out.encoding):
        out.print(part)
    for text in comparison.missing:
        out.print(Text(f"✗ {text}", style="red"))
    for text in remarks(comparison):
        out.print(Text(f"• {text}"))
    out.print(Text(READING, style="dim"))


def show_decision(out: Console, decision: Decision) -> None:
    """Print the checks, the remarks on them, and the verdict."""
    from afrad_bench.comparing.show import gate_table, head, remarks
    from afrad_bench.report.formats.terminal import table_parts

    for part in table_parts(gate_table(decision), out.width, out.encoding):
        out.print(part)
    for text in decision.unmeasured:
        out.print(Text(f"? {text}", style="red"))
    for text in remarks(decision.comparison):
        out.print(Text(f"• {text}"))
    style = {"pass": "bold green", "regression": "bold red"}.get(decision.verdict, "bold yellow")
    out.print(Text(head(decision), style=style))
