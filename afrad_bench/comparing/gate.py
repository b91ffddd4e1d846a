"""Decides whether NEW is worse than BASE. Each change is checked against its rule; the answer may be "cannot tell".

Let `smallest` be the smallest change for the worse that matters. The interval of a change is compared with two values,
"no change" and `smallest`. Each end of the interval is wrong in at most 1 - confidence of all cases.

- The interval excludes `smallest`: pass. The change is smaller than what matters.
- It excludes "no change", but not `smallest`: regression. Since many numbers are tested, "excludes" means here that the
  one-sided p is below 1 - confidence after Holm's correction. This bounds the false alarms of the whole gate.
- It excludes neither: cannot tell. There are too few images, seeds or rounds.

A gate passes only if every check passes, so passing needs no correction (an intersection-union test)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from afrad_bench.comparing.changes import Change, Comparison
from afrad_bench.comparing.rules import Rule, Rules
from afrad_bench.comparing.side import LATENCY
from afrad_bench.statistics import holm

Verdict = Literal["pass", "regression", "cannot tell", "advisory"]
EXACT = 1e-9
"""Relative difference up to which two exact numbers count as equal."""


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


def decide(comparison: Comparison, rules: Rules) -> Decision:
    """Check every change against the first rule that fits it. Changes that fit no rule are not checked."""
    judged: list[tuple[Change, Rule]] = []
    for change in comparison.changes:
        fitting = (r for r in rules.rules if r.fits(change.key.label, change.metric, change.category))
        if (rule := next(fitting, None)) is not None:
            judged.append((change, rule))
    used = {id(rule) for _, rule in judged}
    unmeasured = [*comparison.missing]
    unmeasured += [
        f"no number in BASE fits the rule for {rule.metric} ({rule.category}, rows {rule.label})"
        for rule in rules.rules
        if id(rule) not in used and not rule.optional
    ]
    if not judged:
        unmeasured.append("no number fits any rule: nothing was checked")
    adjusted = _adjusted(judged)
    checks = [
        _check(change, rule, p, rule.confidence or rules.confidence)
        for (change, rule), p in zip(judged, adjusted, strict=True)
    ]
    return Decision(comparison, tuple(checks), tuple(unmeasured), rules.confidence)


def _better(change: Change, rule: Rule) -> int:
    return change.better if rule.direction is None else 1 if rule.direction == "higher" else -1


def _worse_p(change: Change, rule: Rule) -> float | None:
    if change.estimate is None or rule.test == "exact" or _doubt(change, rule) or _is_advice(change, rule):
        return None
    return change.estimate.p_below if _better(change, rule) > 0 else change.estimate.p_above


def _adjusted(judged: Sequence[tuple[Change, Rule]]) -> list[float | None]:
    """One-sided p of every tested check after Holm's correction over them."""
    raw = [_worse_p(change, rule) for change, rule in judged]
    tested = [i for i, p in enumerate(raw) if p is not None]
    corrected = dict(zip(tested, holm([p for p in raw if p is not None]), strict=True))
    return [corrected.get(i) for i in range(len(judged))]


def _is_advice(change: Change, rule: Rule) -> str:
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


def _check(change: Change, rule: Rule, p: float | None, confidence: float) -> Check:
    if rule.test == "exact":
        made = _exact(change, rule)
    elif (advice := _is_advice(change, rule)) and change.estimate is not None:
        made = _by_interval(change, rule, None, confidence)
        made = replace(made, verdict="advisory", why=f"{advice}; {made.why}")
    elif doubt := _doubt(change, rule):
        made = Check(change, rule, "cannot tell", doubt)
    else:
        made = _by_interval(change, rule, p, confidence)
    return replace(made, verdict="advisory") if rule.advisory else made


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
    return f"{smallest:.0%}" if change.relative else f"{smallest:g}"
