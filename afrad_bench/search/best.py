"""The best trials of a search, and the suite that measures them again on fresh seeds."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from afrad_bench.search.declared import Declared
from afrad_bench.search.space import Values
from afrad_bench.search.study import ERROR, counted
from afrad_bench.search.trials import EXCESS
from afrad_bench.suite.file import Searched
from afrad_bench.suite.selection import HOLD_OUT, SPLIT
from afrad_bench.suite.selection.layers import Layer, merged, nested

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


DEFAULT = "default"
"""Label of the row with the configuration from before the search."""


def best_trials(study: Study, declared: Declared, count: int) -> list[FrozenTrial]:
    """The best complete trials that keep every limit, of different parameters: by value, or from the Pareto front in
    the order of the first objective. The configuration as it was is none of them."""
    own = declared.own
    found: list[FrozenTrial] = []
    for trial in ranked(study, declared):
        same = any(trial.params == other.params for other in found)
        if not same and merged([_layer(own), _layer(nested(chosen(declared, trial)))]) != own:
            found.append(trial)
    return found[:count]


def ranked(study: Study, declared: Declared) -> list[FrozenTrial]:
    """The complete trials that keep every limit, the best first; with several objectives, those of the Pareto front."""
    from optuna.trial import TrialState

    if len(declared.objectives) > 1:
        trials = study.best_trials
    else:
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    kept = [trial for trial in trials if all(value <= 0 for value in trial.user_attrs.get(EXCESS, {}).values())]
    sign = -1 if declared.objectives[0].direction == "maximize" else 1
    return sorted(kept, key=lambda trial: (sign * trial.values[0], trial.number))


def chosen(declared: Declared, trial: FrozenTrial) -> Values:
    """The parameters of a trial as the method takes them."""
    values: Values = {}
    for axis in declared.axes:
        if axis.name in trial.params:
            kept = trial.params[axis.name]
            choices = axis.parameter.choices
            values[axis.name] = (
                kept if choices is None else next(each for each in choices if axis.encoded(each) == kept)
            )
    return values


def _layer(params: dict[str, Any]) -> Layer:
    return Layer(params, lambda _: "")


def reasons(study: Study, declared: Declared) -> str:
    """Why there is nothing to recommend."""
    failed = dict.fromkeys(trial.user_attrs[ERROR] for trial in counted(study) if ERROR in trial.user_attrs)
    found = [f"failed: {reason}" for reason in failed]
    if not declared.search.finalists.best:
        found.append("finalists.best is 0")
    elif not found:
        found.append("no other configuration was completed within the limits; raise trials, or widen space or limits")
    return "\n".join(found)


UNJUDGED = "the best of {trials} trials"
"""What a title says of the finalists as long as nothing else is known (`verdict.IN_WORDS`)."""


def best_suite(study: Study, declared: Declared, outcome: str = UNJUDGED) -> str | None:
    """A suite file with the configuration as it was and the best trials, on fresh seeds and on the report's images;
    None if no trial can be recommended. `outcome`, for its title: what came of `{trials}` (`verdict.IN_WORDS`)."""
    selection, search = declared.for_report, declared.search
    finalists = best_trials(study, declared, search.finalists.best)
    if not finalists:
        return None
    origin = Searched(by=declared.study, trials=len(counted(study)), seeds=selection.seeds)
    told = outcome.format(trials=origin.trials)
    variants: list[dict[str, Any]] = [{"label": DEFAULT}]
    for trial in finalists:
        params = nested(chosen(declared, trial))
        variants.append(
            {"label": f"trial {trial.number}", "params": params, "searched": origin.model_dump(mode="json")}
        )
    datasets = []
    for one in selection.datasets:
        options = json.loads(one.params)
        split, hold_out = options.pop(SPLIT, None), options.pop(HOLD_OUT, None)
        datasets.append({"name": one.name, "root": one.root, "params": options, "split": split, "hold_out": hold_out})
    profile = {
        "description": f"{told[0].upper()}{told[1:]}. Beside it the default; seeds that no trial used.",
        "datasets": [{name: value for name, value in each.items() if value is not None} for each in datasets],
        "image_size": selection.image_size,
        **({} if selection.threads is None else {"threads": selection.threads}),
        **selection.arithmetic.given,
    }
    content = {
        "suite": f"{selection.suite}_best",
        "title": f"{selection.title}: {told}",
        "compare_to": DEFAULT,
        "setting": selection.setting,
        "seeds": list(search.finalists.seeds),
        "measures": [{"name": one.name, "options": json.loads(one.options)} for one in selection.measures],
        "methods": [{"method": declared.row.method, "params": json.loads(declared.row.changed), "variants": variants}],
        "profiles": {selection.profile: profile},
    }
    return _yaml(content)


def _yaml(content: dict[str, Any]) -> str:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 120
    out = io.StringIO()
    yaml.dump(content, out)
    return out.getvalue()
