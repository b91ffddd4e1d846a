"""Figures that are printed more than once: the same system, data and metric in several tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from afrad_bench import published
from afrad_bench.audit.model import Finding, exact
from afrad_bench.published import Figure

Identity = tuple[str, str | None, str | None, str]
"""System, data set, category, metric."""


def repeated(figures: Iterable[Figure]) -> Mapping[Identity, Sequence[Figure]]:
    """Figures printed more than once, in printed order. The complete rows of the ablations count as AFRAD."""
    found: dict[Identity, list[Figure]] = {}
    for figure in figures:
        system = "afrad" if published.COMPLETE.get(figure.table) == figure.row else figure.row
        found.setdefault((system, figure.dataset, figure.category, figure.metric), []).append(figure)
    return {identity: places for identity, places in found.items() if len(places) > 1}


def printed_twice(figures: Iterable[Figure]) -> list[Finding]:
    """A finding for each later figure that differs from the first one."""
    found = []
    for places in repeated(figures).values():
        first, *later = places
        for figure in later:
            if exact(figure) != exact(first):
                found.append(
                    Finding(
                        "twice",
                        figure.table,
                        figure.row,
                        figure.category,
                        figure.dataset,
                        figure.metric,
                        exact(figure),
                        exact(first),
                        f"{published.CAPTIONS[first.table]}, has {exact(first)} for the same "
                        f"({published.printed(first.row)})",
                    )
                )
    return found
