"""Print a report on the terminal with rich. Wide tables are split into blocks (`columns`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from afrad_bench.report.drawing.shapes import Forest
from afrad_bench.report.formats.columns import Column, laid_out
from afrad_bench.report.formats.forest import forest_parts
from afrad_bench.report.formats.signs import shown
from afrad_bench.report.model import Entry, Heading, Quote, Report, Section, Table

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console, RenderableType
    from rich.text import Text

ALARM, QUOTE, FAINT = "bold red", "bright_black", "dim"
_STYLES = {"best": "bold", "second": "underline", "": ""}
_LEVELS = {"alarm": ALARM, "unsure": "yellow", "good": "green"}
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_terminal(report: Report, console: Console, *, categories: bool = False, timing: bool = False) -> None:
    """Print all of a report, the most important last, where it stays on the screen: the results, the differences, and
    the answer. Results by category and timings only with `categories` and `timing`."""
    from rich.panel import Panel
    from rich.text import Text

    about = " · ".join(
        each for each in (f"suite {report.suite}", f"profile {report.profile}", report.reproduces) if each
    )
    console.print()
    console.print(Text(report.title, "bold"))
    console.print(Text(about, FAINT))
    console.print(Panel(_terms(report), title="Terms of the comparison", title_align="left", border_style=FAINT))
    for warning in report.warnings:
        if warning.level != "alarm":
            console.print(_hanging("• ", warning.text, ""))
    console.print(Text.assemble(("measure it again: ", FAINT), report.command), soft_wrap=True)
    hidden = {"categories": categories, "timing": timing}
    shown_sections = [section for section in report.sections if hidden.get(section.key, True)]
    for section in reversed(shown_sections):
        last = section is shown_sections[0]
        for part in _section(section, report.folder, console, folded=section.key in hidden, last=last):
            console.print(part)
    for part in _answer(report, console):
        console.print(part)


def _answer(report: Report, console: Console) -> Iterable[RenderableType]:
    """Alarms, the forest plot, and the sentences."""
    from rich.text import Text

    for warning in report.warnings:
        if warning.level == "alarm":
            yield _hanging("⚠ ", warning.text, ALARM)
    if report.lead is not None and isinstance(report.lead.drawing, Forest):
        yield Text(f"\n{report.lead.title}", "bold")
        yield from forest_parts(report.lead.drawing, console.width, console.encoding)
    for said in report.answer:
        yield Text(said, "bold")


def _terms(report: Report) -> rich.table.Table:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style=FAINT, no_wrap=True)
    grid.add_column()
    for term in report.terms:
        alarm = term.level == "alarm"
        grid.add_row(Text(term.name), Text(f"⚠ {term.value}" if alarm else term.value, ALARM if alarm else ""))
    return grid


def _section(
    section: Section, folder: str, console: Console, *, folded: bool, last: bool = False
) -> Iterable[RenderableType]:
    """`last`: the answer follows, so that all notes stand before the tables."""
    from rich.text import Text

    tables = [table for table in section.tables if folded or not table.folded]
    notes: list[RenderableType] = [Text(line, FAINT) for line in section.intro]
    if any(quote.shown != "not measured" for quote in _quotes(section)):
        notes.append(Text("In brackets: the paper's figures; ✓ reproduced, ✗ not reproduced, ≠ not comparable.", FAINT))
    yield Text()
    if last:
        yield Text(f"{section.title}: notes", "bold")
        yield from notes
        for table in tables:
            yield from _footnotes(table)
        yield Text()
    yield Text(section.title, "bold")
    for table in tables:
        if len(section.tables) > 1 and table.caption != section.title:
            yield Text(table.caption, "italic")
        yield from _blocks(table, console.width, console.encoding)
        if not last:
            yield from _footnotes(table)
    if section.figures:
        yield Text(f"pictures: {', '.join(f'{folder}/{figure.key}.svg' for figure in section.figures)} (and .png)")
    if not last:
        yield from notes


def _quotes(section: Section) -> Iterable[Quote]:
    return (quote for t in section.tables for line in t.lines for entry in line.entries for quote in entry.quotes)


def table_parts(table: Table, width: int, encoding: str = "utf-8") -> Iterable[RenderableType]:
    """A table in blocks that fit, and its footnotes, in the signs that the encoding has."""
    yield from _blocks(table, width, encoding)
    yield from _footnotes(table)


def _blocks(table: Table, width: int, encoding: str) -> Iterable[RenderableType]:
    columns = [
        _column(heading, [line.entries[i] for line in table.lines], encoding, key=i < table.keys)
        for i, heading in enumerate(table.headings)
    ]
    yield from laid_out(columns, width, ["italic" if line.strong else "" for line in table.lines])


def _footnotes(table: Table) -> Iterable[RenderableType]:
    for number, text in enumerate(table.footnotes, 1):
        yield _hanging(f"{_superscript([number])} ", text, FAINT)


def _column(heading: Heading, entries: Sequence[Entry], encoding: str, *, key: bool) -> Column:
    """Heading and entries of a column. Standard deviations and footnotes of numbers have equal widths, so that the
    numbers are aligned."""
    spread = max((len(entry.spread) for entry in entries), default=0)
    refs = max((cell_len(_noted(entry.refs, encoding)) for entry in entries), default=0)
    texts = [_entry(entry, spread, refs, encoding) for entry in entries]
    return Column(_head(heading, encoding), texts, heading.numeric, key, heading.importance)


def _head(heading: Heading, encoding: str) -> Text:
    from rich.text import Text

    lines = (heading.group, heading.label + _superscript(heading.refs))
    text = Text(shown("\n".join(each for each in lines if each), encoding))
    return text.append(shown(f"\n⚠ {heading.flag}", encoding), ALARM) if heading.flag else text


def _entry(entry: Entry, spread: int, refs: int, encoding: str) -> Text:
    from rich.text import Text

    style = ALARM if entry.state == "failed" else _LEVELS.get(entry.level, _STYLES[entry.rank])
    noted = _noted(entry.refs, encoding)
    value = shown(f"{entry.text} ± {entry.spread:>{spread}}" if entry.spread else entry.text, encoding)
    room = spread + len(shown(" ± ", encoding)) if spread and entry.state == "value" and not entry.spread else 0
    text = Text.assemble((value, style), noted, " " * (room + refs - cell_len(noted)))
    if entry.flag:
        text.append(shown(f" ⚠ {entry.flag}", encoding), ALARM)
    for quote in entry.quotes:
        mark = {"reproduced": " ✓", "not reproduced": f" ✗ {quote.gap}", "not comparable": " ≠"}.get(quote.shown, "")
        text.append(shown(f"\n({quote.label}{mark}{_superscript(quote.refs)})", encoding), QUOTE)
    return text


def _noted(refs: Iterable[int], encoding: str) -> str:
    return shown(_superscript(refs), encoding)


def _superscript(refs: Iterable[int]) -> str:
    return "˒".join(str(ref) for ref in sorted(refs)).translate(_SUPERSCRIPT)


def _hanging(sign: str, text: str, style: str) -> rich.table.Table:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid()
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(Text(sign, style), Text(text, style))
    return grid
