"""One choice of data set and category for the whole page: tables, columns, lines, figures follow; a link keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from afrad_bench.report import RowSpec, to_html
from afrad_bench.report.model import PlannedCell
from afrad_bench.types import MEAN
from tests.browser.chrome import NEEDS_CHROMIUM, Tab, browser
from tests.browser.test_page import AXE, UNFOLDED, VIOLATIONS, choose, heads, names
from tests.report.test_figures import MEASURES
from tests.report.test_report import Bookkeeper, suite

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]

DATA, CATEGORY = ".whole label:nth-of-type(1) select", ".whole label:nth-of-type(2) select"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scope")
    book = Bookkeeper(None)
    parts = {"demo": ("brick", "cable"), "digits": ("0", "1")}
    cells = {label: tuple(PlannedCell(f"{label}{data}", data, 0) for data in parts) for label in ("a", "b", "c")}
    for at, (label, planned) in enumerate(cells.items()):
        for cell in planned:
            auroc = {("image_auroc", part): 0.9 - at / 50 for part in (*parts[cell.dataset], MEAN)}
            book.run(cell, {"accuracy": auroc, "complexity": {("gmacs", None): 1.0 + at}}, label=label)
    rows = [RowSpec(label, "afrad", planned) for label, planned in cells.items()]
    path = folder / "report.html"
    path.write_text(to_html(book.report(suite(*rows, measures=MEASURES))), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(chrome: Tab, page: Path) -> Iterator[Tab]:
    chrome.complaints.clear()
    chrome.window(1440, 900)
    chrome.open(page)
    yield chrome
    assert chrome.complaints == []


def about(tab: Tab) -> set[str]:
    """The data sets of all tables, figures and lines that are shown."""
    script = "[...document.querySelectorAll('main [data-dataset]')].filter(e => e.checkVisibility())"
    return set(tab.run(f"{script}.map(e => e.dataset.dataset)"))


def test_one_choice_filters_tables_columns_lines_and_figures(tab: Tab) -> None:
    every = heads(tab)
    assert about(tab) == {"demo", "digits"}
    choose(tab, DATA, "digits", "change")
    assert about(tab) == {"digits"}
    groups = (
        "[...document.querySelectorAll('#results-1 th.group')].filter(e => e.checkVisibility()).map(e => e.innerText)"
    )
    assert tab.run(groups) == ["digits"]
    assert len(heads(tab)) == 2 + (len(every) - 2) // 2
    assert tab.run("document.querySelector('.whole + .status').textContent") == "Shown: data set digits."
    choose(tab, DATA, "", "change")
    assert about(tab) == {"demo", "digits"}
    assert heads(tab) == every


def test_a_category_is_chosen_for_all_tables_of_categories(tab: Tab) -> None:
    table = "document.getElementById('categories-1')"
    found = names(tab, table)
    choose(tab, CATEGORY, found[0], "change")
    assert names(tab, table) == [found[0], "mean"]
    choose(tab, DATA, "digits", "change")  # other data may have other categories
    assert tab.run(f"document.querySelector('{CATEGORY}').value") == ""


def test_a_link_keeps_the_choice_and_unknown_names_are_passed_over(tab: Tab, page: Path) -> None:
    choose(tab, DATA, "demo", "change")
    category = names(tab, "document.getElementById('categories-1')")[0]
    choose(tab, CATEGORY, category, "change")
    link = tab.run("location.hash")
    assert link == f"#view&data=demo&category={category}"
    tab.open(page, link)
    assert about(tab) == {"demo"}
    assert names(tab, "document.getElementById('categories-1')") == [category, "mean"]
    tab.open(page, "#view&data=gone&category=gone")
    assert about(tab) == {"demo", "digits"}


def test_without_its_script_the_page_hides_nothing(page: Path) -> None:
    before = page.read_text(encoding="utf-8").split("<script>")[0]
    assert " hidden" not in before.split("</style>")[1]
    assert "<select" not in before


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: make axe")
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing(tab: Tab, page: Path, width: int) -> None:
    tab.window(width, 900, dark=width == 390)
    tab.open(page, "#view&data=digits")
    tab.run(AXE.read_text(encoding="utf-8") + "\n0")
    tab.run(f"{UNFOLDED}, 0")
    assert tab.run(VIOLATIONS) == []
