"""Numbers of a report as CSV: tidy (one line per number) and wide (one line per row of the suite)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from afrad_bench.report.basis.results import doubts
from afrad_bench.report.model import Contrast, Fact, Report
from afrad_bench.types import MEAN

COLUMNS = (
    "suite",
    "profile",
    "row",
    "dataset",
    "category",
    "metric",
    "unit",
    "mean",
    "std",
    "n_seeds",
    "published",
    "verdict",
    "note",
    "compared_to",
    "difference",
    "low",
    "high",
    "p_holm",
    "n_pairs",
)


def to_csv(report: Report) -> str:
    """One line per row, data set, category and metric: numbers with 10 significant digits, in the unit of the line.

    `mean` is empty if nothing was measured or the value is undefined; `note` says why. If the paper has values for two
    data sets, the line is repeated for each. `difference` is that to the row `compared_to`, seed by seed, `low` and
    `high` are the ends of its 95 % interval (paired t test), `p_holm` is corrected for all rows."""
    lines: list[Sequence[object]] = [COLUMNS]
    for fact in report.facts:
        summary = fact.summary
        state = "" if summary.state == "value" else {"missing": "not run"}.get(summary.state, summary.state)
        note = "; ".join((*([state] if state else []), *summary.notes))
        head = (report.suite, report.profile, fact.row, fact.dataset, fact.category, fact.metric, fact.unit)
        numbers = (_number(summary.mean), _number(summary.std), summary.seeds)
        contrast = _contrast(fact.contrast)
        for quote in fact.quotes:
            why = "; ".join(each for each in (note, quote.why) if each)
            lines.append((*head, *numbers, quote.text, quote.verdict, why, *contrast))
        if not fact.quotes:
            lines.append((*head, *numbers, "", "", note, *contrast))
    return _written(lines)


def _contrast(of: Contrast | None) -> tuple[object, ...]:
    if of is None:
        return ("",) * 6
    return (of.reference, *map(_number, (of.mean, of.low, of.high, of.p)), of.seeds)


def to_wide_csv(report: Report) -> str:
    """One line per row of the suite; for each data set and metric its mean, its std and the number of seeds, and if
    any of its values must not be trusted, why."""
    facts = [fact for fact in report.facts if fact.category in ("", MEAN)]
    columns = list(dict.fromkeys((f.dataset, f.metric, f.unit) for f in facts))
    by_row: dict[str, dict[tuple[str, str, str], Fact]] = {}
    for fact in facts:
        by_row.setdefault(fact.row, {})[fact.dataset, fact.metric, fact.unit] = fact
    doubted = {(fact.dataset, fact.metric, fact.unit) for fact in facts if _doubts(fact)}
    head = ["row"]
    for dataset, metric, unit in columns:
        name = f"{dataset}/{metric}"
        head += [f"{name} ({unit})" if unit else name, f"{name} std", f"{name} n_seeds"]
        head += [f"{name} unreliable"] if (dataset, metric, unit) in doubted else []
    lines: list[Sequence[object]] = [head]
    for row, known in by_row.items():
        line: list[object] = [row]
        for column in columns:
            summary = known[column].summary
            line += [_number(summary.mean), _number(summary.std), summary.seeds]
            line += [_doubts(known[column])] if column in doubted else []
        lines.append(line)
    return _written(lines)


def _doubts(fact: Fact) -> str:
    return "; ".join(dict.fromkeys(doubt for note in fact.summary.notes for doubt in doubts(note)))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _written(lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
