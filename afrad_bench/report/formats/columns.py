"""Columns of a table laid out on a terminal: in one block if they fit, else in several, one below the other.

A number is never cut or wrapped, and no word is split that fits into half of the screen. The columns that name a line
are repeated in each block; the others follow by importance."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.table
    from rich.text import Text

LINES, NARROW, WIDE = 3, 12, 30
"""A text is folded to this number of lines before its column moves to the next block, but never below a width of
`NARROW` cells, and to more lines in a column of `WIDE` cells."""
_BREAK = re.compile(r"\s+(?![↑↓])")  # an arrow stays with its metric


@dataclass(frozen=True)
class Column:
    """One column: its heading, and a text for each line of the table."""

    head: Text
    cells: Sequence[Text]
    numeric: bool = False
    """Aligned on the right, and folded in the heading only."""
    key: bool = False
    """Names the lines; repeated in every block."""
    importance: int = 0
    """The columns of a table that needs several blocks are stacked by it, the highest first."""

    @cached_property
    def natural(self) -> int:
        """Width without any folding, in terminal cells."""
        return max(_widest(text.plain.split("\n")) for text in (self.head, *self.cells))

    def least(self, share: int, half: int) -> int:
        """The smallest width that is readable; of a text at most its share, or its longest word up to half a screen."""
        if self.numeric:
            body = [_widest(text.plain.split("\n")) for text in self.cells]
            return max([_widest(_words(self.head.plain)), *body])
        word = min(half, max(_widest(_words(text.plain)) for text in (self.head, *self.cells)))
        return min(self.natural, max(word, min(share, max(NARROW, min(WIDE, -(-self.natural // LINES))))))


def laid_out(
    columns: Sequence[Column], width: int, styles: Sequence[str] = (), *, framed: bool = True
) -> Iterator[rich.table.Table]:
    """The blocks of a table on a screen of this width. `styles`: the style of each line. `framed`: a rule below the
    headings."""
    gap, edge = (3, -1) if framed else (2, -2)
    for block, widths in _blocks(columns, width - edge, gap):
        yield _grid([columns[i] for i in block], widths, styles, framed)


def _blocks(columns: Sequence[Column], room: int, gap: int) -> Iterator[tuple[list[int], list[int]]]:
    """Positions and widths of the columns of each block; a column takes its width and `gap` cells of the room."""
    keys = [i for i, column in enumerate(columns) if column.key]
    shares = (room // 2, room // (len(keys) + 2))  # most of the room is for what the names stand beside
    least = {i: column.least(shares[column.key], room // 2) for i, column in enumerate(columns)}
    others = [i for i, column in enumerate(columns) if not column.key]
    if sum(least[i] + gap for i in (*keys, *others)) > room:
        others.sort(key=lambda i: -columns[i].importance)
    blocks: list[list[int]] = [list(keys)]
    for i in others:
        if len(blocks[-1]) > len(keys) and sum(least[k] + gap for k in (*blocks[-1], i)) > room:
            blocks.append(list(keys))
        blocks[-1].append(i)
    for block in blocks:
        yield block, _widened(columns, block, least, room - gap * len(block))


def _widened(columns: Sequence[Column], block: Sequence[int], widths: dict[int, int], room: int) -> list[int]:
    """The widths of a block when it takes all the room that it can use: first for texts, then for headings of numbers.

    `widths`: the least width of each column, `room`: the sum of all widths of a block."""
    widths = dict(widths)
    spare = room - sum(widths[i] for i in block)
    if spare < 0:  # one column beside the names: fold it, at spaces where there are any
        widths[block[-1]] = max(8, widths[block[-1]] + spare)
    for _ in range(spare):
        folded = [i for i in block if widths[i] < columns[i].natural]
        if not folded:
            break
        widths[min(folded, key=lambda i: (columns[i].numeric, widths[i] / columns[i].natural))] += 1
    return [widths[i] for i in block]


def _grid(columns: Sequence[Column], widths: Sequence[int], styles: Sequence[str], framed: bool) -> rich.table.Table:
    from rich import box
    from rich.table import Table

    if framed:
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    else:
        grid = Table(box=None, pad_edge=False, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        head = _aligned(column.head, width) if column.numeric else column.head
        grid.add_column(head, width=width, overflow="fold", vertical="top")
    lines = zip(*(column.cells for column in columns), strict=True)
    for number, line in enumerate(lines):
        texts = [
            _aligned(text, width) if column.numeric else text
            for text, column, width in zip(line, columns, widths, strict=True)
        ]
        grid.add_row(*texts, style=styles[number] if styles else "")
    return grid


def _aligned(text: Text, width: int) -> Text:
    """The text on the right of a column, folded at spaces where it is wider."""
    from rich.text import Text

    lines = []
    for line in text.split("\n", allow_blank=True):
        while line.cell_len > width:
            breaks = [found.span() for found in _BREAK.finditer(line.plain) if 0 < found.start() <= width]
            if not breaks:
                break
            end, start = breaks[-1]
            lines.append(line[:end])
            line = line[start:]
        lines.append(line)
    for line in lines:
        line.pad_left(width - line.cell_len)
    return Text("\n").join(lines)


def _words(text: str) -> list[str]:
    return [word for word in _BREAK.split(text) if word]


def _widest(parts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, parts), default=0)
