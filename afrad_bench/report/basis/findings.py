"""Sentences on differences: which rows are better or worse than another and by how much, and what the seeds cannot
show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from afrad_bench.report.basis.effect import NOT_COMPARED, Effect, Finding
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.terms import count
from afrad_bench.report.basis.wording import by, few, quoted
from afrad_bench.statistics import CONFIDENCE, pooled, seeds_needed, visible

STEPS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Differences in points; a sentence tells the seeds for the first one that at most `AFFORDABLE` seeds can show."""
AFFORDABLE = 100
NAMED = 2
"""Rows that a clause names with their numbers; the table has the others."""


def sentences(grid: Grid, found: Sequence[Effect]) -> Iterator[str]:
    """On the rows and the reference: all that the first metric tells, then what only the others make clear."""
    first = found[0]
    yield from _certain(grid, first, with_finding(first, "certain"))
    yield from _likely(grid, first)
    yield from _unclear(grid, first)
    yield from _one_seed(grid, first)
    yield from _alike(grid, first)
    yield from _absent(grid, first)
    for other in found[1:]:
        certain = with_finding(other, "certain")
        news = [label for label in certain if _direction(first, label) != _direction(other, label)]
        yield from _certain(grid, other, news, f"In {other.item.metric.title}, ")


def name(grid: Grid, label: str) -> str:
    """A row in a sentence, with the alarm that its weights are random."""
    return f"{quoted(label)} (random weights)" if label in grid.random else quoted(label)


def with_finding(of: Effect, *findings: Finding) -> list[str]:
    """Labels of the rows with one of these findings, the largest difference first."""
    return sorted(
        (label for label in of.differences if of.finding(label) in findings), key=lambda label: -abs(of.gain(label))
    )


def limits(of: Effect, labels: Sequence[str]) -> str:
    """What the seeds of these rows can show, and how many seeds a small difference would take; empty without noise.

    Both are for a test that finds the difference 4 times in 5, at the level of the first step of Holm's correction
    (`statistics.planning`), with the pooled spread of these rows."""
    known = [of.differences[label] for label in labels]
    spread = pooled((each.spread, each.seeds) for each in known if each.spread is not None)
    if not spread:
        return ""
    alpha, seeds = (1 - CONFIDENCE) / len(of.adjusted), min(each.seeds for each in known if each.seeds > 1)
    least = visible(spread, seeds, alpha)
    if not of.item.metric.percent:
        needed = seeds_needed(least / 2, spread, alpha)
        return f"about {least:.2g} {of.item.unit} or more; it would take about {needed} seeds to see half of that"
    smallest = f"about {least:.1f} points or more" if least < 100 else "nothing below 100 points"
    steps = [step for step in STEPS if step < least]
    for step in steps:
        needed = seeds_needed(step, spread, alpha)
        if needed is not None and needed <= AFFORDABLE:
            return f"{smallest}; it would take about {needed} seeds to see {_step(step)}"
    return f"{smallest}; to see {_step(steps[-1])} would take more than {AFFORDABLE} seeds" if steps else smallest


def seeds_of(of: Effect, labels: Sequence[str]) -> str:
    """ "3 seeds", or "2 to 3 seeds" where the rows differ."""
    counts = sorted({of.differences[label].seeds for label in labels})
    return count(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def _step(points: float) -> str:
    return f"{points:g} point{'' if points == 1 else 's'}"


def _direction(of: Effect, label: str) -> int:
    """1 for a row that is certainly better, -1 for one that is certainly worse, else 0."""
    certain = label in of.differences and of.finding(label) == "certain"
    return ((of.gain(label) > 0) - (of.gain(label) < 0)) * certain


def _certain(grid: Grid, of: Effect, labels: Sequence[str], before: str = "") -> Iterator[str]:
    """One sentence on rows that certainly differ: those that are worse than the reference, then the better ones.

    `before`: names the metric, if the sentence is not on the first one; then many rows are only counted."""
    worse, better = ([label for label in labels if (of.gain(label) > 0) is wanted] for wanted in (False, True))
    reference = name(grid, of.reference.label)
    if before and len(labels) > 2:
        words = ((better, "better"), (worse, "worse"))
        counts = [f"{len(rows)} {'is' if len(rows) == 1 else 'are'} {word}" for rows, word in words if rows]
        yield f"{before}{len(labels)} further rows clearly differ from {reference}: {' and '.join(counts)}."
        return
    unit: Literal["unit", "metric"] = "unit" if before else "metric"
    clauses = []
    if worse:
        than = [f"than {name(grid, each)} by {by(of, each, '' if i else unit)}" for i, each in enumerate(worse)]
        clauses.append(f"{reference} is better {few(than, NAMED)}")
    if better:
        first, *rest = better
        others = [f"{name(grid, each)} by {by(of, each, '')}" for each in rest]
        clauses.append(
            few([f"{name(grid, first)} is better than {reference} by {by(of, first, unit)}", *others], NAMED)
        )
    if clauses:
        yield f"{before}{'; '.join(clauses)}."


def _likely(grid: Grid, of: Effect) -> Iterator[str]:
    """One sentence on the rows that differ only without the correction."""
    labels = with_finding(of, "likely")
    better, worse = ([each for each in labels if (of.gain(each) > 0) is wanted] for wanted in (True, False))
    clauses: list[str] = []
    for rows, word in ((better, "better"), (worse, "worse")):
        if rows:
            than = "" if clauses else f" than {name(grid, of.reference.label)}"
            much = f" by {by(of, rows[0], 'unit' if clauses else 'metric')}" if len(rows) == 1 else ""
            names = few([name(grid, each) for each in rows], NAMED)
            clauses.append(f"{names} {'is' if len(rows) == 1 else 'are'} perhaps {word}{than}{much}")
    if clauses:
        doubt = f"not significant after the correction for {len(of.adjusted)} comparisons"
        yield f"{'; '.join(clauses)} ({doubt})."


def _unclear(grid: Grid, of: Effect) -> Iterator[str]:
    labels = with_finding(of, "unclear")
    if labels:
        everything = len(labels) == len(of.differences) > 4
        who = "No row" if everything else few([name(grid, label) for label in labels], NAMED)
        verb = "makes a" if everything else "makes no" if len(labels) == 1 else "make no"
        shown = limits(of, labels)
        ending = f": they can show {shown}" if shown else ""
        yield f"{who} {verb} difference in {of.item.metric.title} that {seeds_of(of, labels)} can show{ending}."


def _one_seed(grid: Grid, of: Effect) -> Iterator[str]:
    labels = with_finding(of, "one seed")
    if not labels:
        return
    reference = name(grid, of.reference.label)
    if len(labels) == len(of.differences):
        text = "One seed cannot tell a difference from noise"
    else:
        share = "shares" if len(labels) == 1 else "share"
        names = few([name(grid, each) for each in labels])
        text = f"One seed, all that {names} {share} with {reference}, cannot tell a difference from noise"
    largest = labels[0]
    if of.gain(largest):
        side = "above" if (of.differences[largest].mean or 0.0) > 0 else "below"
        text += f"; the largest is that of {name(grid, largest)}, {by(of, largest)} {side} {reference}"
    yield f"{text}."


def _alike(grid: Grid, of: Effect) -> Iterator[str]:
    labels = with_finding(of, "alike")
    reference, title = name(grid, of.reference.label), of.item.metric.title
    for label in labels:
        if of.gain(label):
            better = "better" if of.gain(label) > 0 else "worse"
            yield f"{name(grid, label)} is {better} than {reference} by {by(of, label)} in every seed."
    if same := [name(grid, label) for label in labels if not of.gain(label)]:
        yield f"{few(same)} {'has' if len(same) == 1 else 'have'} the {title} of {reference} in every seed."


def _absent(grid: Grid, of: Effect) -> Iterator[str]:
    if labels := with_finding(of, "not measured"):
        has = "has" if len(labels) == 1 else "have"
        yield f"{few([name(grid, each) for each in labels])} {has} no {of.item.metric.title} to compare."
    by_reason: dict[str, list[str]] = {}
    for label in with_finding(of, "not comparable"):
        by_reason.setdefault(of.differences[label].why.removeprefix(NOT_COMPARED), []).append(name(grid, label))
    for why, labels in by_reason.items():
        yield f"{few(labels)} {'is' if len(labels) == 1 else 'are'} not compared, since these differ: {why}."
