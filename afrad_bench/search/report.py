"""The report of a search: the finalists, and after their results how they were found."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afrad_bench.hashing import canonical
from afrad_bench.report import Report
from afrad_bench.report.basis import results
from afrad_bench.report.from_plan import report_of
from afrad_bench.report.model import Caution, Entry, Heading, Line, Section, Table
from afrad_bench.running.plan import Plan
from afrad_bench.search import space
from afrad_bench.search.best import DEFAULT, chosen, ranked
from afrad_bench.search.declared import Declared, Goal
from afrad_bench.search.figures import figures
from afrad_bench.search.study import ERROR, counted, location
from afrad_bench.search.trials import EXCESS
from afrad_bench.search.verdict import IN_WORDS, SENTENCES, of_finalists, of_trials
from afrad_bench.statistics import paired
from afrad_bench.store import Store
from afrad_bench.types import MEAN

if TYPE_CHECKING:
    from optuna import Study

SHOWN = 10
"""Trials in the table."""


def report_of_search(
    study: Study, declared: Declared, plan: Plan, store: Store, command: str, again: str, seconds: float
) -> Report:
    """The report of the finalists (`plan`), with the search after its results. `command` measures the finalists,
    `again` goes on with the search; `seconds` were spent on trials by this call."""
    report = report_of(plan, store, command)
    section = _section(study, declared, plan, store, report, seconds)
    trials = len(counted(study))
    caution = (
        f"Searched: chosen from {trials} trials by their scores on other images and seeds than those shown here. "
        "The trials' own values, in the search's tables, are optimistic: the best of many."
    )
    found = of_finalists(declared, plan, store)
    if found == "unknown":
        found = of_trials(study, declared)
    return replace(
        report,
        suite=declared.selection.suite,
        title=f"{declared.selection.title}: {IN_WORDS[found].format(trials=trials)}",
        sections=(*report.sections[:1], section, *report.sections[1:]),
        warnings=(*report.warnings, Caution(caution)),
        command=f"{again}\n{report.command}",
        name="search",
        answer=(SENTENCES[found], *report.answer),
    )


def _section(study: Study, declared: Declared, plan: Plan, store: Store, report: Report, seconds: float) -> Section:
    tables = [_about(study, declared, seconds), trials_table(study, declared)]
    if compared := _compared(declared, plan, store):
        tables.append(compared)
    stamp = (f"search {declared.study} · {len(counted(study))} trials · scored on the images of the search",)
    alarms = tuple(f"⚠ {each.text}" for each in report.warnings if each.level == "alarm")
    return Section(
        "search",
        "Search",
        tuple(tables),
        (
            "A trial's values are those on the images of the search; they serve to choose, and are not results.",
            "Importances: PED-ANOVA (Watanabe et al. 2023); figures by Optuna.",
        ),
        tuple(figures(study, declared, (*stamp, *alarms))),
    )


def _about(study: Study, declared: Declared, seconds: float) -> Table:
    search = declared.search
    states = Counter(trial.state.name.lower() for trial in counted(study))
    cut_off = len(study.get_trials(deepcopy=False)) - len(counted(study))
    validation = search.validation
    split = (
        f"{validation.planted:.0%} of the normal training images held out, half of them with planted defects"
        if validation.planted is not None
        else f"{validation.labelled:.0%} of the test images, which the report leaves out"
    )
    facts = {
        "trials": ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
        + (f"; {cut_off} cut off, repeated or waiting" if cut_off else ""),
        "objectives": ", ".join(f"{goal.direction} {goal.name}" for goal in declared.objectives),
        "constraints": ", ".join(
            f"{goal.name} {'≥' if goal.metric.higher_is_better else '≤'} {goal.limit:g}"
            for goal in declared.constraints
        ),
        "scored on": f"{split} (seed {validation.seed}); seeds {', '.join(map(str, declared.selection.seeds))}",
        "sampler": _algorithm(search.sampler.name, search.sampler.options),
        "pruner": _algorithm(search.pruner.name, search.pruner.options),
        "storage": search.storage,
        "workers": str(search.workers),
        "seconds of this call": f"{seconds:.0f}",
    }
    if study.get_trials(deepcopy=False) and search.pruner.name != "none" and not states.get("pruned"):
        facts["pruner"] += "; pruned nothing"
    lines = tuple(Line((Entry(name), Entry(value))) for name, value in facts.items() if value)
    return Table(
        "How it was searched", (Heading("Of the search", numeric=False), Heading("Value", numeric=False)), lines
    )


def _algorithm(name: str, options: dict[str, Any]) -> str:
    return f"{name} {canonical(options)}" if options else name


def trials_table(study: Study, declared: Declared) -> Table:
    """The best trials and the default, then as many as failed with their reasons as footnotes."""
    complete = ranked(study, declared)
    goals = (*declared.objectives, *declared.constraints)
    headings = (
        Heading("Trial", numeric=False),
        *(Heading(goal.metric.title, unit="%" if goal.metric.percent else goal.metric.unit) for goal in goals),
        Heading("Parameters", numeric=False, hint="to four digits; the suite of the best has all of them"),
    )
    front = len(declared.objectives) > 1
    shown = complete if front else complete[:SHOWN]
    default = space.standing(declared.axes, declared.own)
    also = [trial for trial in complete[len(shown) :] if trial.params == default]
    lines = []
    for trial in (*shown, *also):
        name = f"{trial.number} (default)" if trial.params == default else str(trial.number)
        excess = trial.user_attrs.get(EXCESS, {})
        values = [*zip(declared.objectives, trial.values, strict=True)]
        values += [(goal, _measured(goal, excess[goal.name])) for goal in declared.constraints]
        parameters = ", ".join(f"{name}={_value(value)}" for name, value in chosen(declared, trial).items())
        numbers = (Entry(_shown(goal, value), "value", number=value) for goal, value in values)
        lines.append(Line((Entry(name), *numbers, Entry(parameters))))
    failed = sorted({trial.user_attrs[ERROR] for trial in counted(study) if ERROR in trial.user_attrs})
    notes = tuple(f"failed: {reason}" for reason in failed)
    return Table("Pareto front" if front else f"Best {len(shown)} trials", headings, tuple(lines), notes)


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else canonical(value)


def _measured(goal: Goal, excess: float) -> float:
    assert goal.limit is not None
    return goal.limit - excess if goal.metric.higher_is_better else goal.limit + excess


def _shown(goal: Goal, value: float) -> str:
    return f"{value * (100 if goal.metric.percent else 1):.{goal.metric.decimals}f}"


def _compared(declared: Declared, plan: Plan, store: Store) -> Table | None:
    """Each finalist minus the default, in pairs of equal seed and category; None without results."""
    tables = store.read_all(["cells", "measurements"], [one.cell.id for one in plan.cells])
    read = results.read(tables["cells"], tables["measurements"])
    goals = [goal for goal in declared.objectives if goal.metric.percent]
    lines = []
    for row in plan.selection.rows[1:]:
        entries = [Entry(row.title)]
        for goal in goals:
            found = paired(*(_by_pair(plan, read, label, goal) for label in (row.label, DEFAULT)))
            if found.mean is None:
                return None
            interval = f" [{found.low:+.1f}, {found.high:+.1f}]" if found.low is not None else f" ({found.why})"
            entries.append(Entry(f"{found.mean:+.1f}{interval}, {found.seeds} pairs", number=found.mean))
        lines.append(Line(tuple(entries)))
    if not goals or not lines:
        return None
    differences = (Heading(f"Δ {goal.metric.title}", unit="points", refs=(1,)) for goal in goals)
    headings = [Heading("Finalist", numeric=False), *differences]
    note = (
        "seed by seed and category by category, 95 % interval of a paired t test; categories of one seed share a fit, "
        "so the pairs are not independent; the section on what each row changes, over seeds alone, is the strict one"
    )
    return Table(
        "Finalists minus the default, on fresh seeds and the report's images", tuple(headings), tuple(lines), (note,)
    )


def _by_pair(plan: Plan, read: results.Results, label: str, goal: Goal) -> dict[tuple[str, int, str], float]:
    """(data, seed, category) -> value in the unit in which it is shown."""
    found = {}
    for one in plan.cells:
        if one.row.label == label:
            values = read.take(one.cell.id, goal.measure).values.get(goal.name, {})
            for category, value in values.items():
                if category not in (None, MEAN) and value.value is not None:
                    found[one.cell.dataset, one.cell.seed, str(category)] = 100 * value.value
    return found


def dashboard(declared: Declared, store: Path) -> str:
    """The command that shows the study in a browser; empty for one that is kept nowhere."""
    place = location(declared, store)
    return "" if place == "memory" else f"optuna-dashboard {place}"
