"""Output of an audit: on the terminal, as Markdown, and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from afrad_bench import published
from afrad_bench.audit.model import Audit, Finding, Kind, Suspect

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

MIN_WIDTH = 140
"""Minimum width of a terminal, in columns, for tables with explanations."""

TITLES: dict[Kind, str] = {
    "mean": "Means that rounding cannot explain",
    "twice": "Figures printed twice with different values",
    "claim": "Statements of the text that a table does not bear out",
    "mark": "Marks of rank on the wrong figure",
}
UNITS: dict[Kind, str] = {"mean": "means", "twice": "figures in several places", "claim": "statements", "mark": "marks"}

INTRO = (
    "The published figures contradict each other in places. This page lists where, so that nobody takes the difference "
    "between two tables of one paper for an effect. It is the output of `afrad-bench audit --markdown` on the figures "
    "as they are printed; nothing is corrected, neither here nor in a report that shows them.",
    "A printed figure is rounded to 0.1, so it may stand for a value that is 0.05 away; a mean of such figures, "
    "rounded itself, may be off by 0.1 and no more. For a mean that is off by more, each figure is tried that could "
    "explain it alone, and the likeliest comes first: one that repeats another category of the method in at least two "
    "metrics; then one that a slip of the pen (one wrong digit, or two neighbouring digits swapped) parts from one "
    "that would do; then one that is equal to the figure beside it; then the rest. Among these, the further a figure "
    "stands apart from the median of the other methods for its category, the earlier it comes. All this is "
    "circumstantial evidence: which figure is wrong, only the authors know.",
)

HEADS = ("table", "row", "category", "data", "metric", "printed", "recomputed", "difference", "explanation")
SUSPECT_HEADS = ("category", "printed", "needed", "from", "to", "apart", "sign")
NUMERIC = {"printed", "recomputed", "difference", "needed", "from", "to", "apart"}


def to_json(audit: Audit) -> dict[str, Any]:
    """Findings, suspects, counts and limits as plain values; figures are numbers."""
    return {
        "checked": dict(audit.checked),
        "found": {kind: len(audit.of(kind)) for kind in TITLES},
        "findings": [_plain(finding) for finding in audit.findings],
        "limits": list(audit.limits),
    }


def to_markdown(audit: Audit) -> str:
    """The whole audit as a Markdown page."""
    blocks = ["# Audit of the paper's figures", *INTRO, _markdown_table(("kind", "checked", "found"), _counts(audit))]
    for kind, title in TITLES.items():
        findings = audit.of(kind)
        blocks.append(f"## {title}")
        heads = ("section", *HEADS) if kind == "claim" else HEADS
        blocks.append(_markdown_table(heads, [_line(finding) for finding in findings]) if findings else "None.")
        for finding in findings:
            if finding.suspects:
                blocks.append(f"### {_about(finding)}: {finding.printed}, not {finding.recomputed}")
                blocks.append(_markdown_table(SUSPECT_HEADS, [_suspect(suspect) for suspect in finding.suspects]))
    blocks += ["## What could not be audited", "\n".join(f"- {limit}" for limit in audit.limits)]
    return "\n\n".join(blocks) + "\n"


def to_terminal(audit: Audit, console: Console, suspects: int = 3) -> None:
    """Print a table per kind, or a list if the terminal is narrow; below a wrong mean, its first suspects."""
    from rich.text import Text

    for kind, title in TITLES.items():
        findings = audit.of(kind)
        console.print()
        console.print(Text.assemble((title, "bold"), f"  {len(findings)} in {audit.checked[kind]} {UNITS[kind]}"))
        if console.width < MIN_WIDTH:
            for finding in findings:
                console.print(_terminal_item(finding))
        elif findings:
            heads = ("section", *HEADS) if kind == "claim" else HEADS
            console.print(_terminal_table(heads, [_line(finding) for finding in findings]))
        for finding in findings:
            if finding.suspects:
                shown = finding.suspects[:suspects]
                more = f"{len(shown)} of {len(finding.suspects)} figures that could explain it alone"
                console.print(Text.assemble((_about(finding), "italic"), (f", {more}", "dim")))
                console.print(_terminal_table(SUSPECT_HEADS, [_suspect(suspect) for suspect in shown]))
    console.print()
    console.print(Text("What could not be audited", "bold"))
    for limit in audit.limits:
        console.print(Text(f"• {limit}", "dim"))


# --------------------------------------------------------------------------------------------------------------- parts


def _counts(audit: Audit) -> list[tuple[str, ...]]:
    return [(title, f"{audit.checked[kind]} {UNITS[kind]}", str(len(audit.of(kind)))) for kind, title in TITLES.items()]


def _line(finding: Finding) -> tuple[str, ...]:
    section = (finding.section,) if finding.kind == "claim" else ()
    return (
        *section,
        finding.table.removeprefix("table"),
        published.printed(finding.row) if finding.row else "",
        finding.category or "",
        finding.dataset or "",
        published.METRICS[finding.metric] if finding.metric else "",
        _number(finding.printed),
        _number(finding.recomputed),
        _number(finding.difference, signed=True),
        finding.explanation,
    )


def _suspect(suspect: Suspect) -> tuple[str, ...]:
    signs = [f"repeats {', '.join(suspect.twins)}"] if suspect.twins else []
    signs += [f"a slip away: {', '.join(map(str, suspect.slips))}"] if suspect.slips else []
    signs += ["the same beside it"] if suspect.sign == "neighbour" else []
    numbers = (suspect.printed, suspect.needed, suspect.low, suspect.high)
    return (suspect.category, *map(_number, numbers), _number(suspect.apart, signed=True), "; ".join(signs))


def _about(finding: Finding) -> str:
    metric = published.METRICS[finding.metric] if finding.metric else ""
    caption = published.CAPTIONS[finding.table].partition(",")[0]
    return f"{caption}, {published.printed(finding.row)}, {metric}"


def _number(value: Decimal | None, signed: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:+f}".replace("-", "−") if signed and value else f"{value:f}"


def _markdown_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["--:" if head in NUMERIC else ":--" for head in heads]
    return "\n".join(f"| {' | '.join(each)} |" for each in (heads, rule, *lines))


def _terminal_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        wide = head in ("explanation", "sign")
        table.add_column(
            head,
            justify="right" if head in NUMERIC else "left",
            no_wrap=head in NUMERIC,
            overflow="fold",
            ratio=1 if wide else None,
        )
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def _terminal_item(finding: Finding) -> RenderableType:
    """A finding in a list: first where it is, then what is wrong."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    *place, printed, recomputed, difference, explanation = _line(finding)
    where = [f"section {place.pop(0)}"] if finding.kind == "claim" else []
    where += [f"table {place.pop(0)}", *filter(None, place)]
    figures = f": {printed} against {recomputed} ({difference})" if difference else ""
    return Group(Text.assemble((", ".join(where), "bold"), figures), Padding(Text(explanation), (0, 0, 0, 2)))


def _plain(finding: Finding) -> dict[str, Any]:
    def number(value: Decimal | None) -> float | None:
        return None if value is None else float(value)

    return {
        "kind": finding.kind,
        "section": finding.section or None,
        "table": finding.table,
        "row": finding.row or None,
        "category": finding.category,
        "dataset": finding.dataset,
        "metric": finding.metric,
        "printed": number(finding.printed),
        "recomputed": number(finding.recomputed),
        "difference": number(finding.difference),
        "explanation": finding.explanation,
        "suspects": [
            {
                "category": suspect.category,
                "printed": number(suspect.printed),
                "needed": number(suspect.needed),
                "low": number(suspect.low),
                "high": number(suspect.high),
                "change": number(suspect.change),
                "sign": suspect.sign,
                "slips": [float(slip) for slip in suspect.slips],
                "twins": list(suspect.twins),
                "apart": number(suspect.apart),
            }
            for suspect in finding.suspects
        ],
    }
