"""Optuna's samplers and pruners by short names, with the options of their classes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from afrad_bench.errors import Problem, unknown
from afrad_bench.hashing import seed_for
from afrad_bench.search.space import Axis
from afrad_bench.suite.file import Algorithm

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, TrialState

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
    """The sampler. It is made anew for each trial, with a seed of its own that depends on the trial's number: so
    processes that share a study never draw alike, and one that goes on draws what it would have drawn without a stop.

    A grid and a sequence of points (qmc) have one seed for all trials, since the study says how far they are."""
    import optuna

    made = getattr(optuna.samplers, SAMPLERS[given.name])
    if given.name == "grid":
        space = {axis.name: axis.grid() for axis in axes}
        return _numbered(lambda number: made(space, seed=0))
    if given.name == "qmc":
        return _numbered(lambda number: made(**given.options, seed=seed_for(seed, "sampler")))
    return _numbered(lambda number: made(**given.options, seed=seed_for(seed, "sampler", number)))


def _numbered(make: Callable[[int], BaseSampler]) -> BaseSampler:
    """A sampler that asks `make(number)` for the parameters of the trial with this number."""
    from optuna.samplers import BaseSampler

    class Numbered(BaseSampler):
        def __init__(self) -> None:
            self._number, self._own = -1, make(-1)

        def before_trial(self, study: Study, trial: FrozenTrial) -> None:
            with quiet():
                self._number, self._own = trial.number, make(trial.number)
            self._own.before_trial(study, trial)

        def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
            return self._own.infer_relative_search_space(study, trial)

        def sample_relative(
            self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
        ) -> dict[str, Any]:
            return self._own.sample_relative(study, trial, search_space)

        def sample_independent(
            self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
        ) -> Any:
            return self._own.sample_independent(study, trial, param_name, param_distribution)

        def after_trial(
            self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
        ) -> None:
            if trial.number == self._number:  # not one of another process that was lost
                self._own.after_trial(study, trial, state, values)

    with quiet():
        return Numbered()


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
