"""Decides whether NEW is worse than BASE. Each change is checked against its rule; the answer may be "cannot tell".

Let `smallest` be the smallest change for the worse that matters. The interval of a change is compared with two values,
"no change" and `smallest`. Each end of the interval is wrong in at most 1 - confidence of all cases.

- The interval excludes `smallest`: pass. The change is smaller than what matters.
- It excludes "no change", but not `smallest`: regression. Since many numbers are tested, "excludes" means here that the
  one-sided p is below 1 - confidence after Holm's correction. This bounds the false alarms of the whole gate.
- It excludes neither: cannot tell. There are too few images, seeds or rounds.

A gate passes only if every check passes, so passing needs no correction (an intersection-union test).

Limits of a rule, `max` and `min`, hold for the value of NEW alone: a breach is a regression whatever BASE has. A change
that cannot be compared fairly (times of other devices or sessions, unreliable times) decides nothing: the check cannot
tell or, if the rule is optional, is only advisory. A gate of which every result is advisory cannot tell either, unless
all its rules are optional."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import copysign, inf
from typing import Literal

from afrad_bench.comparing.changes import Change, Comparison
from afrad_bench.comparing.rules import EXACT, Rule, Rules
from afrad_bench.comparing.side import LATENCY
from afrad_bench.statistics import holm

Verdict = Literal["pass", "regression", "cannot tell", "advisory"]
GRAVITY: tuple[Verdict, ...] = ("regression", "cannot tell", "advisory", "pass")
"""The gravest first."""


@dataclass(frozen=True, slots=True)
class Check:
    """One number under one rule."""

    change: Change
    rule: Rule
    verdict: Verdict
    why: str
    smallest: float | None = None
    """Smallest change for the worse that matters, in the unit of the change."""
    low: float | None = None
    high: float | None = None
    """`low` and `high`: ends of the interval that decided."""

    @property
    def worsening(self) -> float:
        """The largest worsening that the interval (or, without noise, the change) allows, relative to the smallest one
        that matters; below 0 for an improvement, infinite if nothing is known."""
        better = _better(self.change, self.rule)
        if self.low is not None and self.high is not None:
            worst = -self.low if better > 0 else self.high
        elif self.change.base is not None and self.change.new is not None:
            worst = (self.change.base - self.change.new) * better
        else:
            return inf
        return worst / self.smallest if self.smallest else copysign(inf, worst) if worst else 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of a gate."""

    comparison: Comparison
    checks: tuple[Check, ...]
    unmeasured: tuple[str, ...]
    """What could not be measured or compared at all."""
    confidence: float

    @property
    def verdict(self) -> Verdict:
        found = {check.verdict for check in self.checks}
        if "regression" in found:
            return "regression"
        return "cannot tell" if "cannot tell" in found or self.unmeasured else "pass"


@dataclass(frozen=True, slots=True)
class _Task:
    """A number and a rule, and what of the rule applies to it."""

    change: Change
    rule: Rule
    compares: bool
    limits: bool


def decide(comparison: Comparison, rules: Rules) -> Decision:
    """Compare every change by the first rule that fits it and compares, and hold every number of NEW against the first
    rule that fits it and has limits. What fits no rule is not checked."""
    tasks = [task for change in (*comparison.changes, *comparison.added) for task in _tasks(change, rules.rules)]
    unmeasured = [*comparison.missing, *_unused(tasks, rules.rules)]
    if not tasks:
        unmeasured.append("no number fits any rule: nothing was checked")
    checks = [
        _check(task, p, task.rule.confidence or rules.confidence)
        for task, p in zip(tasks, _adjusted(tasks), strict=True)
    ]
    advice = [check for check in checks if check.verdict == "advisory"]
    if len(advice) == len(checks) and any(not check.rule.optional for check in advice):
        unmeasured.append("every result is advisory: nothing was decided")
    return Decision(comparison, tuple(checks), tuple(unmeasured), rules.confidence)


def _tasks(change: Change, rules: Sequence[Rule]) -> Iterator[_Task]:
    fitting = [rule for rule in rules if rule.fits(change.key.label, change.metric, change.category)]
    comparing = None if change.added else next((rule for rule in fitting if rule.compares), None)
    limiting = next((rule for rule in fitting if rule.limited), None)
    if comparing is not None:
        yield _Task(change, comparing, True, comparing is limiting)
    if limiting is not None and limiting is not comparing:
        yield _Task(change, limiting, False, True)


def _unused(tasks: Sequence[_Task], rules: Sequence[Rule]) -> Iterator[str]:
    """Rules that no number fits, unless they are optional."""
    for rule in rules:
        mine = [task for task in tasks if task.rule is rule]
        where = f"fits the rule for {rule.metric} ({rule.category}, rows {rule.label})"
        if rule.compares and not any(task.compares for task in mine) and not rule.optional:
            yield f"no number in BASE {where}"
        elif not mine and not rule.optional:
            yield f"no number in NEW {where}"


def _better(change: Change, rule: Rule) -> int:
    return change.better if rule.direction is None else 1 if rule.direction == "higher" else -1


def _worse_p(task: _Task) -> float | None:
    change, rule = task.change, task.rule
    if change.estimate is None or not task.compares or rule.test == "exact":
        return None
    if _doubt(change, rule) or _advice(change, rule):
        return None
    return change.estimate.p_below if _better(change, rule) > 0 else change.estimate.p_above


def _adjusted(tasks: Sequence[_Task]) -> list[float | None]:
    """One-sided p of every tested check after Holm's correction over them."""
    raw = [_worse_p(task) for task in tasks]
    tested = [i for i, p in enumerate(raw) if p is not None]
    corrected = dict(zip(tested, holm([p for p in raw if p is not None]), strict=True))
    return [corrected.get(i) for i in range(len(tasks))]


def _advice(change: Change, rule: Rule) -> str:
    """Why a comparison must not decide; empty if it may."""
    return "the rule is advisory" if rule.advisory else change.advisory


def _doubt(change: Change, rule: Rule) -> str:
    """Why the interval must not decide; empty if it may. A change of exactly 0 needs no minimum of seeds."""
    if change.refused or change.estimate is None:
        return change.why
    still = change.estimate.interval(0.5) == (0.0, 0.0)
    if change.metric == LATENCY:
        few = f"{change.rounds} rounds, the rule needs {rule.rounds}"
        return few if change.rounds < rule.rounds else ""
    if change.seeds < rule.seeds and not still:
        return f"{change.seeds} seed{'s' if change.seeds != 1 else ''}, the rule needs {rule.seeds}: training has noise"
    return ""


def _check(task: _Task, p: float | None, confidence: float) -> Check:
    """What the comparison says, what the limits say or, if both apply, the graver of the two."""
    rule, found = task.rule, []
    if task.compares:
        found.append(_compared(task.change, rule, p, confidence))
    if task.limits:
        found.append(_limited(task.change, rule))
    found.sort(key=lambda check: GRAVITY.index(check.verdict))
    verdict: Verdict = "advisory" if rule.advisory else found[0].verdict
    first = next((check for check in found if check.smallest is not None), found[0])
    return replace(first, verdict=verdict, why="; ".join(check.why for check in found))


def _limited(change: Change, rule: Rule) -> Check:
    """Whether NEW keeps the limits of the rule, whatever BASE has."""
    now = change.now
    if now is None:
        return Check(change, rule, "cannot tell", "NEW has no value for the limit, or an undefined one")
    change = replace(change, new=now) if change.new is None else change
    breach = rule.breach(now)
    why = f"{now:.6g} is {breach}" if breach else "within the limits"
    doubt = f" ({change.unreliable})" if change.unreliable else ""
    return Check(change, rule, "regression" if breach else "pass", why + doubt)


def _compared(change: Change, rule: Rule, p: float | None, confidence: float) -> Check:
    advice, doubt = _advice(change, rule), _doubt(change, rule)
    if rule.test == "exact":
        made = _exact(change, rule)
    elif doubt and (change.estimate is None or change.refused or not advice):
        made = Check(change, rule, "cannot tell", doubt)
    else:
        made = _by_interval(change, rule, None if advice else p, confidence)
    if not advice or made.smallest is None:
        return made
    if rule.optional or rule.advisory:
        return replace(made, verdict="advisory", why=f"{advice}; {made.why}")
    remedy = "gate --latency measures both sides in one session" if change.metric == LATENCY else "measure again"
    return replace(made, verdict="cannot tell", why=f"{advice}: {remedy}; {made.why}")


def _exact(change: Change, rule: Rule) -> Check:
    if change.refused or change.base is None or change.new is None:
        return Check(change, rule, "cannot tell", change.why)
    worse = (change.base - change.new) * _better(change, rule)
    smallest = rule.amount(change.base)
    if worse > smallest + EXACT * abs(change.base):
        return Check(change, rule, "regression", f"worse by {worse:.6g}", smallest)
    equal = abs(worse) <= EXACT * abs(change.base)
    return Check(
        change,
        rule,
        "pass",
        "equal" if equal else "worse, but by too little to matter" if worse > 0 else "better",
        smallest,
    )


def _by_interval(change: Change, rule: Rule, p: float | None, confidence: float) -> Check:
    assert change.estimate is not None
    assert change.base is not None
    low, high = change.estimate.interval(2 * confidence - 1)
    smallest = rule.amount(1.0 if change.relative else change.base)
    worst, best = (low, high) if _better(change, rule) > 0 else (-high, -low)
    if worst > -smallest or (worst == best == 0.0):
        worse = best < 0
        why = "worse, but by too little to matter" if worse else f"a worsening by {_less(smallest, change)} is excluded"
        return Check(change, rule, "pass", why, smallest, low, high)
    if best < 0 and (p is None or p < 1 - confidence):
        why = "significantly worse, perhaps by enough to matter" if p is not None else "worse"
        return Check(change, rule, "regression", why, smallest, low, high)
    need = "more rounds" if change.metric == LATENCY else "more seeds or images"
    why = f"neither no change nor a worsening by {_less(smallest, change)} is excluded: {need} are needed"
    return Check(change, rule, "cannot tell", why, smallest, low, high)


def _less(smallest: float, change: Change) -> str:
    return f"{100 * smallest:.3g}%" if change.relative else f"{smallest:g}"
