"""Print a report on the terminal with rich. Wide tables are split into blocks; numbers are never cut off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from afrad_bench.report.model import Entry, Heading, Quote, Report, Section, Table

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console, RenderableType
    from rich.text import Text

ALARM, QUOTE, FAINT = "bold red", "bright_black", "dim"
_STYLES = {"best": "bold", "second": "underline", "": ""}
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_terminal(report: Report, console: Console, *, categories: bool = False, timing: bool = False) -> None:
    """Print terms, warnings and sections; results by category and timings only with `categories` and `timing`."""
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
        sign, style = ("⚠ ", ALARM) if warning.level == "alarm" else ("• ", "")
        console.print(_hanging(sign, warning.text, style))
    hidden = {"categories": categories, "timing": timing}
    for section in report.sections:
        if hidden.get(section.key, True):
            for part in _section(section, report.folder, console.width, folded=section.key in hidden):
                console.print(part)
    console.print()
    console.print(Text.assemble(("measure it again: ", FAINT), report.command))


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


def _section(section: Section, folder: str, width: int, *, folded: bool) -> Iterable[RenderableType]:
    from rich.text import Text

    yield Text()
    yield Text(section.title, "bold")
    for table in section.tables:
        if table.folded and not folded:
            continue
        if len(section.tables) > 1 and table.caption != section.title:
            yield Text(table.caption, "italic")
        yield from table_parts(table, width)
    if section.figures:
        yield Text(f"pictures: {', '.join(f'{folder}/{figure.key}.svg' for figure in section.figures)} (and .png)")
    for line in section.intro:
        yield Text(line, FAINT)
    if any(quote.verdict != "not measured" for quote in _quotes(section)):
        yield Text("In brackets: the paper's figures; ✓ reproduced, ✗ not reproduced, ≠ not comparable.", FAINT)


def _quotes(section: Section) -> Iterable[Quote]:
    return (quote for t in section.tables for line in t.lines for entry in line.entries for quote in entry.quotes)


def table_parts(table: Table, width: int) -> Iterable[RenderableType]:
    """A table in blocks that fit, and its footnotes."""
    from rich import box
    from rich.table import Table as Grid

    columns = [_column(heading, [line.entries[i] for line in table.lines]) for i, heading in enumerate(table.headings)]
    heads, cells = [column[0] for column in columns], list(zip(*(column[1:] for column in columns), strict=True))
    for block in _blocks(table.headings, heads, cells, width):
        grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for i in block:
            numeric = table.headings[i].numeric
            grid.add_column(heads[i], no_wrap=numeric, overflow="fold", vertical="top")
        for line, texts in zip(table.lines, cells, strict=True):
            grid.add_row(*(texts[i] for i in block), style="italic" if line.strong else "")
        yield grid
    for number, text in enumerate(table.footnotes, 1):
        yield _hanging(f"{_superscript([number])} ", text, FAINT)


def _blocks(
    headings: Sequence[Heading], heads: Sequence[Text], cells: Sequence[Sequence[Text]], width: int
) -> list[list[int]]:
    """The columns of each block. Every block starts with the first column; no number is wrapped or cut."""
    from rich.cells import cell_len

    def needed(i: int, between: str = "\n") -> int:
        texts = [heads[i], *(line[i] for line in cells)]
        return 3 + max(cell_len(part) for text in texts for part in text.plain.split(between))

    if not all(heading.numeric for heading in headings[1:]):
        return [list(range(len(headings)))]
    first = 2 + min(needed(0), max(needed(0, " "), width // 3))
    blocks: list[list[int]] = []
    room = 0
    for i in range(1, len(headings)):
        if not blocks or needed(i) > room:
            blocks.append([0])
            room = width - first
        blocks[-1].append(i)
        room -= needed(i)
    return blocks


def _column(heading: Heading, entries: Sequence[Entry]) -> list[Text]:
    """Heading and entries of a column. Numbers are aligned: standard deviations and footnotes have equal widths."""
    from rich.text import Text

    spread = max((len(entry.spread) for entry in entries), default=0)
    refs = max((len(_superscript(entry.refs)) for entry in entries), default=0)
    texts = [_head(heading), *(_entry(entry, spread, refs) for entry in entries)]
    if not heading.numeric:
        return texts
    lines = [text.split("\n", allow_blank=True) for text in texts]
    width = max(line.cell_len for part in lines for line in part)
    for part in lines:
        for line in part:
            line.pad_left(width - line.cell_len)
    return [Text("\n").join(part) for part in lines]


def _head(heading: Heading) -> Text:
    from rich.text import Text

    text = Text("\n".join(each for each in (heading.group, heading.label + _superscript(heading.refs)) if each))
    return text.append(f"\n⚠ {heading.flag}", ALARM) if heading.flag else text


def _entry(entry: Entry, spread: int, refs: int) -> Text:
    from rich.text import Text

    style = ALARM if entry.level == "alarm" or entry.state == "failed" else _STYLES[entry.rank]
    noted = _superscript(entry.refs)
    value = f"{entry.text} ± {entry.spread:>{spread}}" if entry.spread else entry.text
    room = spread + 3 if spread and entry.state == "value" and not entry.spread else 0
    text = Text.assemble((value, style), noted, " " * (room + refs - len(noted)))
    if entry.flag:
        text.append(f" ⚠ {entry.flag}", ALARM)
    for quote in entry.quotes:
        mark = {"reproduced": " ✓", "not reproduced": f" ✗ {quote.gap}", "not comparable": " ≠"}.get(quote.verdict, "")
        text.append(f"\n({quote.label}{mark}{_superscript(quote.refs)})", QUOTE)
    return text


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
