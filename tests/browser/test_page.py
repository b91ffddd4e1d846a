"""The page in a browser: its tools show the stored numbers, in pandas' order, and nothing else runs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pandas as pd
import pytest
from scipy.stats import t

from afrad_bench.report import RowSpec, build, to_html
from afrad_bench.statistics import holm, paired
from afrad_bench.store import Store
from afrad_bench.types import MEAN
from tests.browser.chrome import NEEDS_CHROMIUM, Tab, browser
from tests.report.large import large_report
from tests.report.test_doubtful import CALM, LOAD, timed
from tests.report.test_figures import MEASURES, fill
from tests.report.test_latencies import LATENCY, TIMES
from tests.report.test_report import Bookkeeper, planned, row, suite
from tests.report.test_strips import OPERATING

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
HOSTILE = "<script>alert(1)</script>"
VALUES = {"PaDiM": 0.91, HOSTILE: 0.97, "AFRAD": 0.9512, "AFRAD, no cd": 0.9508, "UniAD": 0.9, "DRAEM": None}
"""Row -> I-AUROC of seed 0 on the category "brick"."""


@dataclass(frozen=True)
class Shown:
    """A page and the stored numbers that it shows."""

    path: Path
    means: pd.DataFrame
    """One line per row, in the order of the suite; a column per metric, in percent."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("page")
    book = Bookkeeper(folder / "store")
    rows = [RowSpec(label, "afrad", planned(f"row{at}", (0, 1, 2))) for at, label in enumerate(VALUES)]
    for number, (each, value) in enumerate(zip(rows, VALUES.values(), strict=True)):
        for cell in each.cells:
            if value is None:
                book.run(cell, {}, label=each.label, failed={"accuracy": "ValueError: the loss is not finite"})
                continue
            found = {"brick": value + 0.002 * cell.seed, "cable": value - 0.05 + 0.0041 * cell.seed * (number + 1)}
            auroc = {("image_auroc", name): found[name] for name in found}
            auroc["image_auroc", MEAN] = sum(found.values()) / 2
            aupro = {("pixel_aupro", name): 1.2 - found[name] for name in found}
            aupro["pixel_aupro", MEAN] = 1.2 - sum(found.values()) / 2
            book.run(cell, {"accuracy": {**auroc, **aupro}}, label=each.label)
    path = folder / "report.html"
    path.write_text(to_html(book.report(suite(*rows, compare_to="AFRAD"))), encoding="utf-8")
    assert book.store is not None
    stored = book.store.read("measurements")
    means = stored[stored["category"] == MEAN].pivot_table(index="label", columns="metric", values="value") * 100
    return Shown(path, means.reindex(list(VALUES)).rename_axis(None))


NOTES = [
    f"note {at} on a value" + ", which takes many words to say what it is and what it is not" * 3 for at in range(3)
]


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with long footnotes."""
    book, at = Bookkeeper(None), ("image_auroc", MEAN)
    rows = [row(name) for name in "abc"]
    for each, note in zip(rows, NOTES, strict=True):
        book.run(each.cells[0], {"accuracy": {at: 0.9}}, label=each.label, notes={at: note})
    path = tmp_path_factory.mktemp("noted") / "report.html"
    path.write_text(to_html(book.report(suite(*rows))), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(chrome: Tab, shown: Shown) -> Iterator[Tab]:
    """The page, just opened in a window of 1440 pixels; the test fails if the browser complains of anything."""
    chrome.complaints.clear()
    chrome.window(1440, 900)
    chrome.open(shown.path)
    yield chrome
    assert chrome.complaints == []


RESULTS = 'document.getElementById("results-1")'


def names(tab: Tab, table: str = RESULTS) -> list[str]:
    """The shown lines of a table, from top to bottom."""
    script = f"[...{table}.tBodies[0].rows].filter(row => row.checkVisibility()).map(row => row.cells[0].innerText)"
    return [each.split(" ⚠")[0].strip() for each in tab.run(script)]


def heads(tab: Tab, table: str = RESULTS) -> list[str]:
    script = f"[...{table}.tHead.rows].at(-1).querySelectorAll('th')"
    texts = tab.run(f"[...{script}].filter(each => each.checkVisibility()).map(each => each.innerText)")
    return [each.replace("\u00a0", " ") for each in texts]


def click(tab: Tab, selector: str, number: int = 0) -> None:
    tab.run(f"document.querySelectorAll({json.dumps(selector)})[{number}].click()")


def choose(tab: Tab, selector: str, value: str, event: str = "input") -> None:
    """Give a field a value, as a person would."""
    tab.run(
        f"(() => {{ const field = document.querySelector({json.dumps(selector)}); field.value = {json.dumps(value)};"
        f' field.dispatchEvent(new Event("{event}", {{ bubbles: true }})); }})()'
    )


def tools(key: str) -> str:
    """Selector of the tools of a table."""
    return f".tools:has(+ .status + .scroll #{key})"


def test_the_numbers_of_the_page_are_the_stored_ones(tab: Tab, shown: Shown) -> None:
    script = f"[...{RESULTS}.tBodies[0].rows].map(row => [...row.cells].map(cell => [cell.innerText, cell.dataset.v]))"
    for line, (label, known) in zip(tab.run(script), shown.means.iterrows(), strict=True):
        assert line[0][0] == label
        for (text, raw), metric in zip(line[2:], ("image_auroc", "pixel_aupro"), strict=True):
            if pd.isna(known[metric]):
                assert raw is None
                assert text.startswith("✗ failed")
            else:
                assert float(raw) == pytest.approx(known[metric], abs=1e-12)
                assert text.split(" ")[0] == f"{float(raw):.1f}"


def test_sorting_gives_the_order_of_pandas(tab: Tab, shown: Shown) -> None:
    assert names(tab) == list(shown.means.index)
    for at, metric in ((2, "image_auroc"), (3, "pixel_aupro")):
        for ascending, stated in ((False, "descending"), (True, "ascending")):
            click(tab, "#results-1 .sort", at)
            wanted = shown.means.sort_values(metric, ascending=ascending, kind="stable", na_position="last")
            assert names(tab) == list(wanted.index)
            assert tab.run(f'{RESULTS}.querySelectorAll("[aria-sort]").length') == 1
            assert tab.run(f'{RESULTS}.querySelector("[aria-sort]").getAttribute("aria-sort")') == stated
    click(tab, "#results-1 .sort", 3)
    assert names(tab) == list(shown.means.index)  # the third time: as it was


def test_the_keyboard_sorts(tab: Tab, shown: Shown) -> None:
    tab.run('document.querySelectorAll("#results-1 .sort")[1].focus()')
    tab.press("Tab")
    tab.press("Enter")
    assert names(tab) == list(shown.means.sort_values("image_auroc", ascending=False).index)


def test_a_line_that_summarises_the_others_stays_below_them(tab: Tab) -> None:
    table = 'document.getElementById("categories-1")'
    assert names(tab, table) == ["brick", "cable", "mean"]
    click(tab, "#categories-1 .sort", 0)
    click(tab, "#categories-1 .sort", 0)
    assert names(tab, table) == ["cable", "brick", "mean"]


def test_filtering_gives_the_rows_of_pandas(tab: Tab, shown: Shown) -> None:
    for text in ("afrad", "a i", "SCRIPT", "nothing like it"):
        choose(tab, f'{tools("results-1")} input[type="search"]', text)
        found = pd.Series(True, index=shown.means.index)
        for word in text.split():
            found &= shown.means.index.str.contains(word, case=False, regex=False)
        assert names(tab) == list(shown.means.index[found])


def test_columns_and_what_is_alike_can_be_hidden(tab: Tab) -> None:
    assert heads(tab) == ["Method", "Seeds", "I-AUROC ↑ %", "P-AUPRO ↑ %"]
    click(tab, "#results-1-columns input", 1)
    assert heads(tab) == ["Method", "Seeds", "P-AUPRO ↑ %"]
    choose(tab, f'{tools("results-1")} input[type="search"]', "afrad")
    click(tab, f'{tools("results-1")} > label > input[type="checkbox"]')
    assert heads(tab) == ["Method", "P-AUPRO ↑ %"]  # both have three seeds
    assert tab.run(f'document.querySelector({json.dumps(tools("results-1"))} + " + .status").textContent') == (
        "Shown: 2 of 6 rows, 2 of 4 columns."
    )


def test_differences_to_a_chosen_row(tab: Tab, shown: Shown) -> None:
    choose(tab, f"{tools('results-1')} select", "PaDiM", "change")
    cell = f"[...{RESULTS}.tBodies[0].rows].map(row => row.cells[2].innerText.split(/ [±●○]/)[0].trim())"
    column = shown.means["image_auroc"]
    wanted = [f"{value - column['PaDiM']:+.1f}".replace("-", "−") for value in column]
    wanted[0], wanted[-1] = f"{column['PaDiM']:.1f}", "✗ failed\n1"
    assert tab.run(cell) == wanted
    assert tab.run(f"{RESULTS}.rows[2].cells[2].querySelector('.delta').className") == "delta better"
    assert tab.run(f"{RESULTS}.rows[2].cells[3].querySelector('.delta').className") == "delta worse"


def test_differences_are_marked_as_in_the_section_of_effects(tab: Tab, shown: Shown) -> None:
    """Same test, same correction: a difference inside the noise has neither a colour nor a mark."""
    choose(tab, f"{tools('results-1')} select", "AFRAD", "change")
    effects = tab.run(
        "Object.fromEntries([...document.getElementById('effects-1').tBodies[0].rows].map(row =>"
        " [row.cells[0].innerText, [row.cells[1].innerText, row.cells[2].innerText]]))"
    )
    seen = set()
    delta = "row.cells[at].querySelector('.delta')"
    pair = f"{delta} && [{delta}.innerText, {delta}.className]"
    lines = f"[...{RESULTS}.tBodies[0].rows].map(row => [row.cells[0].innerText, ...[2, 3].map(at => {pair})])"
    for name, *deltas in tab.run(lines):
        for (text, shade), effect in zip(filter(None, deltas), effects.get(name, ()), strict=False):
            mark = re.sub("[^●○]", "", effect)
            assert re.sub("[^●○]", "", text) == mark, (name, text, effect)
            assert text.split()[0] == effect.split()[0]
            assert ("better" in shade or "worse" in shade) == bool(mark)
            seen.add(mark)
    assert seen == {"●", ""}
    said = tab.run(f"document.querySelector({json.dumps(tools('results-1'))} + ' + .status').textContent")
    assert "Grey: not told from the noise of seeds." in said
    assert "one seed" not in said
    lines = list(csv.DictReader(io.StringIO(taken(tab, 0))))
    finding = {line["Method"]: line["I-AUROC ↑ % finding"] for line in lines}
    assert finding["AFRAD"] == ""
    assert finding["PaDiM"] in ("certain", "likely", "unclear")
    (padim,) = (line for line in lines if line["Method"] == "PaDiM")
    change = shown.means["image_auroc"]["PaDiM"] - shown.means["image_auroc"]["AFRAD"]
    assert float(padim["I-AUROC ↑ %"]) == pytest.approx(change, abs=1e-9)  # not rounded


def test_one_seed_shows_no_noise(tab: Tab, noted: Path) -> None:
    tab.open(noted, "#view&results-1.to=a")
    assert tab.run(f"{RESULTS}.rows[2].cells[2].querySelector('.delta').className.trim()") == "delta"
    assert "one seed" in tab.run(f"document.querySelector({json.dumps(tools('results-1'))} + ' + .status').textContent")


def test_the_page_tests_as_the_report_does(tab: Tab) -> None:
    """p values of Student's t, those of a paired test, and Holm's correction."""
    source = Path(str(files("afrad_bench.report.formats"))).joinpath("page", "noise.js").read_text(encoding="utf-8")

    def found(expression: str) -> Any:
        return tab.run(f"(() => {{ {source} return {expression}; }})()")

    for freedom in (1, 2, 3, 4, 7, 10, 29):
        for value in (-3.1, 0.0, 0.4, 2.1, 12.7):
            assert found(f"studentP({value}, {freedom})") == pytest.approx(2 * t.sf(abs(value), freedom), abs=1e-12)
    values = [0.01, 0.04, 0.03, 0.2]
    assert found(f"holm({values})") == pytest.approx(holm(values))
    rows = [{0: 91.0, 1: 90.2, 2: 90.9}, {0: 90.1, 1: 90.0, 2: 90.4, 7: 4.0}, {2: 90.0}]
    cells = [{"dataset": {"seeds": " ".join(f"{seed}:{value}" for seed, value in row.items())}} for row in rows]
    one, two, three = map(json.dumps, cells)
    assert found(f"pairedP({one}, {two}).p") == pytest.approx(paired(rows[0], rows[1]).p)
    assert found(f"pairedP({one}, {three})") == {"finding": "one seed", "p": None}
    assert found(f"[...findings([{two}, {one}], {one}).values()]") == ["unclear", "alike"]


def test_seeds_and_spread_are_shown_on_request(tab: Tab) -> None:
    first = f"{RESULTS}.tBodies[0].rows[0].cells[2].innerText"
    seeds = [(0.91 + 0.002 * seed + 0.86 + 0.0041 * seed) * 50 for seed in (0, 1, 2)]
    assert tab.run(first) == f"{mean(seeds):.1f} ± {stdev(seeds):.1f}"
    click(tab, ".whole input", 0)
    assert tab.run(first) == f"{mean(seeds):.1f}"
    click(tab, ".whole input", 1)
    wanted = " · ".join(f"{seed}: {value:.1f}" for seed, value in enumerate(seeds))
    assert tab.run(first).split("\n")[1].replace("\u00a0", " ") == wanted


def test_a_link_restores_what_was_shown(tab: Tab, shown: Shown) -> None:
    click(tab, "#results-1 .sort", 2)
    click(tab, "#results-1-columns input", 0)
    choose(tab, f'{tools("results-1")} input[type="search"]', "a")
    choose(tab, f"{tools('results-1')} select", HOSTILE, "change")
    click(tab, ".whole input", 1)
    state = f"[{RESULTS}.innerText, document.body.className, document.getElementById('results-1-columns').innerHTML]"
    before = tab.run(state)
    tab.open(shown.path, tab.run("location.hash"))
    assert tab.run(state) == before
    assert heads(tab) == ["Method", "I-AUROC ↑ %", "P-AUPRO ↑ %"]
    tab.open(shown.path, "#view&results-1.sort=-gone&results-1.to=gone&results-1.hide=gone&nothing.filter=x&seeds=yes")
    assert names(tab) == list(VALUES)  # what a later report does not have is passed over
    tab.open(shown.path, "#terms")
    assert tab.run("location.hash") == "#terms"


def taken(tab: Tab, number: int) -> str:
    """What a button of "Copy or download" puts on the clipboard."""
    tab.run("navigator.clipboard.writeText = (text) => { globalThis.taken = text; return Promise.resolve(); }")
    click(tab, "#results-1-take button:not([popovertarget])", number)
    return str(tab.run("globalThis.taken"))


def test_what_is_shown_can_be_taken_along(tab: Tab, shown: Shown) -> None:
    click(tab, "#results-1 .sort", 2)
    order = shown.means.sort_values("image_auroc", ascending=False, kind="stable")
    lines = [line for line in csv.reader(io.StringIO(taken(tab, 0))) if not line[0].startswith("# ")]
    assert lines[0][:4] == ["Method", "Seeds", "I-AUROC ↑ %", "I-AUROC ↑ % std"]
    assert [line[0] for line in lines[1:]] == list(order.index)
    for line, value in zip(lines[1:-1], order["image_auroc"], strict=False):
        assert float(line[2]) == pytest.approx(value, abs=1e-12)
    seeds = [(0.91 + 0.002 * seed + 0.86 + 0.0041 * seed) * 50 for seed in (0, 1, 2)]
    (padim,) = (line for line in lines if line[0] == "PaDiM")
    assert float(padim[3]) == pytest.approx(stdev(seeds))  # not rounded either
    assert "the loss is not finite" in lines[-1][-1]  # its footnote goes with it
    markdown = taken(tab, 2)
    assert r"\<script\>alert(1)\</script\>" in markdown
    best = tab.run(f"{RESULTS}.querySelector('strong').innerText")
    assert f"**{best}**" in markdown
    assert "<sup>1</sup> failed: ValueError" in markdown
    assert "20 epochs" in markdown  # the terms, too
    latex = taken(tab, 4)
    assert r"\textbf{" + best.replace("±", r"$\pm$") + "}" in latex
    assert r"\textless{}script\textgreater{}alert(1)" in latex
    assert latex.count(r"\\") == 1 + len(VALUES)


def test_a_hostile_name_is_only_text(tab: Tab) -> None:
    """With every tool used on it. A dialogue would be a complaint of the browser."""
    choose(tab, f"{tools('results-1')} select", HOSTILE, "change")
    choose(tab, f'{tools("results-1")} input[type="search"]', HOSTILE)
    click(tab, ".whole input", 1)
    assert names(tab) == [HOSTILE]
    assert tab.run("document.scripts.length") == 1
    assert tab.run('document.body.innerText.split("<script>alert(1)</script>").length') > 4


def test_nothing_runs_but_the_script_of_the_page(tab: Tab) -> None:
    tab.run(
        "(() => { const made = document.createElement('script'); made.text = 'globalThis.ran = 1';"
        " document.body.append(made); })()"
    )
    assert tab.run("globalThis.ran ?? 0") == 0
    assert any("Content Security Policy" in each for each in tab.complaints)
    tab.complaints.clear()


def test_paper_keeps_every_column(tab: Tab) -> None:
    assert on_paper(tab, "th, td") > 50
    assert tab.pdf().startswith(b"%PDF-")


def test_paper_keeps_every_figure(tab: Tab, pictured: Path) -> None:
    tab.open(pictured)
    assert on_paper(tab, "figure svg") == len(FIGURES)
    assert on_paper(tab, "th, td") > 50
    heights = tab.run("[...document.querySelectorAll('figure')].map(each => each.getBoundingClientRect().height)")
    assert max(heights) < 17 / 2.54 * 96  # of the 19 cm of a sheet, so that none is torn


def test_a_head_is_repeated_on_the_next_sheet(tab: Tab) -> None:
    """Chromium leaves out a button, which has a box of its own."""
    boxes = "[...document.querySelectorAll('.sort')].map(each => getComputedStyle(each).display)"
    assert set(tab.run(boxes)) == {"inline-block"}
    tab.window(1047, 900, paper=True)
    assert set(tab.run(boxes)) == {"contents"}


def test_many_notes_are_folded_until_a_mark_asks_for_them(tab: Tab, noted: Path) -> None:
    tab.open(noted)
    fold = "document.querySelector('details.notes')"
    assert tab.run(f"{fold}.open") is False
    assert tab.run(f"{fold}.querySelector('summary').textContent") == "Notes 1 to 3"
    mark = f"{RESULTS}.querySelector('tbody tr:nth-child(2) sup a')"
    tab.run(f"{mark}.dispatchEvent(new PointerEvent('pointerover', {{ bubbles: true }}))")
    assert tab.run(f"{mark}.title") == NOTES[1]
    tab.run(f"{mark}.click()")
    assert tab.run(f"{fold}.open") is True
    assert NOTES[2] in taken(tab, 0)  # folded or not, they go with the table
    tab.window(1047, 900, paper=True)
    assert tab.run("[...document.querySelectorAll('.notes li')].every(each => each.checkVisibility())")
    assert tab.run(f"{fold}.querySelector('summary').checkVisibility()") is False


def on_paper(tab: Tab, selector: str) -> int:
    """How many of these there are; none of them is hidden, empty or cut off on a sheet of A4, landscape."""
    tab.window(1047, 900, paper=True)
    found = tab.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(each => [each, each.getBoundingClientRect()])"
        ".map(([each, box]) => [each.checkVisibility(), box.width, box.right])"
    )
    assert all(visible and width > 0 and right <= 1047 for visible, width, right in found), found
    assert not tab.run("[...document.querySelectorAll('.tools')].some(each => each.checkVisibility())")
    return len(found)


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: make axe")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing(tab: Tab, shown: Shown, pictured: Path, width: int, dark: bool) -> None:
    tab.window(width, 900, dark=dark)
    for path, steps in ((shown.path, ("0", UNFOLDED, USED)), (pictured, (f"{UNFOLDED}, {LOOKED}",))):
        tab.open(path)
        tab.run(AXE.read_text(encoding="utf-8") + "\n0")
        for step in steps:
            tab.run(f"{step}, 0")
            found: list[Any] = tab.run(VIOLATIONS)
            assert found == [], step


def test_a_large_report_is_a_small_file() -> None:
    """How long it takes stands in benchmarks/bench_page.py."""
    page = to_html(large_report())
    assert page.count("data-v=") >= 50 * 28 * 7
    assert len(page.encode()) < 10_000_000


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every kind of figure: two rows, which are places of a grid, and the images of two categories."""
    folder = tmp_path_factory.mktemp("pictured")
    rows = [row(name, grid="g", point=(("width", at), ("depth", at))) for name, at in (("a", "1"), ("b", "2"))]
    store, spec = (
        Store(folder / "store"),
        suite(*rows, measures={**MEASURES, "latency": LATENCY, "operating_point": OPERATING}),
    )
    times = dict(zip(TIMES, (10.0, 9.0, 14.0), strict=True))
    fill(store, spec, more={"latency": times, "operating_point": {"threshold": 0.45}}, losses=(3.0, 2.0, 1.0))
    frames = {name: store.read(name) for name in ("cells", "measurements", "scores", "curves", "examples")}
    path = folder / "report.html"
    path.write_text(to_html(build(spec, *frames.values())), encoding="utf-8")
    return path


FIGURES = (
    *("forest", "efficiency_plot", "latency_plot", "latency_intervals", "gallery", "gallery_more"),
    *("training", "roc_images", "roc_pixels", "pro", "score_histograms", "score_strips"),
)


def test_a_page_with_every_kind_of_figure(tab: Tab, pictured: Path) -> None:
    """What the tests of accessibility and of paper look at."""
    tab.open(pictured)
    keys = "[...document.querySelectorAll('figure svg')].map(each => each.getAttribute('aria-labelledby'))"
    assert [each.split("-drawing")[0] for each in tab.run(keys)] == list(FIGURES)
    assert tab.run("document.querySelectorAll('#grid-1 td.number').length") == 4


def test_the_number_of_a_footnote_is_no_decimal(tab: Tab, noted: Path) -> None:
    tab.open(noted, "#view&results-1.to=a")
    assert tab.run(f"[...{RESULTS}.querySelectorAll('.delta')].slice(-1)[0].textContent.trim()") == "0.0"


def test_numbers_beside_a_flag_stand_below_those_without(tab: Tab, tmp_path: Path) -> None:
    times = {"calm": [(70.2, CALM)], "loaded": [(12.6, f"{LOAD}; {CALM}")], "also calm": [(50.2, CALM)]}
    path = tmp_path / "report.html"
    path.write_text(to_html(timed(Bookkeeper(tmp_path / "store"), times)), encoding="utf-8")
    tab.open(path)
    column = "[...document.querySelectorAll('#efficiency-1 tbody tr')].map(row => row.cells[2])"
    ends = f"{column}.map(cell => cell.querySelector('.noted').getBoundingClientRect().right)"
    assert tab.run(f"{ends}.length") == 3
    assert tab.run(f"new Set({ends}).size") == 1
    assert tab.run(f"{column}.filter(cell => cell.innerText.includes('unreliable')).length") == 1


def test_a_metric_is_never_broken_at_its_hyphen(tab: Tab) -> None:
    tab.window(390, 800)
    script = """(() => {
      const texts = [...document.querySelectorAll("main p, main td, main th .name, main li")];
      const kept = texts.flatMap((each) => [...each.querySelectorAll("span.short")])
        .filter((each) => /^[A-Z]-[A-Z]\\w+$/.test(each.textContent) && each.checkVisibility());
      const own = (each) => [...each.childNodes].map((node) => (node.nodeType === 3 ? node.data : "")).join("");
      const loose = texts.map(own).filter((text) => /[IP]-[A-Z]/.test(text));
      return [kept.map((each) => each.getClientRects().length), loose];
    })()"""
    lines, loose = tab.run(script)
    assert len(lines) > 5
    assert set(lines) == {1}
    assert loose == []


def test_pictures_can_be_looked_at_more_closely(tab: Tab, pictured: Path) -> None:
    tab.open(pictured)
    assert tab.run("document.querySelector('.viewer')") is None  # not before it is asked for
    click(tab, "figure[data-gallery] .tools button")
    ranges = ".viewer input[type='range']"
    view = "document.querySelector('.closer').getAttribute('aria-label')"
    assert tab.run(view) == "alpha · dent: a"
    tab.run(f'document.querySelector("{ranges}").focus()')
    tab.press("ArrowRight")
    assert tab.run(view) == "alpha · dent: b"
    choose(tab, ".viewer label:nth-child(4) select", "1", "change")
    assert tab.run(view) == "alpha · dent: b; right of the line: a"
    pictures = "[...document.querySelectorAll('.closer image')].map(each => each.href.baseVal.length > 100)"
    assert tab.run(pictures) == [True] * 4  # on both sides the image, and a map over it
    for number, value in ((2, "35"), (3, "4")):
        tab.run(
            f'(() => {{ const field = document.querySelectorAll("{ranges}")[{number}]; field.value = {value};'
            " field.dispatchEvent(new Event('input')); })()"
        )
    link = tab.run("location.hash")
    assert tab.run("document.querySelector('.closer').getAttribute('viewBox')") == "37.5 37.5 25 25"
    tab.open(pictured, link)
    assert tab.run(view) == "alpha · dent: b; right of the line: a"
    assert tab.run("document.querySelector('.closer').getAttribute('viewBox')") == "37.5 37.5 25 25"
    assert tab.run("document.querySelector('.closer line').getAttribute('x1')") == "35"


def test_points_of_a_figure_name_their_rows(tab: Tab, pictured: Path) -> None:
    tab.open(pictured)
    figures = "[...document.querySelectorAll('svg:has(.point)')]"
    stops = f"{figures}.map(each => each.querySelectorAll('.point[tabindex=\"0\"]').length)"
    assert tab.run(stops) == [1, 1, 1]  # of efficiency, in GFLOPs and in ms, and of strips
    tab.run("document.querySelector('.point').focus()")
    told = "document.querySelector('.told').textContent"
    assert tab.run(told).startswith("a: 90.0 % at 1 GFLOPs")
    tab.press("ArrowRight")
    assert tab.run(told).startswith("b: 90.0 % at 2 GFLOPs")


def test_a_dot_of_a_strip_names_its_image(tab: Tab, pictured: Path) -> None:
    tab.open(pictured)
    tab.run(f"{UNFOLDED}, 0")
    strips = "document.getElementById('score_strips-drawing-title').closest('figure')"
    tab.run(f"{strips}.querySelector('.point').focus()")
    told = f"{strips}.querySelector('.told').textContent"
    assert tab.run(told) == "alpha/good/0, normal: 0.1"
    tab.press("ArrowRight")
    assert tab.run(told) == "alpha/good/1, normal: 0.2"


def test_a_dot_of_a_strip_shows_its_image_if_the_gallery_has_it(tab: Tab, pictured: Path) -> None:
    tab.open(pictured)
    tab.run(f"{UNFOLDED}, 0")
    known = tab.run("JSON.parse(document.querySelector('figure[data-gallery]').dataset.gallery).images")[0]
    strips = "document.getElementById('score_strips-drawing-title').closest('figure')"
    dot = f"{strips}.querySelector('.point')"
    tab.run("document.querySelectorAll('details').forEach(each => each.open = false)")  # a fold has no boxes
    for image, shown in ((known, 1), (f"{known}?", 0)):
        tab.run(f"{dot}.dataset.image = {json.dumps(image)}")
        tab.run(f"{dot}.dispatchEvent(new Event('pointerenter'))")
        assert tab.run(f"{strips}.querySelectorAll('.told .small image').length") == shown
        if shown:
            moved = tab.run(f"{strips}.querySelector('.small g g').getAttribute('transform')")
            assert re.fullmatch(r"scale\([\d.]+\) translate\(-?[\d.]+ -?[\d.]+\)", moved)


def test_a_map_lies_exactly_over_its_image(tab: Tab, pictured: Path) -> None:
    tab.open(pictured)
    click(tab, "figure[data-gallery] .tools button")
    boxes = tab.run(
        "[...document.querySelectorAll('.closer image')].map(each => each.getBoundingClientRect())"
        ".map(each => [each.x, each.y, each.width, each.height])"
    )
    assert boxes[0] == pytest.approx(boxes[1], abs=0.5)
    frame = tab.run("document.querySelector('.closer').getBoundingClientRect().width")
    assert boxes[0][2] == pytest.approx(frame, rel=0.02)


USED = (
    "document.querySelector('#results-1 .sort').click(), document.querySelectorAll('.whole input')[1].click(),"
    "document.getElementById('results-1-columns').showPopover()"
)
UNFOLDED = "document.querySelectorAll('details').forEach(each => (each.open = true))"
LOOKED = "document.querySelector('figure[data-gallery] .tools button').click()"
VIOLATIONS = (
    "axe.run().then(found => found.violations.map(each => [each.id, each.nodes.map(node => node.html).slice(0, 3)]))"
)
