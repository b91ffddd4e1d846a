"""A study's history, importances, slices, parallel coordinates and Pareto front, by optuna.visualization.matplotlib."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from afrad_bench.report.drawing.shapes import Attempts

WIDTH, HEIGHT = 7.2, 4.4
"""Inches; a slice of several parameters is wider."""


def canvas(drawing: Attempts) -> Figure:
    """Optuna's plot of a study that is rebuilt from the trials."""
    import optuna
    from optuna.distributions import json_to_distribution
    from optuna.visualization import matplotlib as views

    matplotlib.use("agg")  # never open a window
    from matplotlib import pyplot

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=drawing.directions)
    study.add_trials(
        optuna.create_trial(
            params=dict(trial.params),
            distributions={name: json_to_distribution(text) for name, text in trial.distributions},
            values=trial.values,
        )
        for trial in drawing.trials
    )
    plots: dict[str, Callable[..., Any]] = {
        "history": views.plot_optimization_history,
        "importances": views.plot_param_importances,
        "slice": views.plot_slice,
        "parallel": views.plot_parallel_coordinate,
    }
    # Colour bars must be created under the layout that they are drawn with.
    with matplotlib.rc_context({"figure.constrained_layout.use": True}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental functions, and scales that matplotlib sets again
        if drawing.view == "pareto":
            made = views.plot_pareto_front(study, target_names=list(drawing.names))
        else:
            options: dict[str, Any] = {"target_name": drawing.names[0]}
            if len(drawing.names) > 1:
                options["target"] = lambda trial: trial.values[0]
            if drawing.params:
                options["params"] = list(drawing.params)
            made = plots[drawing.view](study, **options)
    axes = made if isinstance(made, Axes) else made.flat[0]
    figure = axes.get_figure(root=True)
    assert figure is not None
    pyplot.close(figure)
    figure.set_size_inches(max(WIDTH, figure.get_figwidth()), HEIGHT)
    return figure
