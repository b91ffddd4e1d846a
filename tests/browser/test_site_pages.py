"""A site in a browser: the box that finds rows, the points of the history, and accessibility, from disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from afrad_bench.site import write_site
from tests.browser.chrome import NEEDS_CHROMIUM, Tab, browser
from tests.browser.test_page import AXE, UNFOLDED, VIOLATIONS, choose, names
from tests.report.test_report import Bookkeeper
from tests.site.test_site import NEW, a_gated_store, gated, run

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    store = a_gated_store(folder / "results")
    gated(store, folder / "gates")
    write_site([store], folder / "site", [folder / "gates"])
    return folder / "site"


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard of two data sets."""
    folder = tmp_path_factory.mktemp("boards")
    book = Bookkeeper(folder / "results")
    for dataset in ("first", "second"):
        for label, auroc in (("low", 0.5), ("high", 0.9)):
            run(book, label, auroc, dataset=dataset)
    write_site([folder / "results"], folder / "site")
    return folder / "site" / "leaderboard.html"


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(chrome: Tab) -> Iterator[Tab]:
    chrome.complaints.clear()
    chrome.window(1440, 900)
    yield chrome
    assert chrome.complaints == []


TABLE = 'document.getElementById("rows-1")'


def find(tab: Tab, text: str) -> None:
    choose(tab, '[role="search"] input', text)
    tab.run("document.querySelector('[role=search]').requestSubmit()")
    tab.wait(f"{TABLE} && document.readyState === 'complete'")


def test_the_box_of_every_page_finds_rows(tab: Tab, site: Path) -> None:
    (report,) = site.glob("reports/**/report.html")
    for page in (site / "index.html", report):
        tab.open(page)
        find(tab, "other 128")
        assert tab.run("location.pathname").endswith("/rows.html")
        assert names(tab, TABLE) == ["other"]
    find(tab, "demo unified")  # on the page itself
    assert names(tab, TABLE) == ["one", "other"]


def test_points_of_the_history_name_revision_and_verdict(tab: Tab, site: Path) -> None:
    tab.open(site / "history.html")
    tab.run("document.querySelector('.point').focus()")
    told = "document.querySelector('.told').textContent"
    assert tab.run(told).startswith("one at aaaaaaaaaaaa: I-AUROC 90.1")
    tab.press("ArrowRight")
    assert NEW[:12] in tab.run(told)
    assert "regression against" in tab.run(told)


SECTIONS = "[...document.querySelectorAll('main > section:not(.terms)')].filter((each) => each.checkVisibility())"
OPEN = f"{SECTIONS}.map((each) => each.querySelector('h2')?.id).filter(Boolean)"


def test_tabs_show_a_data_set_at_a_time_and_links_lead_into_them(tab: Tab, boards: Path) -> None:
    tab.open(boards)
    assert tab.run(OPEN) == ["data-1"]
    assert names(tab, 'document.getElementById("data-1-1")') == ["high", "low"]
    tab.run("document.querySelector('.tabs [href=\"#data-2\"]').click()")
    tab.wait("location.hash.includes('tab=data-2')")
    assert tab.run(OPEN) == ["data-2"]
    assert tab.run("document.querySelector('.tabs [aria-current]').textContent") == "second · unified"
    linked = tab.run("location.hash")
    for fragment in (linked, "#data-2", "#data-2-1"):
        tab.open(boards, fragment)
        assert tab.run(OPEN) == ["data-2"], fragment
    tab.run("location.hash = '#data-1'")
    tab.wait(f"String({OPEN}) === 'data-1'")


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: make axe")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing(tab: Tab, site: Path, width: int, dark: bool) -> None:
    tab.window(width, 900, dark=dark)
    for name in ("index", "leaderboard", "history", "rows"):
        tab.open(site / f"{name}.html")
        tab.run(AXE.read_text(encoding="utf-8") + "\n0")
        tab.run(f"{UNFOLDED}, 0")
        for at in range(max(1, tab.run("document.querySelectorAll('.tabs a').length"))):
            tab.run(f"document.querySelectorAll('.tabs a')[{at}]?.click(), 0")
            assert tab.run(VIOLATIONS) == [], (name, at)
