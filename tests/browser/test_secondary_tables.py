"""Tables of latency sessions, searches, other sources, comparisons and gates: sorted as pandas sorts their numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest

from afrad_bench.comparing import compare, comparison_report, decision_report, default_rules
from afrad_bench.latency import latency_report
from afrad_bench.report import Report, to_html
from afrad_bench.report.model import Heading, Section, Table
from afrad_bench.search import study
from afrad_bench.search.report import trials_table
from tests.browser.chrome import NEEDS_CHROMIUM, Tab, browser
from tests.comparing.test_comparing import judged, scored, side
from tests.latency.test_sessions import session
from tests.report.test_elsewhere import report as of_suite
from tests.report.test_elsewhere import row
from tests.search.test_search import SUITE, loaded

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]


def searched(folder: Path) -> Report:
    """A table of trials, on the page of another report."""
    made = loaded(folder, SUITE.replace("trials: 4", "trials: 4\n  constraints: {gmacs: 1}"))
    opened = study.opened(replace(made, search=made.search.model_copy(update={"storage": "memory"})), folder)
    spread = {"training.lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)}
    for rate, value, excess in ((1e-3, 0.07, -0.1), (2e-3, 0.95, -0.3), (3e-3, 0.8, -0.2)):
        attrs = {"excess": {"gmacs": excess}}
        params = {"training.lr": rate}
        opened.add_trial(optuna.create_trial(params=params, distributions=spread, value=value, user_attrs=attrs))
    table = trials_table(opened, made)
    return replace(latency_report([session()]), sections=(Section("search", "Search", (table,)),))


def compared(folder: Path) -> Report:
    base, new = side(scored(6), "before"), side(scored(6, shift=0.4, rng=1), "after", gmacs=1.5)
    return comparison_report(compare(base, new, count=300), everything=True)


def gated(folder: Path) -> Report:
    return decision_report(
        judged(side(scored(6)), side(scored(5, shift=0.3, rng=1), gmacs=2.0), *default_rules().rules)
    )


PAGES: dict[str, Callable[[Path], Report]] = {
    "latency": lambda _: latency_report([session()]),
    "elsewhere": lambda _: of_suite("table1", row("PaDiM", "padim", "padim"), row("UniAD", "uniad", "uniad")),
    "search": searched,
    "compare": compared,
    "gate": gated,
}
LEADING = re.compile(r"^[\[<\s]*([+\-−]?\d+(?:\.\d+)?)")


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def leading(text: str) -> float | None:
    """The number that a reader sees first in an entry."""
    found = LEADING.match(text)
    return None if found is None else float(found[1].replace("−", "-"))


def column(tab: Tab, key: str, at: int) -> list[str]:
    script = f"[...document.getElementById('{key}').tBodies[0].rows].map(row => row.cells[{at}])"
    return list(tab.run(f"{script}.map(cell => cell.querySelector('.noted').childNodes[0]?.textContent.trim() ?? '')"))


@pytest.mark.parametrize("name", PAGES)
def test_every_column_of_numbers_is_sorted_as_pandas_does(chrome: Tab, tmp_path: Path, name: str) -> None:
    report = PAGES[name](tmp_path)
    path = tmp_path / "page.html"
    path.write_text(to_html(report), encoding="utf-8")
    chrome.complaints.clear()
    chrome.open(path)
    checked = 0
    for section in report.sections:
        for number, table in enumerate(section.tables, 1):
            for at, heading in enumerate(table.headings):
                if at and heading.numeric and len(table.lines) > 1:
                    checked += sorts(chrome, f"{section.key}-{number}", table, heading, at)
    assert checked
    assert chrome.complaints == []


def sorts(tab: Tab, key: str, table: Table, heading: Heading, at: int) -> int:
    """Sort by a column both ways; 1 if it has a number."""
    entries = [line.entries[at] for line in table.lines]
    numbers = pd.Series([entry.number for entry in entries], dtype=float)
    shown = [leading(entry.text) for entry in entries]
    assert [value is None for value in shown] == numbers.isna().tolist(), heading.text  # none is forgotten
    if numbers.isna().all():
        return 0
    descending = heading.arrow != "↓"
    for falling in (descending, not descending):
        tab.run(f"document.querySelectorAll('#{key} .sort')[{at}].click()")
        order = numbers.sort_values(ascending=not falling, kind="stable", na_position="last").index
        assert column(tab, key, at) == [entries[each].text for each in order], heading.text
        known = pd.Series([value for value in map(leading, column(tab, key, at)) if value is not None])
        assert known.is_monotonic_decreasing if falling else known.is_monotonic_increasing, heading.text
    tab.run(f"document.querySelectorAll('#{key} .sort')[{at}].click()")  # as it was
    return 1


def test_a_copy_keeps_what_stands_beside_a_number(chrome: Tab, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(to_html(PAGES["latency"](tmp_path)), encoding="utf-8")
    chrome.open(path)
    chrome.run("navigator.clipboard.writeText = (text) => { globalThis.taken = text; return Promise.resolve(); }")
    chrome.run("document.querySelector('#latency-1-take button:not([popovertarget])').click()")
    text = str(chrome.run("globalThis.taken"))
    assert "10–10.2" in text
    assert "10.1," in text
