"""Optuna's samplers and pruners by short names, with the options of their classes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import Problem, unknown
from afrad_bench.search.space import Axis
from afrad_bench.suite.file import Algorithm

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

SAMPLERS = {
    "brute_force": "BruteForceSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "grid": "GridSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "qmc": "QMCSampler",
    "random": "RandomSampler",
    "tpe": "TPESampler",
}
PRUNERS = {
    "hyperband": "HyperbandPruner",
    "median": "MedianPruner",
    "none": "NopPruner",
    "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "threshold": "ThresholdPruner",
    "wilcoxon": "WilcoxonPruner",
}
OURS = {"self", "args", "kwargs", "seed", "search_space", "constraints_func"}
"""Parameters of the classes that the search sets itself."""


def faults(kind: str, known: Mapping[str, str], given: Algorithm, place: str) -> Iterator[Problem]:
    """Problems: unknown names and options, and values that the class rejects."""
    import optuna

    if given.name not in known:
        yield unknown(kind, given.name, known, place)
        return
    made = getattr(getattr(optuna, f"{kind}s"), known[given.name])
    options = set(inspect.signature(made.__init__).parameters) - OURS
    wrong = [unknown(f"option of {given.name}", name, options, place) for name in given.options if name not in options]
    yield from wrong
    if not wrong and given.name != "grid":
        try:
            with quiet():
                made(**given.options)
        except (TypeError, ValueError, ImportError) as error:
            yield Problem(f"{given.name}: {str(error).splitlines()[0]}", place)


def sampler(given: Algorithm, axes: Sequence[Axis], seed: int) -> BaseSampler:
    """The sampler. The seed of a grid is always 0, so that all workers go through the grid in the same order."""
    import optuna

    made = getattr(optuna.samplers, SAMPLERS[given.name])
    with quiet():
        if given.name == "grid":
            return made({axis.name: axis.grid() for axis in axes}, seed=0)
        seeded: dict[str, Any] = {"seed": seed}
        return made(**given.options, **seeded)


def pruner(given: Algorithm) -> BasePruner:
    """The pruner."""
    import optuna

    with quiet():
        return getattr(optuna.pruners, PRUNERS[given.name])(**given.options)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Optuna's warnings about experimental classes; the user chose them by name."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
