"""Helpers for the figures of a report: stamp (terms and alarms), labels, file names, and division into blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

from afrad_bench.report.basis.cautions import cautions
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.terms import by_term, by_value, listed, plain
from afrad_bench.report.model import RowSpec

T = TypeVar("T")

_LONGEST = 220  # characters of an alarm inside a picture; the page shows all of it


def stamp(grid: Grid, dataset: str, seeds: str) -> tuple[str, ...]:
    """Lines of text inside a picture, since it may be seen without its report: the terms, then every alarm."""
    uses = [use for use in grid.counted if use.cell.dataset == dataset]
    terms = [
        f"suite {grid.spec.suite}",
        f"profile {grid.spec.profile}",
        f"data {dataset}",
        seeds,
        _with_values("image size", by_value(uses, lambda run: f"{plain(run.term('image_size'))} px")),
        _with_values("backbone", by_term(uses, "backbone")),
        _with_values("epochs trained", by_term(uses, "epochs")),
    ]
    alarms = [f"⚠ {_short(each.text)}" for each in cautions(grid, times=False) if each.level == "alarm"]
    return (" · ".join(filter(None, terms)), *alarms)


def label(grid: Grid, row: RowSpec) -> str:
    """Name of a row in a picture; an alarm about random weights is always part of it."""
    return f"{row.label} ⚠ random weights" if row.label in grid.random else row.label


def key(grid: Grid, name: str, dataset: str, block: int = 1) -> str:
    """Name of a figure's files, with the data set if there are several, and the block number from 2 on."""
    of = re.sub(r"[^a-z0-9]+", "_", dataset.lower()).strip("_") if len(grid.datasets) > 1 else ""
    return "_".join(filter(None, (name, of, "" if block == 1 else str(block))))


def of_data(grid: Grid, title: str, dataset: str) -> str:
    """The title, with the data set if there are several."""
    return f"{title}, {dataset}" if len(grid.datasets) > 1 else title


def part_of(title: str, number: int, parts: Sequence[object]) -> str:
    """The title, with its number if it is one of several figures: "Image scores (2 of 3)"."""
    return f"{title} ({number} of {len(parts)})" if len(parts) > 1 else title


def over(seeds: Iterable[int], mean: str = "") -> str:
    """ "seed 0", "seeds 0, 1", or with `mean` "mean over seeds 0, 1"; each seed once, in ascending order."""
    found = sorted(set(seeds))
    return f"{mean}seeds {', '.join(map(str, found))}" if len(found) > 1 else f"seed {found[0]}"


def blocks(count: int, most: int) -> list[slice]:
    """Slices of about equal length, at most `most` each, that together cover `count` items.

    >>> [(part.start, part.stop) for part in blocks(15, 8)]
    [(0, 8), (8, 15)]
    """
    if count == 0:
        return []
    parts = -(-count // most)
    edges = [-(-count * i // parts) for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def packed(groups: Sequence[Sequence[T]], most: int) -> list[list[T]]:
    """Items in blocks of about equal size, at most `most` each. Groups stay together unless larger than `most`.

    >>> packed([["a1", "a2"], ["b1", "b2"], ["c1"]], 3)
    [['a1', 'a2'], ['b1', 'b2', 'c1']]
    """
    made: list[list[T]] = []
    total = sum(map(len, groups))
    enough = -(-total // max(-(-total // most), 1))
    for group in groups:
        for start in range(0, len(group), most):
            part = list(group[start : start + most])
            if made and len(made[-1]) < enough and len(made[-1]) + len(part) <= most:
                made[-1] += part
            else:
                made.append(part)
    return made


def _with_values(what: str, values: dict[str, list[str]]) -> str:
    if not values:
        return ""
    return f"{what} {next(iter(values)) if len(values) == 1 else listed(values)}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1].rstrip()}…"


def named(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
