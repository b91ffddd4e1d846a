"""A site in a browser: the box that finds rows, the points of the history, and accessibility, from disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from afrad_bench.site import write_site
from tests.browser.chrome import NEEDS_CHROMIUM, Tab, browser
from tests.browser.test_page import AXE, UNFOLDED, VIOLATIONS, choose, names
from tests.site.test_site import NEW, a_gated_store, gated

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    store = a_gated_store(folder / "results")
    gated(store, folder / "gates")
    write_site([store], folder / "site", [folder / "gates"])
    return folder / "site"


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


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: make axe")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing(tab: Tab, site: Path, width: int, dark: bool) -> None:
    tab.window(width, 900, dark=dark)
    for name in ("index", "leaderboard", "history", "rows"):
        tab.open(site / f"{name}.html")
        tab.run(AXE.read_text(encoding="utf-8") + "\n0")
        tab.run(f"{UNFOLDED}, 0")
        assert tab.run(VIOLATIONS) == [], name
