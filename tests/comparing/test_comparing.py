"""Comparison and gate: the statistics against independent ones, verdicts, terms, baseline files, rules, exit codes."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from afrad_bench.cli.screen.comparison import show_decision
from afrad_bench.comparing import Check, Decision, Rules, Side, compare, decide, default_rules, read_rules
from afrad_bench.comparing import baseline as files
from afrad_bench.comparing.changes import Change
from afrad_bench.comparing.gate import Verdict
from afrad_bench.comparing.rules import Rule
from afrad_bench.comparing.show import decision_data, to_github, to_junit, to_markdown, worst
from afrad_bench.comparing.side import LATENCY, Images, Key, Row, Timed
from afrad_bench.errors import UserError
from afrad_bench.instruments import metrics as exact
from afrad_bench.statistics import Student
from afrad_bench.suite import suite
from afrad_bench.types import MEAN
from tests.conftest import ROOT
from tests.program import Place

TERMS = {"device": "cpu", "data_fingerprint": "f" * 64, "measure_version": "1"}


def scored(
    seeds: int = 4, images: int = 40, shift: float = 1.0, noise: float = 0.05, rng: int = 0
) -> dict[str, Images]:
    """Two categories whose anomalous images score `shift` higher; seeds differ by `noise`."""
    base = np.random.default_rng(0)
    own = np.random.default_rng(rng)
    found = {}
    for category in ("a", "b"):
        labels = np.arange(images) % 2 == 1
        level = base.normal(size=images) + shift * labels
        scores = {seed: tuple((level + noise * own.normal(size=images)).tolist()) for seed in range(seeds)}
        found[category] = Images(tuple(f"{category}/{i}" for i in range(images)), tuple(labels.tolist()), scores)
    return found


def side(
    images: dict[str, Images], name: str = "side", gmacs: float = 1.0, terms: dict[str, str] | None = None
) -> Side:
    key = Key("AFRAD", "demo", "unified", "demo")
    values: dict[tuple[str, str | None], dict[int, float | None]] = {}
    for category, of in images.items():
        labels = np.array(of.labels)
        values["image_auroc", category] = {s: exact.auroc(np.array(one), labels) for s, one in of.scores.items()}
    seeds = next(iter(images.values())).scores
    means = {s: float(np.mean([values["image_auroc", c][s] for c in images])) for s in seeds}
    values |= {("image_auroc", MEAN): means, ("gmacs", None): dict.fromkeys(seeds, gmacs)}
    whole = {"setting": "unified", "profile": "demo", "image_size": "128"}
    measures = {"image_auroc": "accuracy", "gmacs": "complexity"}
    of_measures = {"": whole, "accuracy": terms or TERMS, "complexity": TERMS}
    parts = dict.fromkeys(seeds, "a,b")
    return Side(name, {key: Row(key, {"method": "afrad"}, of_measures, measures, values, images, (), parts)})


def timed(ms: list[float], session: str = "s", device: str = "cpu") -> Side:
    key = Key("AFRAD", "demo", "unified", "demo")
    return Side(
        "timed", {key: Row(key, {}, {}, {}, {}, timed=(Timed(session, "eager", 1, device, dict(enumerate(ms))),))}
    )


def judged(base: Side, new: Side, *rules: Rule) -> Decision:
    return decide(compare(base, new, count=300), Rules(rules=rules or (Rule(metric="image_auroc", smallest="1.0"),)))


def change_of(base: Side, new: Side, metric: str = "image_auroc", category: str | None = MEAN) -> Change:
    (found,) = (c for c in compare(base, new).changes if (c.metric, c.category) == (metric, category))
    return found


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.0, 3.0), st.integers(1, 5))
def test_a_side_compared_with_itself_never_alarms(rng: int, shift: float, seeds: int) -> None:
    one = side(scored(seeds, shift=shift, noise=1.0, rng=rng))
    decision = judged(one, one, *default_rules().rules)
    assert decision.verdict == "pass"
    assert all(check.change.estimate is not None and check.change.estimate.value == 0 for check in decision.checks)


def test_a_clear_drop_is_a_regression_and_a_gain_passes() -> None:
    good, bad = side(scored(6)), side(scored(6, shift=0.4, rng=1))
    assert judged(good, bad).verdict == "regression"
    assert judged(bad, good).verdict == "pass"


def test_too_noisy_is_neither() -> None:
    decision = judged(side(scored(2, noise=1.5)), side(scored(2, noise=1.5, rng=5)))
    assert decision.verdict == "cannot tell"
    assert "more seeds or images" in decision.checks[0].why


def test_one_seed_that_differs_cannot_be_judged_unless_the_rule_says_so() -> None:
    good, bad = side(scored(1)), side(scored(1, shift=0.0, rng=1))
    assert judged(good, bad).verdict == "cannot tell"
    assert judged(good, bad, Rule(metric="image_auroc", smallest="1.0", seeds=1)).verdict == "regression"


def test_exact_numbers_have_no_noise() -> None:
    rule = Rule(metric="gmacs", test="exact")
    one = scored(2)
    assert judged(side(one), side(one, gmacs=1.0001), rule).verdict == "regression"
    assert judged(side(one), side(one, gmacs=0.9), rule).verdict == "pass"
    assert judged(side(one), side(one, gmacs=1.0001), rule.model_copy(update={"smallest": "1 %"})).verdict == "pass"


def test_differing_terms_are_refused_unless_allowed_and_then_told() -> None:
    one = scored(3)
    base, new = side(one), side(one, terms={**TERMS, "device": "cuda:0"})
    decision = judged(base, new)
    assert decision.verdict == "cannot tell"
    assert "device was cpu, is cuda:0" in decision.checks[0].why
    allowed = compare(base, new, ("device",))
    assert allowed.allowed == ("device was cpu, is cuda:0",)
    assert decide(allowed, Rules(rules=(Rule(metric="image_auroc", smallest="1.0"),))).verdict == "pass"
    with pytest.raises(UserError, match="did you mean 'device'"):
        compare(base, new, ("devise",))


def test_what_is_missing_is_never_a_pass() -> None:
    base = side(scored(4))
    (key,) = base.rows
    assert judged(base, Side("empty", {})).verdict == "cannot tell"
    assert judged(base, side(scored(3))).verdict == "cannot tell"
    assert judged(base, base, Rule(metric="pixel_auroc", smallest="1")).verdict == "cannot tell"
    failed = replace(base.rows[key], failed=((2, "accuracy", "ValueError: it broke"),))
    told = judged(base, Side("failed", {key: failed}))
    assert told.verdict == "cannot tell"
    assert "it broke" in told.unmeasured[0]
    lacking = side(scored(3))
    rules = Rules(rules=(Rule(metric="image_auroc", smallest="1.0"),))
    assert decide(compare(base, lacking, ("seeds",)), rules).verdict == "cannot tell"  # three seeds of other noise
    undefined = replace(base.rows[key], values={**base.rows[key].values, ("image_auroc", MEAN): {0: None}})
    assert judged(base, Side("undefined", {key: undefined})).verdict == "cannot tell"


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.2, "regression"), (0.8, "pass")])
def test_latency_of_common_rounds(factor: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    drift = np.linspace(10, 20, 60)  # ruins any comparison but that within a round
    base, new = (drift * (1 + 0.01 * rng.normal(size=60)) for _ in range(2))
    rule = Rule(metric=LATENCY, smallest="5 %")
    decision = judged(timed(base.tolist()), timed((factor * new).tolist()), rule)
    assert decision.verdict == verdict
    assert decision.checks[0].change.estimate.value == pytest.approx(factor - 1, abs=0.01)


def test_latency_of_other_sessions_or_devices_is_advice() -> None:
    """It passes only where the rule says that such a number may be missing."""
    rule, optional = Rule(metric=LATENCY, smallest="5 %"), Rule(metric=LATENCY, smallest="5 %", optional=True)
    base = timed([10.0] * 30)
    for other, why in ((timed([20.0] * 30, session="t"), "sessions"), (timed([20.0] * 30, device="gpu"), "devices")):
        decision = judged(base, other, optional)
        assert decision.checks[0].verdict == "advisory"
        assert why in decision.checks[0].why
        assert decision.verdict == "pass"
        strict = judged(base, other, rule)
        assert strict.verdict == strict.checks[0].verdict == "cannot tell"
        assert why in strict.checks[0].why
        assert "gate --latency measures both sides in one session" in strict.checks[0].why
        assert judged(base, other, optional.model_copy(update={"advisory": True})).verdict == "pass"
    assert judged(timed([10.0] * 8), timed([20.0] * 8), rule).verdict == "cannot tell"


def test_false_alarms_of_a_whole_gate_are_bounded_by_holm() -> None:
    """Nine null tests beside one whose p would do alone, but not among ten."""
    low = Student(-2.6, 1.0)  # one-sided p 0.0047
    changes = [
        Change(
            Key(str(i), "d", "unified", "demo"), "image_auroc", MEAN, 90, 90, Student(0.0, 1.0) if i else low, seeds=9
        )
        for i in range(10)
    ]
    compared = replace(compare(side(scored()), side(scored())), changes=tuple(changes))
    rules = Rules(rules=(Rule(metric="image_auroc", smallest="1"),))
    assert decide(compared, rules).verdict == "cannot tell"
    assert decide(replace(compared, changes=tuple(changes[:1])), rules).verdict == "regression"


# --------------------------------------------------------------------------------------------------------------- files


def test_a_baseline_file_says_the_same_as_its_store(tmp_path: Path) -> None:
    images = scored(3)
    single = {
        name: replace(of, scores={s: tuple(map(float, np.float32(one))) for s, one in of.scores.items()})
        for name, of in images.items()
    }
    one = side(single)
    (key,) = one.rows
    one = Side("x", {key: replace(one.rows[key], timed=timed([1.25, 2.5]).rows[key].timed)})
    path = tmp_path / "deep" / "base.json"
    files.write(one, path)
    again = files.read(path)
    assert again.rows[key].values == one.rows[key].values
    assert again.rows[key].timed == one.rows[key].timed
    assert again.rows[key].terms == one.rows[key].terms
    assert judged(again, one).verdict == "pass"
    assert change_of(again, one).estimate == Student(0.0, 0.0)
    text = path.read_text(encoding="utf-8")
    files.write(again, path)
    assert path.read_text(encoding="utf-8") == text
    assert max(map(len, text.splitlines())) < 500


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '[{"format": "afrad-bench baseline", "version": 99}]', "[\n{}\n]", "\x00"]
)
def test_what_is_no_baseline_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"b\.json"):
        files.read(path)


def test_a_broken_record_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    files.write(side(scored(1)), path)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[2] = '{"row": ["a", "b"]},'
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match=r"b\.json:3"):
        files.read(path)


RULES = "rules:\n  - metric: image_auroc\n    smallest: 1.0\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (RULES.replace("image_auroc", "image_aurok"), r"r\.yaml:2: .*did you mean 'image_auroc'"),
        (RULES.replace("smallest", "smalest"), r"r\.yaml:3: .*did you mean 'smallest'"),
        (RULES.replace("1.0", "few"), r"r\.yaml:3: .*not an amount"),
        (RULES.replace("1.0", "-1"), r"r\.yaml:3: .*not an amount"),
        ("confidence: 2\n" + RULES, r"r\.yaml:1"),
        ("rules: []\n", r"r\.yaml:1"),
        (RULES + RULES, "duplicate"),
        (RULES + "    test: exakt\n", "did you mean 'exact'"),
    ],
)
def test_mistakes_in_rules_are_told_with_their_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        read_rules(path)


def test_rules_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("confidence: 0.95\n" + RULES + "    category: 'tex*'\n", encoding="utf-8")
    rules = read_rules(path)
    assert rules.confidence == 0.95
    assert rules.rules[0].fits("x", "image_auroc", "texture_brick")
    assert not rules.rules[0].fits("x", "image_auroc", MEAN)


def test_the_default_rules_are_those_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    path = tmp_path / "r.yaml"
    path.write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    assert read_rules(path) == default_rules()


def test_the_committed_baseline_is_that_of_its_suite() -> None:
    root = ROOT
    side = files.read(root / "reports" / "baselines" / "regression.json")
    selection = suite.load(root / "suites" / "regression.yaml").select("demo")
    assert {key.label for key in side.rows} == {row.label for row in selection.rows}
    for row in side.rows.values():
        assert row.seeds == selection.seeds
        assert {len(images.ids) for images in row.images.values()} == {120}


def test_what_machines_read() -> None:
    decision = judged(side(scored(6)), side(scored(5, shift=0.3, rng=1), gmacs=2.0), *default_rules().rules)
    tree = ElementTree.fromstring(to_junit(decision))
    assert int(tree.attrib["tests"]) == len(list(tree.iter("testcase")))
    assert int(tree.attrib["failures"]) == len(list(tree.iter("failure"))) == 2
    assert int(tree.attrib["errors"]) == len(list(tree.iter("error"))) == 1
    lines = list(to_github(decision))
    assert all(line.startswith("::") for line in lines)
    assert sum(line.startswith("::error") for line in lines) == 3
    text = to_markdown(decision)
    assert "regression" in text
    assert "NEW lacks seeds 5" in text
    told = worst(decision)
    assert [each.partition(": ")[0] for each in told] == ["✗ regression", "✗ regression", "? cannot tell"][: len(told)]
    assert text.index("gate: regression") < text.index(f"1. {told[0][:20]}") < text.index("| Verdict | Row |")
    assert decision_data(decision)["verdict"] == "regression"


def test_the_worst_checks_are_those_that_may_be_worse_by_most() -> None:
    """Relative to the smallest worsening that matters: 2.0 under a rule of 0.5 is worse than 3.0 under one of 1.0."""

    def check(label: str, smallest: float, low: float, verdict: Verdict = "pass") -> Check:
        change = Change(Key(label, "demo", "unified", "demo"), "image_auroc", MEAN, 90.0, 89.0)
        return Check(change, Rule(metric="image_auroc", smallest=str(smallest)), verdict, "so", smallest, low, 1.0)

    checks = (check("a", 1.0, -3.0), check("b", 0.5, -2.0), check("c", 1.0, 0.5), check("d", 1.0, 0.2, "cannot tell"))
    decision = judged(side(scored(2)), side(scored(2)))
    told = worst(replace(decision, checks=checks))
    assert [each.split(", ")[0] for each in told] == ["? cannot tell: d", "✓ pass: b", "✓ pass: a"]
    assert told[0] == "? cannot tell: d, demo: I-AUROC was 90.00, is 89.00 points; so"
    assert worst(replace(decision, checks=())) == ()


def test_the_screen_ends_with_the_verdict_and_the_worst_checks_in_their_colours() -> None:
    out = Console(file=io.StringIO(), width=100, color_system="standard", force_terminal=True)
    show_decision(out, judged(side(scored(6)), side(scored(6, shift=0.3, rng=1), gmacs=1.0), *default_rules().rules))
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()
    at = max(i for i, line in enumerate(lines) if "regression: 1 regression" in line)
    assert lines[at].startswith("\x1b[1;31m")  # bold red
    assert "\x1b[31m  ✗ regression: AFRAD, demo: I-AUROC was " in lines[at + 1]
    assert any("\x1b[32m" in line and "✓ pass" in line for line in lines[at:])


# -------------------------------------------------------------------------------------------------------- command line

SUITE = """\
suite: tiny
title: Tiny
measures: [accuracy]
methods:
  - {method: nearest_colour, label: plain}
profiles:
  demo:
    datasets: [folder]
    image_size: 32
    seeds: [0, 1]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A store with one finished suite."""
    place = Place(tmp_path_factory.mktemp("shop"), tmp_path_factory.mktemp("cache"))
    place.run(place.write(SUITE))
    return place


def test_gate_and_compare_as_a_person_uses_them(shop: Place) -> None:
    assert "pass" in shop.call("gate", "results", "results:tiny")
    base = shop.folder / "reports" / "base.json"
    assert "base.json" in shop.call("gate", base, "results", "--update-baseline", base)
    junit = shop.folder / "out" / "junit.xml"
    files = ("--junit", junit, "--markdown", "out/gate.md", "--html", "out/gate.html")
    found = json.loads(shop.call("gate", base, "tiny", "--json", *files))
    assert "Verdict: " in (shop.folder / "out/gate.html").read_text(encoding="utf-8")
    assert found["verdict"] == "pass"
    assert ElementTree.parse(junit).getroot().attrib["failures"] == "0"
    text = base.read_text(encoding="utf-8")
    records = [line for line in text.splitlines() if '"metric": "image_auroc", "category": "mean"' in line]
    better = text.replace(records[0], records[0].split('"values"')[0] + '"values": {"0": 2.0, "1": 2.0}},')
    base.write_text(better, encoding="utf-8")
    rules = shop.write("rules: [{metric: image_auroc, smallest: 1.0}]\n", "rules.yaml")
    # Equal scores say that nothing changed but the number: a drop beyond doubt.
    assert "regression" in shop.call("gate", base, "results", "--rules", rules, expect=1)
    base.write_text(text.replace('"data_fingerprint": "', '"data_fingerprint": "0'), encoding="utf-8")
    assert "data_fingerprint was" in shop.call("gate", base, "results", expect=3)
    assert "data_fingerprint was" in shop.call("compare", base, "results", expect=2)
    assert "I-AUROC" in shop.call("compare", base, "results", "--allow", "data_fingerprint", "--all")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("results", "nowhere"), "unknown suite"),
        (("results", "results:tyni"), "unknown suite"),
        (("results", "rev:abc"), "unknown revision"),
        (("results", "missing.json"), "no such baseline file"),
        (("results", "a:b:c"), "is not a side"),
        (("results", "results", "--rules", "absent.yaml"), "absent.yaml"),
        (("results", "results", "--allow", "devise"), "unknown term"),
        (("results",), "Missing argument"),
    ],
)
def test_wrong_usage_exits_with_2(shop: Place, arguments: tuple[str, ...], told: str) -> None:
    assert told in shop.call("gate", *arguments, expect=2)


def test_a_killed_run_cannot_pass(shop: Place, tmp_path: Path) -> None:
    """Its store lacks a cell, or holds numbers that no row of `cells` makes count."""
    import shutil

    store = tmp_path / "killed"
    shutil.copytree(shop.folder / "results", store)
    next((store / "cells").glob("*.parquet")).unlink()
    assert "lacks seeds" in shop.call("gate", "results", store, expect=3)
    for part in (store / "cells").glob("*.parquet"):
        part.unlink()
    shop.call("gate", "results", store, expect=2)


def test_a_defect_does_not_look_like_a_regression(shop: Place) -> None:
    import subprocess
    import sys

    code = "from afrad_bench.cli import program as p\ndef broken(): raise RuntimeError('bug')\np.app = broken\np.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "RuntimeError: bug" in done.stderr


def test_the_gate_is_light_until_it_works() -> None:
    from tests.test_house import light

    assert light("import afrad_bench.comparing.rules") == "[]"
