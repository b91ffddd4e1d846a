"""The figures of a search, drawn by Optuna."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from afrad_bench.report.basis.figures import blocks, named
from afrad_bench.report.drawing.shapes import Attempt, Attempts, Figure, View
from afrad_bench.search.declared import Declared

if TYPE_CHECKING:
    from optuna import Study


SLICES = 3
"""Parameters in one figure."""
ENOUGH = 8
"""Complete trials from which importances are computed."""


def figures(study: Study, declared: Declared, stamp: tuple[str, ...]) -> Sequence[Figure]:
    """Pareto front, history, importances, parallel coordinates and slices, as far as the complete trials allow them."""
    from optuna.distributions import distribution_to_json
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 2:
        return ()
    attempts = tuple(
        Attempt(
            trial.number,
            tuple(sorted(trial.params.items())),
            tuple((name, distribution_to_json(each)) for name, each in sorted(trial.distributions.items())),
            tuple(trial.values),
        )
        for trial in complete
    )
    names = tuple(goal.metric.title for goal in declared.objectives)
    directions = tuple(goal.direction for goal in declared.objectives)
    made = [axis.name for axis in declared.axes if any(axis.name in trial.params for trial in complete)]

    def figure(view: View, key: str, title: str, text: str, folded: bool, params: Sequence[str] = ()) -> Figure:
        return Figure(
            key=f"search_{key}",
            title=title,
            description=f"{title}: {text}; {len(attempts)} complete trials.",
            caption=(f"{text[0].upper()}{text[1:]}, on the images of the search.",),
            stamp=stamp,
            drawing=Attempts(view, directions, names, attempts, tuple(params)),
            folded=folded,
        )

    slices = [made[part] for part in blocks(len(made), SLICES)]
    return [
        *(figure(view, view, title, text, folded) for view, title, text, folded in _views(declared, attempts)),
        *(
            figure("slice", f"slices_{i}", f"Slices {i}", f"{names[0]} against {named(params)}", True, params)
            for i, params in enumerate(slices, 1)
        ),
    ]


def _views(declared: Declared, attempts: Sequence[Attempt]) -> Iterator[tuple[View, str, str, bool]]:
    """Which of Optuna's views show something: the view, its title, its meaning, and whether it is a detail."""
    names = [goal.metric.title for goal in declared.objectives]
    several = len({each.values for each in attempts}) > 1
    if len(names) in (2, 3):
        yield "pareto", "Pareto front", f"every trial by {' and '.join(names)}; the front in another colour", False
    yield "history", "History", f"{names[0]} of each trial, and the best so far", False
    if len(attempts) >= ENOUGH and several and len(declared.axes) > 1:
        yield "importances", "Importances", f"how much each parameter decides {names[0]}", False
    if len(declared.axes) > 1:
        text = f"every trial as a line through its parameters, by {names[0]}"
        yield "parallel", "Parallel coordinates", text, True
