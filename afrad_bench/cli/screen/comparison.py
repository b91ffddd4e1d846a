"""Prints the changes from BASE to NEW, and the decision of the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from afrad_bench.comparing import Comparison, Decision


def show_comparison(out: Console, comparison: Comparison, everything: bool) -> None:
    """Print the changes, the remarks on them, and last what is clear."""
    from afrad_bench.comparing.show import READING, clear, compare_table, remarks
    from afrad_bench.report.formats.terminal import table_parts

    out.print(Text(f"{comparison.new} against {comparison.base}", style="bold"))
    for part in table_parts(compare_table(comparison, everything=everything), out.width, out.encoding):
        out.print(part)
    for text in comparison.missing:
        out.print(Text(f"✗ {text}", style="red"))
    for text in remarks(comparison):
        out.print(Text(f"• {text}"))
    out.print(Text(READING, style="dim"))
    out.print(Text(" ".join(clear(comparison)), style="bold"))


def show_decision(out: Console, decision: Decision) -> None:
    """Print the checks, the remarks on them, and last the verdict with the worst checks."""
    from afrad_bench.comparing.show import SIGNS, gate_table, head, remarks, worst
    from afrad_bench.report.formats.terminal import table_parts

    for part in table_parts(gate_table(decision), out.width, out.encoding):
        out.print(part)
    for text in decision.unmeasured:
        out.print(Text(f"? {text}", style="yellow"))
    for text in remarks(decision.comparison):
        out.print(Text(f"• {text}"))
    styles = {"pass": "green", "regression": "red"}
    out.print(Text(head(decision), style=f"bold {styles.get(decision.verdict, 'yellow')}"))
    for text in worst(decision):
        sign = text.partition(": ")[0]
        style = next((styles.get(verdict, "yellow") for verdict, each in SIGNS.items() if each == sign), "")
        out.print(Text(f"  {text}", style=style if not text.startswith(SIGNS["advisory"]) else "dim"))
