"""Prints a table without a frame, in blocks that fit the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Console
from rich.text import Text


def show_table(
    out: Console,
    names: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    numeric: Collection[str] = (),
    keys: int = 1,
) -> None:
    """Print lines under these headings; `numeric`: headings of numbers. The first `keys` columns name the line."""
    from afrad_bench.report.formats.columns import Column, laid_out

    texts = [[_in_signs_of(out.encoding, one) for one in row] for row in rows]
    columns = [Column(Text(name), [row[i] for row in texts], name in numeric, i < keys) for i, name in enumerate(names)]
    for block in laid_out(columns, out.width, framed=False):
        out.print(block)


def _in_signs_of(encoding: str, text: str | Text) -> Text:
    """The text as wide as the stream shows it."""
    from afrad_bench.report.formats.signs import shown

    text = text if isinstance(text, Text) else Text(text)
    replaced = shown(text.plain, encoding)
    return text if replaced == text.plain else Text(replaced, text.style)
