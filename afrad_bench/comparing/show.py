"""Comparisons and decisions as tables, Markdown, JUnit XML, annotations and plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from afrad_bench.comparing.changes import Change, Comparison
from afrad_bench.comparing.gate import GRAVITY, Check, Decision
from afrad_bench.comparing.side import metrics
from afrad_bench.report.formats.markdown import escape, table_blocks
from afrad_bench.report.model import Entry, Heading, Level, Line, Table
from afrad_bench.types import MEAN

SIGNS = {"pass": "✓ pass", "regression": "✗ regression", "cannot tell": "? cannot tell", "advisory": "· advisory"}
READING = (
    "Change: NEW minus BASE over their common seeds, percentages in points; latency: NEW / BASE - 1. Its 95 % interval "
    "holds for other seeds and images of the same kind, or other rounds. p: two-sided, after Holm's correction over "
    "the headline numbers with noise. DeLong: two-sided p over images alone."
)


WORST = 3
"""Checks that are told beside the verdict."""
LEVELS: dict[str, Level] = {"pass": "good", "regression": "alarm", "cannot tell": "unsure"}


def compare_table(comparison: Comparison, *, everything: bool = False) -> Table:
    """One line for each headline number; with `everything` also for further metrics and single categories. Details that
    no line has are left out."""
    names = ["Row", "Metric", "BASE", "NEW", "Change", "95 % interval", "p"]
    names += ["images alone", "DeLong", "seeds alone", "n"]
    text = ("Row", "Metric", "n")
    lines = []
    for change in comparison.changes:
        if not everything and not change.headline:
            continue
        interval = change.estimate.interval(0.95) if change.estimate else None
        lines.append(
            Line(
                (
                    Entry(str(change.key)),
                    Entry(named(change)),
                    *_numbers(change),
                    _interval(change, interval),
                    Entry(_p(change.p_holm), number=change.p_holm),
                    _interval(change, change.by_images),
                    Entry(_p(change.delong), number=change.delong),
                    _interval(change, change.by_seeds),
                    Entry(" · ".join(dict.fromkeys(filter(None, (_count(change), *_remarks(change)))))),
                )
            )
        )
    first = ("Change", "95 % interval")
    later = ("images alone", "DeLong", "seeds alone", "n")
    headings = tuple(
        Heading(name, numeric=name not in text, importance=(name in first) - (name in later)) for name in names
    )
    used = [at for at in range(len(names)) if names[at] not in later or any(line.entries[at].text for line in lines)]
    kept = tuple(Line(tuple(line.entries[at] for at in used)) for line in lines)
    return Table("Changes", tuple(headings[at] for at in used), kept, keys=2)


def gate_table(decision: Decision) -> Table:
    """One line for each check; regressions and "cannot tell" come first."""
    names = ("Verdict", "Row", "Metric", "BASE", "NEW", "Change", "interval", "matters from", "n", "Why")
    lines = []
    for check in sorted(decision.checks, key=lambda each: GRAVITY.index(each.verdict)):
        change = check.change
        ends = None if check.low is None or check.high is None else (check.low, check.high)
        matters = "" if check.smallest is None else _smallest(change, check.smallest)
        verdict = Entry(SIGNS[check.verdict], level=LEVELS.get(check.verdict, "plain"))
        place = (Entry(str(change.key)), Entry(named(change)))
        decided = (_interval(change, ends), Entry(matters, number=check.smallest))
        told = (Entry(_count(change)), Entry(_why(check)))
        lines.append(Line((verdict, *place, *_numbers(change), *decided, *told)))
    numeric = ("BASE", "NEW", "Change", "interval", "matters from")
    first = ("Change", "Why")
    headings = (Heading(name, numeric=name in numeric, importance=(name in first) - (name == "n")) for name in names)
    return Table("Checks", tuple(headings), tuple(lines), keys=3)


def head(decision: Decision) -> str:
    """The verdict in one sentence."""
    counts = {name: sum(check.verdict == name for check in decision.checks) for name in GRAVITY}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{decision.verdict}: {summary or 'nothing was checked'}"


def worst(decision: Decision) -> tuple[str, ...]:
    """The worst checks, each in a sentence: the gravest verdicts first, and of these the largest possible worsening
    relative to the smallest one that matters. Where all pass, those that are nearest to failing."""
    order = sorted(decision.checks, key=lambda check: (GRAVITY.index(check.verdict), -check.worsening))
    return tuple(f"{SIGNS[check.verdict]}: {_sentence(check)}" for check in order[:WORST])


def clear(comparison: Comparison) -> tuple[str, ...]:
    """What changed for certain, in sentences: the headline numbers with noise whose change is significant, and those
    without noise that changed at all; the largest changes of each first, relative to BASE."""
    shown = [change for change in comparison.changes if change.headline]
    tested = [change for change in shown if change.p_holm is not None]
    found = [change for change in tested if change.p_holm is not None and change.p_holm < 0.05]
    said = f"{len(found)} of {len(tested)} headline numbers with noise changed significantly (5 %, Holm's correction)"
    told = [f"{said}{_listed(found)}." if tested else "No headline number has noise to hold a change against."]
    exact = [change for change in shown if change.estimate and not change.is_noisy and change.estimate.value]
    told += [f"Changed, and without noise{_listed(exact)}."] if exact else []
    refused = sum(change.refused for change in shown)
    told += (
        [f"{refused} of {len(shown)} headline numbers are not compared, since their terms differ."] if refused else []
    )
    return tuple(told)


def _listed(changes: Sequence[Change]) -> str:
    """ ": worse AFRAD, demo: I-AUROC by -2.0 [-3.1, -0.9]; better ...", with the number of those that are left out."""
    order = sorted(changes, key=_share, reverse=True)
    texts = []
    for change in order[:WORST]:
        assert change.estimate is not None
        value = change.estimate.value
        word = "better" if value * change.better > 0 else "worse"
        interval = f" {_range(change, change.estimate.interval(0.95))}" if change.is_noisy else ""
        unit = "" if change.relative else f" {_unit(change)}"
        texts.append(f"{word} {change.key}: {named(change)} by {_amount(change, value, '+')}{interval}{unit}".rstrip())
    texts += [f"and {len(changes) - WORST} more"] if len(changes) > WORST else []
    return f": {'; '.join(texts)}" if texts else ""


def _share(change: Change) -> float:
    """The size of a change relative to BASE."""
    assert change.estimate is not None
    return abs(change.estimate.value) / (1.0 if change.relative else abs(change.base or 1.0))


def named(change: Change) -> str:
    """Metric and category as they are shown: "I-AUROC, bottle". Where several metrics have one title, with its name."""
    metric = metrics()[change.metric]
    alike = not metric.headline and sum(each.title == metric.title for each in metrics().values()) > 1
    title = f"{metric.title} ({change.metric})" if alike else metric.title  # of one exported file among several
    return title if change.category in (MEAN, None) else f"{title}, {change.category}"


def remarks(comparison: Comparison) -> Iterator[str]:
    """What a reader must know in addition to the table."""
    if comparison.allowed:
        yield f"compared although these differ: {'; '.join(comparison.allowed)}"
    if comparison.changed:
        yield f"changed: {'; '.join(comparison.changed)}"
    yield from comparison.notes


def to_markdown(decision: Decision) -> str:
    """Markdown for a comment on a pull request."""
    blocks = [f"### afrad-bench gate: {escape(head(decision))}"]
    blocks.append(f"`{escape(decision.comparison.new)}` against `{escape(decision.comparison.base)}`")
    blocks += ["\n".join(f"- **{escape(text)}**" for text in decision.unmeasured)] if decision.unmeasured else []
    if found := worst(decision):
        blocks += ["The worst:", "\n".join(f"{i}. {escape(text)}" for i, text in enumerate(found, 1))]
    blocks += table_blocks(gate_table(decision))
    blocks += ["\n".join(f"- {escape(text)}" for text in remarks(decision.comparison))]
    rate = f"{1 - decision.confidence:.2g}"
    blocks.append(
        f"<sub>Each end of an interval errs at a rate of {rate}; false alarms of the whole gate: at most {rate}.</sub>"
    )
    return "\n\n".join(filter(None, blocks)) + "\n"


def to_junit(decision: Decision) -> str:
    """One test case per check: a failure for a regression, an error for "cannot tell"."""
    cases = [(f"{named(check.change)}", str(check.change.key), check) for check in decision.checks]
    failures = sum(check.verdict == "regression" for check in decision.checks)
    errors = sum(check.verdict == "cannot tell" for check in decision.checks) + len(decision.unmeasured)
    total = str(len(cases) + len(decision.unmeasured))
    counts = {"tests": total, "failures": str(failures), "errors": str(errors)}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "afrad-bench gate", **counts})
    for name, place, check in cases:
        case = ElementTree.SubElement(suite, "testcase", {"classname": place, "name": name})
        if check.verdict in ("regression", "cannot tell"):
            kind = "failure" if check.verdict == "regression" else "error"
            ElementTree.SubElement(case, kind, {"message": _sentence(check)})
        else:
            ElementTree.SubElement(case, "system-out").text = _sentence(check)
    for text in decision.unmeasured:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "measured", "name": text})
        ElementTree.SubElement(case, "error", {"message": text})
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def to_github(decision: Decision) -> Iterable[str]:
    """Workflow commands that GitHub shows as annotations."""
    for check in decision.checks:
        kind = {"regression": "error", "cannot tell": "error", "advisory": "notice"}.get(check.verdict)
        if kind:
            yield f"::{kind} title=afrad-bench {check.verdict}::{_escaped(_sentence(check))}"
    for text in decision.unmeasured:
        yield f"::error title=afrad-bench cannot tell::{_escaped(text)}"


def change_data(change: Change) -> dict[str, Any]:
    """The change as plain data for JSON."""
    interval = change.estimate.interval(0.95) if change.estimate else None
    fields = ("metric", "category", "base", "new", "by_images", "by_seeds", "delong", "p", "p_holm", "seeds", "images")
    more = ("rounds", "why", "refused", "advisory", "unreliable", "now")
    return {
        **{name: getattr(change.key, name) for name in ("label", "dataset", "setting", "profile")},
        **{name: getattr(change, name) for name in (*fields, *more)},
        "change": change.estimate.value if change.estimate else None,
        "interval": interval,
        "unit": "relative" if change.relative else _unit(change),
    }


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain data for JSON."""
    names = ("base", "new", "missing", "allowed", "changed", "notes")
    data = {name: getattr(comparison, name) for name in names}
    return {**data, "changes": [change_data(change) for change in comparison.changes]}


def decision_data(decision: Decision) -> dict[str, Any]:
    """The decision as plain data for JSON."""
    checks = [
        {
            **change_data(check.change),
            "rule": check.rule.model_dump(),
            **{name: getattr(check, name) for name in ("verdict", "why", "smallest", "low", "high")},
        }
        for check in decision.checks
    ]
    whole = {name: value for name, value in comparison_data(decision.comparison).items() if name != "changes"}
    return {"verdict": decision.verdict, "unmeasured": decision.unmeasured, "checks": checks, **whole}


# -------------------------------------------------------------------------------------------------------------- pieces


def _unit(change: Change) -> str:
    metric = metrics()[change.metric]
    return "points" if metric.percent else metric.unit


def _values(change: Change) -> tuple[str, str, str]:
    """Texts of the value in BASE, the value in NEW, and the change."""
    decimals = metrics()[change.metric].decimals + 1
    shown = ["–" if value is None else f"{value:.{decimals}f}" for value in (change.base, change.new)]
    return shown[0], shown[1], _amount(change, change.estimate.value, "+") if change.estimate else "–"


def _numbers(change: Change) -> tuple[Entry, Entry, Entry]:
    """The value in BASE, the value in NEW, and the change; what cannot be told has no number."""
    numbers = (change.base, change.new, change.estimate.value if change.estimate else None)
    first, second, third = map(Entry, _values(change))
    return replace(first, number=numbers[0]), replace(second, number=numbers[1]), replace(third, number=numbers[2])


def _amount(change: Change, value: float, sign: str = "") -> str:
    if change.relative:
        return f"{value:{sign}.1%}"
    return f"{value:{sign}.{metrics()[change.metric].decimals + 1}f}"


def _smallest(change: Change, value: float) -> str:
    """The amount as in the rule: with more digits than a change if it would else be shown as another one."""
    text, scale = _amount(change, value), 100 if change.relative else 1
    shown = float(text.rstrip("%"))
    exact = f"{scale * value:.6g}"
    return text if abs(shown - scale * value) <= 1e-6 * abs(scale * value) else exact + "%" * change.relative


def _range(change: Change, ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"[{_amount(change, ends[0], '+')}, {_amount(change, ends[1], '+')}]"


def _interval(change: Change, ends: tuple[float, float] | None) -> Entry:
    """Sorted by its lower end."""
    return Entry(_range(change, ends), number=None if ends is None else ends[0])


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _remarks(change: Change) -> tuple[str, ...]:
    return change.why, change.advisory, change.unreliable


def _count(change: Change) -> str:
    counts = ((change.seeds, "seed"), (change.images, "image"), (change.rounds, "round"))
    return ", ".join(f"{count} {name}{'s' if count != 1 else ''}" for count, name in counts if count)


def _sentence(check: Check) -> str:
    change = check.change
    was, now, _ = _values(change)
    return f"{change.key}: {named(change)} was {was}, is {now} {_unit(change)}; {_why(check)}"


def _why(check: Check) -> str:
    """The reason, and what makes the values unreliable if the reason does not say it."""
    doubt = check.change.unreliable
    return check.why if not doubt or doubt in check.why else f"{check.why} ({doubt})"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
