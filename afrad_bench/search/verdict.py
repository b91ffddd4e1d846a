"""Whether a search found something better than the default, for the titles of its report and of its suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from afrad_bench.report.basis import results
from afrad_bench.running.plan import Plan
from afrad_bench.search import space
from afrad_bench.search.best import DEFAULT, UNJUDGED, best_trials, ranked
from afrad_bench.search.declared import Declared, Goal
from afrad_bench.statistics import CONFIDENCE, Difference, holm, paired
from afrad_bench.store import Store

if TYPE_CHECKING:
    from optuna import Study

Verdict = Literal["better", "not better", "worse", "not distinguishable", "unknown"]

IN_WORDS: Mapping[Verdict, str] = {
    "better": UNJUDGED,
    "not better": "none of {trials} trials is better than the default",
    "worse": "what {trials} trials chose is worse than the default",
    "not distinguishable": "what {trials} trials chose is not distinguishable from the default",
    "unknown": UNJUDGED,
}
"""How a title goes on after that of the suite; it says "best" only of what is not known to be no better."""
SENTENCES: Mapping[Verdict, str] = {
    "better": "The search found something better than the default.",
    "not better": "The search found nothing better than the default: on its own images, the default is ahead.",
    "worse": "The search found nothing better than the default: what it chose is worse.",
    "not distinguishable": "The search found nothing that these seeds can tell to be better than the default.",
    "unknown": "Whether the search found anything better than the default is not known yet.",
}
"""The first sentence of the report."""


def of_trials(study: Study, declared: Declared) -> Verdict:
    """By the trials' own values, on the images of the search: "better", "not better" or "unknown"."""
    default = space.standing(declared.axes, declared.own)
    kept = ranked(study, declared)
    own = next((trial for trial in kept if trial.params == default), None)
    best = best_trials(study, declared, 1)
    if default is None or own is None or not best or len(declared.objectives) > 1:
        return "unknown"
    return "better" if kept.index(best[0]) < kept.index(own) and best[0].values != own.values else "not better"


def of_finalists(declared: Declared, plan: Plan, store: Store) -> Verdict:
    """By the first of the finalists (`plan`), the best of the trials, over the seeds of the report: paired t tests,
    with Holm's correction over the objectives. "better" if it is in any objective; "worse" if it is in any, and better
    in none. The other finalists do not count: to choose among them by these results is to choose on test images."""
    tables = store.read_all(["cells", "measurements"], [one.cell.id for one in plan.cells])
    read = results.read(tables["cells"], tables["measurements"])
    best = plan.selection.rows[1].label
    gains = [
        _gain(_by_seed(plan, read, best, goal), _by_seed(plan, read, DEFAULT, goal), goal)
        for goal in declared.objectives
    ]
    if any(each.mean is None for each in gains):
        return "unknown"
    clear = set(_clear(gains))
    return "better" if 1 in clear else "worse" if -1 in clear else "not distinguishable"


def _gain(row: Mapping[int, float], default: Mapping[int, float], goal: Goal) -> Difference:
    """The improvement over the default, seed by seed."""
    sign = 1 if goal.direction == "maximize" else -1
    return paired(
        {seed: sign * value for seed, value in row.items()}, {seed: sign * value for seed, value in default.items()}
    )


def _clear(gains: list[Difference]) -> Iterator[int]:
    """1 for each significant improvement, -1 for each significant worsening, else 0."""
    tested = [i for i, each in enumerate(gains) if each.p is not None]
    adjusted = dict(zip(tested, holm([gains[i].p or 0.0 for i in tested]), strict=True))
    for i, each in enumerate(gains):
        alike = each.seeds > 1 and each.p is None  # the same change for every seed: a number without noise
        certain = alike or adjusted.get(i, 1.0) < 1 - CONFIDENCE
        mean = each.mean or 0.0
        yield (mean > 0) - (mean < 0) if certain else 0


def _by_seed(plan: Plan, read: results.Results, label: str, goal: Goal) -> dict[int, float]:
    """Seed -> mean over the cells of a row; seeds without all their cells are left out."""
    found: dict[int, list[float | None]] = {}
    for one in plan.cells:
        if one.row.label == label:
            value = read.take(one.cell.id, goal.measure).values.get(goal.name, {}).get(goal.category)
            found.setdefault(one.cell.seed, []).append(None if value is None else value.value)
    return {
        seed: fmean(known)
        for seed, values in found.items()
        if len(known := [value for value in values if value is not None]) == len(values)
    }
