"""Rank methods over many categories, and test which differences exceed the noise of so few categories.

Demsar 2006 (JMLR 7:1-30): each category ranks the methods by their mean over seeds; ties share their rank. Friedman's
test checks whether any methods differ. Pairs are then compared by Nemenyi's test, or by Wilcoxon's test with Holm's
correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf, sqrt
from typing import TYPE_CHECKING, Literal

from afrad_bench.errors import UserError, fail, unknown
from afrad_bench.report.basis import results
from afrad_bench.report.basis.cautions import cautions
from afrad_bench.report.basis.comparison import Item, fact, incomparable
from afrad_bench.report.basis.figures import named, stamp
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.tables import items
from afrad_bench.report.basis.terms import count, terms
from afrad_bench.report.basis.wording import few, quoted
from afrad_bench.report.build import checked
from afrad_bench.report.drawing.shapes import CriticalDifference, Figure
from afrad_bench.report.model import Entry, Heading, Line, Report, ReportInput, RowSpec, Section, Table
from afrad_bench.statistics import holm

if TYPE_CHECKING:
    import pandas as pd

Test = Literal["nemenyi", "wilcoxon"]
FEWEST = 5
"""Minimum number of categories for a test: with fewer, even the clearest order is likely to be chance."""
ENOUGH = 10
"""Number of categories from which the chi-square approximation of Friedman's test is trusted."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Methods by mean rank, best first."""

    labels: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    means: tuple[float, ...]
    categories: tuple[str, ...]
    friedman: float | None
    """p value of the hypothesis that all methods are equal; None without a test."""
    p: tuple[tuple[float, ...], ...]
    """p value of each pair, corrected for the number of pairs; empty without a test."""
    groups: tuple[tuple[int, ...], ...]
    """Groups of adjacent methods that do not differ significantly, as indices into `labels`; maximal groups only."""
    note: str
    test: Test
    alpha: float


def rank(
    labels: Sequence[str],
    values: Sequence[Sequence[float]],
    categories: Sequence[str],
    *,
    higher_is_better: bool,
    test: Test = "nemenyi",
    alpha: float = 0.05,
) -> Ranking:
    """Rank methods. `values[i][k]`: method i on category k. Needs at least two methods and one category."""
    import numpy as np
    from scipy import stats

    table = np.array(values, dtype=float)
    ranks = stats.rankdata(-table if higher_is_better else table, axis=0).mean(axis=1)
    order = np.argsort(ranks, kind="stable")
    table, ranks = table[order], ranks[order]
    k, n = table.shape
    friedman: float | None = None
    p: list[list[float]] = []
    groups: list[tuple[int, ...]] = []
    note = ""
    if n < FEWEST:
        note = f"{n} categories are too few for a test (at least {FEWEST}): the order may be an accident"
    else:
        if n < ENOUGH:
            note = (
                f"with {n} categories (fewer than {ENOUGH}) the tests are approximate and find large differences only"
            )
        if k > 2:
            friedman = 1.0 if (table == table[0]).all() else float(stats.friedmanchisquare(*table).pvalue)
        p = _pairs(table, ranks, test if k > 2 else "wilcoxon")
        alike = friedman is not None and friedman >= alpha
        groups = [tuple(range(k))] if alike else _groups(p, alpha)
        if alike:
            note = "; ".join(filter(None, (note, "Friedman's test finds no difference, so that no pair is told apart")))
    return Ranking(
        tuple(labels[i] for i in order),
        tuple(ranks.tolist()),
        tuple(table.mean(axis=1).tolist()),
        tuple(categories),
        friedman,
        tuple(tuple(row) for row in p),
        tuple(groups),
        note,
        test if k > 2 else "wilcoxon",
        alpha,
    )


def _pairs(table: object, ranks: Sequence[float], test: Test) -> list[list[float]]:
    """Symmetric matrix (k, k) of p values; 1 on the diagonal."""
    import numpy as np
    from scipy import stats

    values = np.asarray(table)
    k, n = values.shape
    pairs = list(combinations(range(k), 2))
    if test == "nemenyi":
        unit = sqrt(k * (k + 1) / (12 * n))
        found = [float(stats.studentized_range.sf(abs(ranks[i] - ranks[j]) / unit, k, inf)) for i, j in pairs]
    else:
        equal = [(values[i] == values[j]).all() for i, j in pairs]
        found = holm(
            [
                1.0 if same else float(stats.wilcoxon(values[i], values[j]).pvalue)
                for (i, j), same in zip(pairs, equal, strict=True)
            ]
        )
    p = [[1.0] * k for _ in range(k)]
    for (i, j), value in zip(pairs, found, strict=True):
        p[i][j] = p[j][i] = value
    return p


def _groups(p: Sequence[Sequence[float]], alpha: float) -> list[tuple[int, ...]]:
    """Maximal runs of two or more adjacent methods in which no pair differs."""
    k = len(p)
    found: list[tuple[int, ...]] = []
    for start in range(k):
        end = start
        while end + 1 < k and all(p[i][end + 1] >= alpha for i in range(start, end + 1)):
            end += 1
        if end > start and not (found and found[-1][-1] >= end):
            found.append(tuple(range(start, end + 1)))
    return found


def ranking_report(
    spec: ReportInput, cells: pd.DataFrame, measurements: pd.DataFrame, metric: str, test: Test, alpha: float
) -> tuple[Report, Ranking]:
    """Rank a suite's rows over all categories of all its data sets. Frames as for `build`.

    Raises `UserError` for an unknown metric, or if fewer than two rows share a measured category."""
    grid = Grid(checked(spec), results.read(cells, measurements))
    columns = [item for item in items(grid, cost=False) if item.name == metric]
    if not columns:
        raise UserError(
            unknown("metric of accuracy", metric, {item.name for item in items(grid, cost=False)}, "--metric")
        )
    places = [
        replace(item, category=c) for item in columns for c in grid.categories(item.dataset, item.measure, metric)
    ]
    rows = [row for row in grid.spec.rows if row.cells]
    values, used, dropped = _values(grid, rows, places)
    whole = [row for row in rows if values[row.label]]
    if len(whole) < 2 or not used:
        raise fail("fewer than two rows are measured on a common category", spec.suite, "`run` measures them")
    several = len(grid.datasets) > 1
    names = [f"{item.dataset}/{item.category}" if several else str(item.category) for item in used]
    higher = columns[0].metric.higher_is_better
    ranking = rank(
        [row.label for row in whole],
        [values[row.label] for row in whole],
        names,
        higher_is_better=higher,
        test=test,
        alpha=alpha,
    )
    if dropped:
        ranking = replace(ranking, note="; ".join(filter(None, (ranking.note, f"left out: {', '.join(dropped)}"))))
    report = Report(
        suite=spec.suite,
        title=f"{spec.title}: ranks in {columns[0].metric.title}",
        profile=spec.profile,
        reproduces="",
        command=spec.command,
        terms=terms(grid),
        warnings=cautions(grid, times=False),
        sections=(_section(grid, ranking, columns[0]),),
        facts=(),
        name=f"ranking_{metric}",
        answer=_answer(ranking, columns[0]),
    )
    return report, ranking


def _answer(ranking: Ranking, item: Item) -> tuple[str, ...]:
    first = f"{quoted(ranking.labels[0])} ranks first in {item.metric.title}"
    where = f"with a mean rank of {ranking.mean_ranks[0]:.2f} over {count(len(ranking.categories), 'category')}"
    if not ranking.p:
        return (f"{first} {where}, without a test.", f"{ranking.note[0].upper()}{ranking.note[1:]}.")
    alike = sorted({i for group in ranking.groups if 0 in group for i in group} - {0})
    names = few([quoted(ranking.labels[i]) for i in alike])
    return (f"{first} {where}.", f"It cannot be told from {names}." if alike else "It is told from all others.")


def _values(
    grid: Grid, rows: Sequence[RowSpec], places: Sequence[Item]
) -> tuple[dict[str, list[float]], list[Item], list[str]]:
    """(Row label -> its values on the categories that count, these categories, names of what is left out).

    Left out are rows without any value, and categories with differing terms or missing values."""
    known = {row.label: [fact(grid, row, item) for item in places] for row in rows}
    present = [row for row in rows if any(each.summary.mean is not None for each, _ in known[row.label])]
    dropped = [f"{row.label} (not measured)" for row in rows if row not in present]
    used: list[int] = []
    for at, item in enumerate(places):
        found = [known[row.label][at] for row in present]
        if differing := incomparable(found, item):
            dropped.append(f"{item.category} (these differ: {', '.join(differing)})")
        elif any(each.summary.mean is None for each, _ in found):
            dropped.append(f"{item.category} (not measured or undefined for every row)")
        else:
            used.append(at)
    values: dict[str, list[float]] = {row.label: [] for row in rows}
    for row in present:
        means = (known[row.label][at][0].summary.mean for at in used)
        values[row.label] = [mean for mean in means if mean is not None]
    return values, [places[at] for at in used], dropped


def _section(grid: Grid, ranking: Ranking, item: Item) -> Section:
    signs = "abcdefghijklmnopqrstuvwxyz"
    lines = []
    for i, label in enumerate(ranking.labels):
        mine = "".join(signs[at % len(signs)] for at, group in enumerate(ranking.groups) if i in group)
        p = f"{ranking.p[0][i]:.3f}" if ranking.p and i else "–"
        entries = (
            Entry(label),
            Entry(f"{ranking.mean_ranks[i]:.2f}", number=ranking.mean_ranks[i]),
            Entry(f"{ranking.means[i]:.{item.metric.decimals}f}", number=ranking.means[i]),
            Entry(mine or "–"),
            Entry(p, number=ranking.p[0][i] if ranking.p and i else None),
        )
        lines.append(Line(entries))
    heads = (
        Heading("Method", numeric=False),
        Heading("Mean rank", arrow="↓"),
        Heading(f"Mean {item.metric.title}", unit=item.unit),
        Heading("Tied", numeric=False, hint="Methods with a common letter cannot be told apart"),
        Heading("p to the first"),
    )
    words = {"nemenyi": "Nemenyi's test", "wilcoxon": "Wilcoxon's signed-rank test with Holm's correction"}
    intro = [f"Ranks within each of {len(ranking.categories)} categories, by the mean over seeds."]
    if ranking.friedman is not None:
        intro.append(f"Friedman's test that all are alike: p = {ranking.friedman:.3g}.")
    if ranking.p:
        intro.append(f"Pairs by {words[ranking.test]} at {ranking.alpha:g}; a common letter: cannot be told apart.")
    if ranking.note:
        intro.append(f"{ranking.note[0].upper()}{ranking.note[1:]}.")
    figure = Figure(
        key="critical_difference",
        title=f"Mean ranks in {item.metric.title}",
        description=f"Mean ranks of {named(ranking.labels)}; bars join those that cannot be told apart.",
        caption=("A bar joins methods that cannot be told apart.",) if ranking.groups else ("Without a test.",),
        stamp=stamp(grid, grid.datasets[0], f"{len(ranking.categories)} categories"),
        drawing=CriticalDifference(ranking.labels, ranking.mean_ranks, ranking.groups),
    )
    return Section("ranking", "Ranking", (Table("Ranking", heads, tuple(lines)),), tuple(intro), (figure,))
