"""The order of the suite's methods beside that of the paper, for each metric and data set where both are known."""

from __future__ import annotations

from dataclasses import replace

from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.order import INTRO, order_table, orders, sentences, table_name
from afrad_bench.report.basis.tables import heading
from afrad_bench.report.model import Section, Table


def order_section(grid: Grid) -> Section | None:
    """A table for each metric and data set in which enough methods have a value here and in the paper."""
    tables: list[Table] = []
    said: list[str] = []
    for item, found in orders(grid):
        paper = table_name(grid.spec.reproduces or "")
        of = f", {item.dataset}" if len(grid.datasets) > 1 else ""
        if tables:  # the answer tells that of the first one
            said += list(sentences(found, f"{item.metric.title}{of}", paper))
        table = order_table(found, f"{item.metric.title}{of}", heading(item).unit, item.metric.decimals, paper)
        tables.append(replace(table, dataset=item.dataset))
    return Section("order", "Order here and in the paper", tuple(tables), (*said, INTRO)) if tables else None
