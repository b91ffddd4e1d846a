"""Rules with absolute limits, amounts as people write them, and times that must not be trusted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from afrad_bench.comparing import Rules, Side, compare, decide, default_rules, read_rules
from afrad_bench.comparing import baseline as files
from afrad_bench.comparing.rules import Rule, latency_rules
from afrad_bench.comparing.show import gate_table, to_github
from afrad_bench.comparing.side import LATENCY, Key
from afrad_bench.errors import UserError
from afrad_bench.types import MEAN
from tests.comparing.test_comparing import TERMS, judged, scored, side, timed
from tests.conftest import ROOT

ONE = side(scored(2))
(KEY,) = ONE.rows


def read(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path)


# ------------------------------------------------------------------------------------------------------------- amounts


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        *(("0.00001", 1e-5), ("1e-5", 1e-5), ("1.5E-7", 1.5e-7), ("1e3", 1000.0), ("7", 7.0), (".5", 0.5), ("5.", 5.0)),
        *(("0.5 %", 0.01), ("1e-3%", 2e-5), ("'5 %'", 0.1)),
    ],
)
def test_amounts_are_read_as_they_are_written(tmp_path: Path, text: str, amount: float) -> None:
    (rule,) = read(tmp_path, f"rules:\n  - {{metric: gmacs, smallest: {text}, test: exact}}\n").rules
    assert rule.amount(2.0) == pytest.approx(amount)


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", "1e400", "-1e-5", "'5 points'", "true", "'٣'", "%", "''"])
def test_what_is_no_amount_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"r\.yaml:\d+: "):
        read(tmp_path, f"rules:\n  - {{metric: gmacs, smallest: {text}}}\n")


def test_small_amounts_decide_and_are_shown_as_they_are() -> None:
    rule = Rule(metric="gmacs", smallest="1e-05", test="exact")
    one = scored(2)
    assert judged(side(one), side(one, gmacs=1.000009), rule).verdict == "pass"
    decision = judged(side(one), side(one, gmacs=1.00002), rule)
    assert decision.verdict == "regression"
    assert gate_table(decision).lines[0].entries[7].text == "1e-05"
    half = judged(timed([10.0] * 60), timed([10.0] * 60), Rule(metric=LATENCY, smallest="0.25 %"))
    assert gate_table(half).lines[0].entries[7].text == "0.25%"


# -------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max: 100 ms", "'100 ms' is not a limit: give a number in the metric's unit"),
        ("max: 5 %", "'5 %' is not a limit"),
        ("max: true", "True is not a limit"),
        ("min: .nan", "nan is not a (limit|finite number)"),
        ("max: .inf", "inf is not a (limit|finite number)"),
        ("min: 1e400", "is not a (limit|finite number)"),
        ("min: 5, max: 4", "no value is at least 5 and at most 4: exchange min and max"),
        ("maximum: 4", "did you mean 'max'"),
    ],
)
def test_mistakes_in_limits_are_told_with_their_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=rf"r\.yaml:2: .*({told})"):
        read(tmp_path, f"rules:\n  - {{metric: gmacs, {text}}}\n")


def test_limits_are_read(tmp_path: Path) -> None:
    high, low = read(
        tmp_path, "rules:\n  - {metric: latency, max: 100}\n  - {metric: image_auroc, min: 90.5, smallest: 1}\n"
    ).rules
    assert (high.max, high.min, high.compares, high.limited) == (100.0, None, False, True)
    assert (low.max, low.min, low.compares, low.limited) == (None, 90.5, True, True)
    assert not Rule(metric="gmacs").limited
    assert Rule(metric="gmacs").compares


def test_the_limits_of_the_page_are_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    rules = read(tmp_path, page.split("```yaml\n")[2].split("```")[0]).rules
    assert [(rule.max, rule.min, rule.compares) for rule in rules] == [
        (100, None, False),
        (None, 95, True),
        (4096, None, False),
    ]


@pytest.mark.parametrize(
    ("rule", "verdict", "told"),
    [
        (Rule(metric="gmacs", max=1.0), "pass", "within the limits"),
        (Rule(metric="gmacs", max=0.999), "regression", "1 is above the limit, at most 0.999"),
        (Rule(metric="gmacs", min=1.001), "regression", "1 is below the limit, at least 1.001"),
        (Rule(metric="gmacs", min=0.5, max=2), "pass", "within the limits"),
        (Rule(metric="image_auroc", min=60), "pass", "within the limits"),  # points, as they are shown
        (Rule(metric="image_auroc", min=99), "regression", "is below the limit, at least 99"),
        (Rule(metric="image_auroc", category="a", min=99), "regression", "is below the limit"),
    ],
)
def test_limits_hold_for_new_alone(rule: Rule, verdict: str, told: str) -> None:
    decision = judged(ONE, ONE, rule)
    assert decision.verdict == verdict
    assert told in decision.checks[0].why
    assert decision.checks[0].smallest is None


BROKEN = Rule(metric="gmacs", max=0.5)


@pytest.mark.parametrize(
    "base",
    [
        pytest.param(replace(ONE, rows={}), id="no row"),
        pytest.param(side(scored(2), gmacs=9.0), id="worse"),
        pytest.param(
            replace(ONE, rows={KEY: replace(ONE.rows[KEY], values={})}),
            id="no number",
        ),
        pytest.param(
            replace(ONE, rows={KEY: replace(ONE.rows[KEY], terms={"complexity": {**TERMS, "device": "cuda"}})}),
            id="other terms",
        ),
        pytest.param(
            replace(ONE, rows={KEY: replace(ONE.rows[KEY], values={("gmacs", None): {0: None, 1: None}})}),
            id="undefined",
        ),
    ],
)
def test_a_breach_is_a_regression_whatever_base_has(base: Side) -> None:
    decision = judged(base, ONE, BROKEN)
    assert decision.verdict == "regression"
    (check,) = decision.checks
    assert check.change.new == 1.0
    assert any("1 is above the limit, at most 0.5" in line for line in to_github(decision))


def test_a_limit_beside_a_comparison_is_checked_too() -> None:
    """Whether it stands in the same rule or in one of its own, before or after."""
    worse = side(scored(2), gmacs=1.1)
    exact, limit = Rule(metric="gmacs", test="exact", smallest="1"), Rule(metric="gmacs", max=1.05)
    both = Rule(metric="gmacs", test="exact", smallest="1", max=1.05)
    for rules in ((exact, limit), (limit, exact), (both,)):
        decision = judged(ONE, worse, *rules)
        assert decision.verdict == "regression"
        assert not decision.unmeasured
        assert len(decision.checks) == len(rules)
    (check,) = judged(ONE, worse, both).checks
    assert check.why == "1.1 is above the limit, at most 1.05; worse, but by too little to matter"
    assert check.smallest == 1.0
    held = judged(ONE, worse, Rule(metric="gmacs", test="exact", smallest="0.01", max=2))
    assert held.verdict == "regression"
    assert held.checks[0].why == "worse by 0.1; within the limits"
    assert judged(ONE, ONE, exact, limit).verdict == "pass"


def test_of_limits_too_the_first_that_fits_applies() -> None:
    special, general = Rule(metric="gmacs", label="AFR*", max=2), Rule(metric="g*", max=0.5, optional=True)
    assert judged(ONE, ONE, special, general).verdict == "pass"
    assert judged(ONE, ONE, general, special.model_copy(update={"optional": True})).verdict == "regression"


def test_a_limit_of_nothing_is_no_pass() -> None:
    none = judged(ONE, ONE, Rule(metric="pixel_auroc", min=90))
    assert none.verdict == "cannot tell"
    assert "no number in NEW fits the rule for pixel_auroc" in none.unmeasured[0]
    assert judged(ONE, ONE, Rule(metric="pixel_auroc", min=90, optional=True), BROKEN).verdict == "regression"
    values = {**ONE.rows[KEY].values, ("gmacs", None): {0: 1.0, 1: None}}
    undefined = Side("new", {KEY: replace(ONE.rows[KEY], values=values)})
    assert judged(ONE, undefined, Rule(metric="gmacs", max=5)).verdict == "cannot tell"


def test_an_advisory_limit_decides_nothing() -> None:
    advisory = BROKEN.model_copy(update={"advisory": True})
    decision = judged(ONE, ONE, advisory, Rule(metric="gmacs", test="exact"))
    assert [check.verdict for check in decision.checks] == ["pass", "advisory"]
    assert decision.verdict == "pass"
    assert "above the limit" in decision.checks[1].why


def test_a_gate_of_advice_alone_is_no_pass() -> None:
    advisory = BROKEN.model_copy(update={"advisory": True})
    alone = judged(ONE, ONE, advisory)
    assert (alone.verdict, alone.unmeasured) == ("cannot tell", ("every result is advisory: nothing was decided",))
    assert judged(ONE, ONE, advisory.model_copy(update={"optional": True})).verdict == "pass"


def test_a_row_that_only_new_has_is_held_against_limits_and_nothing_else() -> None:
    other = Key("other", "demo", "unified", "demo")
    more = Side("new", {**ONE.rows, other: replace(ONE.rows[KEY], key=other)})
    assert judged(ONE, more, *default_rules().rules).verdict == "pass"
    decision = judged(ONE, more, Rule(metric="gmacs", test="exact"), Rule(metric="gmacs", label="other", max=0.5))
    assert [check.change.key.label for check in decision.checks if check.verdict == "regression"] == ["other"]


def test_a_latency_is_held_against_limits_by_its_median() -> None:
    base, new = timed([71.0] * 60), timed([182.0] * 60, session="other")
    decision = judged(base, new, Rule(metric=LATENCY, max=100))
    assert decision.verdict == "regression"
    assert "182 is above the limit, at most 100" in decision.checks[0].why
    assert judged(base, new, Rule(metric=LATENCY, max=182)).verdict == "pass"
    assert judged(Side("none", {}), new, Rule(metric=LATENCY, max=100)).verdict == "regression"


# ---------------------------------------------------------------------------------------------------- unreliable times


def test_unreliable_times_decide_nothing() -> None:
    values = {("latency_median", None): {0: 10.0, 1: 10.1}}
    row = replace(ONE.rows[KEY], values=values, measures={"latency_median": "latency"})
    calm = Side("calm", {KEY: row})
    loaded = Side("loaded", {KEY: replace(row, unreliable={"latency_median": "other processes used 1.9 of 2 cores"})})
    rule = Rule(metric="latency_median", smallest="50 %")
    assert judged(calm, calm, rule).verdict == "pass"
    for base, new, where in ((loaded, calm, "BASE"), (calm, loaded, "NEW"), (loaded, loaded, "BASE and NEW")):
        decision = judged(base, new, rule)
        assert decision.verdict == "cannot tell"
        assert f"unreliable in {where}: other processes used 1.9 of 2 cores" in decision.checks[0].why
        assert judged(base, new, rule.model_copy(update={"optional": True})).verdict == "pass"
    limit = judged(calm, loaded, Rule(metric="latency_median", max=5))
    assert limit.verdict == "regression"  # a breach counts, with what is to be said of it
    assert "(unreliable in NEW: other processes used 1.9 of 2 cores)" in limit.checks[0].why


def test_a_load_hits_both_sides_of_a_round_so_that_their_ratio_decides() -> None:
    loaded = {LATENCY: "other processes used 1.9 of 2 cores"}
    base, new = ([ms] * 60 for ms in (10.0, 20.0))
    sides = [
        replace(one, rows={key: replace(row, unreliable=loaded) for key, row in one.rows.items()})
        for one in (timed(base), timed(new))
    ]
    decision = judged(*sides, Rule(metric=LATENCY, smallest="5 %"))
    assert decision.verdict == "regression"
    assert "unreliable in BASE and NEW" in gate_table(decision).lines[0].entries[-1].text


# ------------------------------------------------------------------------------------------------------------ defaults


def test_the_default_rules_pass_the_committed_baseline_against_itself() -> None:
    base = files.read(ROOT / "reports" / "baselines" / "regression.json")
    decision = decide(compare(base, base, count=50), default_rules())
    assert decision.verdict == "pass"
    assert {check.change.metric for check in decision.checks} >= {"image_auroc", "gmacs", "params_total"}
    assert {check.change.category for check in decision.checks} == {MEAN, None}


def test_rules_of_a_timed_gate_are_those_of_latency(tmp_path: Path) -> None:
    assert latency_rules(None).rules == (Rule(metric=LATENCY, smallest="5 %"),)
    text = "confidence: 0.95\nrules:\n  - {metric: image_auroc, smallest: 1}\n  - {metric: lat*, max: 9}\n"
    found = latency_rules(read(tmp_path, text))
    assert (found.confidence, [rule.max for rule in found.rules]) == (0.95, [9.0])
    with pytest.raises(UserError, match=r"rules\.yaml: no rule is for latency"):
        latency_rules(default_rules().model_copy(update={"rules": (BROKEN,)}), "rules.yaml")
