"""A forest plot as lines of text: the name of each row, its interval drawn with signs, and the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from afrad_bench.report.drawing.shapes import Forest, Interval
from afrad_bench.report.formats.columns import Column, laid_out
from afrad_bench.report.formats.signs import shown

if TYPE_CHECKING:
    import rich.table
    from rich.text import Text

FEWEST, MOST = 15, 45
"""Cells of the drawing; it is left out where there is no room for the fewest."""
STYLES = {-1: "red", 0: "", 1: "green"}
_POINTS = {"certain": "●", "likely": "○", "unclear": "•"}


def forest_parts(drawing: Forest, width: int, encoding: str) -> Iterator[rich.table.Table]:
    """The first metric of a forest plot on a screen of this width."""
    from rich.text import Text

    panel = drawing.panels[0]
    figures = ["not measured" if each is None else each.text for each in panel.intervals]
    names = max(map(cell_len, drawing.rows))
    room = width - min(names, width // 3) - max(map(len, figures)) - 8
    columns = [Column(Text("Row"), [Text(shown(row, encoding)) for row in drawing.rows], key=True)]
    if room >= FEWEST:
        cells = min(room, MOST)
        sides = ("worse", "better") if panel.higher_is_better else ("better", "worse")
        head = Text(shown(f"{sides[0]} {sides[1]:>{cells - len(sides[0]) - 1}}", encoding))
        columns.append(Column(head, [*_drawn(panel.intervals, cells, encoding)], numeric=True))
    columns.append(Column(Text(shown(panel.title, encoding)), [Text(shown(each, encoding)) for each in figures]))
    yield from laid_out(columns, width)


def _drawn(intervals: Sequence[Interval | None], cells: int, encoding: str) -> Iterator[Text]:
    """Each interval on one scale from the lowest end to the highest, which holds 0."""
    from rich.text import Text

    known = [each for each in intervals if each is not None]
    ends = [end for each in known for end in (each.mean, each.low, each.high) if end is not None]
    low, high = min(0.0, *ends), max(0.0, *ends)
    scale = (cells - 1) / ((high - low) or 1.0)
    zero = round(-low * scale)
    for each in intervals:
        signs = [" "] * cells
        signs[zero] = "│"
        if each is not None:
            if each.low is not None and each.high is not None:
                left, right = round((each.low - low) * scale), round((each.high - low) * scale)
                signs[left : right + 1] = ["─"] * (right + 1 - left)
                signs[left], signs[right] = "├", "┤"
            signs[round((each.mean - low) * scale)] = _POINTS[each.certainty]
        clear = each is not None and each.certainty != "unclear"
        yield Text(shown("".join(signs), encoding), STYLES[each.gain] if each is not None and clear else "")
